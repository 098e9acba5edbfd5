//! Whole cycles (A, calls, B) on real Postgres, with the sandbox and its ledger.
//!
//! On several threads, because a test's database is dropped by a thread that waits: a connection of the sandbox's that is
//! being opened must go on meanwhile, or the server waits for its log-in until that times out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "cycle/history.rs"]
mod history;
#[path = "cycle/notices.rs"]
mod notices;

use chassis::postgres::SessionLimits;
use harness::{
    record::{Delivery, Out, Outgoing, Verdict},
    service::{Context, Service},
};
use payments_worker::{Payments, calls::CallLimits, handler::Answered, retry::Retry, sandbox::Sandbox};
use schemas::{
    envelope::Envelope,
    ids::{self, EffectId, MessageId, OrderId},
    messages::{CapturePayment, OrderCommand, PaymentCommand, PaymentEvent, RefundPayment, VoidCapture},
    money::Currency,
    time::Timestamp,
    topics::Topic,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use testbed::Database;
use uuid::Uuid;

const PARTITION: i32 = 5;

/// A payments worker without the machine around it: the test is the machine.
struct Worker {
    service: Payments,
    connection: PgConnection,
    admin: PgConnection,
    said: Vec<Outgoing>,
    budget: Duration,
    /// By how many milliseconds this worker's time is ahead of the database's.
    ahead: i64,
}

impl Worker {
    async fn start(database: &Database) -> Self {
        Self::limited(database, CallLimits::default()).await
    }

    async fn limited(database: &Database, limits: CallLimits) -> Self {
        let sandbox = Sandbox::connect(&database.url("sandbox"), 4).unwrap();
        let retry = Retry { first: Duration::from_millis(20), ..Retry::default() };
        let budget = Duration::from_secs(10);
        let service = Payments::new(Arc::new(sandbox), limits, retry, budget);
        let session = SessionLimits::WORKER;
        let connection =
            chassis::postgres::connect(&database.url("payments"), "test", session).await.unwrap();
        Self {
            service,
            connection,
            admin: database.connect_admin().await,
            said: Vec::new(),
            budget,
            ahead: 0,
        }
    }

    /// The database's time, moved by what the test pretends has passed.
    async fn context(tx: &mut PgConnection, ahead: i64) -> Context {
        let row = sqlx::query("SELECT floor(extract(epoch FROM now()) * 1000)::bigint AS now")
            .fetch_one(tx)
            .await
            .unwrap();
        let now = Timestamp(row.get::<i64, _>("now") + ahead);
        Context { now, due_marks: BTreeMap::new() }
    }

    /// Transaction A and the calls; what a worker has done when it dies before B.
    async fn first_half(&mut self, batch: &[Delivery<PaymentCommand>]) -> Answered {
        let mut tx = self.connection.begin().await.unwrap();
        let context = Self::context(&mut tx, self.ahead).await;
        let intents = self.service.intend_in_tx(&mut tx, &context, batch).await.unwrap();
        tx.commit().await.unwrap();
        self.service.call_within(intents, self.budget).await
    }

    async fn second_half(&mut self, batch: &[Delivery<PaymentCommand>], outcomes: &Answered) -> Vec<Verdict> {
        let mut tx = self.connection.begin().await.unwrap();
        let context = Self::context(&mut tx, self.ahead).await;
        let mut rows = self.service.load_in_tx(&mut tx, &context, batch, outcomes).await.unwrap();
        let mut out = Out::default();
        let verdicts = batch
            .iter()
            .map(|delivery| self.service.decide(&context, &mut rows, delivery, &mut out).unwrap())
            .collect();
        let tally = self.service.save_in_tx(&mut tx, &context, rows).await.unwrap();
        tx.commit().await.unwrap();
        self.service.committed(tally);
        self.said.extend(out.said().iter().map(|said| said.outgoing.clone()));
        verdicts
    }

    async fn batch(&mut self, commands: Vec<PaymentCommand>) -> Vec<Verdict> {
        let batch = deliveries(commands);
        let outcomes = self.first_half(&batch).await;
        self.second_half(&batch, &outcomes).await
    }

    /// Sends what is due as commands, and takes them.
    async fn resume(&mut self) -> usize {
        let mut tx = self.connection.begin().await.unwrap();
        let context = Self::context(&mut tx, self.ahead).await;
        let mut out = Out::default();
        let mark = self
            .service
            .due_in_tx(&mut tx, &context, PARTITION, Timestamp::default(), &mut out)
            .await
            .unwrap();
        assert_eq!(mark, context.now);
        tx.commit().await.unwrap();
        let due: Vec<_> =
            out.said().iter().map(|said| PaymentCommand::decode(&said.outgoing.payload).unwrap()).collect();
        let count = due.len();
        if count > 0 {
            self.batch(due).await;
        }
        count
    }

    /// Until nothing is deferred any more.
    async fn come_to_rest(&mut self) {
        for _ in 0..2_000 {
            self.resume().await;
            if self.number("SELECT count(*) FROM payments.deferred").await == 0 {
                return;
            }
            self.skip_to_due().await;
        }
        panic!("never comes to rest");
    }

    /// Pretends that the next due time has come.
    async fn skip_to_due(&mut self) {
        let sql = "SELECT ceil(extract(epoch FROM coalesce(min(due_at), now()) - now()) * 1000)::bigint
                   FROM payments.deferred";
        self.ahead = self.ahead.max(self.number(sql).await);
    }

    fn skip_hours(&mut self, hours: i64) {
        self.ahead += hours * 3_600_000;
    }

    async fn number(&mut self, sql: &str) -> i64 {
        sqlx::query(AssertSqlSafe(format!("SELECT ({sql})::bigint")))
            .fetch_one(&mut self.admin)
            .await
            .unwrap()
            .get(0)
    }

    async fn states(&mut self) -> Vec<(String, i64)> {
        let rows = sqlx::query("SELECT state, refunded FROM payments.captures ORDER BY method, amount")
            .fetch_all(&mut self.admin)
            .await
            .unwrap();
        rows.iter().map(|row| (row.get("state"), row.get("refunded"))).collect()
    }

    /// Our books against the provider's: each thing once, and nothing on one side only.
    async fn audit(&mut self) {
        let differences = self
            .number(
                "SELECT count(*) FROM payments.captures c FULL JOIN sandbox.charges s ON s.key = c.id
                 WHERE (coalesce(c.state, '') = 'CAPTURED') <> (coalesce(s.state, '') = 'CHARGED')
                    OR (c.state = 'CAPTURED' AND (c.amount, c.refunded) <> (s.amount, s.refunded))
                    OR c.state IN ('CALLING', 'WAITING')",
            )
            .await;
        assert_eq!(differences, 0, "{:?}", self.states().await);
        let refused = self.number("SELECT coalesce(sum(refused), 0) FROM sandbox.charges").await;
        assert_eq!(refused, 0, "a key came with another request");
    }

    fn answers(&self) -> Vec<String> {
        let answers = self.said.iter().filter(|said| said.topic == Topic::OrderCommands);
        answers
            .map(|said| match OrderCommand::decode(&said.payload).unwrap() {
                OrderCommand::PaymentCaptured(answer) => format!("captured {}", answer.amount),
                OrderCommand::PaymentDeclined(answer) => format!("declined: {}", answer.reason),
                OrderCommand::EffectFailed(_) => "failed".to_owned(),
                OrderCommand::EffectDone(_) => "done".to_owned(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn facts(&self) -> Vec<String> {
        let facts = self.said.iter().filter(|said| said.topic == Topic::PaymentEvents);
        facts
            .map(|said| match PaymentEvent::decode(&said.payload).unwrap() {
                PaymentEvent::CaptureSettled(fact) => fact.outcome,
                PaymentEvent::RefundSettled(fact) => format!("gave back {}", fact.amount),
            })
            .collect()
    }
}

fn deliveries(commands: Vec<PaymentCommand>) -> Vec<Delivery<PaymentCommand>> {
    let delivery = |(offset, command)| {
        let message = MessageId(chassis::ids::random());
        let envelope =
            Envelope { message, causation: message, occurred_at: Timestamp(0), deadline: None, source: None };
        Delivery { partition: PARTITION, offset, key: Uuid::nil(), envelope, command, traceparent: None }
    };
    (0..).zip(commands).map(delivery).collect()
}

/// In an hour's time, as the real clock has it.
fn in_time() -> Timestamp {
    Timestamp(chassis::clock::Clock::system().now_millis()).plus(Duration::from_secs(3_600))
}

fn capture(method: &str, amount: i64) -> CapturePayment {
    let order_id = OrderId(chassis::ids::random());
    CapturePayment {
        order_id,
        capture_id: ids::effect_id(order_id, "capture"),
        amount,
        currency: Currency::USD,
        payment_method: method.to_owned(),
        deadline: in_time(),
    }
}

fn void(of: &CapturePayment) -> PaymentCommand {
    VoidCapture { order_id: of.order_id, capture_id: of.capture_id }.into()
}

fn refund(of: &CapturePayment, refund_id: EffectId, amount: Option<i64>) -> PaymentCommand {
    RefundPayment {
        order_id: of.order_id,
        capture_id: of.capture_id,
        refund_id,
        amount,
        reason: "operator".to_owned(),
    }
    .into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_comes_to_its_end() {
    let database = Database::create().await;
    let mut worker = Worker::start(&database).await;
    let methods = [
        ("CREDIT_CARD", "captured"),
        ("DEBIT_CARD", "captured"),
        ("PAYPAL", "captured"),
        ("BANK_TRANSFER", "captured"),
        ("SANDBOX_DECLINE", "declined: payment_declined"),
        ("SANDBOX_SLOW", "captured"),
        ("SANDBOX_TIMEOUT", "captured"),
        ("SANDBOX_TIMEOUT_CHARGED", "captured"),
        ("SANDBOX_FLAKY", "captured"),
        ("SANDBOX_REFUND_FLAKY", "captured"),
        ("SANDBOX_REFUND_FAILS", "captured"),
        ("CASH", "declined: payment_declined"),
    ];
    // 20,123: slow by 123 ms, flaky three times
    let commands = methods.iter().map(|(method, _)| capture(method, 20_123).into()).collect();
    worker.batch(commands).await;
    worker.come_to_rest().await;
    worker.audit().await;
    let mut answers = worker.answers();
    answers.sort();
    let mut expected: Vec<_> =
        methods.iter().map(|(_, end)| end.replace("captured", "captured 20123")).collect();
    expected.sort();
    assert_eq!(answers, expected);
    assert_eq!(worker.number("SELECT calls FROM sandbox.charges WHERE method = 'SANDBOX_FLAKY'").await, 4);
    assert_eq!(
        worker.number("SELECT calls FROM sandbox.charges WHERE method = 'SANDBOX_TIMEOUT_CHARGED'").await,
        2
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_between_a_and_b_is_redone_without_a_second_charge() {
    let database = Database::create().await;
    let (mut first, mut second) = (Worker::start(&database).await, Worker::start(&database).await);
    let batch = deliveries(
        ["CREDIT_CARD", "SANDBOX_TIMEOUT_CHARGED", "SANDBOX_DECLINE"].map(|m| capture(m, 500).into()).into(),
    );
    first.first_half(&batch).await;
    let outcomes = second.first_half(&batch).await;
    assert!(
        outcomes.outcomes.0.values().all(|heard| !heard.fresh),
        "the first owner's traces are not ours to remove"
    );
    second.second_half(&batch, &outcomes).await;
    second.come_to_rest().await;
    second.audit().await;
    assert_eq!(second.states().await.len(), 3);
    assert_eq!(second.number("SELECT max(calls) FROM sandbox.charges").await, 2);
    assert_eq!(second.facts(), ["CAPTURED", "CAPTURED", "DECLINED"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_owners_at_once_make_one_charge() {
    let database = Database::create().await;
    let (mut first, mut second) = (Worker::start(&database).await, Worker::start(&database).await);
    let batch = deliveries((0..50).map(|i| capture("CREDIT_CARD", 100 + i).into()).collect());
    // the frozen owner's transaction A is done when the new one begins; their calls meet at the provider
    first.batch(vec![capture("CREDIT_CARD", 99).into()]).await;
    first.first_half(&batch).await;
    let (_, outcomes) = tokio::join!(first.first_half(&batch), second.first_half(&batch));
    second.second_half(&batch, &outcomes).await;
    second.audit().await;
    assert_eq!(second.number("SELECT count(*) FROM sandbox.charges WHERE state = 'CHARGED'").await, 51);
    assert_eq!(second.number("SELECT sum(calls) FROM sandbox.charges").await, 151);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voids_before_with_during_and_after() {
    let database = Database::create().await;
    let mut worker = Worker::start(&database).await;
    let [before, with, during, after] =
        [101, 102, 103, 104].map(|amount| capture("SANDBOX_TIMEOUT_CHARGED", amount));
    worker.batch(vec![void(&before)]).await;
    worker.batch(vec![before.clone().into(), with.clone().into(), void(&with), after.clone().into()]).await;
    worker.batch(vec![during.clone().into()]).await;
    worker.batch(vec![void(&during), during.clone().into(), void(&during)]).await;
    worker.come_to_rest().await;
    worker
        .batch(vec![void(&after), refund(&after, ids::undo_of(after.capture_id), None), void(&after)])
        .await;
    worker.come_to_rest().await;
    worker.audit().await;
    let states = worker.states().await;
    let expected =
        [("VOIDED", 0), ("VOIDED", 0), ("CAPTURED", 103), ("CAPTURED", 104)].map(|(s, r)| (s.to_owned(), r));
    assert_eq!(states, expected);
    assert_eq!(
        worker.number("SELECT count(*) FROM sandbox.charges").await,
        2,
        "the others were never called"
    );
    assert_eq!(worker.number("SELECT count(*) FROM sandbox.refunds").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_its_deadline_nothing_is_called_that_was_not_begun() {
    let database = Database::create().await;
    let mut worker = Worker::limited(&database, CallLimits { concurrency: 1, ..CallLimits::default() }).await;
    let late = CapturePayment { deadline: Timestamp(1), ..capture("CREDIT_CARD", 1) };
    let begun = capture("SANDBOX_TIMEOUT_CHARGED", 2);
    let [running, unbegun] = [500, 501].map(|amount| capture("SANDBOX_SLOW", amount));
    worker.batch(vec![late.into(), begun.into()]).await;
    worker.budget = Duration::from_millis(100);
    worker.batch(vec![running.into(), unbegun.into()]).await;
    let waiting = worker.number("SELECT count(*) FROM payments.captures WHERE state = 'WAITING'").await;
    assert_eq!(waiting, 1, "one call at a time, and it took the whole budget");
    worker.budget = Duration::from_secs(10);
    worker.skip_hours(2);
    worker.come_to_rest().await;
    worker.audit().await;
    let states = worker.states().await;
    let expected = [("DECLINED", 0), ("CAPTURED", 0), ("DECLINED", 0), ("CAPTURED", 0)];
    assert_eq!(states, expected.map(|(s, r)| (s.to_owned(), r)));
    assert_eq!(worker.number("SELECT count(*) FROM sandbox.charges").await, 2);
    assert_eq!(worker.answers().iter().filter(|answer| *answer == "declined: expired").count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refunds_are_done_once_up_to_the_captured_amount() {
    let database = Database::create().await;
    let mut worker = Worker::start(&database).await;
    let flaky = capture("SANDBOX_REFUND_FLAKY", 1_003);
    let id = |name: &str| ids::effect_id(flaky.order_id, name);
    worker.batch(vec![flaky.clone().into()]).await;
    worker.batch(vec![refund(&flaky, id("a"), Some(400)), refund(&flaky, id("b"), Some(603))]).await;
    worker.batch(vec![refund(&flaky, id("a"), Some(400)), refund(&flaky, id("c"), Some(1))]).await;
    worker.come_to_rest().await;
    worker.audit().await;
    assert_eq!(worker.states().await, [("CAPTURED".to_owned(), 1_003)]);
    assert_eq!(worker.answers(), ["captured 1003", "failed"]);
    let mut facts = worker.facts();
    facts.sort();
    assert_eq!(facts, ["CAPTURED", "gave back 400", "gave back 603"]);
    assert_eq!(worker.number("SELECT count(*) FROM payments.refunds WHERE state = 'REFUSED'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_of_half_a_day_is_looked_up_and_never_called_again_for_nobody() {
    let database = Database::create().await;
    let mut worker = Worker::start(&database).await;
    let lost = capture("SANDBOX_TIMEOUT", 10);
    let charged = capture("SANDBOX_TIMEOUT_CHARGED", 20);
    worker.batch(vec![lost.clone().into(), charged.clone().into()]).await;
    worker.batch(vec![void(&lost), void(&charged)]).await;
    worker.skip_hours(13);
    worker.come_to_rest().await;
    worker.audit().await;
    assert_eq!(worker.states().await, [("VOIDED".to_owned(), 0), ("CAPTURED".to_owned(), 20)]);
    assert_eq!(worker.number("SELECT max(calls) FROM sandbox.charges").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_ledger_the_provider_is_unknown_and_nothing_is_lost() {
    let database = Database::create().await;
    let mut worker = Worker::start(&database).await;
    sqlx::query("ALTER TABLE sandbox.charges RENAME TO gone").execute(&mut worker.admin).await.unwrap();
    worker.batch(vec![capture("CREDIT_CARD", 5).into()]).await;
    assert_eq!(worker.states().await, [("CALLING".to_owned(), 0)]);
    assert!(worker.answers().is_empty());
    sqlx::query("ALTER TABLE sandbox.gone RENAME TO charges").execute(&mut worker.admin).await.unwrap();
    worker.come_to_rest().await;
    worker.audit().await;
    assert_eq!(worker.answers(), ["captured 5"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_is_found_in_its_partition_alone_a_thousand_at_once() {
    let database = Database::create().await;
    let mut worker = Worker::start(&database).await;
    worker.budget = Duration::ZERO;
    let commands = (0..1_500).map(|i| capture("SANDBOX_SLOW", 10_000 + i).into()).collect();
    worker.batch(commands).await;
    worker.budget = Duration::from_secs(10);
    let lanes = |partition| [(partition, Timestamp(0))];
    assert!(!worker.service.is_due(&mut worker.connection, &lanes(PARTITION + 1)).await.unwrap());
    let due = testbed::eventually;
    due("a deferred effect is due", async || {
        worker.service.is_due(&mut worker.connection, &lanes(PARTITION)).await.unwrap()
    })
    .await;
    assert!(!worker.service.is_due(&mut worker.connection, &lanes(PARTITION + 1)).await.unwrap());
    worker.skip_hours(2);
    worker.budget = Duration::ZERO;
    assert_eq!(worker.resume().await, 1_000);
    worker.audit_unfinished().await;
}

impl Worker {
    async fn audit_unfinished(&mut self) {
        // past their deadline by an hour: those that were never begun expired, and the 64 of each batch were begun
        let begun =
            self.number("SELECT count(*) FROM payments.captures WHERE first_called_at IS NOT NULL").await;
        assert!(begun <= 128, "{begun}");
        assert_eq!(self.number("SELECT count(*) FROM payments.captures").await, 1_500);
    }
}
