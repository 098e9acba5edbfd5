//! What a batch did, counted once it is committed.

use crate::metrics::{CAPTURES_TOTAL, DEFERRED_TOTAL, PROCESSING_SECONDS, REFUNDS_TOTAL, UNKNOWN_TOTAL};
use metrics::{counter, histogram};
use schemas::ids::{EffectId, OrderId};
use std::time::Duration;

/// One thing to count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Count {
    /// A capture ended like this, so long after it was first heard of.
    Capture(&'static str, Duration),
    /// A refund ended like this.
    Refund(&'static str),
    /// An answer left a capture or refund unknown.
    Unknown(&'static str),
    /// A refund needs a human.
    NeedsHuman(OrderId, EffectId, String),
}

/// What a batch did.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    counts: Vec<Count>,
    deferred: u64,
}

impl Tally {
    pub(crate) fn extend(&mut self, counts: Vec<Count>) {
        self.counts.extend(counts);
    }

    pub(crate) fn deferred(&mut self, effects: usize) {
        self.deferred += u64::try_from(effects).unwrap_or(u64::MAX);
    }

    /// Counts it.
    pub(crate) fn publish(self) {
        counter!(DEFERRED_TOTAL).increment(self.deferred);
        for count in self.counts {
            match count {
                Count::Capture(outcome, took) => {
                    counter!(CAPTURES_TOTAL, "outcome" => outcome).increment(1);
                    histogram!(PROCESSING_SECONDS, "outcome" => outcome).record(took.as_secs_f64());
                }
                Count::Refund(outcome) => counter!(REFUNDS_TOTAL, "outcome" => outcome).increment(1),
                Count::Unknown(effect) => counter!(UNKNOWN_TOTAL, "effect" => effect).increment(1),
                Count::NeedsHuman(order, refund, reason) => {
                    // the alarm is the saga's, which knows what the order still owes
                    tracing::warn!(%order, %refund, reason, "a refund failed for good: the saga is told");
                }
            }
        }
    }
}
