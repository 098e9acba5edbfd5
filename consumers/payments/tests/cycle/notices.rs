//! What the provider tells by itself, and what operators try again, over whole cycles on real Postgres.

use super::*;
use schemas::messages::{NoticeKind, ProviderNotice, ResumeEffect, RetryRefund};

/// The sandbox's own name for what has that key.
fn reference(key: EffectId) -> String {
    format!("sandbox-{}", key.0.simple())
}

fn notice(kind: NoticeKind, of: &CapturePayment, key: EffectId, amount: i64) -> PaymentCommand {
    ProviderNotice {
        order_id: of.order_id,
        event_id: format!("evt_{kind:?}_{key}"),
        kind,
        capture_id: of.capture_id,
        key,
        amount,
        currency: of.currency,
        reference: reference(key),
        reason: None,
    }
    .into()
}

pub(super) fn taken(of: &CapturePayment) -> PaymentCommand {
    notice(NoticeKind::Captured, of, of.capture_id, of.amount)
}

fn retry(of: &CapturePayment, refund_id: EffectId, action: u128) -> PaymentCommand {
    RetryRefund { order_id: of.order_id, refund_id, action_id: Uuid::from_u128(action) }.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_40_a_charge_whose_answer_was_lost_is_known_by_its_notice_and_called_no_more() {
    let database = Database::create().await;
    let mut worker = Worker::start(&database).await;
    let order = capture("SANDBOX_TIMEOUT_CHARGED", 900);
    worker.batch(vec![order.clone().into()]).await;
    assert!(worker.answers().is_empty(), "charged, and nobody knows");
    assert_eq!(worker.batch(vec![taken(&order)]).await, [Verdict::Executed]);
    worker.batch(vec![taken(&order), taken(&order)]).await;
    worker.come_to_rest().await;
    worker.audit().await;
    assert_eq!(worker.answers(), ["captured 900"]);
    assert_eq!(worker.facts(), ["CAPTURED"]);
    assert_eq!(worker.number("SELECT calls FROM sandbox.charges").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_40_a_notice_and_the_answer_in_one_batch_are_one_capture_whichever_is_first() {
    let database = Database::create().await;
    let mut worker = Worker::start(&database).await;
    let [first, last] = [901, 902].map(|amount| capture("SANDBOX_TIMEOUT_CHARGED", amount));
    worker.batch(vec![first.clone().into(), last.clone().into()]).await;
    // the second call brings the answer: in the very batch that brings the notice
    let resume =
        |of: &CapturePayment| ResumeEffect { order_id: of.order_id, effect_id: of.capture_id }.into();
    worker.batch(vec![taken(&first), resume(&first), resume(&last), taken(&last)]).await;
    worker.come_to_rest().await;
    worker.audit().await;
    assert_eq!(worker.answers(), ["captured 901", "captured 902"]);
    assert_eq!(worker.facts(), ["CAPTURED", "CAPTURED"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_41_money_taken_after_the_void_or_known_to_nobody_goes_back_once() {
    let database = Database::create().await;
    let mut worker = Worker::start(&database).await;
    let [late, lost] = [903, 904].map(|amount| capture("SANDBOX_TIMEOUT_CHARGED", amount));
    worker.batch(vec![late.clone().into(), lost.clone().into()]).await;
    worker.batch(vec![void(&late)]).await;
    // our books are those of before the other capture
    for table in ["captures WHERE id", "deferred WHERE effect_id"] {
        let forget = format!("DELETE FROM payments.{table} = $1");
        sqlx::query(AssertSqlSafe(forget)).bind(lost.capture_id.0).execute(&mut worker.admin).await.unwrap();
    }
    for _ in 0..3 {
        worker.batch(vec![taken(&late), taken(&lost)]).await;
    }
    worker.batch(vec![refund(&late, ids::undo_of(late.capture_id), None)]).await;
    worker.come_to_rest().await;
    worker.audit().await;
    let mut states = worker.states().await;
    states.sort();
    assert_eq!(states, [("CAPTURED".to_owned(), 903), ("CAPTURED".to_owned(), 904)]);
    assert_eq!(worker.number("SELECT count(*) FROM sandbox.refunds").await, 2);
    assert_eq!(worker.answers(), ["captured 903"], "the saga hears of what it asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_notice_three_times_before_the_answer_is_one_refund() {
    let database = Database::create().await;
    let mut worker = Worker::start(&database).await;
    // done by its fifth call; the notice of it comes before anybody has heard
    let order = capture("SANDBOX_REFUND_FLAKY", 1_004);
    let id = ids::effect_id(order.order_id, "a");
    worker.batch(vec![order.clone().into()]).await;
    worker.batch(vec![refund(&order, id, Some(400))]).await;
    worker.come_to_rest().await;
    let told = notice(NoticeKind::Refunded, &order, id, 400);
    worker.batch(vec![told.clone(), told.clone(), told]).await;
    worker.audit().await;
    assert_eq!(worker.facts(), ["CAPTURED", "gave back 400"]);
    assert_eq!(worker.states().await, [("CAPTURED".to_owned(), 400)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_44_a_refund_that_never_works_needs_a_human_whose_retry_is_done_once() {
    let database = Database::create().await;
    let mut worker = Worker::start(&database).await;
    let order = capture("SANDBOX_REFUND_FAILS", 700);
    worker.batch(vec![order.clone().into(), void(&order)]).await;
    assert_eq!(worker.answers(), ["declined: voided"]);
    let order = capture("SANDBOX_REFUND_FAILS", 700);
    let undone = ids::undo_of(order.capture_id);
    worker.batch(vec![order.clone().into()]).await;
    worker.batch(vec![void(&order)]).await;
    worker.come_to_rest().await;
    assert_eq!(worker.number("SELECT count(*) FROM payments.refunds WHERE state = 'FAILED'").await, 1);
    assert_eq!(worker.number("SELECT refunding FROM payments.captures WHERE state = 'CAPTURED'").await, 700);
    assert_eq!(worker.answers().last().map(String::as_str), Some("failed"));
    let calls = worker.number("SELECT sum(calls) FROM sandbox.refunds").await;
    let reminder = ResumeEffect { order_id: order.order_id, effect_id: undone };
    worker.batch(vec![reminder.into(), void(&order)]).await;
    worker.come_to_rest().await;
    assert_eq!(
        worker.number("SELECT sum(calls) FROM sandbox.refunds").await,
        calls,
        "nothing wakes it by accident"
    );
    // an operator does, while it still fails
    worker.batch(vec![retry(&order, undone, 1)]).await;
    worker.come_to_rest().await;
    assert_eq!(worker.number("SELECT failures FROM payments.refunds").await, 2);
    worker.batch(vec![retry(&order, undone, 1)]).await;
    assert_eq!(worker.number("SELECT count(*) FROM payments.refunds WHERE state = 'FAILED'").await, 1);
    // somebody mends the provider; the worker dies between A and B of the next action
    sqlx::query("UPDATE sandbox.charges SET method = 'CREDIT_CARD'")
        .execute(&mut worker.admin)
        .await
        .unwrap();
    let again = deliveries(vec![retry(&order, undone, 2)]);
    worker.first_half(&again).await;
    let outcomes = worker.first_half(&again).await;
    worker.second_half(&again, &outcomes).await;
    worker.come_to_rest().await;
    assert_eq!(worker.facts().last().map(String::as_str), Some("gave back 700"));
    assert_eq!(worker.answers()[2..], ["failed", "failed", "done"]);
    assert_eq!(worker.number("SELECT sum(refunded) FROM sandbox.charges").await, 700);
}
