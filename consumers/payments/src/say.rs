//! What payments says: answers to the saga, facts to everybody, reminders to itself.
//!
//! Each has one message id, made of the effect: said again, it is the same message.

use crate::books::{Capture, Refund};
use harness::record::{Outgoing, Rejection};
use schemas::{
    ids::{EffectId, MessageId, OrderId, message_id},
    messages::{
        CaptureSettled, EffectDone, EffectFailed, PaymentCaptured, PaymentDeclined, RefundSettled,
        ResumeEffect,
    },
    time::Timestamp,
};

type Said = Result<Outgoing, Rejection>;

/// The answer: the money was taken.
pub(crate) fn captured(row: &Capture) -> Said {
    let body = PaymentCaptured { order_id: row.order_id, capture_id: row.id, amount: row.amount.amount };
    Outgoing::new(row.order_id.0, message_id(row.id.0, "captured"), &body)
}

/// The answer: nothing was taken. `reason` is `payment_declined`, `expired` or `voided`.
pub(crate) fn declined(order_id: OrderId, capture_id: EffectId, reason: &str) -> Said {
    let body = PaymentDeclined { order_id, capture_id, reason: reason.to_owned() };
    Outgoing::new(order_id.0, message_id(capture_id.0, "declined"), &body)
}

/// The fact: a capture reached its end; a second one where the provider took money after all.
pub(crate) fn capture_settled(row: &Capture, now: Timestamp) -> Said {
    let body = CaptureSettled {
        order_id: row.order_id,
        capture_id: row.id,
        outcome: row.state.as_str().to_owned(),
        amount: row.amount.amount,
        currency: row.amount.currency,
        provider_reference: row.reference.clone(),
        reason: row.reason.clone(),
        settled_at: now,
    };
    let meaning = if row.settled_at.is_none() { "settled" } else { "settled after all" };
    Outgoing::new(row.order_id.0, message_id(row.id.0, meaning), &body)
}

/// The fact: a refund was done.
pub(crate) fn refund_settled(row: &Refund, capture: &Capture, amount: i64, now: Timestamp) -> Said {
    let body = RefundSettled {
        order_id: row.order_id,
        capture_id: row.capture_id,
        refund_id: row.id,
        amount,
        currency: capture.amount.currency,
        provider_reference: row.reference.clone(),
        settled_at: now,
    };
    Outgoing::new(row.order_id.0, message_id(row.id.0, &nth("settled", row.failures)), &body)
}

/// The answer: a refund needs a human.
pub(crate) fn failed(row: &Refund, reason: &str) -> Said {
    let body =
        EffectFailed { order_id: row.order_id, effect_id: row.id, reason: format!("refund: {reason}") };
    Outgoing::new(row.order_id.0, message_id(row.id.0, &nth("failed", row.failures - 1)), &body)
}

/// The answer: a refund that had failed for good is done.
pub(crate) fn done(row: &Refund) -> Said {
    let body = EffectDone { order_id: row.order_id, effect_id: row.id };
    Outgoing::new(row.order_id.0, message_id(row.id.0, &nth("done", row.failures)), &body)
}

/// What means something else each time that the refund has failed in between.
fn nth(meaning: &str, failures: i32) -> String {
    if failures <= 0 { meaning.to_owned() } else { format!("{meaning} after {failures}") }
}

/// The reminder: an effect's due time has come. A new one each time it is deferred.
///
/// # Errors
/// None in practice.
pub fn resume(order_id: OrderId, effect_id: EffectId, due_at: Timestamp) -> Result<Outgoing, Rejection> {
    let body = ResumeEffect { order_id, effect_id };
    Outgoing::new(order_id.0, message_id(effect_id.0, &format!("resume {}", due_at.0)), &body)
}

/// The same, when the command that asked for the effect was discarded while it was under way.
pub(crate) fn resume_after(order_id: OrderId, effect_id: EffectId, discarded: MessageId) -> Said {
    let body = ResumeEffect { order_id, effect_id };
    Outgoing::new(order_id.0, message_id(effect_id.0, &format!("resume after {discarded}")), &body)
}
