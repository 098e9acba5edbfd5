//! Names of what the orders worker counts, and the counting.

use crate::tally::Tally;
use metrics::{counter, gauge, histogram};
use schemas::messages::OrderStatus;

/// Orders taken up.
pub const CREATED: &str = "mambogo_orders_created_total";
/// Orders confirmed.
pub const PROCESSED: &str = "mambogo_orders_processed_total";
/// Orders that ended otherwise, by `status` and `reason`.
pub const FAILED: &str = "mambogo_orders_failed_total";
/// Orders whose deadline passed.
pub const EXPIRED: &str = "mambogo_orders_expired_total";
/// Orders given up by client or operator.
pub const CANCELLED: &str = "mambogo_orders_cancelled_total";
/// From the edge's acceptance to the end, by `status`.
pub const PROCESSING: &str = "mambogo_order_processing_seconds";
/// Captures that came too late, or that nobody had asked for, and go back.
pub const LATE_CAPTURES: &str = "mambogo_late_captures_refunded_total";
/// Submits under a known key with another body.
pub const KEY_CONFLICTS: &str = "mambogo_order_key_conflicts_total";
/// Cancels and refunds refused, by `request`: `cancel`, `refund`, or `unrecorded` beyond what an order remembers.
pub const REQUESTS_REFUSED: &str = "mambogo_order_requests_refused_total";
/// Refunds granted to operators.
pub const REFUNDS: &str = "mambogo_order_refunds_total";
/// Effects that failed for good: each needs a human.
pub const NEEDS_HUMAN: &str = "mambogo_order_effects_failed_total";
/// Effects that had failed for good and are done.
pub const MENDED: &str = "mambogo_order_effects_mended_total";
/// Gauge: orders that need a human now. Of the whole database, so every orders worker says the same.
pub const NEEDING_A_HUMAN: &str = "mambogo_orders_needing_a_human";
/// Orders moved to the history.
pub const MOVED: &str = "mambogo_orders_moved_total";

/// Counts what was committed.
pub fn record(tally: &Tally) {
    counter!(CREATED).increment(tally.created);
    for ended in &tally.ended {
        let status = ended.status.as_str();
        histogram!(PROCESSING, "status" => status).record(ended.took.as_secs_f64());
        match ended.status {
            OrderStatus::Confirmed => counter!(PROCESSED).increment(1),
            _ => counter!(FAILED, "status" => status, "reason" => ended.reason).increment(1),
        }
        match ended.status {
            OrderStatus::Expired => counter!(EXPIRED).increment(1),
            OrderStatus::Cancelled => counter!(CANCELLED).increment(1),
            _ => {}
        }
    }
    counter!(LATE_CAPTURES).increment(tally.late_captures);
    counter!(KEY_CONFLICTS).increment(tally.key_conflicts);
    counter!(REFUNDS).increment(tally.refunds);
    counter!(REQUESTS_REFUSED, "request" => "cancel").increment(tally.refused_cancels);
    counter!(REQUESTS_REFUSED, "request" => "refund").increment(tally.refused_refunds);
    counter!(REQUESTS_REFUSED, "request" => "unrecorded").increment(tally.unrecorded);
    for (order, effect, reason) in &tally.failed {
        counter!(NEEDS_HUMAN).increment(1);
        tracing::error!(%order, %effect, reason, "an effect of an order failed for good: a human is needed, see `mambogo orders needs-human`");
    }
    for (order, effect) in &tally.mended {
        counter!(MENDED).increment(1);
        tracing::info!(%order, %effect, "an effect that had failed for good is done: no human is needed any more");
    }
}

/// Counts orders that a lane's transaction moves to the history.
pub fn moved(orders: i64) {
    counter!(MOVED).increment(u64::try_from(orders).unwrap_or(0));
}

/// Says how many orders need a human.
pub fn needing_a_human(orders: u32) {
    gauge!(NEEDING_A_HUMAN).set(orders);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_an_interface() {
        let names = [
            CREATED,
            PROCESSED,
            FAILED,
            EXPIRED,
            CANCELLED,
            PROCESSING,
            LATE_CAPTURES,
            KEY_CONFLICTS,
            REQUESTS_REFUSED,
            REFUNDS,
            NEEDS_HUMAN,
            MENDED,
            NEEDING_A_HUMAN,
            MOVED,
        ];
        let pinned = [
            "mambogo_orders_created_total",
            "mambogo_orders_processed_total",
            "mambogo_orders_failed_total",
            "mambogo_orders_expired_total",
            "mambogo_orders_cancelled_total",
            "mambogo_order_processing_seconds",
            "mambogo_late_captures_refunded_total",
            "mambogo_order_key_conflicts_total",
            "mambogo_order_requests_refused_total",
            "mambogo_order_refunds_total",
            "mambogo_order_effects_failed_total",
            "mambogo_order_effects_mended_total",
            "mambogo_orders_needing_a_human",
            "mambogo_orders_moved_total",
        ];
        assert_eq!(names, pinned);
    }
}
