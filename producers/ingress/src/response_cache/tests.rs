//! The cache over a handler that counts its calls, and fails or waits as a test says.

use super::*;
use crate::background::BackgroundLimits;
use axum::routing::get;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tower::ServiceExt;

#[derive(Clone)]
struct Shop {
    calls: Arc<AtomicUsize>,
    is_away: Arc<AtomicBool>,
    clock: Clock,
}

impl Shop {
    fn open() -> Self {
        Self { calls: Arc::default(), is_away: Arc::default(), clock: Clock::fixed(1_000) }
    }

    /// Lets that many seconds pass.
    fn pass(&self, seconds: i64) {
        self.clock.set(self.clock.now_millis() + seconds * 1_000);
    }

    async fn list(State(shop): State<Self>) -> Response {
        let version = shop.calls.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if shop.is_away.load(Ordering::Relaxed) {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let headers = [(header::CACHE_CONTROL, "public, max-age=5"), (header::ETAG, "\"tag\"")];
        (headers, version.to_string()).into_response()
    }

    async fn own(State(shop): State<Self>) -> Response {
        shop.calls.fetch_add(1, Ordering::Relaxed);
        ([(header::CACHE_CONTROL, "private"), (header::ETAG, "\"tag\"")], "own").into_response()
    }

    fn app(&self) -> Router {
        let config = CacheConfig {
            fresh: Duration::from_secs(1),
            stale: Duration::from_secs(10),
            if_error: Duration::from_secs(100),
            bytes: 1 << 20,
        };
        let background = Background::start("test", BackgroundLimits::default());
        let cache = ResponseCache::new(config, &["/list", "/own"], background, self.clock.clone());
        let routes = Router::new().route("/list", get(Self::list)).route("/own", get(Self::own));
        cache.around(routes.route("/other", get(Self::list)).with_state(self.clone()))
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

async fn call(app: &Router, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn text(app: &Router, path: &str) -> String {
    call(app, path, &[]).await.1
}

#[tokio::test]
async fn a_stampede_on_an_empty_place_is_one_call() {
    let shop = Shop::open();
    let app = shop.app();
    let answers = futures_util::future::join_all((0..1_000).map(|_| call(&app, "/list?q=1", &[]))).await;
    assert!(answers.iter().all(|answer| *answer == (200, "1".to_owned())));
    assert_eq!(shop.calls(), 1);
    assert_eq!(text(&app, "/list?q=2").await, "2", "another query is another answer");
}

#[tokio::test]
async fn an_old_answer_is_told_once_more_while_one_call_fetches_it_anew() {
    let shop = Shop::open();
    let app = shop.app();
    assert_eq!(text(&app, "/list").await, "1");
    shop.pass(5);
    let answers = futures_util::future::join_all((0..100).map(|_| text(&app, "/list"))).await;
    assert!(answers.iter().all(|answer| answer == "1"), "nobody waits: {answers:?}");
    testbed::eventually("it is fetched", async || text(&app, "/list").await == "2").await;
    assert_eq!(shop.calls(), 2);
    shop.pass(12);
    assert_eq!(text(&app, "/list").await, "3", "what is too old is not told");
    shop.pass(-3_600);
    assert_eq!(text(&app, "/list").await, "4", "nor what came after now");
}

#[tokio::test]
async fn while_the_handler_fails_the_old_answer_stands_for_a_while() {
    let shop = Shop::open();
    let app = shop.app();
    assert_eq!(text(&app, "/list").await, "1");
    shop.is_away.store(true, Ordering::Relaxed);
    shop.pass(50);
    for _ in 0..10 {
        assert_eq!(call(&app, "/list", &[]).await, (200, "1".to_owned()));
    }
    shop.pass(100);
    assert_eq!(call(&app, "/list", &[]).await.0, 503);
    shop.is_away.store(false, Ordering::Relaxed);
    assert_eq!(call(&app, "/list", &[]).await.0, 200);
}

#[tokio::test]
async fn who_has_the_answer_is_told_so_and_what_is_not_public_is_never_kept() {
    let shop = Shop::open();
    let app = shop.app();
    for (tags, status) in
        [("\"tag\"", 304), ("W/\"tag\"", 304), ("\"a\", \"tag\"", 304), ("*", 304), ("\"tags\"", 200)]
    {
        assert_eq!(call(&app, "/list", &[("if-none-match", tags)]).await.0, status, "{tags}");
    }
    assert_eq!(shop.calls(), 1, "the first condition did not empty the cache");
    for _ in 0..3 {
        assert_eq!(text(&app, "/own").await, "own");
        assert_eq!(call(&app, "/list", &[("authorization", "Bearer x")]).await.0, 200);
        assert_eq!(call(&app, "/other", &[]).await.0, 200);
        assert_eq!(call(&app, "/list", &[("read-after", "0/16B3748")]).await.0, 200);
    }
    assert_eq!(shop.calls(), 1 + 12);
}
