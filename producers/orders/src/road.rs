//! Which road a submit takes, given what its claim met. Pure.

use crate::scripts::model::Outcome;
use std::time::Duration;

/// From the claim, a record is handed over within this time or not at all; what is left of the lease's margin is for
/// the scheduler.
pub const HAND_OVER: Duration = Duration::from_secs(4);

/// What comes after a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    /// The claim is ours: unless Postgres knows of the order, it is produced.
    Produce,
    /// An earlier request with the same body was acknowledged.
    Before,
    /// The first request is under way for this much longer.
    InFlight(Duration),
    /// The key stands for another body.
    Refused,
    /// Another body was claimed and never settled. That is only a hint: Postgres is asked. What it does not know either
    /// is refused where a miss is a proof; else the record that comes first on the log decides.
    Look,
}

impl Road {
    /// After a claim that met `outcome`.
    #[must_use]
    pub fn after(outcome: Outcome) -> Self {
        match outcome {
            Outcome::New | Outcome::Taken => Self::Produce,
            Outcome::Same => Self::Before,
            Outcome::InFlight(left) => Self::InFlight(left),
            Outcome::SettledOther => Self::Refused,
            Outcome::Other => Self::Look,
        }
    }
}

/// Whether an acknowledged record's claim may be stored as answered, and that be the answer. An acknowledgement alone does
/// not do: while it was on its way, Redis may have been away, and another body may have been produced before ours.
/// `unclaimed`: records that this gateway had produced without a claim, then and now.
#[must_use]
pub fn may_answer(proved: bool, unclaimed_then: u64, unclaimed_now: u64) -> bool {
    proved && unclaimed_now == unclaimed_then
}
