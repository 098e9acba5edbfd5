//! Names of the metrics.

use follower::Counters;

/// Counter: records read and written on.
pub(crate) const RECORDS: &str = "mambogo_catalog_worker_consumed_total";
/// Counter: records that could not be read and were skipped.
pub(crate) const SKIPPED: &str = "mambogo_catalog_worker_skipped_total";
/// Histogram: products in one write, however often they had changed.
pub(crate) const BATCH: &str = "mambogo_catalog_worker_batch_records";
/// Histogram: how long a write to Postgres and Redis took.
pub(crate) const WRITE: &str = "mambogo_catalog_worker_write_seconds";
/// Counter: writes that failed, each try.
pub(crate) const FAILURES: &str = "mambogo_catalog_worker_failures_total";
/// Counter: commits that Kafka refused; the next one covers them.
pub(crate) const COMMIT_FAILURES: &str = "mambogo_catalog_worker_commit_failures_total";

/// Counter: consumers given up for a new one: stuck, or failed for good.
pub(crate) const REJOINS: &str = "mambogo_catalog_worker_rejoins_total";
/// Those of them that the follower counts.
pub(crate) const COUNTERS: Counters =
    Counters { failures: FAILURES, commit_failures: COMMIT_FAILURES, rejoins: REJOINS };

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_an_interface() {
        assert_eq!(
            [
                super::RECORDS,
                super::SKIPPED,
                super::BATCH,
                super::WRITE,
                super::FAILURES,
                super::COMMIT_FAILURES,
                super::REJOINS,
            ],
            [
                "mambogo_catalog_worker_consumed_total",
                "mambogo_catalog_worker_skipped_total",
                "mambogo_catalog_worker_batch_records",
                "mambogo_catalog_worker_write_seconds",
                "mambogo_catalog_worker_failures_total",
                "mambogo_catalog_worker_commit_failures_total",
                "mambogo_catalog_worker_rejoins_total",
            ]
        );
    }
}
