//! Every answer that there is, and what it is to us.

use super::*;
use proptest::prelude::*;
use schemas::ids::OrderId;
use uuid::Uuid;

const KEY: &str = "00000000-0000-0000-0000-000000000007";

fn asked() -> CaptureRequest {
    CaptureRequest {
        key: EffectId(Uuid::from_u128(7)),
        order_id: OrderId(Uuid::from_u128(8)),
        amount: Money::new(1_250, "EUR".parse().unwrap()),
        method: "CREDIT_CARD".to_owned(),
    }
}

fn refund_asked() -> RefundRequest {
    RefundRequest {
        key: EffectId(Uuid::from_u128(7)),
        capture: EffectId(Uuid::from_u128(6)),
        capture_reference: None,
        order_id: OrderId(Uuid::from_u128(8)),
        amount: Money::new(1_250, "EUR".parse().unwrap()),
    }
}

fn intent(status: &str, more: &str) -> String {
    format!(
        r#"{{"id":"pi_1","object":"payment_intent","amount":1250,"amount_received":{},"currency":"eur",
            "status":"{status}","metadata":{{"effect_key":"{KEY}"}},"last_payment_error":null {more}}}"#,
        if status == "succeeded" { 1_250 } else { 0 }
    )
}

fn captured(status: u16, body: &str) -> Outcome {
    let answered = Answered { status, body: body.as_bytes().to_vec() };
    answered.read(Intent::is_one).map_or_else(|outcome| outcome, |intent| intent.outcome(&asked()))
}

fn refunded(status: u16, body: &str) -> Outcome {
    let answered = Answered { status, body: body.as_bytes().to_vec() };
    answered.read(Refund::is_one).map_or_else(|outcome| outcome, |refund| refund.outcome(&refund_asked()))
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Approved { .. } => "approved",
        Outcome::Declined { .. } => "declined",
        Outcome::Pending { .. } => "pending",
        Outcome::Unknown { .. } => "unknown",
        Outcome::NotBegun { .. } => "not begun",
    }
}

fn error(kind: &str, more: &str) -> String {
    format!(r#"{{"error":{{"type":"{kind}","message":"4242 is not a number to repeat"{more}}}}}"#)
}

#[test]
fn every_status_of_a_payment() {
    for (status, expected) in [
        ("succeeded", "approved"),
        ("processing", "pending"),
        ("requires_action", "declined"),
        ("canceled", "declined"),
        ("requires_payment_method", "unknown"),
        ("requires_confirmation", "unknown"),
        ("requires_capture", "unknown"),
        ("something_new", "unknown"),
    ] {
        assert_eq!(kind(&captured(200, &intent(status, ""))), expected, "{status}");
    }
    assert_eq!(captured(200, &intent("succeeded", "")), Outcome::Approved { reference: "pi_1".to_owned() });
    let declined = intent("requires_payment_method", "")
        .replace("null", r#"{"type":"card_error","code":"card_declined","decline_code":"lost_card"}"#);
    assert_eq!(captured(200, &declined), Outcome::declined("lost_card"));
}

#[test]
fn every_refusal() {
    let card = error("card_error", r#","code":"card_declined","decline_code":"insufficient_funds""#);
    assert_eq!(captured(402, &card), Outcome::declined("insufficient_funds"));
    let idempotency = error("idempotency_error", "");
    for (status, body, expected) in [
        (402, error("card_error", r#","code":"expired_card""#), "declined"),
        (
            402,
            error("card_error", &format!(r#","payment_intent":{}"#, intent("requires_payment_method", ""))),
            "declined",
        ),
        // it contradicts itself: the intent says that the money was taken
        (402, error("card_error", &format!(r#","payment_intent":{}"#, intent("succeeded", ""))), "unknown"),
        (402, "{}".to_owned(), "unknown"),
        (402, "<html>".to_owned(), "unknown"),
        (400, error("invalid_request_error", r#","code":"amount_too_small""#), "declined"),
        (400, error("invalid_request_error", r#","code":"parameter_unknown""#), "unknown"),
        (400, error("invalid_request_error", ""), "unknown"),
        (400, idempotency.clone(), "unknown"),
        // a code that would be definite, by an error that is not
        (400, error("idempotency_error", r#","code":"amount_too_small""#), "unknown"),
        (401, error("invalid_request_error", ""), "unknown"),
        (403, error("card_error", ""), "unknown"),
        (404, error("invalid_request_error", r#","code":"resource_missing""#), "unknown"),
        (409, error("invalid_request_error", r#","code":"idempotency_key_in_use""#), "pending"),
        (409, idempotency, "pending"),
        (201, intent("succeeded", ""), "unknown"),
    ] {
        assert_eq!(kind(&captured(status, &body)), expected, "{status} {body}");
        let (Outcome::Declined { reason: text }
        | Outcome::Unknown { why: text }
        | Outcome::Pending { why: text }) = captured(status, &body)
        else {
            panic!("{status} {body}");
        };
        assert!(!text.contains("4242"), "{text}");
    }
}

#[test]
fn an_answer_for_another_payment_approves_nothing() {
    let good = intent("succeeded", "");
    for (from, to) in [
        (r#""amount":1250"#, r#""amount":1251"#),
        (r#""amount_received":1250"#, r#""amount_received":1249"#),
        ("eur", "usd"),
        (KEY, "00000000-0000-0000-0000-000000000009"),
        (r#""id":"pi_1""#, r#""id":"pi_1/../refunds""#),
        (r#""id":"pi_1""#, r#""id":"ch_1""#),
        (r#""object":"payment_intent""#, r#""object":"charge""#),
        (r#""amount":1250"#, r#""amount":"1250""#),
        (r#""amount":1250"#, r#""amount":12.5"#),
    ] {
        let other = good.replace(from, to);
        assert_ne!(other, good, "{from}");
        assert_eq!(kind(&captured(200, &other)), "unknown", "{other}");
    }
}

#[test]
fn every_status_of_a_refund() {
    let body = |status: &str, more: &str| {
        format!(r#"{{"id":"re_1","object":"refund","amount":1250,"currency":"eur","status":{status}{more}}}"#)
    };
    for (status, expected) in [
        (r#""succeeded""#, "approved"),
        (r#""pending""#, "approved"),
        (r#""failed""#, "declined"),
        (r#""canceled""#, "declined"),
        (r#""requires_action""#, "unknown"),
        ("null", "unknown"),
    ] {
        assert_eq!(kind(&refunded(200, &body(status, ""))), expected, "{status}");
    }
    let lost = body(r#""failed""#, r#","failure_reason":"lost_or_stolen_card""#);
    assert_eq!(refunded(200, &lost), Outcome::declined("lost_or_stolen_card"));
    let twice = error("invalid_request_error", r#","code":"charge_already_refunded""#);
    assert_eq!(refunded(400, &twice), Outcome::declined("charge_already_refunded"));
    let other = body(r#""succeeded""#, "").replace("1250", "1251");
    assert_eq!(kind(&refunded(200, &other)), "unknown");
}

#[test]
fn of_many_payments_the_one_that_took_the_money_counts() {
    let read = |status: &str| serde_json::from_str::<Intent>(&intent(status, "")).unwrap();
    let best = |statuses: &[&str]| {
        let intents: Vec<Intent> = statuses.iter().map(|status| read(status)).collect();
        best_of(&intents, &asked()).as_ref().map(kind)
    };
    assert_eq!(best(&["canceled", "requires_payment_method", "processing", "succeeded"]), Some("approved"));
    assert_eq!(best(&["canceled", "requires_payment_method", "processing"]), Some("pending"));
    assert_eq!(best(&["canceled", "requires_payment_method"]), Some("unknown"));
    assert_eq!(best(&["canceled"]), Some("declined"));
    assert_eq!(best(&["succeeded", "succeeded"]), Some("approved"));
    assert_eq!(best(&[]), None);
}

proptest! {
    /// No body is a panic, and none that is not JSON of ours approves or declines.
    #[test]
    fn whatever_comes_is_an_outcome(status in 200u16..600, body in prop::collection::vec(any::<u8>(), 0..300)) {
        let answered = Answered { status, body };
        let outcome = answered.read(Intent::is_one).map_or_else(|o| o, |i| i.outcome(&asked()));
        prop_assert!(!matches!(outcome, Outcome::Approved { .. } | Outcome::Declined { .. }), "{:?}", outcome);
    }
}
