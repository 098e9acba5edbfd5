//! What a run found, as numbers that serialize.

use crate::plan::Plan;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// A latency's distribution, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many were measured.
    pub count: u64,
    /// The arithmetic mean.
    pub mean: f64,
    /// Half are at most this.
    pub p50: f64,
    /// 90 in 100.
    pub p90: f64,
    /// 99 in 100.
    pub p99: f64,
    /// 999 in 1,000.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

impl Quantiles {
    /// Of a histogram in microseconds.
    #[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^52 µs")]
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            count: histogram.len(),
            mean: histogram.mean() / 1_000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1_000.0,
        }
    }
}

/// One second of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Second {
    /// Seconds since the run began, at this one's end.
    pub at: u64,
    /// Orders accepted in it.
    pub accepted: u64,
    /// Orders whose end was seen in it.
    pub ended: u64,
    /// Accepted orders that have not been seen at an end, at its end: the system's lag as its clients see it.
    pub open: u64,
    /// From the intended submit to the acknowledgement.
    pub submit: Quantiles,
    /// From the intended submit to the end.
    pub complete: Quantiles,
}

/// What a run found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What was run.
    pub plan: Plan,
    /// Orders that were begun.
    pub begun: u64,
    /// How long orders were sent, in seconds.
    pub sending_seconds: f64,
    /// How long everything took, the wait for the last ends included, in seconds.
    pub seconds: f64,
    /// HTTP calls made.
    pub calls: u64,
    /// Orders accepted.
    pub accepted: u64,
    /// Ends seen, by status.
    pub ends: BTreeMap<&'static str, u64>,
    /// Answers to submits by HTTP status, repeats included; 0 stands for none.
    pub answers: BTreeMap<u16, u64>,
    /// From the intended submit to the acknowledgement.
    pub submit: Quantiles,
    /// From the intended submit to the end, of orders whose client waited for it.
    pub complete: Quantiles,
    /// Status reads that did not wait, from send to answer.
    pub read: Quantiles,
    /// How much later than intended submits were sent.
    pub late: Quantiles,
    /// Second by second.
    pub series: Vec<Second>,
}

impl Report {
    /// Ends seen.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ends.values().sum()
    }
}
