//! Books of which a part has moved to the history, or left with its month: nothing is found that is not so, and what is
//! wrong is found wherever it lies.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test has nobody else to tell"
)]

use auditor::{AuditConfig, Auditor, Kind, Report, Scope};
use chassis::settings::Secret;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::time::Duration;
use testbed::Database;

const ORDERS: i32 = 6;

struct Books {
    database: Database,
    admin: PgConnection,
}

impl Books {
    /// Orders of last month, each of two units of one product, paid and sold.
    async fn open() -> Self {
        let database = Database::create().await;
        let admin = database.connect_admin().await;
        let mut books = Self { database, admin };
        for (service, topic) in [
            ("orders", "order.commands"),
            ("inventory", "inventory.commands"),
            ("payments", "payment.commands"),
        ] {
            books
                .sql(&format!(
                    "INSERT INTO {service}.lane (consumer_group, topic, partition, id, partitions, next_offset, due_mark)
                     VALUES ('{service}', '{topic}', 0, gen_random_uuid(), 1, 0, now());
                     SELECT {service}.make_history(now() - interval '1 month')"
                ))
                .await;
        }
        // an id that says what of which order it is
        let id = |of: char| {
            format!(
                "lpad(to_hex(n), 12, '0')::text AS h, ('{of}0000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"
            )
        };
        let at = "date_trunc('month', now()) - interval '10 days'";
        for statement in [
            format!("INSERT INTO inventory.products (id, available, sold, initial) VALUES ('a0000000-0000-4000-8000-000000000000', 8, {ORDERS} * 2, 8 + {ORDERS} * 2)"),
            format!(
                "INSERT INTO orders.orders (id, partition, owner, body_hash, version, status, currency, total, capture_id,
                     product_ids, quantities, unit_prices, shipping_address, payment_method, accepted_at, deadline, updated_at, timeline)
                 SELECT o.id, 0, 'o', '', 3, 'CONFIRMED', 'USD', 1000, c.id, '{{a0000000-0000-4000-8000-000000000000}}', '{{2}}',
                     '{{500}}', 'a', 'CREDIT_CARD', {at}, {at}, {at}, '[]'
                 FROM generate_series(1, {ORDERS}) n, LATERAL (SELECT {}) o (h, id), LATERAL (SELECT {}) c (h, id)", id('b'), id('c')
            ),
            format!(
                "INSERT INTO inventory.holds (order_id, partition, outside, product_ids, quantities, accepted_at, deadline, state, changed_at)
                 SELECT id, 0, false, product_ids, quantities, accepted_at, deadline, 'sold', {at} FROM orders.orders"
            ),
            format!(
                "INSERT INTO payments.captures (id, order_id, state, amount, currency, method, deadline, first_called_at, created_at, settled_at)
                 SELECT capture_id, id, 'CAPTURED', 1000, 'USD', 'CREDIT_CARD', {at}, {at}, {at}, {at} FROM orders.orders"
            ),
            "INSERT INTO sandbox.charges (key, order_id, amount, currency, method, state, charged_at)
             SELECT id, order_id, amount, currency, method, 'CHARGED', now() FROM payments.captures".to_owned(),
        ] {
            books.sql(&statement).await;
        }
        books
    }

    async fn sql(&mut self, statement: &str) {
        let done = self.admin.execute(AssertSqlSafe(statement)).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// Moves what a service has of the first `count` orders, as its lanes do.
    async fn move_first(&mut self, service: &str, count: i32) {
        let first = format!("IN (SELECT order_id FROM sandbox.charges ORDER BY order_id LIMIT {count})");
        self.sql(&match service {
            "orders" => format!(
                "WITH gone AS (DELETE FROM orders.orders WHERE id {first} RETURNING *),
                 kept AS (INSERT INTO orders.kept_key SELECT id, accepted_at, body_hash, status FROM gone)
                 INSERT INTO orders.history SELECT * FROM gone"
            ),
            "inventory" => format!(
                "WITH gone AS (DELETE FROM inventory.holds WHERE order_id {first} RETURNING *)
                 INSERT INTO inventory.hold_history SELECT * FROM gone"
            ),
            _ => format!(
                "WITH gone AS (DELETE FROM payments.captures WHERE order_id {first} RETURNING *)
                 INSERT INTO payments.capture_history SELECT * FROM gone"
            ),
        })
        .await;
    }

    async fn pass(&self) -> Report {
        let config = AuditConfig::new(&Secret::new(self.database.url("audit")));
        let mut auditor = Auditor::new(AuditConfig { patience: Duration::from_secs(5), ..config });
        auditor.pass(Scope::Everything).await.unwrap()
    }

    async fn drift(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.pass().await.drift.iter().map(|finding| finding.kind).collect();
        kinds.sort_unstable();
        kinds
    }
}

#[tokio::test]
async fn rows_that_move_are_no_drift_and_what_is_wrong_in_the_history_is_found() {
    let mut books = Books::open().await;
    // each service moves by itself: here payments is ahead of orders, which is ahead of inventory
    for (service, count) in [("payments", 4), ("orders", 3), ("inventory", 2)] {
        books.move_first(service, count).await;
        let report = books.pass().await;
        assert!(report.is_settled(), "{service}: {report}");
        assert_eq!(report.orders, 6);
    }
    let first = "(SELECT order_id FROM sandbox.charges ORDER BY order_id LIMIT 1)";
    books.sql(&format!("UPDATE payments.capture_history SET refunded = 300 WHERE order_id = {first}")).await;
    assert_eq!(books.drift().await, [Kind::Money, Kind::Provider]);
    books.sql(&format!("UPDATE payments.capture_history SET refunded = 0 WHERE order_id = {first}")).await;
    books
        .sql(&format!("UPDATE inventory.hold_history SET state = 'released' WHERE order_id = {first}"))
        .await;
    assert_eq!(books.drift().await, [Kind::StockHolds, Kind::UnitsSold]);
}

#[tokio::test]
async fn a_month_that_has_left_is_no_drift_in_whichever_order_its_parts_went() {
    let mut books = Books::open().await;
    for service in ["orders", "inventory", "payments"] {
        books.move_first(service, 4).await;
    }
    let month = "now() - interval '1 month'";
    for (service, left) in [("orders", 2), ("inventory", 2), ("payments", 2)] {
        books.sql(&format!("SELECT {service}.drop_history({month})")).await;
        let report = books.pass().await;
        assert!(!report.has_drift(), "{service}: {report}");
        assert_eq!(report.orders, left);
    }
    // a hold whose order never was is one all the same
    books.sql("DELETE FROM orders.orders WHERE id = (SELECT max(id::text)::uuid FROM orders.orders)").await;
    assert!(books.drift().await.contains(&Kind::HoldWithoutOrder));
}
