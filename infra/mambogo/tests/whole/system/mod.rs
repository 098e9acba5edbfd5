//! A whole system of a test's own: database, topics, Redis, catalogue, and real `mambogo` processes that can be
//! killed, frozen and started again.

mod audit;
mod client;
mod process;
pub mod webhook;

pub use audit::{assert_agree, assert_conserved};
pub use client::{Client, order_of};
pub use process::{Process, free_address};

use sqlx::Row;
use std::{collections::BTreeMap, time::Duration};
use testbed::{Database, Redis, Topics};

/// Products in a test's catalogue.
pub const PRODUCTS: u32 = 200;

pub struct System {
    pub database: Database,
    pub topics: Topics,
    pub redis: Redis,
    settings: BTreeMap<String, String>,
}

impl System {
    /// Everything but the processes. `settings` are environment variables for all of them.
    pub async fn build(settings: &[(&str, &str)]) -> Self {
        let (database, topics, redis) = tokio::join!(Database::create(), Topics::create(4), Redis::start());
        let mut all: BTreeMap<String, String> = BTreeMap::from([
            ("KAFKA_BROKERS".to_owned(), testbed::kafka_brokers()),
            ("KAFKA_PARTITIONS".to_owned(), "4".to_owned()),
            ("TOPIC_PREFIX".to_owned(), topics.prefix.clone()),
            ("REDIS_URL".to_owned(), redis.url()),
            ("ADMIN_DATABASE_URL".to_owned(), database.admin_url()),
            ("RUST_LOG".to_owned(), "info".to_owned()),
            // one client of a test does the work of many
            ("RATE_LIMITS".to_owned(), "off".to_owned()),
        ]);
        for role in
            ["orders", "inventory", "payments", "sandbox", "catalog", "webhooks", "edge", "relay", "audit"]
        {
            all.insert(format!("{}_DATABASE_URL", role.to_uppercase()), database.url(role));
        }
        all.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let system = Self { database, topics, redis, settings: all };
        system.tool(&["seed", "--products", &PRODUCTS.to_string()]).await;
        system
    }

    /// Goes on with `database`, an earlier state of this one, and returns the one that is left. The provider is somebody
    /// else: its ledger is not taken back, and stays where it was.
    pub fn taken_back_to(&mut self, database: Database) -> Database {
        for role in ["orders", "inventory", "payments", "catalog", "edge", "relay", "audit"] {
            self.settings.insert(format!("{}_DATABASE_URL", role.to_uppercase()), database.url(role));
        }
        self.settings.insert("ADMIN_DATABASE_URL".to_owned(), database.admin_url());
        std::mem::replace(&mut self.database, database)
    }

    /// The settings as `KEY=VALUE` pairs, for a process started by hand.
    pub fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// Starts `mambogo` with those arguments and waits until it says that it is ready.
    pub async fn start(&self, arguments: &[&str]) -> Process {
        let process = self.launch(arguments, &[]);
        process.is_ready().await;
        process
    }

    /// Starts it with further settings, and does not wait.
    pub fn launch(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Process {
        Process::launch(arguments, &self.settings, settings)
    }

    /// Runs a command of `mambogo` to its end and returns what it printed.
    pub async fn tool(&self, arguments: &[&str]) -> String {
        self.tool_with(arguments, &[]).await
    }

    /// The same with further settings.
    pub async fn tool_with(&self, arguments: &[&str], settings: &[(&str, &str)]) -> String {
        let more = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let all = self.settings.clone().into_iter().chain(more).collect();
        process::tool(arguments, &all).await
    }

    /// The same, for one that may fail: its errors then.
    pub async fn try_tool(&self, arguments: &[&str]) -> Result<String, String> {
        process::try_tool(arguments, &self.settings).await
    }

    /// A client of the gateway in `process`, with a token for `user`.
    pub async fn client(&self, process: &Process, user: &str) -> Client {
        self.client_with(process, user, &[]).await
    }

    /// The same with scopes.
    pub async fn client_with(&self, process: &Process, user: &str, scopes: &[&str]) -> Client {
        let mut arguments = vec!["token", "--user", user];
        for scope in scopes {
            arguments.extend(["--scope", scope]);
        }
        let token = self.tool(&arguments).await;
        Client::new(process.gateway(), token.trim())
    }

    /// Submits one order through `edge`, and waits until the edge answers 202 before there is a row: a miss in Redis
    /// is a proof from then on.
    pub async fn is_proved(&self, edge: &Process) {
        let client = self.client(edge, "warm").await;
        let id = client.submit_patiently("warm", &order_of(&self.product(100).await, 1, "CREDIT_CARD")).await;
        client.settled(&id).await;
        testbed::eventually_within(Duration::from_secs(60), "a miss in Redis is a proof", async || {
            edge.metric("mambogo_orders_claims_proved").await == Some(1.0)
        })
        .await;
    }

    /// A product with at least `units` in stock.
    pub async fn product(&self, units: i64) -> String {
        let mut connection = self.database.connect("audit").await;
        let row = sqlx::query(
            "SELECT id::text AS id FROM inventory.products WHERE available >= $1 ORDER BY id LIMIT 1",
        )
        .bind(units)
        .fetch_one(&mut connection)
        .await
        .unwrap();
        row.get("id")
    }

    /// Products with at least `units` each, in id order.
    pub async fn products(&self, units: i64) -> Vec<String> {
        let mut connection = self.database.connect("audit").await;
        sqlx::query_scalar("SELECT id::text FROM inventory.products WHERE available >= $1 ORDER BY id")
            .bind(units)
            .fetch_all(&mut connection)
            .await
            .unwrap()
    }

    /// Sets a product's stock, as if it had been seeded with it. For use before any order names it.
    pub async fn set_stock(&self, product: &str, units: i64) {
        let mut admin = self.database.connect_admin().await;
        sqlx::query(
            "UPDATE inventory.products SET available = $2, initial = $2, held = 0, sold = 0, restocked = 0
             WHERE id = $1::text::uuid",
        )
        .bind(product)
        .bind(units)
        .execute(&mut admin)
        .await
        .unwrap();
    }

    /// (available, held, sold) of a product.
    pub async fn stock(&self, product: &str) -> (i64, i64, i64) {
        let mut connection = self.database.connect("audit").await;
        sqlx::query_as("SELECT available, held, sold FROM inventory.products WHERE id = $1::text::uuid")
            .bind(product)
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    /// How many orders stand at each status.
    pub async fn statuses(&self) -> BTreeMap<String, i64> {
        let mut connection = self.database.connect("audit").await;
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT status, count(*) FROM orders.orders GROUP BY status")
                .fetch_all(&mut connection)
                .await
                .unwrap();
        rows.into_iter().collect()
    }
}
