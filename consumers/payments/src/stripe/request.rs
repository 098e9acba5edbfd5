//! What is asked of Stripe: the fields of its forms and queries. Pure.

use crate::provider::{CaptureRequest, RefundRequest};
use schemas::{
    ids::{EffectId, OrderId},
    money::Money,
    payment_metadata::{CAPTURE_ID, EFFECT_KEY, ORDER_ID},
};

/// Fields in order, as a form or query holds them.
pub(super) type Fields = Vec<(String, String)>;

/// A payment that is taken at once; none when it cannot be paid that way.
pub(super) fn capture(request: &CaptureRequest, is_live: bool) -> Option<Fields> {
    let mut fields = vec![
        field("amount", amount(request.amount)?.to_string()),
        field("currency", currency(request.amount)),
        field("confirm", "true"),
        field("payment_method", payment_method(&request.method, is_live)?),
        field("automatic_payment_methods[enabled]", "true"),
        // nobody is there to be sent to a bank's page
        field("automatic_payment_methods[allow_redirects]", "never"),
        field("error_on_requires_action", "true"),
    ];
    fields.extend(metadata(request.order_id, request.key, request.key));
    Some(fields)
}

/// Money of that payment, given back.
pub(super) fn refund(request: &RefundRequest, payment: String) -> Fields {
    let amount = amount(request.amount).unwrap_or(request.amount.amount);
    let mut fields = vec![field("payment_intent", payment), field("amount", amount.to_string())];
    fields.extend(metadata(request.order_id, request.capture, request.key));
    fields
}

/// Payments with that key in their metadata.
pub(super) fn search(key: EffectId) -> Fields {
    vec![field("query", format!("metadata['{EFFECT_KEY}']:'{key}'")), field("limit", "20")]
}

/// Refunds of that payment, newest first.
pub(super) fn refunds_of(payment: String) -> Fields {
    vec![field("payment_intent", payment), field("limit", "50")]
}

/// The same question, further on.
pub(super) fn turn_to(query: &mut Fields, cursor: &str, value: String) {
    query.retain(|(name, _)| name != cursor);
    query.push(field(cursor, value));
}

/// The amount as Stripe counts it: in the currency's smallest unit, which is ours, but for two currencies without a minor
/// unit that it counts in hundredths (<https://docs.stripe.com/currencies#special-cases>).
pub(super) fn amount(money: Money) -> Option<i64> {
    match money.currency.as_str() {
        "ISK" | "UGX" => money.amount.checked_mul(100),
        _ => Some(money.amount),
    }
}

/// The currency as Stripe writes it.
pub(super) fn currency(money: Money) -> String {
    money.currency.as_str().to_ascii_lowercase()
}

/// Names stand for Stripe's test cards (<https://docs.stripe.com/testing>).
fn payment_method(method: &str, is_live: bool) -> Option<&str> {
    if method.starts_with("pm_") {
        return Some(method);
    }
    let test_card = match method {
        "CREDIT_CARD" => "pm_card_visa",
        "DEBIT_CARD" => "pm_card_visa_debit",
        "SANDBOX_DECLINE" => "pm_card_visa_chargeDeclined",
        "SANDBOX_REFUND_FAILS" => "pm_card_refundFail",
        _ => return None,
    };
    (!is_live).then_some(test_card)
}

fn metadata(order: OrderId, capture: EffectId, key: EffectId) -> impl Iterator<Item = (String, String)> {
    [(ORDER_ID, order.to_string()), (CAPTURE_ID, capture.to_string()), (EFFECT_KEY, key.to_string())]
        .into_iter()
        .map(|(name, value)| (format!("metadata[{name}]"), value))
}

fn field(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn asked(currency: &str, method: &str) -> CaptureRequest {
        CaptureRequest {
            key: EffectId(Uuid::from_u128(1)),
            order_id: OrderId(Uuid::from_u128(2)),
            amount: Money::new(1_250, currency.parse().unwrap()),
            method: method.to_owned(),
        }
    }

    fn value<'a>(fields: &'a Fields, name: &str) -> &'a str {
        fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str()).unwrap()
    }

    #[test]
    fn a_capture_says_how_much_whose_and_that_it_is_taken_at_once() {
        let form = capture(&asked("USD", "CREDIT_CARD"), false).unwrap();
        assert_eq!((value(&form, "amount"), value(&form, "currency")), ("1250", "usd"));
        assert_eq!((value(&form, "confirm"), value(&form, "error_on_requires_action")), ("true", "true"));
        assert_eq!(value(&form, "payment_method"), "pm_card_visa");
        assert_eq!(value(&form, "metadata[effect_key]"), "00000000-0000-0000-0000-000000000001");
        assert_eq!(value(&form, "metadata[order_id]"), "00000000-0000-0000-0000-000000000002");
    }

    #[test]
    fn currencies_are_counted_as_stripe_does() {
        for (currency, amount) in
            [("USD", "1250"), ("JPY", "1250"), ("KWD", "1250"), ("ISK", "125000"), ("UGX", "125000")]
        {
            let form = capture(&asked(currency, "CREDIT_CARD"), false).unwrap();
            assert_eq!(value(&form, "amount"), amount, "{currency}");
        }
        let mut most = asked("ISK", "CREDIT_CARD");
        most.amount.amount = i64::MAX;
        assert_eq!(capture(&most, false), None);
    }

    #[test]
    fn a_name_pays_with_a_test_key_alone_and_a_token_is_passed_on() {
        assert_eq!(capture(&asked("USD", "CREDIT_CARD"), true), None);
        assert_eq!(capture(&asked("USD", "PAYPAL"), false), None);
        assert_eq!(value(&capture(&asked("USD", "pm_1abc"), true).unwrap(), "payment_method"), "pm_1abc");
    }

    #[test]
    fn a_cursor_replaces_the_one_before() {
        let mut query = search(EffectId(Uuid::from_u128(1)));
        turn_to(&mut query, "page", "a".to_owned());
        turn_to(&mut query, "page", "b".to_owned());
        assert_eq!(query.iter().filter(|(name, _)| name == "page").count(), 1);
        assert_eq!(value(&query, "page"), "b");
        assert_eq!(value(&query, "query"), "metadata['effect_key']:'00000000-0000-0000-0000-000000000001'");
    }
}
