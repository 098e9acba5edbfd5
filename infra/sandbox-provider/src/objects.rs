//! Payments, refunds, errors and events as Stripe writes them.

use crate::{
    keys::Answer,
    ledger::{Payment, Refund},
};
use serde_json::{Value, json};

pub(crate) fn payment(payment: &Payment) -> Value {
    let (status, received, failure) = match payment.is_taken {
        true => ("succeeded", payment.amount, Value::Null),
        false => ("requires_payment_method", 0, card_error()),
    };
    json!({
        "id": payment.id,
        "object": "payment_intent",
        "amount": payment.amount,
        "amount_received": received,
        "currency": payment.currency,
        "status": status,
        "payment_method": payment.payment_method,
        "metadata": payment.metadata,
        "last_payment_error": failure,
        "created": payment.created_ms / 1_000,
        "livemode": false,
    })
}

pub(crate) fn refund(refund: &Refund) -> Value {
    json!({
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "currency": refund.currency,
        "payment_intent": refund.payment,
        "status": if refund.is_done { "succeeded" } else { "failed" },
        "failure_reason": if refund.is_done { Value::Null } else { json!("lost_or_stolen_card") },
        "metadata": refund.metadata,
        "created": refund.created_ms / 1_000,
    })
}

/// A page: of a search, or of a list.
pub(crate) fn page(object: &str, data: Vec<Value>, has_more: bool) -> Answer {
    answer(200, &json!({"object": object, "data": data, "has_more": has_more, "next_page": null}))
}

pub(crate) fn event(id: &str, kind: &str, object: &Value, created_ms: i64) -> Value {
    json!({
        "id": id,
        "object": "event",
        "type": kind,
        "created": created_ms / 1_000,
        "livemode": false,
        "data": {"object": object},
    })
}

/// 402, with the payment that it is about.
pub(crate) fn declined(payment: &Payment) -> Answer {
    let mut error = card_error();
    if let Some(error) = error.as_object_mut() {
        error.insert("payment_intent".to_owned(), self::payment(payment));
    }
    answer(402, &json!({"error": error}))
}

fn card_error() -> Value {
    json!({"type": "card_error", "code": "card_declined", "decline_code": "generic_decline", "message": "The card was declined."})
}

pub(crate) fn error(status: u16, kind: &str, code: &str, message: &str) -> Answer {
    answer(status, &json!({"error": {"type": kind, "code": code, "message": message}}))
}

pub(crate) fn answer(status: u16, body: &Value) -> Answer {
    Answer { status, body: body.to_string().into() }
}
