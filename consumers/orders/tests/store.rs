//! The service against a real Postgres: what is saved is loaded again, updates are HOT, deadlines come due.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod story;

use harness::{
    record::{Delivery, Out},
    service::{Context, Service},
};
use orders_worker::{Orders, decide::Rows, due, tally::Tally};
use saga::Order;
use schemas::{
    ids::{OrderId, ProductId},
    messages::{OrderCommand, OrderStatus, PricedLine, SubmitOrder},
    time::Timestamp,
};
use sqlx::{Connection, Executor, PgConnection, Row};
use story::{
    PARTITION, START, cancel, captured, context, deadline_passed, delivery, done, failed, order_id, refund,
    reserved, retry, submit, terms,
};
use testbed::{Database, eventually};
use uuid::Uuid;

async fn load(connection: &mut PgConnection, batch: &[Delivery<OrderCommand>]) -> Rows {
    Orders::new().load_in_tx(connection, &context(1), batch, &()).await.unwrap()
}

fn decide_all(context: &Context, rows: &mut Rows, batch: &[Delivery<OrderCommand>]) {
    let mut out = Out::default();
    for delivery in batch {
        Orders::new().decide(context, rows, delivery, &mut out).unwrap();
    }
}

/// One batch as the machine runs it; what was counted.
async fn run(connection: &mut PgConnection, at: i64, batch: &[Delivery<OrderCommand>]) -> Tally {
    let context = context(at);
    let mut tx = connection.begin().await.unwrap();
    let mut rows = load(&mut tx, batch).await;
    decide_all(&context, &mut rows, batch);
    let tally = Orders::new().save_in_tx(&mut tx, &context, rows).await.unwrap();
    tx.commit().await.unwrap();
    tally
}

async fn stored(connection: &mut PgConnection, n: u128) -> Order {
    let rows = load(connection, &[delivery(n, 0, reserved(n))]).await;
    rows.order(order_id(n)).unwrap().clone()
}

/// The state a batch comes to, and the state that is read back.
async fn round_trip(connection: &mut PgConnection, at: i64, n: u128, commands: Vec<OrderCommand>) -> Order {
    let batch: Vec<_> =
        commands.into_iter().enumerate().map(|(i, it)| delivery(n, at + i as i64, it)).collect();
    let mut rows = load(connection, &batch).await;
    decide_all(&context(at), &mut rows, &batch);
    let expected = rows.order(order_id(n)).unwrap().clone();
    run(connection, at, &batch).await;
    assert_eq!(stored(connection, n).await, expected);
    expected
}

#[tokio::test]
async fn what_is_saved_is_loaded_again_in_every_state() {
    let database = Database::create().await;
    let mut connection = database.connect("orders").await;
    let accepted = round_trip(&mut connection, 1, 1, vec![submit(1)]).await;
    assert_eq!(accepted.public.status, OrderStatus::Pending);
    let confirmed = round_trip(&mut connection, 2, 1, vec![reserved(1), captured(1)]).await;
    assert_eq!((confirmed.public.status, confirmed.public.version), (OrderStatus::Confirmed, 3));
    let busy = vec![cancel(1), refund(1, 5, 300), refund(1, 6, 1_000_000), failed(1)];
    let busy = round_trip(&mut connection, 9, 1, busy).await;
    assert_eq!((busy.public.refunded, busy.public.version, busy.needs_human.len()), (300, 6, 1));
    assert_eq!((busy.seen.cancels.len(), busy.seen.refunds.len()), (1, 2));

    let late = vec![submit(2), reserved(2), deadline_passed(2), captured(2)];
    let late = round_trip(&mut connection, 20, 2, late).await;
    assert_eq!((late.public.status, late.seen.undone.len()), (OrderStatus::Expired, 1));

    let line = |product| PricedLine {
        product_id: ProductId(Uuid::from_u128(product)),
        quantity: 10_000,
        unit_price: 1,
    };
    let widest = SubmitOrder {
        lines: (1..=100).map(line).collect(),
        total: 1_000_000,
        shipping_address: "É\u{1F680}'\"\\,{}".repeat(60),
        ..terms(3)
    };
    round_trip(&mut connection, 30, 3, vec![widest.into()]).await;
    assert_eq!(stored(&mut connection, 1).await, busy, "the others are as they were");
}

/// Case 44: the list of what needs a human is written with the order, and never says anything else than it.
#[tokio::test]
async fn what_needs_a_human_is_listed_until_it_is_done() {
    let database = Database::create().await;
    let mut connection = database.connect("orders").await;
    let mut audit = database.connect("audit").await;
    let mut listed = async || -> Vec<(Uuid, Uuid, String)> {
        let list = "SELECT order_id, effect_id, reason FROM orders.failed_effects ORDER BY order_id";
        sqlx::query_as(list).fetch_all(&mut audit).await.unwrap()
    };
    round_trip(&mut connection, 1, 1, vec![submit(1), cancel(1)]).await;
    assert_eq!(listed().await, []);
    round_trip(&mut connection, 10, 1, vec![failed(1)]).await;
    let effect = schemas::ids::undo_of(story::capture_id(1)).0;
    let entry = (order_id(1).0, effect, "nobody knows this product".to_owned());
    assert_eq!(listed().await, std::slice::from_ref(&entry));
    // what else happens to the order, and to others, leaves it there
    let tried = round_trip(&mut connection, 20, 1, vec![retry(1, 1), refund(1, 5, 1)]).await;
    assert_eq!(tried.actions.len(), 1);
    run(&mut connection, 21, &[delivery(2, 21, submit(2)), delivery(2, 22, cancel(2))]).await;
    assert_eq!(listed().await, [entry]);
    let tally = run(&mut connection, 30, &[delivery(1, 30, done(1))]).await;
    assert_eq!(tally.mended.len(), 1);
    assert_eq!(listed().await, []);
    let action = &stored(&mut connection, 1).await.actions[0];
    assert_eq!(action.result.unwrap().outcome, saga::ActionOutcome::Done);
    assert_eq!((action.by.as_str(), action.why.as_deref()), ("amina", Some("the bank answers again")));
}

#[tokio::test]
async fn a_batch_of_many_orders_keeps_each_ones_lines() {
    let database = Database::create().await;
    let mut connection = database.connect("orders").await;
    let order = |n: u128| {
        let line = |product: u128| PricedLine {
            product_id: ProductId(Uuid::from_u128(n * 100 + product)),
            quantity: 1,
            unit_price: 1,
        };
        let lines: Vec<_> = (0..=n % 5).map(line).collect();
        SubmitOrder { total: lines.len() as i64, lines, ..terms(n) }
    };
    let batch: Vec<_> = (1..=300).map(|n| delivery(n, n as i64, order(n).into())).collect();
    assert_eq!(run(&mut connection, 1, &batch).await.created, 300);
    let rows = load(&mut connection, &batch).await;
    for n in 1..=300 {
        assert_eq!(rows.order(order_id(n)).unwrap().public.lines, order(n).lines);
    }
    assert_eq!(run(&mut connection, 2, &batch).await, Tally::default(), "a second time changes nothing");
}

#[tokio::test]
async fn a_row_that_is_not_as_it_was_loaded_stops_the_batch() {
    let database = Database::create().await;
    let mut connection = database.connect("orders").await;
    let (orders, context) = (Orders::new(), context(1));
    let new = [delivery(1, 1, submit(1))];
    let mut early = load(&mut connection, &new).await;
    decide_all(&context, &mut early, &new);
    run(&mut connection, 1, &new).await;
    let error = orders.save_in_tx(&mut connection, &context, early).await.unwrap_err();
    assert!(error.to_string().contains("is there already"), "{error}");

    let next = [delivery(1, 2, reserved(1))];
    let mut stale = load(&mut connection, &next).await;
    decide_all(&context, &mut stale, &next);
    run(&mut connection, 2, &next).await;
    let error = orders.save_in_tx(&mut connection, &context, stale).await.unwrap_err();
    assert!(error.to_string().contains("not as it was loaded"), "{error}");
    assert_eq!(stored(&mut connection, 1).await.public.version, 2);
}

/// Waits for transactions of other tests that are older than ours: while one runs, no page gives its old rows back.
async fn seen_by_all(connection: &mut PgConnection) {
    let last: i64 = sqlx::query_scalar("SELECT pg_current_xact_id()::text::bigint")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    eventually("no transaction is older than ours", async || {
        let oldest = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint";
        sqlx::query_scalar::<_, i64>(oldest).fetch_one(&mut *connection).await.unwrap() > last
    })
    .await;
}

#[tokio::test]
async fn every_status_change_is_a_hot_update() {
    let database = Database::create().await;
    let mut connection = database.connect("orders").await;
    let all = |at: i64, command: fn(u128) -> OrderCommand| -> Vec<_> {
        (1..=400).map(|n| delivery(n, at + n as i64, command(n))).collect()
    };
    run(&mut connection, 1, &all(0, submit)).await;
    run(&mut connection, 2, &all(1_000, reserved)).await;
    seen_by_all(&mut connection).await;
    run(&mut connection, 3, &all(2_000, captured)).await;
    connection.execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    connection.execute("SELECT 1").await.unwrap();
    let row = sqlx::query(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = 'orders' AND relname = 'orders'",
    )
    .fetch_one(&mut database.connect("audit").await)
    .await
    .unwrap();
    let (updates, hot): (i64, i64) = (row.get(0), row.get(1));
    assert_eq!((updates, hot), (800, 800));
}

/// The roles' rights: the worker needs no more than its own schema, the edge can read what it wrote.
#[tokio::test]
async fn the_edge_reads_what_the_worker_wrote() {
    let database = Database::create().await;
    run(&mut database.connect("orders").await, 1, &[delivery(1, 1, submit(1))]).await;
    let status: String = sqlx::query_scalar("SELECT status FROM orders.orders WHERE id = $1")
        .bind(order_id(1).0)
        .fetch_one(&mut database.connect("edge").await)
        .await
        .unwrap();
    assert_eq!(status, "PENDING");
}

async fn due_now(connection: &mut PgConnection, now: i64, mark: i64) -> (Vec<OrderId>, Timestamp) {
    let (context, mut out) = (Context { now: Timestamp(now), ..context(0) }, Out::default());
    let mark =
        Orders::new().due_in_tx(connection, &context, PARTITION, Timestamp(mark), &mut out).await.unwrap();
    let orders = out.said().iter().map(|said| {
        assert_eq!((said.from, said.causation), (PARTITION, None));
        match OrderCommand::decode(&said.outgoing.payload).unwrap() {
            OrderCommand::DeadlinePassed(passed) => passed.order_id,
            other => panic!("{other:?}"),
        }
    });
    (orders.collect(), mark)
}

#[tokio::test]
async fn deadlines_between_mark_and_now_come_due_once_and_settled_ones_are_passed_over() {
    let database = Database::create().await;
    let mut connection = database.connect("orders").await;
    let with_deadline = |n: u128| SubmitOrder { deadline: Timestamp(START + 100 * n as i64), ..terms(n) };
    let submits: Vec<_> = (1..=4).map(|n| delivery(n, n as i64, with_deadline(n).into())).collect();
    run(&mut connection, 1, &submits).await;
    run(&mut connection, 2, &[delivery(2, 9, cancel(2))]).await;

    let (orders, mark) = due_now(&mut connection, START + 50, START).await;
    assert_eq!((orders, mark.0), (vec![], START + 50));
    let (orders, mark) = due_now(&mut connection, START + 300, START + 50).await;
    assert_eq!((orders, mark.0), (vec![order_id(1), order_id(3)], START + 300));
    let (orders, mark) = due_now(&mut connection, START + 399, mark.0).await;
    assert_eq!((orders, mark.0), (vec![], START + 399));
    let (orders, _) = due_now(&mut connection, START + 400, mark.0).await;
    assert_eq!(orders, vec![order_id(4)]);

    let is_due = async |connection: &mut PgConnection, lanes: &[(i32, i64)]| {
        let lanes: Vec<_> = lanes.iter().map(|(partition, mark)| (*partition, Timestamp(*mark))).collect();
        Orders::new().is_due(connection, &lanes).await.unwrap()
    };
    // these deadlines lie years behind the database's time
    assert!(is_due(&mut connection, &[(0, 0), (PARTITION, START + 399)]).await);
    assert!(!is_due(&mut connection, &[(0, 0), (PARTITION, START + 400)]).await);
    assert!(!is_due(&mut connection, &[(0, 0), (1, 0)]).await);
    assert!(!is_due(&mut connection, &[]).await);
}

#[tokio::test]
async fn more_deadlines_than_one_transaction_sees_to_leave_the_mark_at_the_last() {
    let database = Database::create().await;
    let mut connection = database.connect("orders").await;
    // 1,003 orders in one millisecond after 998 in others: ties are read to their end
    let first = due::AT_ONCE as u128 - 2;
    let deadline = |n: u128| if n <= first { START + 10_000 + n as i64 } else { START + 20_000 };
    let submits: Vec<_> = (1..=first + 1_003)
        .map(|n| SubmitOrder { deadline: Timestamp(deadline(n)), ..terms(n) })
        .chain([SubmitOrder { deadline: Timestamp(START + 20_001), ..terms(9_999) }])
        .enumerate()
        .map(|(at, submit)| Delivery { key: submit.order_id.0, ..delivery(1, at as i64, submit.into()) })
        .collect();
    run(&mut connection, 1, &submits).await;
    let (orders, mark) = due_now(&mut connection, START + 60_000, START).await;
    assert_eq!((orders.len() as u128, mark.0), (first + 1_003, START + 20_000));
    let (orders, mark) = due_now(&mut connection, START + 60_000, mark.0).await;
    assert_eq!((orders, mark.0), (vec![order_id(9_999)], START + 60_000));
}

/// The due index, not a scan, however much history there is.
#[tokio::test]
async fn deadlines_are_found_by_their_index() {
    let database = Database::create().await;
    let mut connection = database.connect("orders").await;
    let submits: Vec<_> = (1..=2_000).map(|n| delivery(n, n as i64, submit(n))).collect();
    run(&mut connection, 1, &submits).await;
    let mut admin = database.connect_admin().await;
    admin.execute("ANALYZE orders.orders").await.unwrap();
    let before = scans(&mut connection, &mut admin).await;
    assert_eq!(due_now(&mut connection, START + 59_000, START).await.0, vec![]);
    assert!(Orders::new().is_due(&mut connection, &[(PARTITION, Timestamp(START))]).await.unwrap());
    let after = scans(&mut connection, &mut admin).await;
    assert_eq!((after.0 - before.0, after.1 - before.1), (0, 2), "sequential scans, scans of orders_due");
}

/// Sequential scans of the table, scans of its due index.
async fn scans(connection: &mut PgConnection, admin: &mut PgConnection) -> (i64, i64) {
    connection.execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    connection.execute("SELECT 1").await.unwrap();
    let row = sqlx::query(
        "SELECT seq_scan, idx.idx_scan FROM pg_stat_user_tables JOIN pg_stat_user_indexes idx USING (relid)
         WHERE indexrelname = 'orders_due'",
    )
    .fetch_one(admin)
    .await
    .unwrap();
    (row.get(0), row.get(1))
}
