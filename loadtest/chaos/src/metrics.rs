//! Names of the workers' metrics that the runner reads; their crate pins them.

/// Batches that did not commit; label `fate`, `fenced` among them.
pub(crate) const FAILURES: &str = "mambogo_worker_failures_total";
/// Lanes that are held; label `group`.
pub(crate) const LANES: &str = "mambogo_worker_lanes";
/// Records that wait in memory; label `group`.
pub(crate) const WAITING: &str = "mambogo_worker_waiting_records";
