//! Orders that leave for the history and come back, against a real Postgres: who may leave, what a late record finds, and
//! what is left of an order whose month was dropped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod story;

use harness::{
    config::HistoryConfig,
    record::{Delivery, Out, Rejection, Verdict},
    service::Service,
};
use orders_worker::Orders;
use schemas::{
    ids::{self, EffectId},
    messages::{OrderCommand, PaymentCaptured},
    time::Timestamp,
    topics::{self, Topic},
};
use sqlx::{Connection, Executor, PgConnection};
use std::time::Duration;
use story::{
    PARTITION, START, cancel, captured, context, deadline_passed, delivery, failed, order_id, other_body,
    refund, reserved, submit,
};
use testbed::Database;
use uuid::Uuid;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Ten days after the orders: old enough for `AFTER`.
const LATER: i64 = 10 * DAY_MS;
const AFTER: HistoryConfig = HistoryConfig { after: Duration::from_secs(9 * 24 * 60 * 60), rows: 100 };

struct Shop {
    database: Database,
    connection: PgConnection,
    admin: PgConnection,
}

impl Shop {
    async fn open() -> Self {
        let database = Database::create().await;
        let connection = database.connect("orders").await;
        let admin = database.connect("admin").await;
        Self { database, connection, admin }
    }

    /// One batch as the machine runs it: what each record came to, and how many records were said.
    async fn run(
        &mut self,
        at: i64,
        commands: Vec<(u128, OrderCommand)>,
    ) -> (Vec<Result<Verdict, Rejection>>, usize) {
        let (service, context, mut out) = (Orders::new(), context(at), Out::default());
        let batch: Vec<Delivery<OrderCommand>> =
            commands.into_iter().enumerate().map(|(i, (n, it))| delivery(n, at + i as i64, it)).collect();
        let mut tx = self.connection.begin().await.unwrap();
        let mut rows = service.load_in_tx(&mut tx, &context, &batch, &()).await.unwrap();
        let verdicts = batch.iter().map(|it| service.decide(&context, &mut rows, it, &mut out)).collect();
        service.save_in_tx(&mut tx, &context, rows).await.unwrap();
        tx.commit().await.unwrap();
        (verdicts, out.said().len())
    }

    async fn confirmed(&mut self, n: u128) {
        self.run(1, vec![(n, submit(n)), (n, reserved(n)), (n, captured(n))]).await;
    }

    async fn cancelled(&mut self, n: u128) {
        self.run(1, vec![(n, submit(n)), (n, cancel(n))]).await;
    }

    /// A walk of the lane, from its beginning, in one transaction.
    async fn age(&mut self, at: i64) {
        let service = Orders::with_history(AFTER);
        let lanes = [(PARTITION, Timestamp(START))];
        service.is_due(&mut self.connection, &lanes).await.unwrap();
        let mut tx = self.connection.begin().await.unwrap();
        service.age_in_tx(&mut tx, &context(at), PARTITION).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn drop_month(&mut self) {
        let drop = format!("SELECT orders.drop_history(to_timestamp({}))", START / 1_000);
        self.admin.execute(sqlx::AssertSqlSafe(drop)).await.unwrap();
    }

    async fn ids(&mut self, table: &str) -> Vec<Uuid> {
        let read = format!("SELECT id FROM orders.{table} ORDER BY id");
        sqlx::query_scalar(sqlx::AssertSqlSafe(read)).fetch_all(&mut self.admin).await.unwrap()
    }

    /// Orders where they are worked on, those in the history, and those whose keys are kept.
    async fn places(&mut self) -> [Vec<Uuid>; 3] {
        [self.ids("orders").await, self.ids("history").await, self.ids("kept_key").await]
    }
}

fn ids_of(orders: &[u128]) -> Vec<Uuid> {
    let mut ids: Vec<Uuid> = orders.iter().map(|n| order_id(*n).0).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn what_is_settled_and_old_leaves_and_all_else_stays() {
    let mut shop = Shop::open().await;
    for n in [1, 2, 3] {
        shop.confirmed(n).await;
    }
    shop.cancelled(4).await;
    shop.run(1, vec![(5, submit(5))]).await;
    shop.run(1, vec![(6, submit(6)), (6, reserved(6))]).await;
    // one that somebody has to look at, one that changed a day ago, one whose records are parked
    shop.run(2, vec![(1, failed(1))]).await;
    shop.run(LATER - DAY_MS, vec![(2, refund(2, 9, 100))]).await;
    shop.confirmed(7).await;
    sqlx::query(
        "INSERT INTO parked (topic, partition, \"offset\", key, logged_at, record, cause, detail)
         VALUES ($1, $2, 7, $3, now(), '', 'test', '')",
    )
    .bind(Topic::OrderCommands.name())
    .bind(PARTITION)
    .bind(topics::key(order_id(7).0).to_vec())
    .execute(&mut shop.connection)
    .await
    .unwrap();

    shop.age(8 * DAY_MS).await;
    assert!(shop.places().await[1].is_empty(), "nothing is old enough");
    shop.age(LATER).await;
    let moved = ids_of(&[3, 4]);
    assert_eq!(shop.places().await, [ids_of(&[1, 2, 5, 6, 7]), moved.clone(), moved]);
    // ten days later the refund is old, too
    shop.age(2 * LATER).await;
    assert_eq!(shop.places().await[1], ids_of(&[2, 3, 4]));
    let view = shop.ids("every_order").await;
    assert_eq!(view, ids_of(&[1, 2, 3, 4, 5, 6, 7]), "each stands in one place");
}

#[tokio::test]
async fn a_walk_is_bounded_and_goes_on_over_what_stays() {
    let mut shop = Shop::open().await;
    let all: Vec<u128> = (1..=10).collect();
    for n in &all {
        if n % 2 == 0 {
            shop.confirmed(*n).await
        } else {
            shop.run(1, vec![(*n, submit(*n))]).await;
        }
    }
    let service = Orders::with_history(HistoryConfig { rows: 3, ..AFTER });
    let lanes = [(PARTITION, Timestamp(START))];
    let mut steps = 0;
    while service.is_due(&mut shop.connection, &lanes).await.unwrap() && steps < 10 {
        let mut tx = shop.connection.begin().await.unwrap();
        service.age_in_tx(&mut tx, &context(LATER), PARTITION).await.unwrap();
        tx.commit().await.unwrap();
        steps += 1;
    }
    // the deadline mark stands at the start, so the orders are due as well: only moving ends
    assert_eq!(shop.ids("history").await, ids_of(&[2, 4, 6, 8, 10]));
}

#[tokio::test]
async fn a_move_that_does_not_commit_moves_nothing() {
    let mut shop = Shop::open().await;
    shop.confirmed(1).await;
    let service = Orders::with_history(AFTER);
    service.is_due(&mut shop.connection, &[(PARTITION, Timestamp(START))]).await.unwrap();
    let mut tx = shop.connection.begin().await.unwrap();
    service.age_in_tx(&mut tx, &context(LATER), PARTITION).await.unwrap();
    let moved: i64 = sqlx::query_scalar("SELECT count(*) FROM history").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(moved, 1);
    // the process dies here, or the fence refuses it
    tx.rollback().await.unwrap();
    assert_eq!(shop.places().await, [ids_of(&[1]), vec![], vec![]]);
}

#[tokio::test]
async fn a_late_record_finds_its_order_and_nothing_is_lost() {
    let mut shop = Shop::open().await;
    shop.confirmed(1).await;
    shop.cancelled(2).await;
    shop.confirmed(3).await;
    shop.age(LATER).await;
    assert!(shop.places().await[0].is_empty());

    let late = vec![(1, submit(1)), (1, other_body(1)), (1, captured(1)), (1, deadline_passed(1))];
    let (verdicts, said) = shop.run(LATER, late).await;
    let again = Ok(Verdict::AlreadyApplied);
    assert_eq!(verdicts, [again.clone(), Ok(Verdict::Executed), again.clone(), again]);
    assert_eq!(said, 0, "a key stands for one order, wherever its row lies");

    // the provider took the money of an order that was cancelled ten days ago
    let (_, said) = shop.run(LATER + 10, vec![(2, captured(2)), (2, captured(2))]).await;
    assert_eq!(said, 2, "it goes back once, and everybody is told");
    let (_, said) = shop.run(LATER + 20, vec![(3, refund(3, 5, 300))]).await;
    assert_eq!(said, 2, "an operator's refund");
    assert_eq!(
        shop.places().await,
        [ids_of(&[1, 2, 3]), vec![], ids_of(&[1, 2, 3])],
        "keys stay in any case"
    );

    shop.age(LATER + 30).await;
    assert_eq!(shop.ids("history").await, ids_of(&[1]), "what changed has to grow old again");
    shop.age(2 * LATER + 30).await;
    let refunded: i64 = sqlx::query_scalar("SELECT refunded FROM orders.history WHERE id = $1")
        .bind(order_id(3).0)
        .fetch_one(&mut shop.admin)
        .await
        .unwrap();
    assert_eq!((shop.places().await, refunded), ([vec![], ids_of(&[1, 2, 3]), ids_of(&[1, 2, 3])], 300));
}

#[tokio::test]
async fn the_mover_and_a_repeat_in_one_batch_leave_one_order() {
    let mut shop = Shop::open().await;
    shop.confirmed(1).await;
    shop.age(LATER).await;
    let (service, context, mut out) = (Orders::with_history(AFTER), context(LATER), Out::default());
    let batch = [delivery(1, 50, submit(1))];
    let mut tx = shop.connection.begin().await.unwrap();
    let mut rows = service.load_in_tx(&mut tx, &context, &batch, &()).await.unwrap();
    service.decide(&context, &mut rows, &batch[0], &mut out).unwrap();
    service.save_in_tx(&mut tx, &context, rows).await.unwrap();
    service.age_in_tx(&mut tx, &context, PARTITION).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(shop.places().await, [vec![], ids_of(&[1]), ids_of(&[1])]);
}

#[tokio::test]
async fn when_the_month_has_left_the_key_still_stands_for_its_order() {
    let mut shop = Shop::open().await;
    shop.confirmed(1).await;
    shop.cancelled(2).await;
    shop.age(LATER).await;
    shop.drop_month().await;
    let keys = ids_of(&[1, 2]);
    assert_eq!(shop.places().await, [vec![], vec![], keys.clone()]);

    let (verdicts, said) = shop
        .run(
            2 * LATER,
            vec![
                (1, submit(1)),
                (1, other_body(1)),
                (1, captured(1)),
                (1, cancel(1)),
                (1, refund(1, 5, 1)),
                (2, cancel(2)),
            ],
        )
        .await;
    let (again, refused) = (Ok(Verdict::AlreadyApplied), Ok(Verdict::Executed));
    assert_eq!(verdicts, [again.clone(), refused.clone(), again.clone(), refused.clone(), refused, again]);
    assert_eq!((said, shop.ids("orders").await), (0, Vec::new()), "no second order");

    // money that came for them, not theirs to keep, still goes back: by the one id of its undo
    let stray = EffectId(Uuid::from_u128(77));
    let foreign = PaymentCaptured { order_id: order_id(1), capture_id: stray, amount: 5 };
    let (context, mut out) = (context(2 * LATER), Out::default());
    let batch = [delivery(1, 60, foreign.into()), delivery(2, 61, captured(2))];
    let mut rows = Orders::new().load_in_tx(&mut shop.connection, &context, &batch, &()).await.unwrap();
    for it in &batch {
        assert_eq!(Orders::new().decide(&context, &mut rows, it, &mut out), Ok(Verdict::Executed));
    }
    let undo = |n: u128, capture| {
        ids::message_id(order_id(n).0, &format!("refund-payment-{}", ids::undo_of(capture)))
    };
    let said: Vec<_> = out.said().iter().map(|it| it.outgoing.message).collect();
    assert_eq!(said, [undo(1, stray), undo(2, story::capture_id(2))]);

    let (verdicts, _) = shop.run(2 * LATER, vec![(1, failed(1))]).await;
    assert_eq!(verdicts[0].as_ref().unwrap_err().cause, "illegal_transition", "people have to look at it");
    // months come back for a row that needs them
    shop.confirmed(3).await;
    shop.age(3 * LATER).await;
    assert_eq!(shop.ids("history").await, ids_of(&[3]));
}

#[tokio::test]
async fn the_history_has_the_columns_of_its_table() {
    let mut shop = Shop::open().await;
    for (schema, table, history) in [
        ("orders", "orders", "history"),
        ("orders", "orders", "every_order"),
        ("inventory", "holds", "hold_history"),
        ("payments", "captures", "capture_history"),
    ] {
        let mut columns = async |table: &str| -> Vec<(String, String)> {
            sqlx::query_as(
                "SELECT column_name::text, data_type::text FROM information_schema.columns
                 WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position",
            )
            .bind(schema)
            .bind(table)
            .fetch_all(&mut shop.admin)
            .await
            .unwrap()
        };
        assert_eq!(
            columns(table).await,
            columns(history).await,
            "rows are moved as they are: {schema}.{history}"
        );
    }
}

#[tokio::test]
async fn services_make_months_and_drop_none() {
    let mut shop = Shop::open().await;
    let mut ask = async |sql: &str| shop.connection.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.err();
    assert!(ask("SELECT make_history('2031-01-01')").await.is_some(), "not years ahead");
    assert!(ask("SELECT drop_history(now())").await.is_some());
    for schema in ["orders", "inventory", "payments"] {
        let mut service = shop.database.connect(schema).await;
        for _ in 0..2 {
            service.execute("SELECT make_history('2023-11-05'), make_history(now())").await.unwrap();
        }
    }
}
