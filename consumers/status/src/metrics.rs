//! Names of the metrics.

use follower::Counters;

/// Records read from `order.events`.
pub(crate) const RECORDS: &str = "mambogo_status_consumed_total";
/// Views by what became of them: `written`, `older`.
pub(crate) const VIEWS: &str = "mambogo_status_views_total";
/// Records that could not be read and were skipped, by `cause`.
pub(crate) const SKIPPED: &str = "mambogo_status_skipped_total";
/// Records in a batch.
pub(crate) const BATCH: &str = "mambogo_status_batch_records";
/// How long writing a batch to Redis took.
pub const WRITE: &str = "mambogo_status_write_seconds";
/// Age of a batch's oldest record (by the log's timestamp) when its views were written.
pub const AGE: &str = "mambogo_status_age_seconds";
/// Batches that Redis did not take at once, each try.
pub(crate) const REDIS_FAILURES: &str = "mambogo_status_redis_failures_total";
/// Commits that Kafka refused; the next one covers them.
pub(crate) const COMMIT_FAILURES: &str = "mambogo_status_commit_failures_total";
/// Consumers given up for a new one: stuck, or failed for good.
pub(crate) const REJOINS: &str = "mambogo_status_rejoins_total";

/// Those of them that the follower counts.
pub(crate) const COUNTERS: Counters =
    Counters { failures: REDIS_FAILURES, commit_failures: COMMIT_FAILURES, rejoins: REJOINS };

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_an_interface() {
        let names = [
            super::RECORDS,
            super::VIEWS,
            super::SKIPPED,
            super::BATCH,
            super::WRITE,
            super::AGE,
            super::REDIS_FAILURES,
            super::COMMIT_FAILURES,
            super::REJOINS,
        ];
        assert_eq!(
            names,
            [
                "mambogo_status_consumed_total",
                "mambogo_status_views_total",
                "mambogo_status_skipped_total",
                "mambogo_status_batch_records",
                "mambogo_status_write_seconds",
                "mambogo_status_age_seconds",
                "mambogo_status_redis_failures_total",
                "mambogo_status_commit_failures_total",
                "mambogo_status_rejoins_total",
            ]
        );
    }
}
