//! Runs a plan and measures the machine beside it: what each part of the system spent per order, second by second.

use crate::{
    check::{Verdict, check},
    history::History,
    machine::{Everything, Machine, Others, Part, Usage},
    plan::Plan,
    report::{Report, Second},
    run::{PlanError, Target, run},
};
use serde::Serialize;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the generator itself is called among the parts.
pub const GENERATOR: &str = "load generator";

/// What a part of the system spent in a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spent {
    /// Which part.
    pub name: String,
    /// User and system time, from the first submit to the last end.
    pub cpu_seconds: f64,
    /// The same for each order that ended, in microseconds.
    pub micros_per_order: f64,
    /// Memory at the start, in bytes.
    pub memory_at_start: u64,
    /// The most it held at the end of any second.
    pub memory_at_most: u64,
}

/// One second of the machine.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// Seconds since the run began.
    pub at: u64,
    /// Cores' worth of CPU of each part, in the order of [`Outcome::spent`].
    pub cores: Vec<f64>,
}

/// A run and what it cost.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// What clients saw.
    pub report: Report,
    /// What their history shows.
    pub verdict: Verdict,
    /// Records of the history that found no room, and were not looked at.
    pub unchecked: u64,
    /// What each part spent; the generator is one of them.
    pub spent: Vec<Spent>,
    /// CPU of all parts for each order that ended, the generator's included, in microseconds.
    pub micros_per_order: f64,
    /// CPU of the generator for each HTTP call that it made, in microseconds.
    pub generator_micros_per_call: f64,
    /// Second by second.
    pub samples: Vec<Sample>,
    /// What else ran.
    pub others: Others,
    /// Where.
    pub machine: Machine,
}

impl Outcome {
    /// Orders that ended, a second of sending.
    #[must_use]
    pub fn sagas_per_second(&self) -> f64 {
        per(self.report.ended(), self.report.sending_seconds.max(self.seconds_to_last_end()))
    }

    /// From the first submit to the last second in which an order ended.
    fn seconds_to_last_end(&self) -> f64 {
        let last = self.report.series.iter().rev().find(|second| second.ended > 0);
        last.map_or(0.0, |second| f64::from(u32::try_from(second.at).unwrap_or(u32::MAX)))
            .min(self.report.seconds)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of orders are far below 2^52")]
fn per(count: u64, of: f64) -> f64 {
    if of > 0.0 { count as f64 / of } else { 0.0 }
}

/// Follows what one part spends, over the processes that it is one after the other.
struct Follower {
    part: Part,
    pid: u32,
    /// What the processes before this one had spent when they were last looked at, less what the first had at the start.
    before: f64,
    last: Usage,
    memory_at_start: u64,
    memory_at_most: u64,
}

impl Follower {
    fn start(part: Part) -> Self {
        let (pid, last) = (part.pid(), part.usage());
        let memory = last.memory_bytes;
        Self { part, pid, before: -last.cpu_seconds, last, memory_at_start: memory, memory_at_most: memory }
    }

    /// Looks, and returns what was spent since the start, in CPU seconds.
    fn look(&mut self) -> f64 {
        let (pid, now) = (self.part.pid(), self.part.usage());
        if pid != self.pid || now.cpu_seconds < self.last.cpu_seconds {
            self.before += self.last.cpu_seconds;
            self.pid = pid;
        }
        self.last = now;
        self.memory_at_most = self.memory_at_most.max(now.memory_bytes);
        self.before + now.cpu_seconds
    }
}

/// Follows what all parts spend.
struct Meter {
    followers: Vec<Follower>,
    spent: Vec<f64>,
    samples: Vec<Sample>,
    at: f64,
}

impl Meter {
    fn start(parts: Vec<Part>) -> Self {
        let followers: Vec<Follower> = parts.into_iter().map(Follower::start).collect();
        Self { spent: vec![0.0; followers.len()], followers, samples: Vec::new(), at: 0.0 }
    }

    fn sample(&mut self, second: &Second, now: f64) {
        let length = (now - self.at).max(0.001);
        let spent: Vec<f64> = self.followers.iter_mut().map(Follower::look).collect();
        let cores = spent.iter().zip(&self.spent).map(|(now, last)| (now - last).max(0.0) / length);
        self.samples.push(Sample { at: second.at, cores: cores.collect() });
        (self.spent, self.at) = (spent, now);
    }

    fn spent(&mut self, orders: u64) -> Vec<Spent> {
        let of = |follower: &mut Follower| {
            let cpu_seconds = follower.look();
            Spent {
                name: follower.part.name.clone(),
                cpu_seconds,
                micros_per_order: if orders == 0 { 0.0 } else { 1e6 * cpu_seconds / per(orders, 1.0) },
                memory_at_start: follower.memory_at_start,
                memory_at_most: follower.memory_at_most,
            }
        };
        self.followers.iter_mut().map(of).collect()
    }

    fn parts(&self) -> Vec<Part> {
        self.followers.iter().map(|follower| follower.part.clone()).collect()
    }
}

/// Runs `plan` and measures `parts` and this process beside it.
///
/// # Errors
/// [`PlanError`], before anything is sent.
pub async fn measure(
    plan: &Plan,
    target: Target,
    mut parts: Vec<Part>,
    history: History,
    stop: CancellationToken,
    mut on_second: impl FnMut(&Second, &Sample) + Send,
) -> Result<Outcome, PlanError> {
    parts.push(Part::alone(GENERATOR, std::process::id()));
    let history = Arc::new(history);
    let (before, began) = (Everything::read(), std::time::Instant::now());
    let mut meter = Meter::start(parts);
    let report = run(plan, target, history.clone(), stop, |second| {
        meter.sample(second, began.elapsed().as_secs_f64());
        if let Some(sample) = meter.samples.last() {
            on_second(second, sample);
        }
    })
    .await?;
    let spent = meter.spent(report.ended());
    let all: f64 = spent.iter().map(|spent| spent.cpu_seconds).sum();
    let own = spent.last().map_or(0.0, |spent| spent.cpu_seconds);
    let others = Everything::read().others(&before, &meter.parts(), all);
    let (records, unchecked) = match Arc::try_unwrap(history) {
        Ok(history) => history.finish().map_err(|error| PlanError::History(error.to_string()))?,
        Err(shared) => (shared.records(), 0),
    };
    let must_settle = !plan.settle.is_zero() && unchecked == 0;
    Ok(Outcome {
        verdict: check(records, must_settle),
        unchecked,
        micros_per_order: spent.iter().map(|spent| spent.micros_per_order).sum(),
        generator_micros_per_call: 1e6 * own / per(report.calls, 1.0).max(1.0),
        spent,
        samples: meter.samples,
        others,
        machine: Machine::read(),
        report,
    })
}
