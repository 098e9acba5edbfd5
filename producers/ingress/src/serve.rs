//! The accept loop. `axum::serve` installs no timer, so its header time-out is inert; this one bounds everything a
//! slow or hostile client can hold: connections, first bytes, headers, idle time, streams.

use crate::{limit::Peer, metrics};
use axum::{Extension, Router, http::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, Sleep},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Bytes by which HTTP/1 and HTTP/2 are told apart: the length of the latter's preface.
const PREFACE: usize = 24;

/// What clients may hold.
#[derive(Debug, Clone, Copy)]
pub struct ServeLimits {
    /// Most open connections; more wait in the kernel's queue.
    pub connections: usize,
    /// Longest time for a request's head, and for a connection's first bytes.
    pub header_timeout: Duration,
    /// A connection on which nothing moves for this long is closed. Longer than the longest wait for an order.
    pub idle_timeout: Duration,
    /// Longest time for open requests after the stop.
    pub drain: Duration,
}

impl Default for ServeLimits {
    /// 10,000 connections, 10 s for a head, 75 s idle, 15 s to drain.
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            drain: Duration::from_secs(15),
        }
    }
}

/// Cancelled when no more requests are taken; an extension of every request. What would go on by itself, such as a stream,
/// ends then, so that the process need not wait for it.
#[derive(Debug, Clone)]
pub struct Stopping(pub CancellationToken);

/// Serves `app` on `listener` until `stop`; then takes no more connections and lets open requests end.
pub async fn serve(listener: TcpListener, app: Router, limits: ServeLimits, stop: CancellationToken) {
    let server = builder(limits);
    let open = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let app = app.layer(Extension(Stopping(stop.clone())));
    while let Some((stream, peer, slot)) = stop.run_until_cancelled(accept(&listener, &slots)).await {
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(Bounded::new(stream, limits));
        // who holds the other end, for whoever counts by address
        let named = app.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            request
        });
        let service = TowerToHyperService::new(named);
        let connection = open.watch(server.serve_connection(io, service).into_owned());
        tokio::spawn(async move {
            ::metrics::gauge!(metrics::CONNECTIONS).increment(1.0);
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "a connection ended early");
            }
            ::metrics::gauge!(metrics::CONNECTIONS).decrement(1.0);
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, open.shutdown()).await.is_err() {
        tracing::warn!("requests were still open at the end of the time to drain");
    }
}

fn builder(limits: ServeLimits) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(64)
        .max_buf_size(64 * 1024)
        .keep_alive(true)
        .half_close(false);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_header_list_size(16 * 1024)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        .max_send_buf_size(256 * 1024);
    server
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit) {
    loop {
        // the semaphore is never closed
        let Ok(slot) = slots.clone().acquire_owned().await else { std::future::pending().await };
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, slot),
            // out of descriptors, or a client gone already: neither is helped by asking again at once
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// A stream that ends by itself when nothing moves on it.
struct Bounded {
    stream: TcpStream,
    limits: ServeLimits,
    read: usize,
    timer: Pin<Box<Sleep>>,
}

impl Bounded {
    fn new(stream: TcpStream, limits: ServeLimits) -> Self {
        let timer = Box::pin(tokio::time::sleep(limits.header_timeout));
        Self { stream, limits, read: 0, timer }
    }

    fn moved(&mut self) {
        // until the first bytes are there, the time runs from the connect: dripping them gains nothing
        if self.read >= PREFACE {
            let next = Instant::now() + self.limits.idle_timeout;
            self.timer.as_mut().reset(next);
        }
    }

    /// What a stuck read or write comes to: still stuck, or given up.
    fn stuck<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match self.timer.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let why = if self.read < PREFACE { "first_bytes" } else { "idle" };
                ::metrics::counter!(metrics::CONNECTIONS_CLOSED, "why" => why).increment(1);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => self.stuck(cx),
            ready => {
                self.read = self.read.saturating_add(buf.filled().len() - before);
                self.moved();
                ready
            }
        }
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, data) {
            Poll::Pending => self.stuck(cx),
            ready => {
                self.moved();
                ready
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(cx, data) {
            Poll::Pending => self.stuck(cx),
            ready => {
                self.moved();
                ready
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn start(limits: ServeLimits) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let app = Router::new().route("/", get(async || "here"));
        (address, stop.clone(), tokio::spawn(serve(listener, app, limits, stop)))
    }

    fn quick() -> ServeLimits {
        let short = Duration::from_millis(100);
        ServeLimits { connections: 2, header_timeout: short, idle_timeout: 3 * short, drain: 3 * short }
    }

    /// Sends `text` and returns all that comes until the server closes.
    async fn exchange(address: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        // a reset is a close as well
        let _ = read.expect("the server closes the connection");
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn whoever_sends_nothing_or_half_a_head_is_closed_and_others_are_served() {
        let (address, stop, server) = start(quick()).await;
        // more than there are slots
        let slow = [
            "",
            "G",
            "PRI * HT",
            "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ];
        let closed = futures_util::future::join_all(slow.map(|text| exchange(address, text))).await;
        assert!(closed.iter().all(|answer| !answer.contains("200 OK")), "{closed:?}");
        let answer = exchange(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(answer.ends_with("here"), "{answer}");
        stop.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_hidden_in_another_is_never_answered() {
        let (address, stop, server) = start(quick()).await;
        let hidden = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for head in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Content-Length: 1\n\r\nX: y\r\n",
        ] {
            let text = format!("POST / HTTP/1.1\r\nHost: x\r\n{head}\r\n0\r\n\r\n{hidden}");
            let answer = exchange(address, &text).await;
            assert!(!answer.contains("200 OK"), "{head}: {answer}");
        }
        stop.cancel();
        server.await.unwrap();
    }
}
