//! A worker between a real log, a real database and an endpoint of the test's own.

use crate::receiver::Receiver;
use chassis::{clock::Clock, health::Health, settings::Environment};
use publisher::{Destination, OutboundRecord, Publisher};
use schemas::{
    envelope::{Envelope, HEADER},
    ids::{MessageId, OrderId},
    messages::{BodyHash, Message, OrderAccepted, OrderAmended, OrderState, OrderStatus},
    money::Currency,
    time::Timestamp,
    topics::{self, Topic},
    wire,
};
use std::time::Duration;
use testbed::{Database, Topics};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use webhooks_worker::WebhooksConfig;

pub(crate) const SECRET: &str = "whsec_test";

pub(crate) struct Stage {
    pub(crate) receiver: Receiver,
    pub(crate) database: Database,
    config: WebhooksConfig,
    publisher: Publisher,
    _topics: Topics,
}

/// A worker that dies with this value, whatever it has in hand.
pub(crate) struct Worker(JoinHandle<()>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Stage {
    /// Everything but the worker; it may call loopback, and tries again soon.
    pub(crate) async fn build() -> Self {
        let (database, topics, receiver) =
            tokio::join!(Database::create(), Topics::create(1), Receiver::start());
        let environment = Environment::of([
            ("KAFKA_BROKERS".to_owned(), testbed::kafka_brokers()),
            ("TOPIC_PREFIX".to_owned(), topics.prefix.clone()),
            ("WEBHOOKS_DATABASE_URL".to_owned(), database.url("webhooks")),
            ("WEBHOOK_ALLOW_LOOPBACK".to_owned(), "on".to_owned()),
            ("WEBHOOK_RETRY_FIRST".to_owned(), "50ms".to_owned()),
            ("WEBHOOK_RETRY_LONGEST".to_owned(), "200ms".to_owned()),
        ]);
        let config = WebhooksConfig::from_environment(&environment).unwrap();
        let publisher = Publisher::start(topics.publisher()).unwrap();
        Self { receiver, database, config, publisher, _topics: topics }
    }

    pub(crate) fn worker(&self) -> Worker {
        self.worker_with(|_| {})
    }

    pub(crate) fn worker_with(&self, change: impl FnOnce(&mut WebhooksConfig)) -> Worker {
        let mut config = self.config.clone();
        change(&mut config);
        let part = Health::default().part("webhooks");
        Worker(tokio::spawn(async move {
            webhooks_worker::run(config, part, CancellationToken::new()).await.unwrap();
        }))
    }

    /// An endpoint of `owner` at `path`.
    pub(crate) async fn register(&self, owner: &str, path: &str) -> Uuid {
        let id = chassis::ids::random();
        sqlx::query(
            "INSERT INTO endpoints (id, owner, slot, url, secret)
             SELECT $1, $2, (SELECT count(*) + 1 FROM endpoints WHERE owner = $2), $3, $4",
        )
        .bind(id)
        .bind(owner)
        .bind(self.receiver.url(path))
        .bind(SECRET)
        .execute(&mut self.database.connect("webhooks").await)
        .await
        .unwrap();
        id
    }

    pub(crate) async fn run(&self, statement: &'static str) {
        sqlx::query(statement).execute(&mut self.database.connect("webhooks").await).await.unwrap();
    }

    /// How many deliveries wait.
    pub(crate) async fn waiting(&self) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM deliveries");
        count.fetch_one(&mut self.database.connect("webhooks").await).await.unwrap()
    }

    /// Whether the endpoint is disabled, and what its owner is told.
    pub(crate) async fn standing(&self, endpoint: Uuid) -> (bool, String) {
        sqlx::query_as("SELECT disabled_at IS NOT NULL, coalesce(reason, '') FROM endpoints WHERE id = $1")
            .bind(endpoint)
            .fetch_one(&mut self.database.connect("webhooks").await)
            .await
            .unwrap()
    }

    /// Says versions of an order on the log.
    pub(crate) async fn say(&self, owner: &str, order: u128, versions: std::ops::RangeInclusive<i64>) {
        for version in versions {
            let order = state(owner, order, version);
            if version == 1 {
                self.send(order.order_id.0, &OrderAccepted { order }).await;
            } else {
                self.send(order.order_id.0, &OrderAmended { order }).await;
            }
        }
    }

    async fn send<M: Message>(&self, key: Uuid, body: &M) {
        let message = MessageId(chassis::ids::random());
        let occurred_at = Timestamp(Clock::system().now_millis());
        let envelope = Envelope { message, causation: message, occurred_at, deadline: None, source: None };
        let record = OutboundRecord {
            topic: Topic::OrderEvents,
            destination: Destination::ByKey,
            key: topics::key(key).to_vec(),
            payload: wire::encode(body).unwrap(),
            headers: vec![(HEADER.to_owned(), envelope.to_bytes())],
        };
        self.publisher.send(&record).unwrap().await.unwrap();
    }

    pub(crate) fn now() -> Timestamp {
        Timestamp(Clock::system().now_millis())
    }

    pub(crate) const LONG: Duration = Duration::from_secs(600);
}

fn state(owner: &str, order: u128, version: i64) -> OrderState {
    OrderState {
        order_id: OrderId(Uuid::from_u128(order)),
        owner: owner.to_owned(),
        body_hash: BodyHash([7; 32]),
        version,
        status: OrderStatus::Pending,
        reason: None,
        currency: Currency::USD,
        total: 100,
        refunded: 0,
        lines: Vec::new(),
        shipping_address: "1 Road".to_owned(),
        payment_method: "CREDIT_CARD".to_owned(),
        accepted_at: Timestamp(1),
        deadline: Timestamp(2),
        updated_at: Timestamp(1),
        timeline: Vec::new(),
    }
}
