//! Adjusting and reading stock, as a client sees it.
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
};
use chassis::{
    clock::Clock,
    settings::{Environment, Secret},
};
use ingress::{
    auth::{AuthConfig, INVENTORY_WRITE, Verifier, mint},
    downstream::Downstream,
    guard::Guard,
    layers,
    log::{Command, CommandLog, Delivered, LogAway, SendError},
    redis_link::{RedisConfig, RedisLink},
};
use inventory_api::{Inventory, InventoryConfig, InventoryParts};
use schemas::{messages::InventoryCommand, time::Timestamp, topics::Topic};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;
use uuid::Uuid;

const PRODUCT: Uuid = Uuid::from_u128(10);

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
    redis: testbed::Redis,
    database: testbed::Database,
    _stop: DropGuard,
}

impl Stage {
    async fn set() -> Self {
        let (database, redis) = tokio::join!(testbed::Database::create(), testbed::Redis::start());
        let stop = CancellationToken::new();
        let config = RedisConfig {
            url: Secret::new(redis.url()),
            response_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_millis(400),
        };
        let link = RedisLink::start(config, stop.clone()).unwrap();
        link.connects().wait_for(|generation| *generation > 0).await.unwrap();
        let auth = ingress::config::auth(&Environment::of([])).unwrap();
        let log = Arc::new(Tape::default());
        let inventory = Inventory::start(InventoryParts {
            config: InventoryConfig::from_environment(&Environment::of([])).unwrap(),
            log: log.clone(),
            postgres: Downstream::new("postgres", Duration::from_secs(5)),
            pool: PgPool::connect_lazy(&database.url("edge")).unwrap(),
            redis: link,
            clock: Clock::system(),
        });
        let guard = Guard::new(Verifier::start(&auth, stop.clone()).unwrap());
        let app = layers::around(inventory_api::surface().with_state(inventory).guarded(guard));
        Self { log, app, auth, redis, database, _stop: stop.drop_guard() }
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        scope: Option<&str>,
        key: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let scopes: Vec<String> = scope.map(str::to_owned).into_iter().collect();
        let now = Timestamp(Clock::system().now_millis());
        let token = mint(&self.auth, "ops", &scopes, now, Duration::from_secs(600)).unwrap();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("idempotency-key", key)
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 100_000).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn adjust(&self, scope: Option<&str>, key: &str, delta: i64) -> (StatusCode, Value) {
        let body = json!({"productId": PRODUCT, "delta": delta, "reason": "stock count"});
        self.call("POST", "/api/inventory/adjustments", scope, key, &body).await
    }
}

#[tokio::test]
async fn an_adjustment_means_one_thing_a_key() {
    let mut stage = Stage::set().await;
    let scope = Some(INVENTORY_WRITE);
    assert_eq!(stage.adjust(None, "k", 5).await.0, StatusCode::FORBIDDEN);
    let first = stage.adjust(scope, "k", 5).await;
    assert_eq!(first.0, StatusCode::ACCEPTED);
    assert_eq!(stage.adjust(scope, "k", 5).await, first, "a repeat gets the same answer");
    assert_eq!(stage.adjust(scope, "k", 6).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let said = stage.log.said.lock().unwrap().clone();
    assert_eq!(said.len(), 2);
    assert_eq!(said[0].envelope.message, said[1].envelope.message);
    let InventoryCommand::AdjustStock(adjust) = InventoryCommand::decode(&said[0].payload).unwrap() else {
        panic!("not an adjustment")
    };
    assert_eq!((adjust.product_id.0, adjust.delta), (PRODUCT, 5));
    assert_eq!(first.1["adjustmentId"], adjust.adjustment_id.to_string());
    stage.redis.stop();
    assert_eq!(stage.adjust(scope, "k2", 5).await.0, StatusCode::ACCEPTED, "Redis is not needed");
    *stage.log.is_away.lock().unwrap() = true;
    assert_eq!(stage.adjust(scope, "k3", 5).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn levels_are_read_and_an_unknown_product_is_404() {
    let stage = Stage::set().await;
    let path = format!("/api/inventory/{PRODUCT}");
    let read = async || stage.call("GET", &path, None, "-", &Value::Null).await;
    assert_eq!(read().await.0, StatusCode::NOT_FOUND);
    let worker = PgPool::connect_lazy(&stage.database.url("inventory")).unwrap();
    let insert = "INSERT INTO products (id, available, held, sold, initial) VALUES ($1, 7, 2, 1, 10)";
    sqlx::query(insert).bind(PRODUCT).execute(&worker).await.unwrap();
    let levels = json!({"productId": PRODUCT, "available": 7, "held": 2, "sold": 1, "version": 1});
    assert_eq!(read().await, (StatusCode::OK, levels));
    assert_eq!(stage.call("GET", "/api/inventory/x", None, "-", &Value::Null).await.0, StatusCode::NOT_FOUND);
}
