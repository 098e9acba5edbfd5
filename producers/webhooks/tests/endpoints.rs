//! Registering endpoints, and seeing how they fare, as clients do.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

use axum::{Router, body::Body, http::Request};
use chassis::{clock::Clock, settings::Environment};
use futures_util::future::join_all;
use ingress::{
    auth::{AuthConfig, Verifier, mint},
    downstream::Downstream,
    guard::Guard,
    layers,
};
use schemas::time::Timestamp;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;
use webhooks_api::{Webhooks, WebhooksApiConfig, WebhooksParts};

struct Stage {
    app: Router,
    auth: AuthConfig,
    database: testbed::Database,
    _stop: DropGuard,
}

impl Stage {
    async fn set(settings: &[(&str, &str)]) -> Self {
        let (database, stop) = (testbed::Database::create().await, CancellationToken::new());
        let pairs = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let environment = Environment::of(pairs);
        let auth = ingress::config::auth(&environment).unwrap();
        let webhooks = Webhooks::new(WebhooksParts {
            config: WebhooksApiConfig::from_environment(&environment).unwrap(),
            postgres: Downstream::new("postgres", Duration::from_secs(5)),
            pool: PgPool::connect_lazy(&database.url("edge")).unwrap(),
        });
        let guard = Guard::new(Verifier::start(&auth, stop.clone()).unwrap());
        let app = layers::around(webhooks_api::surface().with_state(webhooks).guarded(guard));
        Self { app, auth, database, _stop: stop.drop_guard() }
    }

    async fn call(&self, user: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let now = Timestamp(Clock::system().now_millis());
        let token = mint(&self.auth, user, &[], now, Duration::from_secs(600)).unwrap();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
            .unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), 100_000).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn register(&self, user: &str, url: &str) -> (u16, Value) {
        self.call(user, "POST", "/api/webhooks", Some(json!({ "url": url }))).await
    }

    async fn run(&self, statement: &'static str) -> u64 {
        let mut connection = self.database.connect("webhooks").await;
        sqlx::query(statement).execute(&mut connection).await.unwrap().rows_affected()
    }
}

#[tokio::test]
async fn a_secret_is_shown_once_and_nobody_else_sees_the_endpoint() {
    let stage = Stage::set(&[]).await;
    let (status, made) = stage.register("ann", "https://shop.example/hooks").await;
    assert_eq!(status, 201, "{made}");
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() == 70, "{secret}");
    let path = format!("/api/webhooks/{}", made["id"].as_str().unwrap());
    let (_, shown) = stage.call("ann", "GET", &path, None).await;
    assert_eq!((&shown["state"], &shown["url"]), (&json!("active"), &made["url"]), "{shown}");
    let (_, list) = stage.call("ann", "GET", "/api/webhooks", None).await;
    assert_eq!(list, json!({ "items": [shown] }));
    assert!(!list.to_string().contains(secret));
    // the edge could not, had it a mind to
    for (role, column) in
        [("edge", "secret"), ("edge", "old_secret"), ("audit", "secret"), ("audit", "old_secret")]
    {
        let refused = read_as(&stage, role, column).await.unwrap_err();
        let code = refused.as_database_error().and_then(|e| e.code());
        assert_eq!(code.as_deref(), Some("42501"), "{role}, {column}");
    }
    assert_eq!(stage.call("bob", "GET", "/api/webhooks", None).await.1, json!({ "items": [] }));
    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("POST", format!("{path}/enable")),
        ("POST", format!("{path}/secret")),
    ] {
        assert_eq!(stage.call("bob", method, &path, None).await.0, 404, "{method} {path}");
    }
    assert_eq!(stage.call("ann", "DELETE", &path, None).await.0, 204);
    assert_eq!(stage.call("ann", "DELETE", &path, None).await.0, 404);
    assert_eq!(stage.call("ann", "GET", "/api/webhooks/x", None).await.0, 400);
    assert_eq!(stage.call("ann", "POST", "/api/webhooks/x/secret", None).await.0, 400);
}

#[tokio::test]
async fn a_secret_is_replaced_and_the_one_before_signs_as_well_for_a_while() {
    let stage = Stage::set(&[("WEBHOOK_BOTH_SECRETS", "1h")]).await;
    let (_, made) = stage.register("ann", "https://shop.example/hooks").await;
    let path = format!("/api/webhooks/{}/secret", made["id"].as_str().unwrap());
    let (status, first) = stage.call("ann", "POST", &path, None).await;
    assert_eq!((status, &first["id"]), (200, &made["id"]), "{first}");
    let secrets = || async {
        let mut connection = stage.database.connect("webhooks").await;
        let asked = "SELECT secret, old_secret, old_until BETWEEN now() + interval '59 minutes' AND now() + interval '1 hour'
                     FROM endpoints";
        sqlx::query_as::<_, (String, String, bool)>(asked).fetch_one(&mut connection).await.unwrap()
    };
    let text = |value: &Value| value["secret"].as_str().unwrap().to_owned();
    assert_eq!(secrets().await, (text(&first), text(&made), true));
    let (_, second) = stage.call("ann", "POST", &path, None).await;
    assert_eq!(secrets().await, (text(&second), text(&first), true), "the one before the last signs no more");
    assert!(second["previousUntil"].as_str() >= first["previousUntil"].as_str(), "{second}");
}

async fn read_as(stage: &Stage, role: &str, column: &str) -> sqlx::Result<()> {
    let mut connection = stage.database.connect(role).await;
    let statement = sqlx::AssertSqlSafe(format!("SELECT {column} FROM webhooks.endpoints"));
    sqlx::query(statement).execute(&mut connection).await.map(drop)
}

#[tokio::test]
async fn a_url_that_leads_inside_is_refused_and_says_why() {
    let stage = Stage::set(&[]).await;
    for url in [
        "http://shop.example/",
        "https://169.254.169.254/",
        "https://[::ffff:10.0.0.1]/",
        "https://localhost/",
    ] {
        let (status, problem) = stage.register("ann", url).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("url")), "{url}: {problem}");
    }
    let body = json!({"url": "https://shop.example/", "secret": "mine"});
    assert_eq!(stage.call("ann", "POST", "/api/webhooks", Some(body)).await.0, 422);
    let local = Stage::set(&[("WEBHOOK_ALLOW_LOOPBACK", "on")]).await;
    assert_eq!(local.register("ann", "http://127.0.0.1:9000/hooks").await.0, 201);
}

#[tokio::test]
async fn a_user_has_so_many_endpoints_however_many_register_at_once() {
    let stage = Stage::set(&[("WEBHOOK_ENDPOINTS", "3")]).await;
    let at_once = (0..12).map(|n| {
        let (stage, url) = (&stage, format!("https://shop.example/{n}"));
        async move { stage.register("ann", &url).await.0 }
    });
    let statuses = join_all(at_once).await;
    let of = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((of(201), of(422)), (3, 9), "{statuses:?}");
    assert_eq!(stage.register("bob", "https://shop.example/").await.0, 201, "another user has as many");
    stage.run("DELETE FROM endpoints WHERE slot = 2 AND owner LIKE '%ann'").await;
    assert_eq!(stage.register("ann", "https://shop.example/").await.0, 201);
}

#[tokio::test]
async fn an_endpoint_that_is_disabled_says_why_and_begins_again_when_enabled() {
    let stage = Stage::set(&[]).await;
    let (_, made) = stage.register("ann", "https://shop.example/hooks").await;
    let path = format!("/api/webhooks/{}", made["id"].as_str().unwrap());
    stage
        .run(
            "INSERT INTO deliveries (endpoint_id, order_id, version, event_id, body, due_at, failing_since)
             SELECT id, id, 1, id, '', now() + interval '1 hour', now() - interval '2 days' FROM endpoints",
        )
        .await;
    stage.run("UPDATE endpoints SET failing_since = now(), reason = 'it answered 503'").await;
    let (_, shown) = stage.call("ann", "GET", &path, None).await;
    assert_eq!(
        (&shown["state"], &shown["reason"]),
        (&json!("failing"), &json!("it answered 503")),
        "{shown}"
    );
    stage.run("UPDATE endpoints SET disabled_at = now(), reason = 'disabled: because'").await;
    let (_, shown) = stage.call("ann", "GET", &path, None).await;
    assert_eq!(
        (&shown["state"], &shown["reason"]),
        (&json!("disabled"), &json!("disabled: because")),
        "{shown}"
    );
    assert!(shown["disabledAt"].is_string() && shown["failingSince"].is_string(), "{shown}");
    assert_eq!(stage.call("ann", "POST", &format!("{path}/enable"), None).await.0, 204);
    let (_, shown) = stage.call("ann", "GET", &path, None).await;
    assert_eq!((&shown["state"], shown.get("reason")), (&json!("active"), None), "{shown}");
    let due = "UPDATE deliveries SET attempts = attempts WHERE due_at <= now() AND failing_since IS NULL";
    assert_eq!(stage.run(due).await, 1, "what it did not take is sent at once");
}
