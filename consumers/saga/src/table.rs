//! The saga's table: every event in every state. What a cell does in detail is in `change.rs`.

use crate::{
    arrival::Arrival,
    change::Change,
    order::Order,
    outcome::{Illegal, Outcome},
};
use schemas::messages::{
    OrderCommand as Event,
    OrderStatus::{Cancelled, Confirmed, Pending, Reserved},
    Settlement::{Released, Sold},
};

/// The decline of a capture whose deadline passed before the provider was asked.
const EXPIRED: &str = "expired";

/// What `event` does to `order` (`None`: there is no such order).
///
/// Terminal is terminal: what comes later is a repeat, a request to refuse, or money to give back.
///
/// # Errors
/// [`Illegal`] for an answer of our own services that cannot be. Requests from outside are refused instead, once there
/// is an order that can say so.
#[rustfmt::skip]
pub fn step(order: Option<&Order>, event: &Event, arrival: &Arrival) -> Result<Outcome, Illegal> {
    use Outcome::{AlreadyApplied, KeyConflict};
    let Some(order) = order else {
        return match event {
            Event::SubmitOrder(new) if arrival.is_past(new.deadline) => Change::new(new, arrival).accept_expired().done(),
            Event::SubmitOrder(new)                                  => Change::new(new, arrival).accept().reserve().done(),
            _                                                        => Err(Illegal::NoSuchOrder { event: event.name() }),
        };
    };
    let status = order.public.status;
    let change = || Change::of(order, arrival);
    let illegal = |why| Err(Illegal::NotNow { event: event.name(), status, why });
    match (event, status) {
        (Event::SubmitOrder(again), _) if again.body_hash == order.public.body_hash => Ok(AlreadyApplied),
        (Event::SubmitOrder(_), _)                    => Ok(KeyConflict),

        (Event::StockReserved(_), Pending)            => change().reserved().capture().done(),
        (Event::StockReserved(_), _)                  => Ok(AlreadyApplied),

        (Event::StockRejected(no), Pending)           => change().out_of_stock(no).done(),
        (Event::StockRejected(_), Reserved)           => illegal("its stock is held"),
        (Event::StockRejected(_), _)                  => Ok(AlreadyApplied),

        (Event::PaymentCaptured(_), Pending)          => illegal("no payment was asked for"),
        (Event::PaymentCaptured(got), Reserved)  if order.is_own(got.capture_id) && got.amount == order.public.total
                                                      => change().confirmed().settle(Sold).done(),
        (Event::PaymentCaptured(got), Reserved)  if order.is_own(got.capture_id) => illegal("the amount is not its total"),
        (Event::PaymentCaptured(got), Confirmed) if order.is_own(got.capture_id) => Ok(AlreadyApplied),
        (Event::PaymentCaptured(got), _) if order.seen.undone.contains(&got.capture_id) => Ok(AlreadyApplied),
        (Event::PaymentCaptured(got), _)              => change().give_back(got.capture_id).done(),

        (Event::PaymentDeclined(_), Pending)          => illegal("no payment was asked for"),
        (Event::PaymentDeclined(no), Reserved) if !order.is_own(no.capture_id) => illegal("it asked for another payment"),
        (Event::PaymentDeclined(no), Reserved) if no.reason == EXPIRED => change().expired().settle(Released).done(),
        (Event::PaymentDeclined(no), Reserved)        => change().declined(no).settle(Released).done(),
        (Event::PaymentDeclined(_), Confirmed)        => illegal("it is paid"),
        (Event::PaymentDeclined(_), _)                => Ok(AlreadyApplied),

        (Event::CancelOrder(ask), Pending)            => change().cancelled(ask).settle(Released).done(),
        (Event::CancelOrder(ask), Reserved)           => change().cancelled(ask).settle(Released).void().done(),
        (Event::CancelOrder(_), Cancelled)            => Ok(AlreadyApplied),
        (Event::CancelOrder(_), _) if order.seen.cancels.contains(&arrival.message) => Ok(AlreadyApplied),
        (Event::CancelOrder(_), _)                    => change().refuse_cancel(),

        (Event::DeadlinePassed(_), Pending)           => change().expired().settle(Released).done(),
        (Event::DeadlinePassed(_), Reserved)          => change().expired().settle(Released).void().done(),
        (Event::DeadlinePassed(_), _)                 => Ok(AlreadyApplied),

        (Event::RefundOrder(ask), _) if order.seen.refunds.contains(&ask.refund_id) => Ok(AlreadyApplied),
        (Event::RefundOrder(ask), Confirmed) if (1..=order.refundable()).contains(&ask.amount) => change().refund(ask),
        (Event::RefundOrder(ask), _)                  => change().refuse_refund(ask),

        (Event::EffectFailed(_) | Event::EffectDone(_), _) if order.seen.told.contains(&arrival.message)
                                                      => Ok(AlreadyApplied),
        (Event::EffectFailed(lost), _)                => change().need_human(lost),
        (Event::EffectDone(done), _)                  => change().mended(done.effect_id),

        (Event::RetryEffect(ask), _) if order.knows_action(ask.action_id) => Ok(AlreadyApplied),
        (Event::RetryEffect(ask), _) if order.may_retry(ask.effect_id) => change().retry(ask),
        (Event::RetryEffect(ask), _)                  => change().refuse_retry(ask),
    }
}
