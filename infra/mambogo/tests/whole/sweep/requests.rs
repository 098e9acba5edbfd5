//! What reaches the services without the gateway: other systems' reserves, records nobody can read;
//! and what the shop sells, at a price by which the sandbox provider behaves.

use crate::system::System;
use chassis::{
    clock::Clock,
    postgres::{PoolLimits, Session, SessionLimits},
    settings::Environment,
};
use publisher::{Destination, OutboundRecord, Publisher, PublisherConfig};
use schemas::{
    envelope::{Envelope, HEADER},
    ids::{self, MessageId, OrderId},
    messages::{CancelOrder, Message, ReserveStock, StockLine},
    time::Timestamp,
    topics::{self, Topic},
    wire,
};
use sqlx::PgPool;
use std::time::Duration;
use uuid::Uuid;

/// Cents of each product. The sandbox provider reads them: two failures of what is flaky, 1.2 s for what is slow.
const PRICE: i64 = 1_202;

/// Longest wait for one answer of the stack.
const PATIENCE: Duration = Duration::from_secs(30);

/// Chooses a few products, prices them, and gives them more stock than the sweep sells.
pub async fn stock_up(system: &System) -> Vec<String> {
    let products: Vec<String> = system.products(1).await.into_iter().take(5).collect();
    let price = "UPDATE catalog.products SET price = $2, updated_at = now() WHERE id = $1::text::uuid";
    let mut admin = system.database.connect_admin().await;
    for product in &products {
        system.set_stock(product, 1_000_000).await;
        sqlx::query(price).bind(product).bind(PRICE).execute(&mut admin).await.unwrap();
    }
    products
}

/// A producer of the test's own, and a look into the tables.
pub struct Wire {
    publisher: Publisher,
    tables: PgPool,
}

impl Wire {
    pub fn open(system: &System) -> Self {
        let settings = Environment::of(system.settings().clone());
        let config = PublisherConfig::from_environment(&settings, "sweep").unwrap();
        let limits = PoolLimits { max: 3, min: 0, acquire: PATIENCE, ..PoolLimits::default() };
        let session = Session::new(&system.database.admin_url(), "sweep", SessionLimits::WORKER).unwrap();
        Self { publisher: Publisher::start(config).unwrap(), tables: session.pool(limits) }
    }

    /// What has been given back of the order, as orders know it.
    pub async fn refunded(&self, order: &str) -> sqlx::Result<i64> {
        let refunded = sqlx::query_scalar("SELECT refunded FROM orders.orders WHERE id = $1::text::uuid");
        refunded.bind(order).fetch_one(&self.tables).await
    }

    /// Whether the sandbox provider has taken the order's money.
    pub async fn is_charged(&self, order: &str) -> sqlx::Result<bool> {
        let capture = ids::effect_id(order.parse().unwrap(), "capture");
        let charges = "SELECT count(*) FROM sandbox.charges WHERE key = $1 AND state = 'CHARGED'";
        let count: i64 = sqlx::query_scalar(charges).bind(capture.0).fetch_one(&self.tables).await?;
        Ok(count > 0)
    }

    /// Another system holds a unit for `time`.
    pub async fn reserve(&self, product: &str, time: Duration) -> Result<(), String> {
        let order_id = OrderId(chassis::ids::random());
        let accepted_at = Timestamp(Clock::system().now_millis());
        let lines = vec![StockLine { product_id: product.parse().unwrap(), quantity: 1 }];
        let deadline = accepted_at.plus(time);
        self.say(order_id.0, &ReserveStock { order_id, accepted_at, deadline, lines }).await
    }

    /// A record of that order which nobody can read, to that service.
    pub async fn poison(&self, service: &str, order: &str) -> Result<(), String> {
        let topic = match service {
            "orders" => Topic::OrderCommands,
            "inventory" => Topic::InventoryCommands,
            _ => Topic::PaymentCommands,
        };
        self.send(topic, order.parse().unwrap(), vec![0, 0, 0, 3, 0xea, 0xff]).await
    }

    /// Whether the order's record is parked there.
    pub async fn is_parked(&self, service: &str, order: &str) -> sqlx::Result<bool> {
        let parked = match service {
            "orders" => "SELECT count(*) FROM orders.parked WHERE key = $1",
            "inventory" => "SELECT count(*) FROM inventory.parked WHERE key = $1",
            _ => "SELECT count(*) FROM payments.parked WHERE key = $1",
        };
        let count: i64 = sqlx::query_scalar(parked).bind(order.as_bytes()).fetch_one(&self.tables).await?;
        Ok(count > 0)
    }

    /// Puts a record that can be read in the place of the order's parked one: a cancel, which comes too late.
    pub async fn mend(&self, order: &str) -> sqlx::Result<()> {
        let order_id: OrderId = order.parse().unwrap();
        let cancel = CancelOrder { order_id, requested_by: "sweep".to_owned(), reason: None };
        let mend = sqlx::query("UPDATE orders.parked SET record = $1 WHERE key = $2");
        mend.bind(wire::encode(&cancel).unwrap()).bind(order.as_bytes()).execute(&self.tables).await?;
        Ok(())
    }

    /// How many records the lanes have not passed yet, of all services.
    pub async fn lag(&self) -> Result<i64, String> {
        let mut lag = 0;
        for (topic, sql) in [
            (Topic::OrderCommands, "SELECT coalesce(sum(next_offset), 0)::bigint FROM orders.lane"),
            (Topic::InventoryCommands, "SELECT coalesce(sum(next_offset), 0)::bigint FROM inventory.lane"),
            (Topic::PaymentCommands, "SELECT coalesce(sum(next_offset), 0)::bigint FROM payments.lane"),
        ] {
            let ends =
                self.publisher.end_offsets(topic, PATIENCE).await.map_err(|error| error.to_string())?;
            let passed: i64 =
                sqlx::query_scalar(sql).fetch_one(&self.tables).await.map_err(|error| error.to_string())?;
            lag += ends.iter().sum::<i64>() - passed;
        }
        Ok(lag)
    }

    async fn say<M: Message>(&self, key: Uuid, body: &M) -> Result<(), String> {
        self.send(M::TOPIC, key, wire::encode(body).unwrap()).await
    }

    async fn send(&self, topic: Topic, key: Uuid, payload: Vec<u8>) -> Result<(), String> {
        let message = MessageId(chassis::ids::random());
        let occurred_at = Timestamp(Clock::system().now_millis());
        let envelope = Envelope { message, causation: message, occurred_at, deadline: None, source: None };
        let record = OutboundRecord {
            topic,
            destination: Destination::ByKey,
            key: topics::key(key).to_vec(),
            payload,
            headers: vec![(HEADER.to_owned(), envelope.to_bytes())],
        };
        let sent = self.publisher.send(&record).map_err(|error| error.to_string())?;
        sent.await.map(drop).map_err(|error| error.to_string())
    }
}
