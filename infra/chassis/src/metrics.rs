//! Names of what every process tells of itself.

/// Threads that run tasks.
pub(crate) const WORKERS: &str = "mambogo_runtime_workers";
/// Tasks that have been spawned and have not ended.
pub(crate) const TASKS: &str = "mambogo_runtime_tasks";
/// Tasks that are ready and wait for a thread, beyond those that threads have in queues of their own.
pub(crate) const QUEUED: &str = "mambogo_runtime_queued_tasks";
/// Milliseconds in which threads ran tasks, all threads together. Beside the wall time it says how busy they are.
pub(crate) const BUSY: &str = "mambogo_runtime_busy_milliseconds_total";
/// How often a thread found nothing to do and went to sleep.
pub(crate) const PARKS: &str = "mambogo_runtime_parks_total";

#[cfg(test)]
mod tests {
    #[test]
    fn the_names_that_dashboards_know_stay() {
        let names = [super::WORKERS, super::TASKS, super::QUEUED, super::BUSY, super::PARKS];
        assert_eq!(
            names,
            [
                "mambogo_runtime_workers",
                "mambogo_runtime_tasks",
                "mambogo_runtime_queued_tasks",
                "mambogo_runtime_busy_milliseconds_total",
                "mambogo_runtime_parks_total",
            ]
        );
    }
}
