//! What a step comes to.

use crate::order::Order;
use schemas::messages::{
    CapturePayment, OrderStatus, RefundPayment, ReserveStock, RetryRefund, SettleStock, VoidCapture,
};

/// What became of an event. All of these are successes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The order changed.
    Step(Box<Step>),
    /// It had been applied before, or its order had been settled: nothing to do.
    AlreadyApplied,
    /// A submit under a known key with another body. Nothing changes.
    KeyConflict,
    /// A refused request beyond what an order remembers. Nothing changes.
    Unrecorded,
}

/// An order's next state, and what to ask others for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The order from now on.
    pub order: Order,
    /// What to ask for and to say.
    pub effects: Vec<Effect>,
}

/// Something a step asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Of inventory: hold every line, or none.
    Reserve(ReserveStock),
    /// Of payments: take the money.
    Capture(CapturePayment),
    /// Of inventory: end the hold, or the wait.
    Settle(SettleStock),
    /// Of payments: never begin the capture, or undo it.
    Void(VoidCapture),
    /// Of payments: give money back.
    Refund(RefundPayment),
    /// Of payments: try a refund again that failed for good.
    Retry(RetryRefund),
    /// To everybody: the order's new public state.
    Publish(Fact),
}

/// Which event tells of a public state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fact {
    /// `OrderAccepted`
    Accepted,
    /// `OrderReserved`
    Reserved,
    /// `OrderConfirmed`
    Confirmed,
    /// `OrderRejected`
    Rejected,
    /// `OrderCancelled`
    Cancelled,
    /// `OrderExpired`
    Expired,
    /// `OrderAmended`: the public state changed, the status did not.
    Amended,
}

impl From<OrderStatus> for Fact {
    fn from(status: OrderStatus) -> Self {
        match status {
            OrderStatus::Pending => Self::Accepted,
            OrderStatus::Reserved => Self::Reserved,
            OrderStatus::Confirmed => Self::Confirmed,
            OrderStatus::Rejected => Self::Rejected,
            OrderStatus::Cancelled => Self::Cancelled,
            OrderStatus::Expired => Self::Expired,
        }
    }
}

/// An event that cannot be. Only our own services can say such a thing; it is parked, for people to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// There is no such order, and the event does not make one.
    #[error("a {event} for an order that is not there")]
    NoSuchOrder {
        /// The event's name.
        event: &'static str,
    },
    /// The order is in a status that the event cannot meet.
    #[error("a {event} for an order that is {status}: {why}")]
    NotNow {
        /// The event's name.
        event: &'static str,
        /// Where the order stands.
        status: OrderStatus,
        /// What contradicts it.
        why: &'static str,
    },
}
