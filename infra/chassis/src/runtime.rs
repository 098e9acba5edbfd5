//! How the async runtime is: whether its threads are busy, and whether tasks queue for them.
//!
//! Taken when somebody asks, so an idle process is not woken for it. The runtime has these figures without tokio's
//! unstable features (docs.rs/tokio, `RuntimeMetrics`).

use crate::metrics::{BUSY, PARKS, QUEUED, TASKS, WORKERS};
use ::metrics::{counter, gauge};
use tokio::runtime::Handle;

/// Tells the recorder how the runtime of the caller is.
pub(crate) fn sample() {
    let runtime = Handle::current().metrics();
    let workers = runtime.num_workers();
    let busy: u128 = (0..workers).map(|one| runtime.worker_total_busy_duration(one).as_millis()).sum();
    let parks: u64 = (0..workers).map(|one| runtime.worker_park_count(one)).sum();
    gauge!(WORKERS).set(figure(workers));
    gauge!(TASKS).set(figure(runtime.num_alive_tasks()));
    gauge!(QUEUED).set(figure(runtime.global_queue_depth()));
    counter!(BUSY).absolute(u64::try_from(busy).unwrap_or(u64::MAX));
    counter!(PARKS).absolute(parks);
}

fn figure(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::sync::Notify;

    #[test]
    fn tasks_threads_and_their_work_are_told() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let text = ::metrics::with_local_recorder(&recorder, || {
            let _entered = runtime.enter();
            let never = std::sync::Arc::new(Notify::new());
            for _ in 0..3 {
                let never = never.clone();
                tokio::spawn(async move { never.notified().await });
            }
            sample();
            handle.render()
        });
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default();
            line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok())
        };
        assert_eq!((value(WORKERS), value(TASKS)), (Some(2.0), Some(3.0)), "{text}");
        for name in [QUEUED, BUSY, PARKS] {
            assert!(value(name).is_some(), "{name} in {text}");
        }
    }
}
