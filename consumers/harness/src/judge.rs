//! Runs a service over a batch in memory: each record gets a verdict, or is set aside with its key.
//!
//! Pure but for the service's own counters: the simulator runs the same code.

mod line;
mod read;

use crate::{
    lane::Lane,
    record::{Delivery, Out, Record, Rejection, Verdict},
    redrive::{self, Concluded, Opened},
    service::{Context, Service},
};
use line::Line;
pub(crate) use read::address;
use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// A record's place: partition and offset.
pub type Place = (i32, i64);

/// Cause of a record that was set aside because an earlier one of its key was.
pub const BEHIND: &str = "behind";
/// Cause of a record whose key is not a UUID in text: nothing can be parked behind it.
pub(crate) const KEYLESS: &str = "key";
/// Cause of a record that made the service panic.
pub const PANIC: &str = "panic";
/// Cause of a record whose effects the database refused.
pub(crate) const DATABASE: &str = "database";
/// Cause of a record of a schema that this release does not know.
pub const UNKNOWN_SCHEMA: &str = "unknown_schema";

/// Whether a rejected record is parked with its key. One without a readable key is not, for nothing could wait behind
/// it; nor is a command about parked records, for it is not its key's own.
pub(crate) fn parks(record: &Record, rejection: &Rejection) -> bool {
    rejection.cause != KEYLESS && !redrive::is_action(record)
}

/// The records of a batch that count: their offsets and numbers were in turn.
pub struct Batch<C> {
    /// Those that could be read, in merged order; then those to be discarded.
    deliveries: Vec<Delivery<C>>,
    /// How many of them are to be decided.
    decided: usize,
    /// All of them, in merged order.
    entries: Vec<Entry>,
    /// The command about parked records that opens the batch, if one does.
    opened: Option<Opened>,
}

struct Entry {
    record: Arc<Record>,
    reading: Reading,
    /// It was parked before, and runs again.
    is_parked: bool,
}

enum Reading {
    /// Index into `deliveries`.
    Delivery(usize),
    /// Not readable, or known to be poison.
    Rejected(Rejection),
    /// Its key was parked before this batch.
    Behind,
    /// A parked record to be discarded; index into `deliveries` if it could be read.
    Drop(Option<usize>),
    /// The command about parked records itself, after all that it means.
    Action,
}

/// What the batch came to.
#[derive(Default)]
pub struct Judgement {
    /// Records to set aside, and why. One that parks nothing is only dead-lettered.
    pub rejected: Vec<(Arc<Record>, Rejection)>,
    /// Records that changed something.
    pub executed: u64,
    /// Records that had been applied before.
    pub already_applied: u64,
    /// What was done about parked records.
    pub concluded: Option<Concluded>,
}

/// The service panicked on a record: the batch must be run again with it marked as poison.
#[derive(Debug)]
pub struct Panicked {
    /// Where the record lies.
    pub place: Place,
    /// What the panic said.
    pub message: String,
}

impl<C> Batch<C> {
    /// Its records, in merged order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.entries.iter().map(|entry| &*entry.record)
    }

    /// Whether there is nothing to decide.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is to be decided.
    #[must_use]
    pub fn to_decide(&self) -> &[Delivery<C>] {
        self.deliveries.get(..self.decided).unwrap_or_default()
    }

    /// The same, and what is to be discarded.
    #[must_use]
    pub fn to_load(&self) -> &[Delivery<C>] {
        &self.deliveries
    }

    /// Decides record by record. A key whose record is rejected is parked in its lane at once, so that the rest of
    /// the batch goes behind it.
    ///
    /// # Errors
    /// [`Panicked`], and then rows, lanes and `out` are not to be used.
    pub fn judge<S: Service<Command = C>>(
        self,
        service: &S,
        context: &Context,
        rows: &mut S::Rows,
        lanes: &mut BTreeMap<i32, Lane>,
        out: &mut Out,
    ) -> Result<Judgement, Panicked> {
        let mut judgement = Judgement::default();
        let mut line = self.opened.map(Line::begin);
        for Entry { record, reading, is_parked } in self.entries {
            let Some(lane) = lanes.get_mut(&record.partition) else { continue };
            if is_parked && line.as_ref().is_none_or(|line| line.is_stopped(&reading)) {
                continue;
            }
            let outcome = match reading {
                Reading::Rejected(rejection) => Err(rejection),
                Reading::Behind => Err(behind()),
                Reading::Delivery(_) if !is_parked && lane.parked.contains(&record.key) => Err(behind()),
                Reading::Delivery(index) => {
                    let Some(delivery) = self.deliveries.get(index) else { continue };
                    decide(service, context, rows, delivery, out)?
                }
                Reading::Drop(index) => {
                    let delivery = index.and_then(|index| self.deliveries.get(index));
                    let Some(line) = &mut line else { continue };
                    line.discard(service, rows, &record, delivery, out);
                    continue;
                }
                Reading::Action => {
                    if let Some(line) = line.take() {
                        judgement.concluded = Some(line.end(service.input(), &record, lane, out));
                    }
                    continue;
                }
            };
            match (&mut line, outcome) {
                (Some(line), Ok(_)) if is_parked => line.ran(&record),
                (Some(line), Err(rejection)) if is_parked => line.failed(&record, rejection),
                (_, Ok(Verdict::Executed)) => judgement.executed += 1,
                (_, Ok(Verdict::AlreadyApplied)) => judgement.already_applied += 1,
                (_, Err(rejection)) => {
                    if parks(&record, &rejection) {
                        lane.park(&record.key);
                    }
                    judgement.rejected.push((record, rejection));
                }
            }
        }
        Ok(judgement)
    }
}

/// One record; what it said is taken back when it is rejected. The outer error is a panic.
fn decide<S: Service>(
    service: &S,
    context: &Context,
    rows: &mut S::Rows,
    delivery: &Delivery<S::Command>,
    out: &mut Out,
) -> Result<Result<Verdict, Rejection>, Panicked> {
    let mark = out.mark();
    let decided = catch_unwind(AssertUnwindSafe(|| service.decide(context, rows, delivery, out)));
    decided
        .inspect(|verdict| {
            if verdict.is_err() {
                out.take_back(mark);
            }
        })
        .map_err(|panic| Panicked {
            place: (delivery.partition, delivery.offset),
            message: panic_text(&*panic),
        })
}

fn behind() -> Rejection {
    Rejection::new(BEHIND, "an earlier record of this key is parked")
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without text")
        .to_owned()
}
