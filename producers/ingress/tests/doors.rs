//! The accept loop and the strict body against clients that mean no good: requests that two parsers could read
//! differently, bytes changed at random, bodies and readers that take their time.
//!
//! Random cases are drawn anew by each run. A failure prints the smallest; `PROPTEST_RNG_SEED` repeats a run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test says what is wrong by failing"
)]

use axum::{
    Router,
    routing::{get, post},
};
use ingress::{
    body::{Json, JsonBody},
    layers,
    serve::{ServeLimits, serve},
};
use proptest::prelude::*;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

/// More than what lies in the sockets' buffers.
const LARGE: usize = 32 << 20;

struct Served {
    address: SocketAddr,
    stop: CancellationToken,
}

impl Served {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let app = Router::new()
            .route("/here", get(async || "here"))
            .route("/large", get(async || "x".repeat(LARGE)))
            .route("/body", post(async |JsonBody(_): JsonBody| "read"));
        let quick = Duration::from_millis(500);
        let limits =
            ServeLimits { connections: 64, header_timeout: quick, idle_timeout: 2 * quick, drain: quick };
        tokio::spawn(serve(listener, layers::around(app), limits, stop.clone()));
        Self { address, stop }
    }

    /// Sends the bytes and returns all that comes until the connection ends, which it does by itself.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // a server that has seen enough may close before all is sent
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
        let _ = read.expect("the server closes the connection");
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn is_well(&self) {
        let answer = self.exchange(b"GET /here HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_hides_no_other() {
    let served = Served::start().await;
    let hidden = "GET /here HTTP/1.1\r\nHost: x\r\n\r\n";
    let json = "Content-Type: application/json\r\n";
    let heads = [
        "Content-Length: 2\r\nContent-Length: 40\r\n",
        "Content-Length: 2, 40\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length : 2\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length: 2\nTransfer-Encoding: chunked\r\n\0: x\r\n",
        "X: a\r\n folded\r\nContent-Length: 2\r\n",
    ];
    for head in heads {
        let text = format!("POST /body HTTP/1.1\r\nHost: x\r\n{json}{head}\r\n0\r\n\r\n{hidden}");
        let answer = served.exchange(text.as_bytes()).await;
        assert!(!answer.contains("\r\n\r\nhere"), "{head:?} hid a request: {answer}");
    }
    let both = "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let chunked = |chunks: &str| format!("Transfer-Encoding: chunked\r\n\r\n{chunks}");
    for rest in [
        both.to_owned(),
        chunked("fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        chunked("2;ext\n{}\r\n0\r\n\r\n"),
        chunked("-2\r\n{}\r\n0\r\n\r\n"),
        chunked("2\r\n{}0\r\n\r\n"),
    ] {
        let text = format!("POST /body HTTP/1.1\r\nHost: x\r\n{json}{rest}{hidden}");
        let answer = served.exchange(text.as_bytes()).await;
        assert!(!answer.contains("\r\n\r\nhere"), "{rest:?} hid a request: {answer}");
    }
    served.is_well().await;
}

#[tokio::test]
async fn a_body_that_drips_is_given_up_and_an_answer_nobody_reads_is_too() {
    let served = Served::start().await;
    let drip = async {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let head = "POST /body HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let mut answer = Vec::new();
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let dripping = async {
            while writing.write_all(b" ").await.is_ok() {
                tick.tick().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = dripping => {}
            read = tokio::time::timeout(Duration::from_secs(60), reading.read_to_end(&mut answer)) => {
                let _ = read.expect("it is closed although something comes all the time");
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    let unread = async {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        // whoever reads nothing is cut off; from a server that waited, all of it would come once it is read
        let patience = tokio::time::timeout(Duration::from_secs(4), std::future::pending::<()>());
        patience.await.unwrap_err();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
        let _ = read.unwrap();
        answer.len()
    };
    let (dripped, unread) = tokio::join!(drip, unread);
    assert!(dripped.starts_with("HTTP/1.1 408"), "{dripped}");
    assert!(unread < LARGE, "all {unread} bytes came");
    served.is_well().await;
}

/// A request as clients send it, and things done to its bytes.
fn changed() -> impl Strategy<Value = Vec<u8>> {
    let good = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\
                 Connection: close\r\n\r\n{\"a\":[1]}"
        .to_vec();
    let change = (any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..4), 0usize..4);
    (Just(good), prop::collection::vec(change, 1..6)).prop_map(|(mut bytes, changes)| {
        for (at, put, cut) in changes {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            let end = (at + cut).min(bytes.len());
            drop(bytes.splice(at..end, put));
        }
        bytes
    })
}

#[test]
fn whatever_bytes_come_the_connection_ends_and_others_are_served() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let served = runtime.block_on(Served::start());
    // each case is a crowd: most connections end by a time-out
    let config =
        ProptestConfig { cases: ProptestConfig::default().cases / 64 + 1, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let run = runner.run(&prop::collection::vec(changed(), 60), |requests| {
        let exchanges = requests.iter().map(|bytes| served.exchange(bytes));
        let answers = runtime.block_on(futures_util::future::join_all(exchanges));
        for (request, answer) in requests.iter().zip(answers) {
            let request = String::from_utf8_lossy(request);
            prop_assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "{request:?}: {answer}");
            prop_assert!(!answer.starts_with("HTTP/1.1 500"), "{request:?}: {answer}");
        }
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(served.is_well());
}

proptest! {
    #[test]
    fn what_the_strict_parser_reads_any_parser_reads(
        text in r#"[\[\]{}",:0-9eE+.a-f \\u-]{0,60}"#,
        bytes in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        for bytes in [text.as_bytes(), &bytes[..]] {
            if Json::parse(bytes).is_ok() {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok());
            }
        }
    }
}
