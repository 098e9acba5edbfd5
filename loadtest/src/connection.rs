//! Keep-alive HTTP/1.1 connections to one address, as cheap as hyper's low-level client makes them: no redirects, no
//! proxies, no cookies, one request at a time on each.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{net::TcpStream, sync::Semaphore};

/// What a call got.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

/// No whole answer came: refused, broken off, or too late. Whether the call had an effect is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoAnswer;

type Sender = SendRequest<Full<Bytes>>;

/// A pool that opens connections as they are needed, up to a bound, and reuses the one used last: few are kept warm.
#[derive(Debug)]
pub(crate) struct Pool {
    address: SocketAddr,
    idle: Mutex<Vec<Sender>>,
    places: Semaphore,
}

impl Pool {
    pub(crate) fn new(address: SocketAddr, most: usize) -> Self {
        Self { address, idle: Mutex::default(), places: Semaphore::new(most.max(1)) }
    }

    /// Sends `request` on a free connection, waiting for one when all are in use. Only the call itself is bounded by
    /// `patience`.
    pub(crate) async fn call(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Answer, NoAnswer> {
        let _place = self.places.acquire().await.map_err(|_| NoAnswer)?;
        tokio::time::timeout(patience, self.exchange(request)).await.map_err(|_| NoAnswer)?
    }

    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer> {
        loop {
            let (mut sender, is_fresh) = match self.take() {
                Some(sender) => (sender, false),
                None => (self.connect().await?, true),
            };
            if sender.ready().await.is_err() {
                if is_fresh {
                    return Err(NoAnswer);
                }
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return self.whole(sender, response).await,
                Err(mut error) => match error.take_message() {
                    // the server closed an idle connection: nothing of this request was sent
                    Some(unsent) if !is_fresh => request = unsent,
                    _ => return Err(NoAnswer),
                },
            }
        }
    }

    async fn whole(
        &self,
        sender: Sender,
        response: Response<hyper::body::Incoming>,
    ) -> Result<Answer, NoAnswer> {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|_| NoAnswer)?.to_bytes();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        let after =
            parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Answer { status: parts.status, retry_after: after.map(Duration::from_secs), body })
    }

    fn take(&self) -> Option<Sender> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn connect(&self) -> Result<Sender, NoAnswer> {
        let stream = TcpStream::connect(self.address).await.map_err(|_| NoAnswer)?;
        stream.set_nodelay(true).map_err(|_| NoAnswer)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| NoAnswer)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
