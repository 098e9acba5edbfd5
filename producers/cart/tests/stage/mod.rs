//! The stage of the carts' tests: carts and orders on a Redis each, and a log that keeps what is said, whose
//! acknowledgements a test can hold back. The orders' lane is past every record, so that a new key is known to be new.

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, request::Builder},
};
use cart_api::{CartConfig, CartLink, CartParts, Carts, config::CartRedis};
use chassis::{
    clock::Clock,
    settings::{Environment, Secret},
};
use ingress::{
    auth::{AuthConfig, Verifier, mint},
    downstream::Downstream,
    guard::Guard,
    layers,
    log::{Command, CommandLog, Delivered, LogAway, SendError},
    redis_link::{RedisConfig, RedisLink},
    wakeups::Wakeups,
};
use orders_api::{Orders, OrdersConfig, OrdersParts, Price};
use schemas::{
    ids::ProductId,
    messages::{OrderCommand, SubmitOrder},
    money::{Currency, Money},
    time::Timestamp,
    topics::Topic,
};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use testbed::{Database, Redis};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;
use uuid::Uuid;

/// The n-th product on sale, at 10.00 and n cents. Number 1,000 is no longer sold, 2,000 is unknown.
pub fn product(n: u128) -> String {
    Uuid::from_u128(n).to_string()
}

pub struct Tape {
    records: Mutex<Vec<Command>>,
    is_held: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
    gate: Semaphore,
}

impl Tape {
    /// From now on nothing arrives until [`Tape::deliver`].
    pub fn hold(&self) {
        self.is_held.send_replace(true);
    }

    pub async fn until_waiting(&self) {
        self.waiting.subscribe().wait_for(|waiting| *waiting > 0).await.unwrap();
    }

    pub fn deliver(&self) {
        self.is_held.send_replace(false);
        self.gate.add_permits(1_000);
    }

    pub fn submits(&self) -> Vec<SubmitOrder> {
        let records = self.records.lock().unwrap();
        let submits = records.iter().map(|record| match OrderCommand::decode(&record.payload).unwrap() {
            OrderCommand::SubmitOrder(submit) => submit,
            other => panic!("a cart does not say {}", other.name()),
        });
        submits.filter(|submit| submit.shipping_address != WARM_UP).collect()
    }
}

#[async_trait]
impl CommandLog for Tape {
    async fn send(&self, command: Command) -> Result<Delivered, SendError> {
        if *self.is_held.borrow() {
            self.waiting.send_modify(|waiting| *waiting += 1);
            self.gate.acquire().await.unwrap().forget();
        }
        self.records.lock().unwrap().push(command);
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

const WARM_UP: &str = "warm-up";

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> String {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"));
        value.to_str().unwrap().to_owned()
    }

    /// Products (by their numbers) and quantities.
    pub fn lines(&self) -> Vec<(u128, i64)> {
        let items = self.body["items"].as_array().unwrap_or_else(|| panic!("no items: {self:?}"));
        let line = |item: &Value| {
            let product: Uuid = item["productId"].as_str().unwrap().parse().unwrap();
            (product.as_u128(), item["quantity"].as_i64().unwrap())
        };
        items.iter().map(line).collect()
    }

    pub fn version(&self) -> i64 {
        self.body["version"].as_i64().unwrap()
    }

    pub fn fields(&self) -> Vec<String> {
        let errors = self.body["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }
}

/// Who calls.
#[derive(Clone, Copy)]
pub enum Who<'a> {
    User(&'a str),
    Guest(&'a str),
    /// A guest without a token.
    Stranger,
}

pub struct Stage {
    pub log: Arc<Tape>,
    pub orders: Orders,
    app: Router,
    auth: AuthConfig,
    _redis: Redis,
    _database: Database,
    _stop: DropGuard,
}

impl Stage {
    pub async fn set(carts: CartRedis) -> Self {
        let (database, redis) = tokio::join!(Database::create(), Redis::start());
        let stop = CancellationToken::new();
        let link = RedisConfig {
            url: Secret::new(redis.url()),
            response_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(2),
        };
        let shared = RedisLink::start(link.clone(), stop.clone()).unwrap();
        let wakeups = Wakeups::new();
        wakeups.listen(&link, &shared, stop.clone()).unwrap();
        let auth = ingress::config::auth(&Environment::of([])).unwrap();
        let log = Arc::new(Tape {
            records: Mutex::default(),
            is_held: watch::Sender::new(false),
            waiting: watch::Sender::new(0),
            gate: Semaphore::new(0),
        });
        orders_lane(&database).await;
        let parts = OrdersParts {
            config: OrdersConfig {
                lease: Duration::from_millis(300),
                ..OrdersConfig::from_environment(&Environment::of([])).unwrap()
            },
            log: log.clone(),
            pool: PgPool::connect_lazy(&database.url("edge")).unwrap(),
            postgres: Downstream::new("orders-postgres", Duration::from_secs(3)),
            redis: shared.clone(),
            wakeups,
            clock: Clock::system(),
        };
        let orders = Orders::start(parts, stop.clone());
        let config =
            CartConfig { redis: carts, link, ..CartConfig::from_environment(&Environment::of([])).unwrap() };
        let parts = CartParts {
            link: CartLink::start(&config, shared, stop.clone()).unwrap(),
            config,
            clock: Clock::system(),
            orders: orders.clone(),
        };
        let carts = cart_api::surface().with_state(Carts::new(parts));
        let orders_surface = orders_api::surface().with_state(orders.clone());
        let guard = Guard::new(Verifier::start(&auth, stop.clone()).unwrap());
        let app = layers::around(carts.merge(orders_surface).guarded(guard));
        let stage =
            Self { log, orders, app, auth, _redis: redis, _database: database, _stop: stop.drop_guard() };
        for n in 1..=200 {
            stage.enter(n, 1_000 + i64::try_from(n).unwrap(), true);
        }
        stage.enter(1_000, 5, false);
        stage.until_proved().await;
        stage
    }

    /// A product's price from now on.
    pub fn enter(&self, n: u128, cents: i64, is_active: bool) {
        let price = Price { unit: Money::new(cents, Currency::USD), is_active };
        self.orders.prices().enter([(ProductId(Uuid::from_u128(n)), price)]);
    }

    async fn until_proved(&self) {
        let mut n = 0;
        testbed::eventually("orders are accepted at once", async || {
            n += 1;
            let body = json!({"items": [{"productId": product(1), "quantity": 1}],
                              "shippingAddress": WARM_UP, "paymentMethod": "CREDIT_CARD"});
            let request = self.request("POST", "/api/orders", Who::User("warm-up"));
            let request = request.header("idempotency-key", format!("k{n}"));
            self.send(with(request, &body)).await.status == StatusCode::ACCEPTED
        })
        .await;
    }

    pub fn request(&self, method: &str, path: &str, who: Who<'_>) -> Builder {
        let request = Request::builder().method(method).uri(path);
        match who {
            Who::User(name) => {
                let now = Timestamp(Clock::system().now_millis());
                let token = mint(&self.auth, name, &[], now, Duration::from_secs(600)).unwrap();
                request.header("authorization", format!("Bearer {token}"))
            }
            Who::Guest(token) => request.header("cart-token", token),
            Who::Stranger => request,
        }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&self, who: Who<'_>) -> Answer {
        self.send(self.request("GET", "/api/cart", who).body(Body::empty()).unwrap()).await
    }

    pub async fn add(&self, who: Who<'_>, n: u128, quantity: i64) -> Answer {
        let body = json!({"productId": product(n), "quantity": quantity});
        self.send(with(self.request("POST", "/api/cart/items", who), &body)).await
    }

    pub async fn put(&self, who: Who<'_>, n: u128, quantity: i64) -> Answer {
        let path = format!("/api/cart/items/{}", product(n));
        self.send(with(self.request("PUT", &path, who), &json!({ "quantity": quantity }))).await
    }

    pub async fn remove(&self, who: Who<'_>, n: u128) -> Answer {
        let path = format!("/api/cart/items/{}", product(n));
        self.send(self.request("DELETE", &path, who).body(Body::empty()).unwrap()).await
    }

    pub async fn clear(&self, who: Who<'_>) -> Answer {
        self.send(self.request("DELETE", "/api/cart", who).body(Body::empty()).unwrap()).await
    }

    pub async fn merge(&self, name: &str, guest: &str) -> Answer {
        let request = self.request("POST", "/api/cart/merge", Who::User(name)).header("cart-token", guest);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub fn checkout_request(&self, name: &str) -> Builder {
        self.request("POST", "/api/cart/checkout", Who::User(name))
    }

    pub async fn checkout(&self, name: &str, address: &str) -> Answer {
        self.send(with(self.checkout_request(name), &delivery(address))).await
    }
}

pub fn delivery(address: &str) -> Value {
    json!({"shippingAddress": address, "paymentMethod": "CREDIT_CARD"})
}

pub fn with(request: Builder, body: &Value) -> Request<Body> {
    request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()
}

async fn orders_lane(database: &Database) {
    sqlx::query(
        "INSERT INTO lane (consumer_group, topic, partition, id, partitions, next_offset)
         VALUES ('orders', 'order.commands', 0, $1, 1, 1000000)",
    )
    .bind(Uuid::from_u128(1))
    .execute(&mut database.connect("orders").await)
    .await
    .unwrap();
}
