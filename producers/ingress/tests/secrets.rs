//! What clients say never reaches a log: tokens, keys, card numbers, addresses, and what a terminal would obey. One test,
//! for it takes the whole process's log.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use axum::{
    body::Body,
    http::{HeaderValue, Request},
};
use chassis::{
    settings::{Environment, Secret},
    telemetry::Plain,
};
use ingress::{
    api::About,
    auth::{AuthConfig, Caller, Verifier},
    body::JsonBody,
    guard::Guard,
    idempotency::IdempotencyKey,
    layers,
    problem::Problem,
    surface::{Rule, Surface},
};
use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const SECRET: &str = "canary-secret-of-at-least-32-bytes-long";
const CARD: &str = "4111111111111111";
const ESCAPES: &str = "\u{1b}[2J\u{9b}31m\r\nforged line";

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn config() -> AuthConfig {
    AuthConfig::shared(Secret::new(SECRET), "issuer", "mambogo")
}

/// A handler at its worst: it fails with text of others, or panics.
async fn handle(caller: Caller, key: IdempotencyKey, JsonBody(_): JsonBody) -> Result<(), Problem> {
    match key.as_str() {
        "canary-key-panic" => panic!("with {} bytes of an owner", caller.owner.len()),
        _ => Err(Problem::internal("a test", &format!("a store said {ESCAPES}"))),
    }
}

#[tokio::test]
async fn canaries_that_clients_plant_reach_no_log() {
    let captured = Captured::default();
    let writer = captured.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || Plain(writer.clone()))
        .init();
    let surface = Surface::new().post("/orders/{id}", Rule::caller(), handle, About::of("x", "Something"));
    let app = layers::around(
        surface.guarded(Guard::new(Verifier::start(&config(), CancellationToken::new()).unwrap())),
    );
    let now = schemas::time::Timestamp(chassis::clock::Clock::system().now_millis());
    let good = ingress::auth::mint(&config(), "canary-user", &[], now, Duration::from_secs(60)).unwrap();
    let bad = format!("{good}canary-token");
    for (token, key) in [(&good, "canary-key-1"), (&good, "canary-key-panic"), (&bad, "canary-key-2")] {
        for path in ["/orders/canary-path?canary-query=1", "/canary-nowhere", "/orders/%1b%5b2Jcanary"] {
            let body = format!("{{\"card\":\"{CARD}\",\"street\":\"canary street\"");
            for body in [format!("{body}}}"), body] {
                let request = Request::post(path)
                    .header("authorization", format!("Bearer {token}"))
                    .header("idempotency-key", key)
                    .header("content-type", "application/json")
                    .header("x-forwarded-for", HeaderValue::from_bytes(b"canary\x9b31m").unwrap())
                    .header("user-agent", "canary-agent")
                    .body(Body::from(body))
                    .unwrap();
                let _ = app.clone().oneshot(request).await.unwrap();
            }
        }
    }
    // how the process was started
    let environment = Environment::of(
        [("JWT_SECRET", SECRET), ("EDGE_DATABASE_URL", "postgres://edge:canary-password@h/d")]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    tracing::info!(auth = ?ingress::config::auth(&environment), pool = ?ingress::config::pool(&environment));

    let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("a test"), "the log was captured: {log}");
    for planted in ["canary", CARD, SECRET, &good] {
        assert!(!log.contains(planted), "{planted} reached the log:\n{log}");
    }
    assert!(!log.chars().any(|c| c.is_control() && c != '\n'), "{log:?}");
    assert!(!log.lines().any(|line| line.starts_with("forged")), "{log}");
}
