//! A goal of the table: what is measured, what it should be, and the floor below (or above) which nothing of this
//! design can get.

use loadtest::{GENERATOR, Outcome, Spent};
use serde::Serialize;
use std::fmt;

/// What of a run a goal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    SagasPerSecond,
    /// CPU of all processes for an order, the generator's included.
    MicrosPerOrder,
    AcceptP99,
    CompleteP50,
    CompleteP99,
    /// Memory of the largest of our processes.
    LargestMiB,
    /// Seconds from a worker's death until orders end at the rate they come, the slowest of all.
    Recovery,
    /// CPU of all our processes in per cent of a core, with nothing to do.
    IdlePercent,
    /// CPU of the generator for a call.
    GeneratorMicros,
}

/// Whether more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

/// One goal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    pub(crate) what: What,
    pub(crate) better: Better,
    pub(crate) goal: f64,
    /// What the design's steps cost at the very least (the sum of their primitives), or the best it could reach.
    pub(crate) floor: Option<f64>,
}

/// A goal and what was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Judged {
    pub(crate) what: String,
    pub(crate) goal: f64,
    pub(crate) measured: f64,
    pub(crate) floor: Option<f64>,
    /// Measured by floor, or by the goal where there is no floor.
    pub(crate) ratio: f64,
    pub(crate) reached: bool,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::SagasPerSecond => "sagas/s",
            Self::MicrosPerOrder => "CPU µs/order",
            Self::AcceptP99 => "accept p99, ms",
            Self::CompleteP50 => "complete p50, ms",
            Self::CompleteP99 => "complete p99, ms",
            Self::LargestMiB => "largest process, MiB",
            Self::Recovery => "full rate after a kill, s",
            Self::IdlePercent => "idle, % of a core",
            Self::GeneratorMicros => "generator µs/call",
        }
    }

    fn of(self, outcome: &Outcome, kills: &[u64]) -> f64 {
        let report = &outcome.report;
        match self {
            Self::SagasPerSecond => outcome.sagas_per_second(),
            Self::MicrosPerOrder => outcome.micros_per_order,
            Self::AcceptP99 => report.submit.p99,
            Self::CompleteP50 => report.complete.p50,
            Self::CompleteP99 => report.complete.p99,
            Self::LargestMiB => {
                ours(outcome).map(|spent| mebibytes(spent.memory_at_most)).fold(0.0, f64::max)
            }
            Self::Recovery => kills.iter().map(|kill| recovery(outcome, *kill)).fold(0.0, f64::max),
            Self::IdlePercent => {
                let spent: f64 = ours(outcome).map(|spent| spent.cpu_seconds).sum();
                100.0 * spent / outcome.report.seconds.max(0.001)
            }
            Self::GeneratorMicros => outcome.generator_micros_per_call,
        }
    }
}

/// Our own processes: all but the generator and what was named on the command line.
fn ours(outcome: &Outcome) -> impl Iterator<Item = &Spent> {
    outcome.spent.iter().filter(|spent| spent.name.starts_with("mambogo") && spent.name != GENERATOR)
}

/// From second `kill` until the first second in which at least as many orders ended as were accepted.
fn recovery(outcome: &Outcome, kill: u64) -> f64 {
    let mut after = outcome.report.series.iter().filter(|second| second.at > kill + 1);
    let full = after.clone().find(|second| second.accepted > 0 && second.ended >= second.accepted);
    let until = full.or(after.next_back()).map_or(kill, |second| second.at);
    f64::from(u32::try_from(until.saturating_sub(kill)).unwrap_or(u32::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

impl Goal {
    pub(crate) fn judge(&self, outcome: &Outcome, kills: &[u64]) -> Judged {
        let measured = self.what.of(outcome, kills);
        let reached = match self.better {
            Better::More => measured >= self.goal,
            Better::Less => measured <= self.goal,
        };
        let ratio = measured / self.floor.unwrap_or(self.goal);
        Judged {
            what: self.what.name().to_owned(),
            goal: self.goal,
            measured,
            floor: self.floor,
            ratio,
            reached,
        }
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let floor = self.floor.map_or_else(|| "-".to_owned(), |floor| format!("{floor:.0}"));
        let mark = if self.reached { "reached" } else { "missed" };
        let Self { what, goal, measured, ratio, .. } = self;
        write!(f, "{what:<26} {goal:>9.1} {measured:>11.1} {floor:>8} {ratio:>8.2}  {mark}")
    }
}
