//! Every route of the public port against callers that it is not for: the list is the one that the port is served by,
//! so a route that comes in tomorrow is tried as well, and one that nobody has thought about fails here.
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
    http::{HeaderMap, Request, StatusCode},
};
use chassis::{clock::Clock, settings::Environment};
use gateway::{GatewayConfig, GatewayParts};
use ingress::{
    auth::{AuthConfig, mint},
    log::{Command, CommandLog, Delivered, LogAway, SendError},
    surface::{Access, Declared},
};
use schemas::{time::Timestamp, topics::Topic};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;
use uuid::Uuid;

const ANNS_ORDER: Uuid = Uuid::from_u128(1);
const NO_ORDER: Uuid = Uuid::from_u128(2);

/// A log of one partition that takes everything and holds nothing.
struct Nowhere;

#[async_trait]
impl CommandLog for Nowhere {
    async fn send(&self, _: Command) -> Result<Delivered, SendError> {
        Ok(Delivered { partition: 0, offset: 0 })
    }
    async fn partitions(&self, _: Topic) -> Result<i32, LogAway> {
        Ok(1)
    }
    async fn ends(&self, _: Topic) -> Result<Vec<i64>, LogAway> {
        Ok(vec![0])
    }
    async fn committed(&self, _: &'static str, _: Topic) -> Result<Vec<Option<i64>>, LogAway> {
        Ok(vec![None])
    }
    async fn check(&self) -> Result<(), LogAway> {
        Ok(())
    }
}

struct Port {
    app: Router,
    auth: AuthConfig,
    _database: testbed::Database,
    _redis: testbed::Redis,
    _stop: DropGuard,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Port {
    async fn open() -> Self {
        let (database, redis) = tokio::join!(testbed::Database::create(), testbed::Redis::start());
        let pairs = [
            ("EDGE_DATABASE_URL", database.url("edge")),
            ("REDIS_URL", redis.url()),
            // a stream is read to its end
            ("WATCH_TIME", "1s".to_owned()),
        ];
        let environment = Environment::of(pairs.map(|(key, value)| (key.to_owned(), value)));
        let config = GatewayConfig::from_environment(&environment).unwrap();
        let auth = config.auth.clone();
        insert(&database, ANNS_ORDER, &format!("{}\nann", auth.issuer)).await;
        let stop = CancellationToken::new();
        let parts = GatewayParts { log: Arc::new(Nowhere), clock: Clock::system() };
        let app = gateway::router(config, parts, stop.clone()).unwrap();
        Self { app, auth, _database: database, _redis: redis, _stop: stop.drop_guard() }
    }

    fn token(&self, user: &str, scopes: &[&str]) -> String {
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let now = Timestamp(Clock::system().now_millis());
        mint(&self.auth, user, &scopes, now, Duration::from_secs(600)).unwrap()
    }

    async fn call(&self, route: &Declared, path: &str, token: Option<&str>) -> Answer {
        let mut request = Request::builder().method(&route.method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = self.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 100_000).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

async fn insert(database: &testbed::Database, order: Uuid, owner: &str) {
    sqlx::query(
        "INSERT INTO orders (id, partition, owner, body_hash, version, status, currency, total, product_ids, quantities,
             unit_prices, shipping_address, payment_method, accepted_at, deadline, updated_at, timeline)
         VALUES ($1, 0, $2, $3, 3, 'PENDING', 'USD', 700, $4, '{1}', '{700}', 'x', 'CREDIT_CARD', now(), now(), now(), '[]')",
    )
    .bind(order)
    .bind(owner)
    .bind(vec![7_u8; 32])
    .bind(vec![Uuid::from_u128(9)])
    .execute(&mut database.connect("orders").await)
    .await
    .unwrap();
    sqlx::query("INSERT INTO endpoints (id, owner, slot, url, secret) VALUES ($1, $2, 1, 'https://shop.example', 'x')")
        .bind(order)
        .bind(owner)
        .execute(&mut database.connect("webhooks").await)
        .await
        .unwrap();
}

/// The template with `id` in the place of what it names.
fn path_of(template: &str, id: Uuid) -> String {
    let parts =
        template.split('/').map(|part| if part.starts_with('{') { id.to_string() } else { part.to_owned() });
    parts.collect::<Vec<_>>().join("/")
}

/// Whether the objects behind a path belong to a user. Every path that names an object has to stand here.
fn is_owned(route: &Declared) -> bool {
    match route.path {
        "/api/orders/{id}" | "/api/orders/{id}/events" | "/api/orders/{id}/cancel" => true,
        "/api/webhooks/{id}" | "/api/webhooks/{id}/enable" | "/api/webhooks/{id}/secret" => true,
        // an operator's word on anybody's order
        "/api/payments/{orderId}/refund" => false,
        // what the shop sells belongs to nobody
        "/api/products/{id}" | "/api/inventory/{productId}" => false,
        // a name that the caller gave: another caller's is another reserve
        "/api/inventory/reserve/{id}" => false,
        // a line of the caller's own cart
        "/api/cart/items/{productId}" => false,
        path => panic!("{path} names an object: say here whose it is"),
    }
}

fn assert_problem(answer: &Answer, status: u16, route: &Declared) {
    assert_eq!(answer.status.as_u16(), status, "{route:?}: {}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{route:?}");
    assert_eq!(answer.body["status"], status, "{route:?}");
}

#[tokio::test]
async fn every_route_refuses_whom_it_is_not_for() {
    let port = Port::open().await;
    let (bob, forged) = (port.token("bob", &[]), format!("{}x", port.token("bob", &[])));
    let routes = gateway::declared();
    assert!(routes.len() >= 11, "{routes:?}");
    for route in &routes {
        let path = path_of(route.path, NO_ORDER);
        if matches!(route.access, Access::Caller | Access::Scope(_)) {
            for token in [None, Some(forged.as_str())] {
                let answer = port.call(route, &path, token).await;
                assert_problem(&answer, 401, route);
                assert!(answer.headers.contains_key("www-authenticate"), "{route:?}");
            }
        }
        if let Access::Scope(scope) = route.access {
            let near = [&scope[..scope.len() - 1], &scope.to_uppercase(), "x"];
            for token in [bob.clone(), port.token("bob", &near)] {
                let answer = port.call(route, &path, Some(&token)).await;
                assert_problem(&answer, 403, route);
                let challenge = answer.headers["www-authenticate"].to_str().unwrap();
                assert!(challenge.contains(&format!("scope=\"{scope}\"")), "{route:?}: {challenge}");
            }
        }
    }
}

#[tokio::test]
async fn another_users_object_is_not_there_and_looks_as_one_that_never_was() {
    let port = Port::open().await;
    let (ann, bob) = (port.token("ann", &[]), port.token("bob", &[]));
    let mut tried = 0;
    for route in gateway::declared().iter().filter(|route| route.path.contains('{')) {
        if !is_owned(route) {
            continue;
        }
        tried += 1;
        let others = port.call(route, &path_of(route.path, ANNS_ORDER), Some(&bob)).await;
        let nobodys = port.call(route, &path_of(route.path, NO_ORDER), Some(&bob)).await;
        assert_problem(&others, 404, route);
        assert_eq!(others.body, nobodys.body, "{route:?}");
        let shape = |answer: &Answer| {
            let mut names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(shape(&others), shape(&nobodys), "{route:?}");
        let own = port.call(route, &path_of(route.path, ANNS_ORDER), Some(&ann)).await;
        assert_ne!(own.status, StatusCode::NOT_FOUND, "{route:?}: it is there for its owner");
    }
    assert!(tried >= 2, "{tried}");
}
