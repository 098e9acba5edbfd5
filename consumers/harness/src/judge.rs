//! Runs a service over a batch in memory: each record gets a verdict, or is set aside with its key.
//!
//! Pure but for the service's own counters: the simulator runs the same code.

use crate::{
    lane::Lane,
    record::{Delivery, Out, Record, Rejection, Verdict},
    service::{Context, Service},
};
use schemas::envelope::EnvelopeError;
use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
};
use uuid::Uuid;

/// A record's place: partition and offset.
pub type Place = (i32, i64);

/// Cause of a record that was set aside because an earlier one of its key was.
pub(crate) const BEHIND: &str = "behind";
/// Cause of a record whose key is not a UUID in text: nothing can be parked behind it.
pub(crate) const KEYLESS: &str = "key";
/// Cause of a record that made the service panic.
pub(crate) const PANIC: &str = "panic";
/// Cause of a record whose effects the database refused.
pub(crate) const DATABASE: &str = "database";

/// The records of a batch that count: their offsets and numbers were in turn.
pub struct Batch<C> {
    /// Those that could be read and whose key is not parked, in merged order.
    pub deliveries: Vec<Delivery<C>>,
    /// All of them, in merged order.
    entries: Vec<Entry>,
}

struct Entry {
    record: Record,
    reading: Reading,
}

enum Reading {
    /// Index into `deliveries`.
    Delivery(usize),
    /// Not readable, or known to be poison.
    Rejected(Rejection),
    /// Its key was parked before this batch.
    Behind,
}

/// What the batch came to.
#[derive(Default)]
pub struct Judgement {
    /// Records to set aside, and why. A `Rejection` of cause [`KEYLESS`] is only dead-lettered.
    pub rejected: Vec<(Record, Rejection)>,
    /// Records that changed something.
    pub executed: u64,
    /// Records that had been applied before.
    pub already_applied: u64,
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
    /// Reads the records; `poison` names those that are rejected unread.
    pub fn read<S: Service<Command = C>>(
        service: &S,
        records: Vec<Record>,
        lanes: &BTreeMap<i32, Lane>,
        poison: &HashMap<Place, Rejection>,
    ) -> Self {
        let mut deliveries = Vec::with_capacity(records.len());
        let entries = records
            .into_iter()
            .map(|record| {
                let is_parked =
                    lanes.get(&record.partition).is_some_and(|lane| lane.parked.contains(&record.key));
                let reading = match poison.get(&(record.partition, record.offset)) {
                    Some(rejection) => Reading::Rejected(rejection.clone()),
                    None if is_parked => Reading::Behind,
                    None => match read_record(service, &record) {
                        Ok(delivery) => {
                            deliveries.push(delivery);
                            Reading::Delivery(deliveries.len() - 1)
                        }
                        Err(rejection) => Reading::Rejected(rejection),
                    },
                };
                Entry { record, reading }
            })
            .collect();
        Self { deliveries, entries }
    }

    /// Its records, in merged order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.entries.iter().map(|entry| &entry.record)
    }

    /// Whether there is nothing to decide.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
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
        for Entry { record, reading } in self.entries {
            let Some(lane) = lanes.get_mut(&record.partition) else { continue };
            let rejection = match reading {
                Reading::Rejected(rejection) => rejection,
                Reading::Behind => behind(),
                Reading::Delivery(_) if lane.parked.contains(&record.key) => behind(),
                Reading::Delivery(index) => {
                    let Some(delivery) = self.deliveries.get(index) else { continue };
                    let mark = out.mark();
                    let decided =
                        catch_unwind(AssertUnwindSafe(|| service.decide(context, rows, delivery, out)));
                    match decided {
                        Ok(Ok(Verdict::Executed)) => {
                            judgement.executed += 1;
                            continue;
                        }
                        Ok(Ok(Verdict::AlreadyApplied)) => {
                            judgement.already_applied += 1;
                            continue;
                        }
                        Ok(Err(rejection)) => {
                            out.take_back(mark);
                            rejection
                        }
                        Err(panic) => {
                            let place = (record.partition, record.offset);
                            return Err(Panicked { place, message: panic_text(&*panic) });
                        }
                    }
                }
            };
            if rejection.cause != KEYLESS {
                lane.park(&record.key);
            }
            judgement.rejected.push((record, rejection));
        }
        Ok(judgement)
    }
}

fn behind() -> Rejection {
    Rejection::new(BEHIND, "an earlier record of this key is parked")
}

fn read_record<S: Service>(service: &S, record: &Record) -> Result<Delivery<S::Command>, Rejection> {
    let key = std::str::from_utf8(&record.key)
        .ok()
        .filter(|text| text.len() == 36)
        .and_then(|text| Uuid::try_parse(text).ok())
        .ok_or_else(|| Rejection::new(KEYLESS, "the record's key is not a hyphenated UUID in text"))?;
    let envelope = record.envelope.clone().map_err(|error| match error {
        EnvelopeError::Version(_) => Rejection::new("unknown_envelope", error.to_string()),
        _ => Rejection::new("envelope", error.to_string()),
    })?;
    let decoded = catch_unwind(AssertUnwindSafe(|| service.decode(record)));
    let command = decoded.unwrap_or_else(|panic| Err(Rejection::new(PANIC, panic_text(&*panic))))?;
    Ok(Delivery {
        partition: record.partition,
        offset: record.offset,
        key,
        envelope,
        command,
        traceparent: record.traceparent.clone(),
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without text")
        .to_owned()
}
