//! Names of the metrics.

use follower::Counters;

/// Counter: events taken in, one for each endpoint that is to hear of them.
pub(crate) const TAKEN: &str = "mambogo_webhook_taken_total";
/// Counter: events of the log that cannot be read; nobody is told of them.
pub(crate) const SKIPPED: &str = "mambogo_webhook_skipped_total";
/// Counter: writes of what was taken in that failed, each try.
pub(crate) const FAILURES: &str = "mambogo_webhook_intake_failures_total";
/// Counter: commits that Kafka refused; the next one covers them.
pub(crate) const COMMIT_FAILURES: &str = "mambogo_webhook_commit_failures_total";
/// Counter: consumers given up for a new one: stuck, or failed for good.
pub(crate) const REJOINS: &str = "mambogo_webhook_rejoins_total";
/// Counter: attempts at a delivery, by `outcome`: `heard`; `refused`, not 2xx; `silent`, no answer in time or no connection;
/// `forbidden`, an address that is not called.
pub(crate) const ATTEMPTS: &str = "mambogo_webhook_attempts_total";
/// Histogram: how long an attempt took.
pub(crate) const ATTEMPT: &str = "mambogo_webhook_attempt_seconds";
/// Counter: endpoints disabled, after a long failure or for what waits for them.
pub(crate) const DISABLED: &str = "mambogo_webhook_disabled_total";
/// Gauge: calls under way.
pub(crate) const UNDER_WAY: &str = "mambogo_webhook_calls";
/// Gauge: events that wait to be told, disabled endpoints' included.
pub(crate) const WAITING: &str = "mambogo_webhook_waiting_events";

/// Those of them that the follower counts.
pub(crate) const COUNTERS: Counters =
    Counters { failures: FAILURES, commit_failures: COMMIT_FAILURES, rejoins: REJOINS };

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_an_interface() {
        assert_eq!(
            [
                super::TAKEN,
                super::SKIPPED,
                super::FAILURES,
                super::COMMIT_FAILURES,
                super::REJOINS,
                super::ATTEMPTS,
                super::ATTEMPT,
                super::DISABLED,
                super::UNDER_WAY,
                super::WAITING,
            ],
            [
                "mambogo_webhook_taken_total",
                "mambogo_webhook_skipped_total",
                "mambogo_webhook_intake_failures_total",
                "mambogo_webhook_commit_failures_total",
                "mambogo_webhook_rejoins_total",
                "mambogo_webhook_attempts_total",
                "mambogo_webhook_attempt_seconds",
                "mambogo_webhook_disabled_total",
                "mambogo_webhook_calls",
                "mambogo_webhook_waiting_events",
            ]
        );
    }
}
