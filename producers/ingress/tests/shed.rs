//! Overload at the edge: whoever comes too late is told so at once, whoever was admitted succeeds, operators pass.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    response::Response,
};
use chassis::{clock::Clock, settings::Secret};
use ingress::{
    api::About,
    auth::{AuthConfig, Verifier, mint},
    guard::Guard,
    layers,
    log::{Command, CommandLog, Delivered, LogAway, SendError},
    shed::{Ramp, ShedConfig, Shedder},
    surface::{Rule, Surface},
};
use schemas::{time::Timestamp, topics::Topic};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// A log whose queue and whose readers stand where a test puts them.
#[derive(Default)]
struct Gauge {
    queued: AtomicUsize,
    end: AtomicI64,
}

#[async_trait]
impl CommandLog for Gauge {
    async fn send(&self, _: Command) -> Result<Delivered, SendError> {
        Err(SendError::NotSent("no test sends".to_owned()))
    }
    async fn partitions(&self, _: Topic) -> Result<i32, LogAway> {
        Ok(2)
    }
    async fn ends(&self, topic: Topic) -> Result<Vec<i64>, LogAway> {
        let end = if topic == Topic::PaymentCommands { self.end.load(Ordering::Relaxed) } else { 0 };
        Ok(vec![0, end])
    }
    async fn committed(&self, _: &'static str, _: Topic) -> Result<Vec<Option<i64>>, LogAway> {
        Ok(vec![None, Some(0)])
    }
    async fn check(&self) -> Result<(), LogAway> {
        Ok(())
    }
    fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }
}

struct Stage {
    log: Arc<Gauge>,
    gate: Arc<Semaphore>,
    app: Router,
    auth: AuthConfig,
}

impl Stage {
    /// Half of what comes is refused from 15 requests under way, 150 queued, or 1,500 behind on.
    fn set() -> Self {
        let (log, gate) = (Arc::new(Gauge::default()), Arc::new(Semaphore::new(0)));
        let config = ShedConfig {
            in_flight: Ramp { from: 10, to: 20 },
            queued: Ramp { from: 100, to: 200 },
            behind: Ramp { from: 1_000, to: 2_000 },
            look: Duration::from_millis(10),
        };
        let shedder = Shedder::new(config, log.clone());
        tokio::spawn(shedder.clone().watch());
        let auth =
            AuthConfig::shared(Secret::new("a-secret-that-is-long-enough-for-hs256"), "issuer", "mambogo");
        let guard = Guard::new(Verifier::start(&auth, CancellationToken::new()).unwrap())
            .with_shedding(Some(shedder));
        let held = gate.clone();
        let about = || About::of("x", "Something");
        let surface = Surface::new()
            .get(
                "/held",
                Rule::public(),
                async move || {
                    held.acquire().await.unwrap().forget();
                    "in the end"
                },
                about(),
            )
            .get("/read", Rule::public(), async || "read", about())
            .post("/write", Rule::public(), async || "written", about())
            .post("/provider", Rule::signed(), async || "heard", about())
            .post("/operator", Rule::scope("operate"), async || "done", about());
        Self { log, gate, app: layers::around(surface.guarded(guard)), auth }
    }

    async fn call(&self, method: &str, path: &str) -> Response {
        let now = Timestamp(Clock::system().now_millis());
        let token = mint(&self.auth, "ops", &["operate".to_owned()], now, Duration::from_secs(600)).unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if path == "/operator" {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    /// How many of a hundred calls pass.
    async fn passes(&self, method: &str, path: &str) -> usize {
        let mut passed = 0;
        for _ in 0..100 {
            passed += usize::from(self.call(method, path).await.status() == StatusCode::OK);
        }
        passed
    }
}

#[tokio::test]
async fn a_full_house_refuses_at_once_and_whoever_was_admitted_succeeds() {
    let stage = Arc::new(Stage::set());
    assert_eq!(stage.passes("GET", "/read").await, 100);
    let held: Vec<_> = (0..200)
        .map(|_| {
            let stage = stage.clone();
            tokio::spawn(async move { stage.call("GET", "/held").await })
        })
        .collect();
    // those that were refused have their answer while the admitted still wait
    testbed::eventually("the rest is refused", async || {
        held.iter().filter(|call| call.is_finished()).count() >= 180
    })
    .await;
    let refused = stage.call("GET", "/held").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    assert_eq!(stage.passes("GET", "/read").await, 0, "all places are taken");
    for path in ["/operator", "/provider"] {
        assert_eq!(stage.passes("POST", path).await, 100, "{path}");
    }
    stage.gate.add_permits(1_000);
    let mut succeeded = 0;
    for call in held {
        succeeded += usize::from(call.await.unwrap().status() == StatusCode::OK);
    }
    assert!((11..=20).contains(&succeeded), "{succeeded}");
    assert_eq!(stage.passes("GET", "/read").await, 100, "and it is over");
}

#[tokio::test]
async fn writes_are_refused_by_what_waits_behind_the_edge_and_reads_are_not() {
    let stage = Stage::set();
    stage.log.queued.store(150, Ordering::Relaxed);
    assert_eq!(stage.passes("POST", "/write").await, 50, "half-way up, every second one");
    assert_eq!(stage.passes("GET", "/read").await, 100);
    stage.log.queued.store(0, Ordering::Relaxed);
    assert_eq!(stage.passes("POST", "/write").await, 100);
    stage.log.end.store(1_250, Ordering::Relaxed);
    testbed::eventually("three of four pass", async || stage.passes("POST", "/write").await == 75).await;
    stage.log.end.store(5_000, Ordering::Relaxed);
    testbed::eventually("none passes", async || stage.passes("POST", "/write").await == 0).await;
    assert_eq!(stage.passes("GET", "/read").await, 100);
    assert_eq!(stage.passes("POST", "/operator").await, 100);
    stage.log.end.store(0, Ordering::Relaxed);
    testbed::eventually("the workers have caught up", async || stage.passes("POST", "/write").await == 100)
        .await;
}
