//! What the machine counts. Every metric has the label `group`.

/// Records by what became of them; label `fate`: executed, already_applied, parked, below, repeat, hole, gap;
/// and of parked ones: redriven, discarded, relapsed.
pub const RECORDS: &str = "mambogo_worker_records_total";
/// Rejected records by their cause (label `cause`): one of `unknown_schema` says that this release is too old.
pub const REJECTED: &str = "mambogo_worker_rejected_records_total";
/// Records in a committed batch.
pub const BATCH: &str = "mambogo_worker_batch_records";
/// Time of a batch from its first statement to its commit.
pub const BATCH_SECONDS: &str = "mambogo_worker_batch_seconds";
/// From the log's timestamp of a record (when its sender handed it over) to the begin of its batch: produce, broker,
/// fetch, and the wait for the batch before. One record in 64.
pub const LOG_WAIT: &str = "mambogo_worker_log_wait_seconds";
/// Records said through the outbox.
pub const SAID: &str = "mambogo_worker_said_records_total";
/// Batches that did not commit; label `fate`: bisect, again, pause, fenced, poison, answer_lost, halt.
pub const FAILURES: &str = "mambogo_worker_failures_total";
/// Lanes held.
pub const LANES: &str = "mambogo_worker_lanes";
/// Lanes halted until somebody looks.
pub const HALTED: &str = "mambogo_worker_halted_lanes";
/// Lanes with a number missing from a source.
pub const HOLES: &str = "mambogo_worker_lanes_with_hole";
/// Records that wait in memory.
pub const WAITING: &str = "mambogo_worker_waiting_records";
/// Times the worker left and rejoined its group by itself; label `why`: fenced, stalled.
pub const REJOINS: &str = "mambogo_worker_rejoins_total";
/// 1 while the worker waits for its outbox to drain.
pub const OUTBOX_FULL: &str = "mambogo_worker_outbox_full";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_an_interface() {
        assert_eq!(
            [
                RECORDS,
                REJECTED,
                BATCH,
                BATCH_SECONDS,
                LOG_WAIT,
                SAID,
                FAILURES,
                LANES,
                HALTED,
                HOLES,
                WAITING,
                REJOINS,
                OUTBOX_FULL
            ],
            [
                "mambogo_worker_records_total",
                "mambogo_worker_rejected_records_total",
                "mambogo_worker_batch_records",
                "mambogo_worker_batch_seconds",
                "mambogo_worker_log_wait_seconds",
                "mambogo_worker_said_records_total",
                "mambogo_worker_failures_total",
                "mambogo_worker_lanes",
                "mambogo_worker_halted_lanes",
                "mambogo_worker_lanes_with_hole",
                "mambogo_worker_waiting_records",
                "mambogo_worker_rejoins_total",
                "mambogo_worker_outbox_full",
            ]
        );
    }
}
