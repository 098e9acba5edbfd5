//! Reserves of other systems, as such a system sees them: the verdict, the time limit, the fallback, and that whatever was
//! given up is given back.
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
    breaker::BreakerLimits,
    clock::Clock,
    settings::{Environment, Secret},
};
use ingress::{
    auth::{AuthConfig, INVENTORY_RESERVE, INVENTORY_WRITE, Verifier, mint},
    guard::Guard,
    layers,
    log::{Command, CommandLog, Delivered, LogAway, SendError},
    redis_link::{RedisConfig, RedisLink},
};
use inventory_api::{Inventory, InventoryConfig, InventoryParts};
use schemas::{
    messages::{InventoryCommand, ReserveStock, Settlement},
    time::Timestamp,
    topics::Topic,
    view::rfc3339,
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

const PRODUCT: Uuid = Uuid::from_u128(10);

/// A log that does to the next sends what the test says, and then takes everything.
#[derive(Default)]
struct Tape {
    said: Mutex<Vec<InventoryCommand>>,
    fates: Mutex<Vec<SendError>>,
    is_away: Mutex<bool>,
}

#[async_trait]
impl CommandLog for Tape {
    async fn send(&self, command: Command) -> Result<Delivered, SendError> {
        if *self.is_away.lock().unwrap() {
            return Err(SendError::NotSent("away".to_owned()));
        }
        let fate = self.fates.lock().unwrap().pop();
        if !matches!(fate, Some(SendError::NotSent(_))) {
            self.said.lock().unwrap().push(InventoryCommand::decode(&command.payload).unwrap());
        }
        fate.map_or(Ok(Delivered { partition: 0, offset: 0 }), Err)
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
    worker: PgPool,
    deadline: Timestamp,
    _redis: testbed::Redis,
    _database: testbed::Database,
    _stop: DropGuard,
}

impl Stage {
    async fn set() -> Self {
        let (database, redis) = tokio::join!(testbed::Database::create(), testbed::Redis::start());
        let stop = CancellationToken::new();
        let config = RedisConfig {
            url: Secret::new(redis.url()),
            response_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(2),
        };
        let link = RedisLink::start(config, stop.clone()).unwrap();
        link.connects().wait_for(|generation| *generation > 0).await.unwrap();
        let auth = ingress::config::auth(&Environment::of([])).unwrap();
        let log = Arc::new(Tape::default());
        let breaker =
            BreakerLimits { fewest: 3, cool_down: Duration::from_millis(200), ..BreakerLimits::default() };
        let inventory = Inventory::start(InventoryParts {
            config: InventoryConfig {
                reserve_patience: Duration::from_secs(1),
                breaker,
                ..InventoryConfig::from_environment(&Environment::of([])).unwrap()
            },
            postgres: ingress::downstream::Downstream::new("postgres", Duration::from_secs(5)),
            log: log.clone(),
            pool: PgPool::connect_lazy(&database.url("edge")).unwrap(),
            redis: link,
            clock: Clock::system(),
        });
        let guard = Guard::new(Verifier::start(&auth, stop.clone()).unwrap());
        let app = layers::around(inventory_api::surface().with_state(inventory).guarded(guard));
        let worker = PgPool::connect_lazy(&database.url("inventory")).unwrap();
        let deadline = Timestamp(Clock::system().now_millis()).plus(Duration::from_secs(600));
        Self {
            log,
            app,
            auth,
            worker,
            deadline,
            _redis: redis,
            _database: database,
            _stop: stop.drop_guard(),
        }
    }

    async fn call(&self, method: &str, path: &str, scope: &str, body: Option<Value>) -> (StatusCode, Value) {
        let now = Timestamp(Clock::system().now_millis());
        let token = mint(&self.auth, "shop", &[scope.to_owned()], now, Duration::from_secs(600)).unwrap();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
            .unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 100_000).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn reserve(&self, owner: &str, quantity: i32) -> (StatusCode, Value) {
        let body = json!({"ownerId": owner, "deadline": rfc3339(self.deadline),
                          "items": [{"productId": PRODUCT, "quantity": quantity}]});
        self.call("POST", "/api/inventory/reserve", INVENTORY_RESERVE, Some(body)).await
    }

    async fn release(&self, owner: &str) -> StatusCode {
        self.call("DELETE", &format!("/api/inventory/reserve/{owner}"), INVENTORY_RESERVE, None).await.0
    }

    fn reserves(&self) -> Vec<ReserveStock> {
        let said = self.log.said.lock().unwrap();
        let reserves = said.iter().filter_map(|command| match command {
            InventoryCommand::ReserveStock(reserve) => Some(reserve.clone()),
            _ => None,
        });
        reserves.collect()
    }

    /// The ids that were released on the log.
    fn releases(&self) -> Vec<String> {
        let said = self.log.said.lock().unwrap();
        let releases = said.iter().filter_map(|command| match command {
            InventoryCommand::SettleStock(settle) if settle.outcome == Settlement::Released => {
                Some(settle.order_id.to_string())
            }
            _ => None,
        });
        releases.collect()
    }

    /// Decides each reserve on the log as the worker would, to `state`, beside `what`.
    async fn deciding<T>(&self, state: &str, what: impl Future<Output = T>) -> T {
        let decide = async {
            loop {
                for reserve in self.reserves() {
                    self.insert(&reserve, state).await;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = decide => unreachable!(),
            done = what => done,
        }
    }

    async fn insert(&self, reserve: &ReserveStock, state: &str) {
        let at = |at: Timestamp| sqlx::types::chrono::DateTime::from_timestamp_millis(at.0);
        sqlx::query(
            "INSERT INTO holds (order_id, partition, outside, product_ids, quantities, accepted_at, deadline, state, changed_at)
             VALUES ($1, 0, true, $2, $3, $4, $5, $6::hold_state, now()) ON CONFLICT DO NOTHING",
        )
        .bind(reserve.order_id.0)
        .bind(reserve.lines.iter().map(|line| line.product_id.0).collect::<Vec<_>>())
        .bind(reserve.lines.iter().map(|line| line.quantity).collect::<Vec<_>>())
        .bind(at(reserve.accepted_at))
        .bind(at(reserve.deadline))
        .bind(state)
        .execute(&self.worker)
        .await
        .unwrap();
    }

    async fn settle(&self, state: &str) {
        sqlx::query("UPDATE holds SET state = $1::hold_state")
            .bind(state)
            .execute(&self.worker)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_reserve_is_answered_with_its_verdict_and_means_one_thing_a_name() {
    let stage = Stage::set().await;
    let (status, held) = stage.deciding("held", stage.reserve("a", 2)).await;
    assert_eq!(
        (status, &held["success"], &held["fallbackUsed"]),
        (StatusCode::OK, &json!(true), &json!(false))
    );
    assert_eq!(held["deadline"], rfc3339(stage.deadline));
    let said = &stage.reserves()[0];
    assert_eq!((said.lines[0].quantity, said.deadline), (2, stage.deadline));
    assert_eq!(held["reservationId"], said.order_id.to_string());

    assert_eq!(stage.reserve("a", 2).await.1, held, "a repeat is told the same");
    assert_eq!(stage.reserve("a", 3).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, refused) = stage.deciding("rejected", stage.reserve("b", 2)).await;
    assert_eq!(
        (status, &refused["success"], &refused["fallbackUsed"]),
        (StatusCode::OK, &json!(false), &json!(false))
    );
    assert!(stage.releases().is_empty());

    let denied = stage.call("POST", "/api/inventory/reserve", INVENTORY_WRITE, Some(json!({}))).await;
    assert_eq!(denied.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_waits_behind_others_until_the_time_limit_is_given_back() {
    let stage = Stage::set().await;
    let (_, waited) = stage.deciding("waiting", stage.reserve("a", 2)).await;
    assert_eq!((&waited["success"], &waited["fallbackUsed"]), (&json!(false), &json!(false)));
    assert_eq!(stage.releases(), [waited["reservationId"].as_str().unwrap()]);
    stage.settle("released").await;
    let (_, ended) = stage.reserve("a", 2).await;
    assert_eq!((&ended["success"], &ended["fallbackUsed"]), (&json!(false), &json!(false)), "it has ended");
}

#[tokio::test]
async fn without_an_answer_the_fallback_is_told_and_nothing_stays_held() {
    let stage = Stage::set().await;
    let (status, fallback) = stage.reserve("a", 2).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&fallback["success"], &fallback["message"], &fallback["fallbackUsed"]),
        (&json!(false), &json!("Service temporarily unavailable"), &json!(true))
    );
    assert_eq!(
        stage.releases(),
        [fallback["reservationId"].as_str().unwrap()],
        "released behind its reserve"
    );

    // it may or may not have arrived, each time it was tried
    *stage.log.fates.lock().unwrap() = vec![SendError::Unknown("lost".to_owned()); 3];
    let (_, lost) = stage.reserve("b", 2).await;
    assert_eq!(lost["fallbackUsed"], true);
    assert_eq!(stage.releases().last().unwrap(), lost["reservationId"].as_str().unwrap());
    let ids: Vec<_> = stage.reserves().iter().skip(1).map(|reserve| reserve.order_id).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "tried so often, one reserve: {ids:?}");
}

#[tokio::test]
async fn a_hiccup_of_the_log_is_tried_again() {
    let stage = Stage::set().await;
    *stage.log.fates.lock().unwrap() = vec![SendError::NotSent("full".to_owned()); 2];
    let (_, held) = stage.deciding("held", stage.reserve("a", 2)).await;
    assert_eq!(held["success"], true);
}

#[tokio::test]
async fn a_service_that_is_away_is_left_alone_and_tried_again() {
    let stage = Stage::set().await;
    *stage.log.is_away.lock().unwrap() = true;
    for n in 0..3 {
        assert_eq!(stage.reserve(&format!("a{n}"), 1).await.1["fallbackUsed"], true);
    }
    *stage.log.is_away.lock().unwrap() = false;
    let (_, left_alone) = stage.reserve("b", 1).await;
    assert_eq!(left_alone["fallbackUsed"], true);
    assert_eq!(stage.log.said.lock().unwrap().len(), 0, "nothing was sent while it was open");
    let back = stage.deciding("held", async {
        let mut n = 0;
        testbed::eventually("it is tried again", async || {
            n += 1;
            stage.reserve(&format!("c{n}"), 1).await.1["success"] == true
        })
        .await;
    });
    back.await;
}

#[tokio::test]
async fn a_reserve_is_given_back_once_however_often_it_is_asked() {
    let stage = Stage::set().await;
    stage.deciding("held", stage.reserve("a", 2)).await;
    assert_eq!(stage.release("a").await, StatusCode::ACCEPTED, "the worker has not heard of it yet");
    assert_eq!(stage.releases().len(), 1);
    stage.settle("released").await;
    assert_eq!(stage.release("a").await, StatusCode::NO_CONTENT);
    assert_eq!(stage.releases().len(), 1, "nothing more to say");
    assert_eq!(stage.release("a%20b").await, StatusCode::NOT_FOUND);
}
