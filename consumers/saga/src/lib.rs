//! What happens next to an order: [`step`] takes its state and an event, and gives the new state and the effects to
//! ask for. Start reading in `table.rs`.
//!
//! No waiting, no clock, no SQL: time comes in as an argument, effects are values. Who asked for them, how they travel
//! and where the state is kept is left to `consumers/orders`.

mod table;

mod arrival;
mod change;
mod gone;
mod order;
mod outcome;

pub use arrival::Arrival;
pub use gone::{Gone, Late};
pub use order::{
    Action, ActionOutcome, ActionResult, FailedEffect, MAX_ACTIONS, MAX_FAILED, MAX_REFUNDS,
    MAX_REFUSED_CANCELS, MAX_TIMELINE, MAX_TOLD, MAX_UNDONE, Order, Seen,
};
pub use outcome::{Effect, Fact, Illegal, Outcome, Step};
pub use table::step;

/// What a timeline entry says happened, beside the six public statuses.
pub mod timeline {
    /// The order was taken up.
    pub const ACCEPTED: &str = "ACCEPTED";
    /// A cancel came too late.
    pub const CANCEL_REFUSED: &str = "CANCEL_REFUSED";
    /// An operator gave money back.
    pub const REFUNDED: &str = "REFUNDED";
    /// A refund was asked for that cannot be.
    pub const REFUND_REFUSED: &str = "REFUND_REFUSED";
    /// Money that came too late, or that nobody asked for, goes back.
    pub const PAYMENT_RETURNED: &str = "PAYMENT_RETURNED";
}
