//! Webhooks and refunds as a provider and an operator see them, on a real Postgres and Redis, with a log that a test can
//! take away.
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
use chassis::{
    clock::Clock,
    settings::{Environment, Secret},
};
use ingress::{
    auth::{AuthConfig, PAYMENTS_REFUND, Verifier, mint},
    downstream::Downstream,
    guard::Guard,
    layers,
    log::{Command, CommandLog, Delivered, LogAway, SendError},
    redis_link::{RedisConfig, RedisLink},
    wakeups::Wakeups,
};
use orders_api::{Orders, OrdersConfig, OrdersParts};
use payments_api::{Payments, PaymentsConfig, PaymentsParts};
use schemas::{
    messages::{NoticeKind, OrderCommand, PaymentCommand},
    time::Timestamp,
    topics::Topic,
    webhook_signature::sign,
};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;
use uuid::Uuid;

const CONFIRMED: Uuid = Uuid::from_u128(1);
const CANCELLED: Uuid = Uuid::from_u128(2);
const UNKNOWN: Uuid = Uuid::from_u128(3);
const TOTAL: i64 = 700;

#[derive(Default)]
struct Tape {
    said: Mutex<Vec<Command>>,
    is_away: Mutex<bool>,
}

#[async_trait]
impl CommandLog for Tape {
    async fn send(&self, command: Command) -> Result<Delivered, SendError> {
        if *self.is_away.lock().unwrap() {
            return Err(SendError::Unknown("away".to_owned()));
        }
        self.said.lock().unwrap().push(command);
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

struct Stage {
    log: Arc<Tape>,
    app: Router,
    auth: AuthConfig,
    _redis: testbed::Redis,
    _database: testbed::Database,
    _stop: DropGuard,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Stage {
    async fn set() -> Self {
        let (database, redis) = tokio::join!(testbed::Database::create(), testbed::Redis::start());
        insert(&database, CONFIRMED, "CONFIRMED").await;
        insert(&database, CANCELLED, "CANCELLED").await;
        let stop = CancellationToken::new();
        let quick = Duration::from_millis(400);
        let url = Secret::new(redis.url());
        let config = RedisConfig { url, response_timeout: Duration::from_secs(1), connect_timeout: quick };
        let link = RedisLink::start(config, stop.clone()).unwrap();
        link.connects().wait_for(|generation| *generation > 0).await.unwrap();
        let auth = ingress::config::auth(&Environment::of([])).unwrap();
        let log = Arc::new(Tape::default());
        let orders = OrdersParts {
            config: OrdersConfig::from_environment(&Environment::of([])).unwrap(),
            log: log.clone(),
            pool: PgPool::connect_lazy(&database.url("edge")).unwrap(),
            postgres: Downstream::new("orders-postgres", Duration::from_secs(3)),
            redis: link.clone(),
            wakeups: Wakeups::new(),
            clock: Clock::system(),
        };
        let pairs = [("STRIPE_WEBHOOK_SECRET", "whsec_new,whsec_old")];
        let settings = Environment::of(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let payments = Payments::new(PaymentsParts {
            config: PaymentsConfig::from_environment(&settings).unwrap(),
            log: log.clone(),
            orders: Orders::start(orders, stop.clone()),
            redis: link,
            clock: Clock::system(),
        });
        let guard = Guard::new(Verifier::start(&auth, stop.clone()).unwrap());
        let app = layers::around(payments_api::surface().with_state(payments).guarded(guard));
        Self { log, app, auth, _redis: redis, _database: database, _stop: stop.drop_guard() }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 100_000).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A webhook with these signatures.
    async fn webhook(&self, signatures: &[String], body: &str) -> Answer {
        let mut request = Request::post("/api/payments/webhooks");
        for signature in signatures {
            request = request.header("stripe-signature", signature);
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    async fn signed(&self, body: &str) -> Answer {
        self.webhook(&[sign(b"whsec_new", now(), body.as_bytes())], body).await
    }

    async fn refund(&self, scope: Option<&str>, order: &str, key: &str, body: &Value) -> Answer {
        let scopes: Vec<String> = scope.map(str::to_owned).into_iter().collect();
        let token = mint(&self.auth, "ops", &scopes, now(), Duration::from_secs(600)).unwrap();
        let request = Request::post(format!("/api/payments/{order}/refund"))
            .header("authorization", format!("Bearer {token}"))
            .header("idempotency-key", key)
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        self.send(request).await
    }

    fn said(&self) -> Vec<Command> {
        self.log.said.lock().unwrap().clone()
    }
}

fn now() -> Timestamp {
    Timestamp(Clock::system().now_millis())
}

async fn insert(database: &testbed::Database, order: Uuid, status: &str) {
    sqlx::query(
        "INSERT INTO orders (id, partition, owner, body_hash, version, status, currency, total, product_ids, quantities,
             unit_prices, shipping_address, payment_method, accepted_at, deadline, updated_at, timeline)
         VALUES ($1, 0, 'issuer' || chr(10) || 'ann', $2, 3, $3, 'USD', $4, $5, '{1}', '{700}', 'x', 'CREDIT_CARD',
             now(), now(), now(), '[]')",
    )
    .bind(order)
    .bind(vec![7_u8; 32])
    .bind(status)
    .bind(TOTAL)
    .bind(vec![Uuid::from_u128(9)])
    .execute(&mut database.connect("orders").await)
    .await
    .unwrap();
}

fn event(kind: &str, order: Uuid) -> String {
    let metadata =
        json!({"order_id": order, "capture_id": Uuid::from_u128(8), "effect_key": Uuid::from_u128(8)});
    let object = json!({"id": "pi_1", "amount": TOTAL, "currency": "usd", "metadata": metadata});
    json!({"id": "evt_1", "type": kind, "data": {"object": object}}).to_string()
}

#[tokio::test]
async fn a_signed_event_is_on_the_log_before_it_is_acknowledged_and_a_repeat_is_the_same_message() {
    let stage = Stage::set().await;
    let body = event("payment_intent.succeeded", CONFIRMED);
    *stage.log.is_away.lock().unwrap() = true;
    let away = stage.signed(&body).await;
    assert_eq!(away.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(away.headers.contains_key("retry-after"));
    *stage.log.is_away.lock().unwrap() = false;
    assert_eq!(stage.signed(&body).await.status, StatusCode::OK);
    // by the secret that is being replaced
    assert_eq!(
        stage.webhook(&[sign(b"whsec_old", now(), body.as_bytes())], &body).await.status,
        StatusCode::OK
    );
    let said = stage.said();
    assert_eq!(said.len(), 2);
    assert_eq!(said[0].envelope.message, said[1].envelope.message);
    let PaymentCommand::ProviderNotice(notice) = PaymentCommand::decode(&said[0].payload).unwrap() else {
        panic!("not a notice")
    };
    assert_eq!((notice.kind, notice.order_id.0, notice.amount), (NoticeKind::Captured, CONFIRMED, TOTAL));
    assert_eq!(said[0].key, schemas::topics::key(CONFIRMED));
}

#[tokio::test]
async fn what_is_not_signed_by_the_provider_now_is_refused_and_never_read() {
    let stage = Stage::set().await;
    let body = event("payment_intent.succeeded", CONFIRMED);
    let good = sign(b"whsec_new", now(), body.as_bytes());
    let old = Timestamp(now().0 - 400_000);
    let ahead = Timestamp(now().0 + 400_000);
    let cases: [(&str, Vec<String>); 7] = [
        ("none", vec![]),
        ("two headers", vec![good.clone(), good.clone()]),
        ("another secret", vec![sign(b"whsec_other", now(), body.as_bytes())]),
        ("another body", vec![sign(b"whsec_new", now(), b"{}")]),
        ("too old", vec![sign(b"whsec_new", old, body.as_bytes())]),
        ("too far ahead", vec![sign(b"whsec_new", ahead, body.as_bytes())]),
        ("malformed", vec!["t=1".to_owned()]),
    ];
    for (why, signatures) in cases {
        let answer = stage.webhook(&signatures, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{why}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{why}");
        assert!(!answer.body.to_string().contains("whsec"), "{why}");
    }
    let long = "x".repeat(65 * 1024);
    assert_eq!(stage.signed(&long).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(stage.signed("{}").await.status, StatusCode::BAD_REQUEST, "signed, and no event");
    assert_eq!(stage.said(), []);
}

#[tokio::test]
async fn events_that_are_not_for_us_are_acknowledged_and_left_alone() {
    let stage = Stage::set().await;
    for body in [event("charge.updated", CONFIRMED), event("payment_intent.succeeded", UNKNOWN)] {
        assert_eq!(stage.signed(&body).await.status, StatusCode::OK, "{body}");
    }
    assert_eq!(stage.said(), []);
}

#[tokio::test]
async fn a_refund_means_one_thing_a_key_and_only_of_what_is_there_to_refund() {
    let stage = Stage::set().await;
    let scope = Some(PAYMENTS_REFUND);
    let body = |amount: i64| json!({"amount": amount, "reason": "broken on arrival"});
    let order = CONFIRMED.to_string();
    assert_eq!(stage.refund(None, &order, "k", &body(5)).await.status, StatusCode::FORBIDDEN);
    for (of, amount, status) in [
        (UNKNOWN.to_string(), 5, StatusCode::NOT_FOUND),
        ("7".to_owned(), 5, StatusCode::NOT_FOUND),
        (CANCELLED.to_string(), 5, StatusCode::CONFLICT),
        (order.clone(), 0, StatusCode::UNPROCESSABLE_ENTITY),
        (order.clone(), TOTAL + 1, StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let answer = stage.refund(scope, &of, "k", &body(amount)).await;
        assert_eq!(answer.status, status, "{of} {amount}: {}", answer.body);
    }
    assert_eq!(stage.said(), []);
    let first = stage.refund(scope, &order, "k", &body(5)).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.body);
    assert_eq!(
        stage.refund(scope, &order, "k", &body(5)).await.body,
        first.body,
        "a repeat gets the same answer"
    );
    assert_eq!(stage.refund(scope, &order, "k", &body(6)).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let said = stage.said();
    assert_eq!(said.len(), 2);
    assert_eq!(said[0].envelope.message, said[1].envelope.message);
    let OrderCommand::RefundOrder(refund) = OrderCommand::decode(&said[0].payload).unwrap() else {
        panic!("not a refund")
    };
    assert_eq!((refund.order_id.0, refund.amount), (CONFIRMED, 5));
    assert_eq!(first.body["refundId"], refund.refund_id.to_string());
    *stage.log.is_away.lock().unwrap() = true;
    assert_eq!(stage.refund(scope, &order, "l", &body(5)).await.status, StatusCode::SERVICE_UNAVAILABLE);
}
