//! Where an order's time goes, stage by stage of its road, from the histograms that each process keeps anyway: read
//! before and after a run, so that only the run is in them.

use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// The stages of a road, each a histogram and what its label has to be. An order passes the three that have a group of
/// `orders` three times, those of `inventory` twice.
const ROAD: [(&str, &str, &str); 14] = [
    ("edge: answering a call", ingress::metrics::LATENCY, ""),
    ("edge: record handed over to acknowledged", publisher::metrics::ACK_TIME, "gateway"),
    ("orders: on the log, until its batch begins", harness::metrics::LOG_WAIT, "orders"),
    ("orders: the batch, until its commit", harness::metrics::BATCH_SECONDS, "orders"),
    ("orders: outbox row begun to read", relay::metrics::WAIT, "orders"),
    ("inventory: on the log, until its batch begins", harness::metrics::LOG_WAIT, "inventory"),
    ("inventory: the batch, until its commit", harness::metrics::BATCH_SECONDS, "inventory"),
    ("inventory: outbox row begun to read", relay::metrics::WAIT, "inventory"),
    ("payments: on the log, until its batch begins", harness::metrics::LOG_WAIT, "payments"),
    ("payments: the batch with its calls, until its commit", harness::metrics::BATCH_SECONDS, "payments"),
    ("payments: outbox row begun to read", relay::metrics::WAIT, "payments"),
    ("relay: record handed over to acknowledged", publisher::metrics::ACK_TIME, "relay"),
    ("status: a batch's write to Redis", status_worker::metrics::WRITE, ""),
    ("status: on the log, until its view is written", status_worker::metrics::AGE, ""),
];

/// Counts by upper bound of their bucket, of one histogram with one label.
type Buckets = Vec<(f64, f64)>;

/// Cumulative histograms of all processes: by name and first label value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timings {
    of: BTreeMap<(String, String), Buckets>,
}

/// One stage in a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    /// Timings that stand behind it: of records, rows or batches.
    pub(crate) count: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    /// Milliseconds.
    pub(crate) p99: f64,
}

impl Timings {
    /// Adds what a process says of itself (Prometheus' text format).
    pub(crate) fn add(&mut self, text: &str) {
        for (name, label, bound, count) in text.lines().filter_map(bucket) {
            let buckets = self.of.entry((name.to_owned(), label.to_owned())).or_default();
            match buckets.iter_mut().find(|(at, _)| *at == bound) {
                Some((_, known)) => *known += count,
                None => buckets.push((bound, count)),
            }
        }
    }

    /// What was added since `before`.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for (key, buckets) in &mut self.of {
            let Some(earlier) = before.of.get(key) else { continue };
            for (bound, count) in buckets {
                let then = earlier.iter().find(|(at, _)| at == bound).map_or(0.0, |(_, then)| *then);
                // a process that was started anew counts from nothing
                *count = if *count >= then { *count - then } else { *count };
            }
        }
        self
    }

    /// The stages that were passed at all.
    pub(crate) fn stages(&self) -> Vec<Stage> {
        ROAD.iter()
            .map(|(name, metric, label)| {
                let mut all: Buckets = Vec::new();
                for ((of, value), buckets) in &self.of {
                    if of == metric && value.contains(label) {
                        merge(&mut all, buckets);
                    }
                }
                all.sort_by(|a, b| a.0.total_cmp(&b.0));
                let count = all.last().map_or(0.0, |(_, count)| *count);
                Stage { name, count, p50: quantile(&all, 0.5) * 1e3, p99: quantile(&all, 0.99) * 1e3 }
            })
            .filter(|stage| stage.count > 0.0)
            .collect()
    }
}

fn merge(all: &mut Buckets, more: &Buckets) {
    for (bound, count) in more {
        match all.iter_mut().find(|(at, _)| at == bound) {
            Some((_, known)) => *known += count,
            None => all.push((*bound, *count)),
        }
    }
}

/// Within its bucket a quantile is taken to lie in proportion, as Prometheus does; beyond the last bound, at that bound.
fn quantile(buckets: &Buckets, share: f64) -> f64 {
    let wanted = buckets.last().map_or(0.0, |(_, count)| *count) * share;
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= wanted && *count > below {
            let high = if bound.is_finite() { *bound } else { low };
            return low + (high - low) * (wanted - below) / (count - below);
        }
        (low, below) = (*bound, *count);
    }
    0.0
}

/// `name_bucket{label="value",…,le="0.005"} 12` as name, value of the first label, bound and count.
fn bucket(line: &str) -> Option<(&str, &str, f64, f64)> {
    let (name, rest) = line.split_once("_bucket{")?;
    let (labels, count) = rest.rsplit_once("} ")?;
    let (labels, bound) = labels.rsplit_once("le=\"")?;
    let bound = bound.trim_end_matches('"');
    let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
    let label = labels.split('"').nth(1).unwrap_or_default();
    Some((name, label, bound, count.parse().ok()?))
}

/// The stages as a table.
pub(crate) struct Stages<'a>(pub(crate) &'a [Stage]);

impl fmt::Display for Stages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:<54} {:>10} {:>9} {:>9}", "stage", "timed", "p50 ms", "p99 ms")?;
        for Stage { name, count, p50, p99 } in self.0 {
            write!(f, "\n  {name:<54} {count:>10.0} {p50:>9.1} {p99:>9.1}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(fast: u32, slow: u32) -> Timings {
        let mut timings = Timings::default();
        // two processes, and a metric that is no stage
        for _ in 0..2 {
            timings.add(&format!(
                "# TYPE mambogo_worker_batch_seconds histogram\n\
                 mambogo_worker_batch_seconds_bucket{{group=\"orders\",le=\"0.01\"}} {fast}\n\
                 mambogo_worker_batch_seconds_bucket{{group=\"orders\",le=\"0.02\"}} {}\n\
                 mambogo_worker_batch_seconds_bucket{{group=\"orders\",le=\"+Inf\"}} {0}\n\
                 mambogo_worker_batch_seconds_sum{{group=\"orders\"}} 1\n\
                 mambogo_worker_batch_records_bucket{{group=\"orders\",le=\"1\"}} 7\n",
                fast + slow
            ));
        }
        timings
    }

    #[test]
    fn a_run_is_what_was_timed_between_two_looks_at_all_processes() {
        let stages = said(100, 50).since(&said(50, 50)).stages();
        let [stage] = &stages[..] else { panic!("{stages:?}") };
        assert_eq!((stage.name, stage.count), ("orders: the batch, until its commit", 100.0));
        assert!((stage.p50 - 5.0).abs() < 1e-9, "half of what lies below 10 ms: {stage:?}");
    }

    #[test]
    fn a_process_that_began_anew_counts_from_nothing() {
        let stages = said(10, 0).since(&said(50, 50)).stages();
        assert_eq!(stages[0].count, 20.0);
    }

    #[test]
    fn a_quantile_beyond_the_last_bound_is_that_bound() {
        let buckets = vec![(0.01, 0.0), (60.0, 0.0), (f64::INFINITY, 5.0)];
        assert_eq!(quantile(&buckets, 0.5), 60.0);
        assert_eq!(quantile(&Vec::new(), 0.5), 0.0);
    }
}
