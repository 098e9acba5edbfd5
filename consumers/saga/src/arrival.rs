//! When and as what an event arrives.

use schemas::{ids::MessageId, time::Timestamp};

/// When and as what an event arrives at the saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The time of the decision.
    pub now: Timestamp,
    /// All deadlines up to here have been seen to: one at or below it is past.
    pub due_mark: Timestamp,
    /// What the message means. A request from outside that comes twice carries the same.
    pub message: MessageId,
}

impl Arrival {
    /// Whether a deadline is past on arrival.
    #[must_use]
    pub fn is_past(&self, deadline: Timestamp) -> bool {
        deadline <= self.due_mark.max(self.now)
    }
}
