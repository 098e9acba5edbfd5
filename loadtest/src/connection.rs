//! Keep-alive HTTP/1.1 connections to one address, as cheap as hyper's low-level client makes them: no redirects, no
//! proxies, no cookies, one request at a time on each.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header, response::Parts};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use std::{
    net::SocketAddr,
    ops::ControlFlow,
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

impl Answer {
    fn of(parts: &Parts, body: Bytes) -> Self {
        let after =
            parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Self { status: parts.status, retry_after: after.map(Duration::from_secs), body }
    }
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
        tokio::time::timeout(patience, self.whole(request)).await.map_err(|_| NoAnswer)?
    }

    /// Sends `request` and hands what arrives of the answer's body to `hear`, until it says that this was enough, the
    /// body ends, or `patience` does. What was answered, without the body; no answer when `patience` ended.
    pub(crate) async fn listen(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
        mut hear: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Answer, NoAnswer> {
        let _place = self.places.acquire().await.map_err(|_| NoAnswer)?;
        let listening = async {
            let (sender, response) = self.exchange(request).await?;
            let (parts, mut body) = response.into_parts();
            while let Some(frame) = body.frame().await {
                let data = frame.map_err(|_| NoAnswer)?.into_data().unwrap_or_default();
                if hear(&data).is_break() {
                    return Ok(Answer::of(&parts, Bytes::new()));
                }
            }
            self.put_back(sender);
            Ok(Answer::of(&parts, Bytes::new()))
        };
        tokio::time::timeout(patience, listening).await.map_err(|_| NoAnswer)?
    }

    async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Sender, Response<Incoming>), NoAnswer> {
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
                Ok(response) => return Ok((sender, response)),
                Err(mut error) => match error.take_message() {
                    // the server closed an idle connection: nothing of this request was sent
                    Some(unsent) if !is_fresh => request = unsent,
                    _ => return Err(NoAnswer),
                },
            }
        }
    }

    async fn whole(&self, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer> {
        let (sender, response) = self.exchange(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|_| NoAnswer)?.to_bytes();
        self.put_back(sender);
        Ok(Answer::of(&parts, body))
    }

    fn put_back(&self, sender: Sender) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
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
