//! What payments counts and times. The names are an interface: a test pins them.

use crate::calls::Answer;
use chassis::breaker::Position;
use metrics::{counter, gauge, histogram};
use std::time::Duration;

/// From the first time a capture was heard of to its end, in seconds; label `outcome`.
pub const PROCESSING_SECONDS: &str = "mambogo_payment_processing_seconds";
/// Captures that reached their end; label `outcome`: captured, declined, expired, voided,
/// unasked (told of by the provider, and given back).
pub const CAPTURES_TOTAL: &str = "mambogo_payment_captures_total";
/// Refunds that reached their end; label `outcome`: refunded, needless, refused, failed.
pub const REFUNDS_TOTAL: &str = "mambogo_payment_refunds_total";
/// Answers that left an effect unknown; label `effect`: capture, refund.
pub const UNKNOWN_TOTAL: &str = "mambogo_payment_unknown_total";
/// Effects put off to a later batch.
pub const DEFERRED_TOTAL: &str = "mambogo_payment_deferred_total";
/// Calls to the provider that were answered; labels `operation`: capture, refund, lookup, and `answer`.
pub const PROVIDER_CALLS_TOTAL: &str = "mambogo_payment_provider_calls_total";
/// Where the provider's breaker stands: 0 closed, 1 half-open, 2 open.
pub const BREAKER_STATE: &str = "mambogo_payments_breaker_state";
/// Calls that were put off because the breaker did not admit them, or too many were under way; label `cause`: breaker,
/// in_flight.
pub const PUT_OFF_TOTAL: &str = "mambogo_payment_put_off_total";
/// Time a call to the provider took, in seconds (one sample for each capture of a set); label `operation`.
pub const PROVIDER_CALL_SECONDS: &str = "mambogo_payment_provider_call_seconds";
/// Captures moved to the history.
pub const MOVED_TOTAL: &str = "mambogo_payment_captures_moved_total";

/// What the provider was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// To take money.
    Capture,
    /// To give money back.
    Refund,
    /// What it knows.
    Lookup,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Refund => "refund",
            Self::Lookup => "lookup",
        }
    }
}

/// Counts and times a call; one that was put off is none.
pub(crate) fn call_answered(operation: Operation, answer: &Answer, took: Duration) {
    let answer = match answer {
        Answer::Approved { .. } => "approved",
        Answer::Declined { .. } => "declined",
        Answer::Absent => "absent",
        Answer::PutOff { .. } => return,
        Answer::Unknown { .. } | Answer::Running | Answer::NotBegun => "unknown",
    };
    counter!(PROVIDER_CALLS_TOTAL, "operation" => operation.as_str(), "answer" => answer).increment(1);
    histogram!(PROVIDER_CALL_SECONDS, "operation" => operation.as_str()).record(took.as_secs_f64());
}

/// Says where the breaker stands.
pub(crate) fn breaker_stands(position: Position) {
    gauge!(BREAKER_STATE).set(match position {
        Position::Closed => 0.0,
        Position::HalfOpen => 1.0,
        Position::Open => 2.0,
    });
}

/// Counts captures that a lane's transaction moves to the history.
pub(crate) fn moved(captures: i64) {
    counter!(MOVED_TOTAL).increment(u64::try_from(captures).unwrap_or(0));
}

/// Counts a call that was put off.
pub(crate) fn put_off(cause: &'static str) {
    counter!(PUT_OFF_TOTAL, "cause" => cause).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_change() {
        assert_eq!(
            [
                PROCESSING_SECONDS,
                CAPTURES_TOTAL,
                REFUNDS_TOTAL,
                UNKNOWN_TOTAL,
                DEFERRED_TOTAL,
                PROVIDER_CALLS_TOTAL,
                PROVIDER_CALL_SECONDS,
                BREAKER_STATE,
                PUT_OFF_TOTAL,
                MOVED_TOTAL,
            ],
            [
                "mambogo_payment_processing_seconds",
                "mambogo_payment_captures_total",
                "mambogo_payment_refunds_total",
                "mambogo_payment_unknown_total",
                "mambogo_payment_deferred_total",
                "mambogo_payment_provider_calls_total",
                "mambogo_payment_provider_call_seconds",
                "mambogo_payments_breaker_state",
                "mambogo_payment_put_off_total",
                "mambogo_payment_captures_moved_total",
            ]
        );
    }
}
