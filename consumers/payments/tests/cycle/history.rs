//! Captures that leave for the history and come back, on real Postgres: who may leave, and that a late word of the provider
//! or an operator finds its capture, so that no money is taken or given back twice, nor forgotten.

use super::{notices::taken, *};
use harness::config::HistoryConfig;

const DAYS: i64 = 24;

async fn moving(database: &Database) -> Worker {
    let mut worker = Worker::start(database).await;
    let after = Duration::from_secs(9 * 24 * 60 * 60);
    worker.service = worker.service.with_history(HistoryConfig { after, rows: 100 });
    worker
}

impl Worker {
    /// A walk of the lane, from its beginning.
    async fn age(&mut self, days: i64) {
        self.skip_hours(days * DAYS);
        let after = Duration::from_secs(9 * 24 * 60 * 60);
        let sandbox = Sandbox::connect("postgres://nobody@127.0.0.1:1/none", 1).unwrap();
        let fresh = Payments::new(Arc::new(sandbox), CallLimits::default(), Retry::default(), Duration::ZERO)
            .with_history(HistoryConfig { after, rows: 100 });
        // months are made by the database's clock: this month and the next
        self.connection
            .execute("SELECT make_history(now()), make_history(now() + interval '1 month')")
            .await
            .unwrap();
        let mut tx = self.connection.begin().await.unwrap();
        let context = Self::context(&mut tx, self.ahead).await;
        fresh.age_in_tx(&mut tx, &context, PARTITION).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn hot(&mut self) -> i64 {
        self.number("SELECT count(*) FROM payments.captures").await
    }

    async fn moved(&mut self) -> (i64, i64) {
        (
            self.number("SELECT count(*) FROM payments.capture_history").await,
            self.number("SELECT count(*) FROM payments.refund_history").await,
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn captures_at_their_end_leave_and_a_late_word_finds_them() {
    let database = Database::create().await;
    let mut worker = moving(&database).await;
    let [paid, declined, half, lost, void_first] = [
        ("CREDIT_CARD", 100),
        ("SANDBOX_DECLINE", 200),
        ("PAYPAL", 300),
        ("SANDBOX_TIMEOUT_CHARGED", 400),
        ("CREDIT_CARD", 500),
    ]
    .map(|(method, amount)| capture(method, amount));
    let all = [&paid, &declined, &half, &lost].map(|it| it.clone().into());
    worker.batch(all.into()).await;
    let part = EffectId(Uuid::from_u128(3));
    worker.batch(vec![refund(&half, part, Some(50)), void(&void_first)]).await;
    worker.age(1).await;
    assert_eq!(worker.moved().await, (0, 0), "nothing is old enough");
    worker.age(10).await;
    assert_eq!((worker.moved().await, worker.hot().await), ((4, 1), 1), "the one not known stays");

    // asked for again, told of again, refunded once more, voided: each finds its row
    let before = worker.number("SELECT sum(calls) FROM sandbox.charges").await;
    worker
        .batch(vec![
            paid.clone().into(),
            taken(&paid),
            void_first.clone().into(),
            refund(&half, part, Some(50)),
        ])
        .await;
    assert_eq!(
        worker.number("SELECT sum(calls) FROM sandbox.charges").await,
        before,
        "nothing is called again"
    );
    assert_eq!((worker.moved().await, worker.hot().await), ((1, 0), 4), "what is named comes back");
    worker.batch(vec![refund(&half, EffectId(Uuid::from_u128(4)), Some(60)), void(&paid)]).await;
    worker.come_to_rest().await;
    let refunded = "SELECT sum(refunded) FROM payments.every_capture WHERE state = 'CAPTURED'";
    assert_eq!(worker.number(refunded).await, 100 + 50 + 60);

    worker.age(12).await;
    assert_eq!((worker.moved().await, worker.hot().await), ((5, 3), 0), "all of it is settled by now");
    let differences =
        "SELECT count(*) FROM payments.every_capture c FULL JOIN sandbox.charges s ON s.key = c.id
        WHERE (coalesce(c.state, '') = 'CAPTURED') <> (coalesce(s.state, '') = 'CHARGED')
           OR (c.state = 'CAPTURED' AND (c.amount, c.refunded) <> (s.amount, s.refunded))";
    assert_eq!(worker.number(differences).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_that_comes_late_to_a_capture_that_has_left_is_told_and_undone() {
    let database = Database::create().await;
    let mut worker = moving(&database).await;
    let order = capture("SANDBOX_DECLINE", 700);
    worker.batch(vec![order.clone().into()]).await;
    worker.age(10).await;
    assert_eq!((worker.moved().await, worker.hot().await), ((1, 0), 0));
    // the provider took the money after all, and says so ten days later
    worker.batch(vec![taken(&order)]).await;
    assert_eq!(worker.hot().await, 1);
    assert_eq!(worker.answers(), ["declined: payment_declined", "captured 700"]);
    let undo = worker.number("SELECT count(*) FROM payments.refunds WHERE cause = 'voided'").await;
    assert_eq!(undo, 1, "and it goes back");
    worker.age(10).await;
    assert_eq!(worker.hot().await, 1, "as long as that is under way it stays");
}
