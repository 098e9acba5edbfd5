//! What the saga asks for, as records. Every message id says what it means: a retry of an effect keeps its id.

use harness::record::{Outgoing, Rejection};
use saga::{Effect, Fact};
use schemas::{
    ids,
    messages::{
        OrderAccepted, OrderAmended, OrderCancelled, OrderConfirmed, OrderExpired, OrderRejected,
        OrderReserved, OrderState, RefundPayment,
    },
};

/// The records of `effects`, for the order whose new state is `order`.
///
/// # Errors
/// A [`Rejection`] `encode` when a message does not fit its schema or a record.
pub fn of_effects(effects: Vec<Effect>, order: &OrderState) -> Result<Vec<Outgoing>, Rejection> {
    effects.into_iter().map(|effect| of_effect(effect, order)).collect()
}

fn of_effect(effect: Effect, order: &OrderState) -> Result<Outgoing, Rejection> {
    let key = order.order_id.0;
    let about = |meaning: &str| ids::message_id(key, meaning);
    match effect {
        Effect::Reserve(ask) => {
            let reserve = Outgoing::new(key, about("reserve-stock"), &ask)?;
            Ok(reserve.with_deadline(ask.deadline))
        }
        Effect::Capture(ask) => {
            let capture = Outgoing::new(key, about("capture-payment"), &ask)?;
            Ok(capture.with_deadline(ask.deadline))
        }
        // an order has one settle and one void
        Effect::Settle(ask) => Outgoing::new(key, about("settle-stock"), &ask),
        Effect::Void(ask) => Outgoing::new(key, about("void-capture"), &ask),
        Effect::Refund(ask) => of_refund(&ask),
        Effect::Retry(ask) => Outgoing::new(key, about(&format!("retry-refund-{}", ask.action_id)), &ask),
        Effect::Publish(fact) => publish(fact, order.clone()),
    }
}

/// Of payments: give money back.
///
/// # Errors
/// As [`of_effects`].
pub fn of_refund(ask: &RefundPayment) -> Result<Outgoing, Rejection> {
    let key = ask.order_id.0;
    Outgoing::new(key, ids::message_id(key, &format!("refund-payment-{}", ask.refund_id)), ask)
}

/// The event of an order's newest version.
fn publish(fact: Fact, order: OrderState) -> Result<Outgoing, Rejection> {
    let key = order.order_id.0;
    let message = ids::message_id(key, &format!("version-{}", order.version));
    match fact {
        Fact::Accepted => Outgoing::new(key, message, &OrderAccepted { order }),
        Fact::Reserved => Outgoing::new(key, message, &OrderReserved { order }),
        Fact::Confirmed => Outgoing::new(key, message, &OrderConfirmed { order }),
        Fact::Rejected => Outgoing::new(key, message, &OrderRejected { order }),
        Fact::Cancelled => Outgoing::new(key, message, &OrderCancelled { order }),
        Fact::Expired => Outgoing::new(key, message, &OrderExpired { order }),
        Fact::Amended => Outgoing::new(key, message, &OrderAmended { order }),
    }
}
