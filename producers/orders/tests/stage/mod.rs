//! The stage of the drills: the endpoints on a real Postgres and a Redis of their own, a log whose acknowledgements a
//! test can refuse, lose or hold back, and an orders worker that works only when it is told to.

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
    messages::{OrderCommand, OrderState, OrderStatus, SubmitOrder},
    money::{Currency, Money},
    time::Timestamp,
    topics::Topic,
    view::{
        self,
        packed::{self, Packed},
    },
};
use serde_json::{Value, json};
use sqlx::{Connection, PgPool, types::Json};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use testbed::{Database, Redis};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;
use uuid::Uuid;

pub const PRODUCT: &str = "00000000-0000-0000-0000-00000000000a";

/// What becomes of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Acknowledged,
    QueueFull,
    /// The queue has no place for orders of this quantity.
    QueueFullFor(i32),
    /// It reaches the log, the acknowledgement is lost.
    Lost,
    /// It stays in flight until [`Tape::deliver`].
    Held,
}

/// A log of one partition.
pub struct Tape {
    records: Mutex<Vec<Command>>,
    fate: Mutex<Fate>,
    held: watch::Sender<usize>,
    gate: Semaphore,
}

impl Tape {
    pub fn set(&self, fate: Fate) {
        *self.fate.lock().unwrap() = fate;
    }

    /// Waits until a record is in flight.
    pub async fn until_held(&self) {
        self.held.subscribe().wait_for(|held| *held > 0).await.unwrap();
    }

    /// Lets what is in flight arrive.
    pub fn deliver(&self) {
        self.gate.add_permits(1_000);
    }

    pub fn commands(&self) -> Vec<OrderCommand> {
        let records = self.records.lock().unwrap();
        records.iter().map(|record| OrderCommand::decode(&record.payload).unwrap()).collect()
    }

    fn append(&self, command: Command) -> Delivered {
        let mut records = self.records.lock().unwrap();
        records.push(command);
        Delivered { partition: 0, offset: i64::try_from(records.len()).unwrap() - 1 }
    }
}

#[async_trait]
impl CommandLog for Tape {
    async fn send(&self, command: Command) -> Result<Delivered, SendError> {
        let fate = *self.fate.lock().unwrap();
        match fate {
            Fate::Acknowledged => Ok(self.append(command)),
            Fate::QueueFullFor(quantity) if quantity == quantity_of(&command) => {
                Err(SendError::NotSent("full".to_owned()))
            }
            Fate::QueueFullFor(_) => Ok(self.append(command)),
            Fate::QueueFull => Err(SendError::NotSent("full".to_owned())),
            Fate::Lost => {
                self.append(command);
                Err(SendError::Unknown("lost".to_owned()))
            }
            Fate::Held => {
                self.held.send_modify(|held| *held += 1);
                self.gate.acquire().await.unwrap().forget();
                Ok(self.append(command))
            }
        }
    }

    async fn partitions(&self, _: Topic) -> Result<i32, LogAway> {
        Ok(1)
    }

    async fn ends(&self, topic: Topic) -> Result<Vec<i64>, LogAway> {
        let commands = self.records.lock().unwrap().len();
        Ok(vec![if topic == Topic::OrderCommands { i64::try_from(commands).unwrap() } else { 0 }])
    }

    async fn committed(&self, _: &'static str, _: Topic) -> Result<Vec<Option<i64>>, LogAway> {
        Ok(vec![None])
    }

    async fn check(&self) -> Result<(), LogAway> {
        Ok(())
    }
}

fn quantity_of(command: &Command) -> i32 {
    match OrderCommand::decode(&command.payload).unwrap() {
        OrderCommand::SubmitOrder(submit) => submit.lines[0].quantity,
        other => panic!("{} has no quantity", other.name()),
    }
}

/// A valid submit of `quantity` units.
pub fn submit_body(quantity: i64) -> String {
    let body = json!({
        "items": [{"productId": PRODUCT, "quantity": quantity}],
        "shippingAddress": "1 Harbour Road", "paymentMethod": "CREDIT_CARD"
    });
    body.to_string()
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

pub struct Stage {
    pub redis: Redis,
    pub log: Arc<Tape>,
    pub worker: PgPool,
    pub link: RedisLink,
    app: Router,
    auth: AuthConfig,
    _database: Database,
    _stop: DropGuard,
}

impl Stage {
    pub async fn set() -> Self {
        Self::with_room(5_000).await
    }

    /// For so many orders being accepted at once.
    pub async fn with_room(in_flight: usize) -> Self {
        let (database, redis) = tokio::join!(Database::create(), Redis::start());
        let stop = CancellationToken::new();
        let config = RedisConfig {
            url: Secret::new(redis.url()),
            response_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_millis(400),
        };
        let link = RedisLink::start(config.clone(), stop.clone()).unwrap();
        link.connects().wait_for(|generation| *generation > 0).await.unwrap();
        let wakeups = Wakeups::new();
        wakeups.listen(&config, &link, stop.clone()).unwrap();
        let auth = ingress::config::auth(&Environment::of([])).unwrap();
        let log = Arc::new(Tape {
            records: Mutex::default(),
            fate: Mutex::new(Fate::Acknowledged),
            held: watch::Sender::new(0),
            gate: Semaphore::new(0),
        });
        let parts = OrdersParts {
            config: OrdersConfig {
                lease: Duration::from_millis(1_500),
                row_patience: Duration::from_secs(3),
                absence_patience: Duration::from_secs(2),
                in_flight,
                room_patience: Duration::from_millis(200),
                ..OrdersConfig::from_environment(&Environment::of([])).unwrap()
            },
            log: log.clone(),
            pool: PgPool::connect_lazy(&database.url("edge")).unwrap(),
            postgres: Downstream::new("orders-postgres", Duration::from_secs(3)),
            redis: link.clone(),
            wakeups,
            clock: Clock::system(),
        };
        let orders = Orders::start(parts, stop.clone());
        let price = Price { unit: Money::new(1_299, Currency::USD), is_active: true };
        orders.prices().enter([(PRODUCT.parse::<ProductId>().unwrap(), price)]);
        let worker = PgPool::connect_lazy(&database.url("orders")).unwrap();
        let guard = Guard::new(Verifier::start(&auth, stop.clone()).unwrap());
        let app = layers::around(orders_api::surface().with_state(orders).guarded(guard));
        Self { redis, log, worker, link, app, auth, _database: database, _stop: stop.drop_guard() }
    }

    pub fn token(&self, user: &str) -> String {
        let now = Timestamp(Clock::system().now_millis());
        mint(&self.auth, user, &[], now, Duration::from_secs(600)).unwrap()
    }

    pub async fn call(&self, request: Request<Body>) -> Answer {
        Self::send(self.app(), request).await
    }

    pub fn app(&self) -> Router {
        self.app.clone()
    }

    pub async fn send(app: Router, request: Request<Body>) -> Answer {
        let response = app.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub fn request(&self, method: &str, path: &str, user: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token(user)))
    }

    pub async fn get(&self, path: &str, user: &str) -> Answer {
        self.call(self.request("GET", path, user).body(Body::empty()).unwrap()).await
    }

    /// Submits `quantity` units under `key`: another quantity is another body.
    pub async fn post(&self, key: &str, quantity: i32) -> Answer {
        self.call(self.submit(key, quantity)).await
    }

    pub fn submit(&self, key: &str, quantity: i32) -> Request<Body> {
        self.request("POST", "/api/orders", "ann")
            .header("idempotency-key", key)
            .header("content-type", "application/json")
            .body(Body::from(submit_body(quantity.into())))
            .unwrap()
    }

    /// Posts until an order is accepted while the worker stands still, which is what proved means.
    pub async fn until_proved(&self) {
        let mut n = 0;
        testbed::eventually("Redis is proved", async || {
            n += 1;
            let answer = self.post(&format!("warm-up {n}").replace(' ', "-"), 1).await;
            self.work().await;
            answer.status == StatusCode::ACCEPTED
        })
        .await;
    }

    /// Applies what is on the log, in order: the first submit of an order makes its row.
    pub async fn work(&self) {
        let commands = self.log.commands();
        let mut connection = self.worker.acquire().await.unwrap();
        let mut tx = connection.begin().await.unwrap();
        for command in &commands {
            match command {
                OrderCommand::SubmitOrder(submit) => insert(&mut tx, submit).await,
                OrderCommand::CancelOrder(cancel) => {
                    let cancelled = "UPDATE orders SET status = 'CANCELLED', version = version + 1
                                     WHERE id = $1 AND status = 'PENDING'";
                    sqlx::query(cancelled).bind(cancel.order_id.0).execute(&mut *tx).await.unwrap();
                }
                other => panic!("the edge does not say {}", other.name()),
            }
        }
        sqlx::query(
            "INSERT INTO lane (consumer_group, topic, partition, id, partitions, next_offset)
             VALUES ('orders', 'order.commands', 0, $1, 1, $2)
             ON CONFLICT (consumer_group, topic, partition)
             DO UPDATE SET next_offset = greatest(lane.next_offset, excluded.next_offset)",
        )
        .bind(Uuid::from_u128(1))
        .bind(i64::try_from(commands.len()).unwrap())
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
    }

    /// Works on and on beside `what`. What is begun is ended: a transaction that is dropped half-way would stay open on a
    /// connection that comes back.
    pub async fn working<T>(&self, what: impl Future<Output = T>) -> T {
        let is_done = AtomicBool::new(false);
        let work = async {
            while !is_done.load(Ordering::Relaxed) {
                self.work().await;
                tokio::task::yield_now().await;
            }
        };
        let what = async {
            let done = what.await;
            is_done.store(true, Ordering::Relaxed);
            done
        };
        tokio::join!(what, work).0
    }

    /// Writes an order's view as the status worker does.
    pub async fn publish(&self, order: &OrderState) {
        let script = redis::Script::new(packed::WRITE);
        let mut write = script.key(view::key(order.order_id));
        write.arg(600_000).arg(packed::written_of(order.clone()).unwrap());
        // a busy machine may look like a Redis that is away
        testbed::eventually("Redis takes the view", async || {
            let Ok(life) = self.link.life() else { return false };
            self.link.run::<Vec<u8>>(&life, &write).await.is_ok()
        })
        .await;
    }

    /// The version of an order's view.
    pub async fn version_in_redis(&self, order_id: &str) -> i64 {
        let held = self.held(order_id).await;
        Packed::read(&held).unwrap().view.unwrap().0
    }

    /// Whether somebody waits for the order.
    pub async fn is_waited_for(&self, order_id: &str) -> bool {
        let held = self.held(order_id).await;
        Packed::read(&held).is_some_and(|packed| !packed.waiters.is_empty())
    }

    async fn held(&self, order_id: &str) -> Vec<u8> {
        let life = self.link.life().unwrap();
        let key = view::key(schemas::ids::OrderId(order_id.parse().unwrap()));
        let (held,): (Vec<u8>,) = self.link.query(&life, redis::pipe().cmd("GET").arg(key)).await.unwrap();
        held
    }

    /// The order that a command on the log asked for, in `status` at `version`.
    pub fn state(&self, order_id: &str, version: i64, status: OrderStatus) -> OrderState {
        let submit = self.log.commands().into_iter().find_map(|command| match command {
            OrderCommand::SubmitOrder(submit) if submit.order_id.to_string() == order_id => Some(submit),
            _ => None,
        });
        let submit = submit.unwrap();
        OrderState {
            order_id: submit.order_id,
            owner: submit.owner,
            body_hash: submit.body_hash,
            version,
            status,
            reason: None,
            currency: submit.currency,
            total: submit.total,
            refunded: 0,
            lines: submit.lines,
            shipping_address: submit.shipping_address,
            payment_method: submit.payment_method,
            accepted_at: submit.accepted_at,
            deadline: submit.deadline,
            updated_at: submit.accepted_at,
            timeline: Vec::new(),
        }
    }
}

async fn insert(tx: &mut sqlx::PgConnection, submit: &SubmitOrder) {
    let at = |at: Timestamp| chrono::DateTime::from_timestamp_millis(at.0);
    sqlx::query(
        "INSERT INTO orders (id, partition, owner, body_hash, version, status, currency, total, product_ids, quantities,
             unit_prices, shipping_address, payment_method, accepted_at, deadline, updated_at, timeline)
         VALUES ($1, 0, $2, $3, 1, 'PENDING', 'USD', $4, $5, $6, $7, $8, $9, $10, $11, $10, $12)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(submit.order_id.0)
    .bind(&submit.owner)
    .bind(submit.body_hash.0.to_vec())
    .bind(submit.total)
    .bind(submit.lines.iter().map(|line| line.product_id.0).collect::<Vec<_>>())
    .bind(submit.lines.iter().map(|line| line.quantity).collect::<Vec<_>>())
    .bind(submit.lines.iter().map(|line| line.unit_price).collect::<Vec<_>>())
    .bind(&submit.shipping_address)
    .bind(&submit.payment_method)
    .bind(at(submit.accepted_at))
    .bind(at(submit.deadline))
    .bind(Json(json!([])))
    .execute(tx)
    .await
    .unwrap();
}
