//! What an event of the provider says, in our words. Pure. The shape is that of Stripe's events
//! (<https://docs.stripe.com/api/events/object>); whose payment it is stands in the metadata that our own calls gave it.

use schemas::{
    ids::{EffectId, OrderId},
    messages::{NoticeKind, ProviderNotice},
    money::Currency,
    payment_metadata::{CAPTURE_ID, EFFECT_KEY, ORDER_ID},
};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, str::FromStr};

/// Longest text of the provider that travels on, in characters.
const MAX_WORDS: usize = 200;

/// What an event comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// Something that payments has to hear.
    Notice(Box<ProviderNotice>),
    /// Nothing for us, and why: a label.
    Nothing(&'static str),
}

/// Not an event as the provider writes them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an event: {0}")]
pub(crate) struct Unreadable(String);

#[derive(Debug, Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    object: Value,
}

/// A payment intent or a refund, as far as we look.
#[derive(Debug, Deserialize)]
struct Object {
    id: String,
    amount: i64,
    amount_received: Option<i64>,
    currency: String,
    status: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    last_payment_error: Option<PaymentError>,
    cancellation_reason: Option<String>,
    failure_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct PaymentError {
    code: Option<String>,
    decline_code: Option<String>,
}

/// Reads an event whose signature was checked.
///
/// # Errors
/// [`Unreadable`], which a provider never sends.
pub(crate) fn read(body: &[u8]) -> Result<Told, Unreadable> {
    let event: Event = serde_json::from_slice(body).map_err(unreadable)?;
    let is_refund = match event.kind.as_str() {
        "payment_intent.succeeded" | "payment_intent.payment_failed" | "payment_intent.canceled" => false,
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => true,
        _ => return Ok(Told::Nothing("other_type")),
    };
    let object: Object = serde_json::from_value(event.data.object).map_err(unreadable)?;
    let Some(whose) = Whose::of(&object) else { return Ok(Told::Nothing("not_ours")) };
    let kind = if is_refund { object.of_refund() } else { Some(of_payment(&event.kind)) };
    let Some(kind) = kind else { return Ok(Told::Nothing("unfinished")) };
    let currency = object.currency.to_uppercase().parse::<Currency>().map_err(unreadable)?;
    Ok(Told::Notice(Box::new(ProviderNotice {
        order_id: whose.order,
        event_id: words(&event.id),
        kind,
        capture_id: whose.capture,
        key: whose.key,
        amount: object.amount_received.filter(|_| kind == NoticeKind::Captured).unwrap_or(object.amount),
        currency,
        reason: object.reason().as_deref().map(words),
        reference: words(&object.id),
    })))
}

fn of_payment(kind: &str) -> NoticeKind {
    match kind {
        "payment_intent.succeeded" => NoticeKind::Captured,
        _ => NoticeKind::CaptureFailed,
    }
}

impl Object {
    /// A refund's state counts, not the event's name: `refund.updated` tells of any.
    fn of_refund(&self) -> Option<NoticeKind> {
        match self.status.as_deref() {
            Some("succeeded") => Some(NoticeKind::Refunded),
            Some("failed" | "canceled") => Some(NoticeKind::RefundFailed),
            _ => None,
        }
    }

    fn reason(&self) -> Option<String> {
        let error = self.last_payment_error.as_ref();
        let declined = error.and_then(|error| error.decline_code.clone().or_else(|| error.code.clone()));
        declined.or_else(|| self.failure_reason.clone()).or_else(|| self.cancellation_reason.clone())
    }
}

/// Whose payment it is.
struct Whose {
    order: OrderId,
    capture: EffectId,
    key: EffectId,
}

impl Whose {
    /// None when our calls did not make it: its metadata is not of ours.
    fn of(object: &Object) -> Option<Self> {
        let metadata = object.metadata.as_ref()?;
        Some(Self {
            order: id(metadata, ORDER_ID)?,
            capture: id(metadata, CAPTURE_ID)?,
            key: id(metadata, EFFECT_KEY)?,
        })
    }
}

fn id<T: FromStr>(metadata: &BTreeMap<String, String>, name: &str) -> Option<T> {
    metadata.get(name)?.parse().ok()
}

fn words(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
}

fn unreadable(error: impl ToString) -> Unreadable {
    Unreadable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    const ORDER: &str = "00000000-0000-0000-0000-000000000001";
    const CAPTURE: &str = "00000000-0000-0000-0000-000000000002";
    const KEY: &str = "00000000-0000-0000-0000-000000000003";

    fn event(kind: &str, object: &Value) -> Vec<u8> {
        let object = {
            let mut whole = json!({"id": "pi_1", "amount": 700, "currency": "usd", "metadata":
                {"order_id": ORDER, "capture_id": CAPTURE, "effect_key": KEY}, "object": "whatever"});
            whole.as_object_mut().unwrap().extend(object.as_object().unwrap().clone());
            whole
        };
        json!({"id": "evt_1", "type": kind, "data": {"object": object}, "livemode": false}).to_string().into()
    }

    fn told(kind: &str, object: &Value) -> (Option<NoticeKind>, i64, Option<String>) {
        match read(&event(kind, object)).unwrap() {
            Told::Notice(notice) => (Some(notice.kind), notice.amount, notice.reason),
            Told::Nothing(_) => (None, 0, None),
        }
    }

    #[test]
    fn each_event_that_tells_of_money_is_a_notice() {
        let Told::Notice(notice) = read(&event("payment_intent.succeeded", &json!({}))).unwrap() else {
            panic!()
        };
        assert_eq!(notice.order_id, OrderId(Uuid::from_u128(1)));
        assert_eq!(
            (notice.capture_id, notice.key),
            (EffectId(Uuid::from_u128(2)), EffectId(Uuid::from_u128(3)))
        );
        assert_eq!((notice.event_id.as_str(), notice.reference.as_str()), ("evt_1", "pi_1"));
        assert_eq!((notice.amount, notice.currency), (700, Currency::USD));
        let some = |kind, amount, reason: Option<&str>| (Some(kind), amount, reason.map(str::to_owned));
        for (kind, object, expected) in [
            (
                "payment_intent.succeeded",
                json!({"amount_received": 600}),
                some(NoticeKind::Captured, 600, None),
            ),
            (
                "payment_intent.payment_failed",
                json!({"amount_received": 0, "last_payment_error": {"code": "card_declined", "decline_code": "lost_card"}}),
                some(NoticeKind::CaptureFailed, 700, Some("lost_card")),
            ),
            (
                "payment_intent.canceled",
                json!({"cancellation_reason": "fraudulent"}),
                some(NoticeKind::CaptureFailed, 700, Some("fraudulent")),
            ),
            ("refund.created", json!({"status": "succeeded"}), some(NoticeKind::Refunded, 700, None)),
            (
                "refund.updated",
                json!({"status": "failed", "failure_reason": "lost_or_stolen_card"}),
                some(NoticeKind::RefundFailed, 700, Some("lost_or_stolen_card")),
            ),
            (
                "charge.refund.updated",
                json!({"status": "canceled"}),
                some(NoticeKind::RefundFailed, 700, None),
            ),
            ("refund.created", json!({"status": "pending"}), (None, 0, None)),
        ] {
            assert_eq!(told(kind, &object), expected, "{kind} {object}");
        }
    }

    #[test]
    fn what_is_not_for_us_says_why_and_what_is_no_event_is_refused() {
        let nothing = |kind: &str, object: &Value| read(&event(kind, object));
        assert_eq!(nothing("charge.succeeded", &json!({})), Ok(Told::Nothing("other_type")));
        assert_eq!(nothing("refund.updated", &json!({"status": "pending"})), Ok(Told::Nothing("unfinished")));
        for metadata in [
            json!(null),
            json!({}),
            json!({"order_id": ORDER}),
            json!({"order_id": "7", "capture_id": CAPTURE, "effect_key": KEY}),
        ] {
            let object = json!({"metadata": metadata});
            assert_eq!(
                nothing("payment_intent.succeeded", &object),
                Ok(Told::Nothing("not_ours")),
                "{object}"
            );
        }
        for object in [json!({"amount": "700"}), json!({"currency": "US"}), json!({"id": 5})] {
            assert!(nothing("payment_intent.succeeded", &object).is_err(), "{object}");
        }
        for body in ["", "{}", "[]", "null", "{\"id\":\"evt\",\"type\":\"x\"}", &"[".repeat(10_000)] {
            assert!(read(body.as_bytes()).is_err());
        }
    }

    #[test]
    fn texts_of_the_provider_are_cut_to_what_a_row_and_a_terminal_bear() {
        let object = json!({"id": "pi\u{0}_\u{1b}[31m", "cancellation_reason": "x".repeat(1_000)});
        let Told::Notice(notice) = read(&event("payment_intent.canceled", &object)).unwrap() else {
            panic!()
        };
        assert_eq!((notice.reference.as_str(), notice.reason.unwrap().len()), ("pi_[31m", MAX_WORDS));
    }
}
