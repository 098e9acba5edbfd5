//! Watches the resident memory of our processes.

use crate::instance::Instance;
use crate::running::Running;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// No process of ours may have more, under these loads.
pub(crate) const BOUND: u64 = 400 * 1024 * 1024;

type Samples = BTreeMap<String, Vec<(f64, u64)>>;

/// Looks each second, until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    samples: Arc<Mutex<Samples>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins, for the processes of those names.
    pub(crate) fn begin(instance: &Instance, names: Vec<String>) -> Self {
        let (instance, samples) = (instance.clone(), Arc::new(Mutex::new(Samples::new())));
        let seen = Arc::clone(&samples);
        let task = tokio::spawn(async move {
            let (begun, mut tick) = (Instant::now(), tokio::time::interval(Duration::from_secs(1)));
            loop {
                tick.tick().await;
                for name in &names {
                    let running = Running::of_file(&instance.pid_file(name)).ok();
                    if let Some(bytes) = running.and_then(|running| running.resident()) {
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.entry(name.clone()).or_default().push((begun.elapsed().as_secs_f64(), bytes));
                    }
                }
            }
        });
        Self { samples, task }
    }

    /// All so far, seconds and bytes by process; it begins anew.
    pub(crate) fn take(&self) -> Samples {
        std::mem::take(&mut self.samples.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The most that any had, bytes.
pub(crate) fn most(samples: &Samples) -> u64 {
    samples.values().flatten().map(|(_, bytes)| *bytes).max().unwrap_or(0)
}

/// Bytes a second by least squares; none for fewer than two samples.
pub(crate) fn slope(samples: &[(f64, u64)]) -> Option<f64> {
    let n = samples.len() as f64;
    let (mean_x, mean_y) =
        samples.iter().fold((0.0, 0.0), |(x, y), (at, bytes)| (x + at / n, y + *bytes as f64 / n));
    let (above, below) = samples.iter().fold((0.0, 0.0), |(above, below), (at, bytes)| {
        let from_mean = at - mean_x;
        (above + from_mean * (*bytes as f64 - mean_y), below + from_mean * from_mean)
    });
    (below > 0.0).then(|| above / below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_line() {
        assert_eq!(slope(&[]), None);
        assert_eq!(slope(&[(1.0, 5)]), None);
        assert_eq!(slope(&[(0.0, 100), (1.0, 110), (2.0, 120)]), Some(10.0));
        assert_eq!(slope(&[(0.0, 100), (1.0, 110), (2.0, 100)]), Some(0.0));
    }
}
