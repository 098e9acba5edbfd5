//! Every kind of drift, put into the books by hand: named with its id, its figures and what to type.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test has nobody else to tell"
)]

use auditor::{AuditConfig, Auditor, Finding, Kind, Report, Scope, Subject};
use chassis::settings::Secret;
use schemas::topics;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::{collections::BTreeMap, time::Duration};
use testbed::Database;
use uuid::Uuid;

const TOTAL: i64 = 1_000;
const PARTITIONS: i32 = 4;

/// Books of a shop, written as its services would.
struct Books {
    database: Database,
    admin: PgConnection,
    orders: u128,
}

/// An order and what belongs to it.
#[derive(Clone, Copy)]
struct Ids {
    order: Uuid,
    capture: Uuid,
    product: Uuid,
}

impl Books {
    async fn open() -> Self {
        let database = Database::create().await;
        let admin = database.connect_admin().await;
        let mut books = Self { database, admin, orders: 0 };
        for (service, topic) in [
            ("orders", "order.commands"),
            ("inventory", "inventory.commands"),
            ("payments", "payment.commands"),
        ] {
            books
                .sql(&format!(
                    "INSERT INTO {service}.lane (consumer_group, topic, partition, id, partitions, next_offset, due_mark)
                     SELECT '{service}', '{topic}', p, gen_random_uuid(), {PARTITIONS}, 0, now()
                     FROM generate_series(0, {PARTITIONS} - 1) AS p"
                ))
                .await;
        }
        books
    }

    async fn sql(&mut self, statement: &str) {
        let done = self.admin.execute(AssertSqlSafe(statement)).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// An order of two units of a product of its own, paid and sold.
    async fn confirmed(&mut self) -> Ids {
        self.orders += 1;
        let id = |of: &str| Uuid::new_v5(&Uuid::from_u128(self.orders), of.as_bytes());
        let ids = Ids { order: id("order"), capture: id("capture"), product: id("product") };
        let Ids { order, capture, product } = ids;
        let partition = topics::partition_of(&topics::key(order), PARTITIONS);
        for statement in [
            format!("INSERT INTO inventory.products (id, available, sold, initial) VALUES ('{product}', 8, 2, 10)"),
            format!(
                "INSERT INTO orders.orders (id, partition, owner, body_hash, version, status, currency, total, capture_id,
                     product_ids, quantities, unit_prices, shipping_address, payment_method, accepted_at, deadline,
                     updated_at, timeline)
                 VALUES ('{order}', {partition}, 'o', '', 3, 'CONFIRMED', 'USD', {TOTAL}, '{capture}', '{{{product}}}', '{{2}}',
                     '{{500}}', 'a', 'CREDIT_CARD', now(), date_trunc('milliseconds', now()) + interval '15 min', now(), '[]')"
            ),
            format!(
                "INSERT INTO inventory.holds (order_id, partition, outside, product_ids, quantities, accepted_at, deadline,
                     state, changed_at)
                 VALUES ('{order}', {partition}, false, '{{{product}}}', '{{2}}', now(), date_trunc('milliseconds', now()) + interval '15 min', 'sold', now())"
            ),
            format!(
                "INSERT INTO payments.captures (id, order_id, state, amount, currency, method, deadline, first_called_at,
                     created_at, settled_at)
                 VALUES ('{capture}', '{order}', 'CAPTURED', {TOTAL}, 'USD', 'CREDIT_CARD', date_trunc('milliseconds', now()) + interval '15 min', now(),
                     now(), now())"
            ),
            format!(
                "INSERT INTO sandbox.charges (key, order_id, amount, currency, method, state, charged_at)
                 VALUES ('{capture}', '{order}', {TOTAL}, 'USD', 'CREDIT_CARD', 'CHARGED', now())"
            ),
        ] {
            self.sql(&statement).await;
        }
        ids
    }

    /// The same, cancelled, with everything given back.
    async fn cancelled(&mut self) -> Ids {
        let ids = self.confirmed().await;
        let Ids { order, capture, product } = ids;
        self.sql(&format!("UPDATE orders.orders SET status = 'CANCELLED' WHERE id = '{order}'")).await;
        self.sql(&format!("UPDATE inventory.holds SET state = 'released' WHERE order_id = '{order}'")).await;
        self.sql(&format!("UPDATE inventory.products SET available = 10, sold = 0 WHERE id = '{product}'"))
            .await;
        self.sql(&format!("UPDATE payments.captures SET refunded = amount WHERE id = '{capture}'")).await;
        self.sql(&format!("UPDATE sandbox.charges SET refunded = amount WHERE key = '{capture}'")).await;
        ids
    }

    /// The same, still waiting for its units.
    async fn waiting(&mut self) -> Ids {
        let ids = self.cancelled().await;
        let Ids { order, capture, product } = ids;
        self.sql(&format!("DELETE FROM payments.captures WHERE id = '{capture}'")).await;
        self.sql(&format!("DELETE FROM sandbox.charges WHERE key = '{capture}'")).await;
        self.sql(&format!(
            "UPDATE orders.orders SET status = 'PENDING', capture_id = NULL WHERE id = '{order}'"
        ))
        .await;
        self.sql(&format!("UPDATE inventory.holds SET state = 'waiting' WHERE order_id = '{order}'")).await;
        self.sql(&format!("UPDATE inventory.products SET waiting = 1 WHERE id = '{product}'")).await;
        self.sql(&format!("INSERT INTO inventory.waiters VALUES ('{product}', now(), '{order}', 2)")).await;
        ids
    }

    fn auditor(&self) -> Auditor {
        let config = AuditConfig::new(&Secret::new(self.database.url("audit")));
        Auditor::new(AuditConfig { patience: Duration::from_secs(5), ..config })
    }

    async fn pass(&self) -> Report {
        self.auditor().pass(Scope::Everything).await.unwrap()
    }
}

fn by_subject(report: &Report) -> BTreeMap<(Kind, Subject), Finding> {
    let all = report.drift.iter().chain(&report.attention);
    all.map(|finding| ((finding.kind, finding.subject), finding.clone())).collect()
}

#[tokio::test]
async fn books_that_agree_have_no_findings_and_live_orders_are_counted() {
    let mut books = Books::open().await;
    books.confirmed().await;
    books.cancelled().await;
    let report = books.pass().await;
    assert!(report.is_settled(), "{report}");
    assert_eq!((report.orders, report.products), (2, 2));
    books.waiting().await;
    let report = books.pass().await;
    assert!(!report.has_drift() && !report.is_settled(), "{report}");
    assert_eq!(report.open, 1);
}

#[tokio::test]
async fn every_drift_is_named_with_its_id_and_its_figures() {
    let mut books = Books::open().await;
    let mut expected: Vec<(Kind, Subject, &str)> = Vec::new();
    let (order, product) = (Subject::Order, Subject::Product);
    for _ in 0..20 {
        books.confirmed().await;
    }

    let ids = books.confirmed().await;
    books.sql("ALTER TABLE inventory.products DROP CONSTRAINT products_conservation").await;
    books.sql(&format!("UPDATE inventory.products SET available = 9 WHERE id = '{}'", ids.product)).await;
    expected.push((Kind::StockSum, product(ids.product), "10 + 0 is not 9 + 0 + 2"));

    let ids = books.confirmed().await;
    books
        .sql(&format!("UPDATE inventory.products SET available = 9, sold = 1 WHERE id = '{}'", ids.product))
        .await;
    expected.push((Kind::StockHolds, product(ids.product), "held 0, holds say 0; sold 1, holds say 2"));

    let ids = books.waiting().await;
    books.sql(&format!("DELETE FROM inventory.waiters WHERE order_id = '{}'", ids.order)).await;
    expected.push((Kind::StockQueue, product(ids.product), "waiting 1, holds say 1, queue 0"));

    let ids = books.confirmed().await;
    books
        .sql(&format!(
            "UPDATE inventory.products SET restocked = 5, available = 13 WHERE id = '{}'",
            ids.product
        ))
        .await;
    expected.push((Kind::StockRestocked, product(ids.product), "restocked 5, adjustments say 0"));

    let ids = books.cancelled().await;
    books.sql(&format!("UPDATE inventory.holds SET state = 'held' WHERE order_id = '{}'", ids.order)).await;
    books
        .sql(&format!("UPDATE inventory.products SET available = 8, held = 2 WHERE id = '{}'", ids.product))
        .await;
    expected.push((Kind::HoldWithoutOrder, order(ids.order), "order CANCELLED, hold held"));

    let ids = books.confirmed().await;
    books.sql(&format!("DELETE FROM orders.orders WHERE id = '{}'", ids.order)).await;
    expected.push((Kind::HoldWithoutOrder, order(ids.order), "hold sold, no such order"));
    expected.push((
        Kind::Money,
        order(ids.order),
        "no such order: captured 1000, given back 0, being given back 0, owes 0 ",
    ));

    let ids = books.confirmed().await;
    books
        .sql(&format!("UPDATE inventory.holds SET state = 'released' WHERE order_id = '{}'", ids.order))
        .await;
    books
        .sql(&format!("UPDATE inventory.products SET available = 10, sold = 0 WHERE id = '{}'", ids.product))
        .await;
    expected.push((Kind::UnitsSold, order(ids.order), "order CONFIRMED, hold released"));

    let ids = books.confirmed().await;
    books
        .sql(&format!("UPDATE inventory.holds SET quantities = '{{3}}' WHERE order_id = '{}'", ids.order))
        .await;
    books
        .sql(&format!("UPDATE inventory.products SET available = 7, sold = 3 WHERE id = '{}'", ids.product))
        .await;
    expected.push((Kind::HoldLines, order(ids.order), "the hold's lines are not the order's"));

    let ids = books.waiting().await;
    books.sql(&format!("DELETE FROM orders.orders WHERE id = '{}'", ids.order)).await;
    books
        .sql(&format!(
            "UPDATE inventory.holds SET outside = true, deadline = now() - interval '100 s' WHERE order_id = '{}'",
            ids.order
        ))
        .await;
    expected.push((Kind::OutsideOverdue, order(ids.order), "waiting 1"));

    let ids = books.confirmed().await;
    books.sql(&format!("UPDATE payments.captures SET refunded = 300 WHERE id = '{}'", ids.capture)).await;
    books.sql(&format!("UPDATE sandbox.charges SET refunded = 300 WHERE key = '{}'", ids.capture)).await;
    let figures = "CONFIRMED: captured 1000, given back 300, being given back 0, owes 1000 USD";
    expected.push((Kind::Money, order(ids.order), figures));

    let ids = books.confirmed().await;
    books
        .sql(&format!(
            "INSERT INTO payments.captures (id, order_id, state, amount, currency, method, deadline, created_at)
             VALUES (gen_random_uuid(), '{}', 'CAPTURED', 70, 'USD', 'PAYPAL', now(), now())",
            ids.order
        ))
        .await;
    expected.push((Kind::Money, order(ids.order), "CONFIRMED: captured 1070"));
    expected.push((Kind::Provider, order(ids.order), "ours 70, given back 0; its 0"));

    let ids = books.confirmed().await;
    books.sql(&format!("UPDATE sandbox.charges SET amount = 900 WHERE key = '{}'", ids.capture)).await;
    expected.push((Kind::Provider, order(ids.order), "ours 1000, given back 0; its 900, given back 0"));

    let ids = books.confirmed().await;
    books
        .sql(&format!(
            "INSERT INTO sandbox.charges (key, order_id, amount, currency, method, state)
             VALUES (gen_random_uuid(), '{}', 55, 'USD', 'PAYPAL', 'CHARGED')",
            ids.order
        ))
        .await;
    expected.push((
        Kind::Provider,
        order(ids.order),
        "of 55, given back 0, is not in our books; charged 2 times",
    ));

    let ids = books.waiting().await;
    books
        .sql(&format!(
            "UPDATE orders.orders SET deadline = now() - interval '90 s' WHERE id = '{}'",
            ids.order
        ))
        .await;
    expected.push((Kind::Stuck, order(ids.order), "PENDING 9"));

    let ids = books.waiting().await;
    books
        .sql(&format!("UPDATE inventory.holds SET state = 'rejected' WHERE order_id = '{}'", ids.order))
        .await;
    books.sql(&format!("DELETE FROM inventory.waiters WHERE order_id = '{}'", ids.order)).await;
    books.sql(&format!("UPDATE inventory.products SET waiting = 0 WHERE id = '{}'", ids.product)).await;
    expected.push((Kind::Unheard, order(ids.order), "order PENDING, hold rejected"));

    let ids = books.cancelled().await;
    let calling = "state = 'CALLING', refunded = 0, first_called_at = now() - interval '20 min'";
    books.sql(&format!("UPDATE payments.captures SET {calling} WHERE id = '{}'", ids.capture)).await;
    expected.push((Kind::ForgottenCall, order(ids.order), "nothing is due that looks at it again"));
    expected.push((Kind::UnknownOutcome, order(ids.order), "1 captures and 0 refunds for over 15 min"));

    let ids = books.cancelled().await;
    books
        .sql(&format!(
            "UPDATE payments.captures SET refunded = 0, refunding = amount WHERE id = '{}'",
            ids.capture
        ))
        .await;
    books.sql(&format!("UPDATE sandbox.charges SET refunded = 0 WHERE key = '{}'", ids.capture)).await;
    books
        .sql(&format!(
            "INSERT INTO payments.refunds (id, capture_id, order_id, state, amount, cause, created_at)
             VALUES (gen_random_uuid(), '{}', '{}', 'FAILED', {TOTAL}, 'void', now())",
            ids.capture, ids.order
        ))
        .await;
    expected.push((Kind::NeedsHuman, order(ids.order), "refunds given up: 1"));

    let ids = books.cancelled().await;
    let partition = topics::partition_of(&topics::key(ids.order), PARTITIONS);
    books.sql(&format!("UPDATE payments.captures SET refunded = 0 WHERE id = '{}'", ids.capture)).await;
    books.sql(&format!("UPDATE sandbox.charges SET refunded = 0 WHERE key = '{}'", ids.capture)).await;
    books
        .sql(&format!(
            "INSERT INTO payments.parked (topic, partition, \"offset\", key, logged_at, record, cause, detail)
             VALUES ('payment.commands', {partition}, 1, '{}', now(), '', 'decode', '')",
            ids.order
        ))
        .await;
    expected.push((Kind::Parked, order(ids.order), "records of it are parked in payments"));

    let lane = "SELECT id, 1, 1, '', 0, now() - interval '90 s' FROM orders.lane WHERE partition = 2";
    books
        .sql(&format!("INSERT INTO orders.outbox (lane, seq, format, records, size, created_at) {lane}"))
        .await;
    expected.push((Kind::Outbox, Subject::Lane("orders", 2), "the oldest row of its outbox waits for 9"));

    let far = "gen_random_uuid(), 3, now() - interval '70 s', gen_random_uuid(), 1";
    books.sql(&format!("INSERT INTO payments.deferred SELECT {far}")).await;
    expected.push((Kind::Lane, Subject::Lane("payments", 3), "1 reminders are overdue"));

    let report = books.pass().await;
    let mut found = by_subject(&report);
    for (kind, subject, figures) in &expected {
        let finding = found.remove(&(*kind, *subject));
        let finding =
            finding.unwrap_or_else(|| panic!("{} of {subject} is missing in:\n{report}", kind.name()));
        assert!(finding.what.contains(figures), "{finding} does not say {figures:?}");
        let repair = match (kind, subject) {
            (Kind::Parked, Subject::Order(id)) => {
                format!("mambogo dlq redrive --by NAME --service payments --key {id}")
            }
            (Kind::NeedsHuman, Subject::Order(id)) => format!("mambogo orders retry {id} --by NAME"),
            (Kind::Outbox, _) => "mambogo relay".to_owned(),
            (Kind::Lane, _) => "mambogo work payments".to_owned(),
            (_, Subject::Order(id)) => format!("mambogo replay --topic all --key {id}"),
            (_, Subject::Product(id)) => format!("mambogo replay --topic inventory.events --key {id}"),
            (_, Subject::Lane(..)) => unreachable!(),
        };
        assert_eq!(finding.repair, repair);
    }
    assert!(found.is_empty(), "said and not put in: {found:#?}");
    let said: std::collections::BTreeSet<Kind> = expected.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(said.len(), Kind::ALL.len(), "every kind is put in");
    assert!(report.has_drift());
}

#[tokio::test]
async fn a_new_order_is_found_by_index_within_seconds_and_forgotten_when_put_right() {
    let mut books = Books::open().await;
    books.confirmed().await;
    let mut auditor = books.auditor();
    auditor.tick().await.unwrap();
    assert_eq!(auditor.looked(), 0, "what was there is left to the passes");
    let ids = books.confirmed().await;
    let refunded = |amount: i64| {
        format!("UPDATE payments.captures SET refunded = {amount} WHERE id = '{}'", ids.capture)
    };
    books.sql(&refunded(300)).await;
    let kinds = async |auditor: &mut Auditor| {
        auditor.tick().await.unwrap();
        auditor.standing().iter().map(|finding| (finding.kind, finding.subject)).collect::<Vec<_>>()
    };
    let order = Subject::Order(ids.order);
    testbed::eventually("its money is a drift", async || {
        kinds(&mut auditor).await == [(Kind::Money, order), (Kind::Provider, order)]
    })
    .await;
    books.sql(&refunded(0)).await;
    testbed::eventually("it is put right", async || kinds(&mut auditor).await.is_empty()).await;
    books.sql(&refunded(1)).await;
    kinds(&mut auditor).await;
    assert!(
        kinds(&mut auditor).await.is_empty(),
        "an order is looked at when it is new, and then by the passes"
    );
}

#[tokio::test]
async fn what_is_on_its_way_is_not_said_and_the_lane_that_does_not_hear_it_is() {
    let mut books = Books::open().await;
    let ids = books.cancelled().await;
    books.sql(&format!("UPDATE payments.captures SET refunded = 0 WHERE id = '{}'", ids.capture)).await;
    books.sql(&format!("UPDATE sandbox.charges SET refunded = 0 WHERE key = '{}'", ids.capture)).await;
    // a record that orders has sent, and payments has not taken: it may be the void
    let partition = topics::partition_of(&topics::key(ids.order), PARTITIONS);
    let sent = format!("'{{\"payment.commands/{partition}\": 1}}'");
    books.sql(&format!("UPDATE orders.lane SET sent = {sent} WHERE partition = {partition}")).await;
    let report = books.pass().await;
    let lanes: Vec<_> = report.drift.iter().map(|finding| (finding.kind, finding.subject)).collect();
    assert_eq!(lanes, [(Kind::Lane, Subject::Lane("payments", partition))], "{report}");
    assert_eq!(report.drift[0].what, format!("has taken 0 of 1 records of lane orders/{partition}"));
    assert_eq!(report.unproved.len(), 1, "{report}");
    // it is taken, and nothing comes of it
    let heard = format!(
        "jsonb_build_object((SELECT id FROM orders.lane WHERE partition = {partition}), '{{\"sequence\": {{\"last\": 1}}}}'::jsonb)"
    );
    books.sql(&format!("UPDATE payments.lane SET heard = {heard} WHERE partition = {partition}")).await;
    let report = books.pass().await;
    let found: Vec<_> = report.drift.iter().map(|finding| (finding.kind, finding.subject)).collect();
    assert_eq!(found, [(Kind::Money, Subject::Order(ids.order))], "{report}");
}
