//! What each record of a batch is, before anything is decided.

use super::*;
use crate::redrive::{Action, SENSELESS, Step};
use schemas::envelope::{Envelope, EnvelopeError};
use std::collections::HashMap;
use uuid::Uuid;

/// A batch while it is read.
struct Reader<'a, S: Service> {
    service: &'a S,
    lanes: &'a BTreeMap<i32, Lane>,
    poison: &'a HashMap<Place, Rejection>,
    deliveries: Vec<Delivery<S::Command>>,
    dropped: Vec<Delivery<S::Command>>,
    entries: Vec<Entry>,
}

impl<C> Batch<C> {
    /// Reads the records; `poison` names those that are rejected unread. `opened` is the command that opens the batch,
    /// with the parked records that it means.
    pub(crate) fn read<S: Service<Command = C>>(
        service: &S,
        records: Vec<Arc<Record>>,
        lanes: &BTreeMap<i32, Lane>,
        poison: &HashMap<Place, Rejection>,
        opened: Option<Opened>,
    ) -> Self {
        let mut reader = Reader {
            service,
            lanes,
            poison,
            deliveries: Vec::with_capacity(records.len()),
            dropped: Vec::new(),
            entries: Vec::with_capacity(records.len()),
        };
        // the key that is acted upon: it may be parked no more when its later records are reached
        let mut acted: Option<(i32, Vec<u8>)> = None;
        for record in records {
            match &opened {
                Some(opened) if opened.place == (record.partition, record.offset) => {
                    reader.open(opened);
                    acted = Some((record.partition, record.key.clone()));
                    reader.entries.push(Entry { record, reading: Reading::Action, is_parked: false });
                }
                _ => {
                    let is_acted = acted
                        .as_ref()
                        .is_some_and(|(partition, key)| *partition == record.partition && *key == record.key);
                    reader.fresh(record, is_acted);
                }
            }
        }
        // a command that was read and then not taken in does nothing
        let opened = opened.filter(|_| acted.is_some());
        reader.end(opened)
    }
}

impl<S: Service> Reader<'_, S> {
    /// A record as it came off the log.
    fn fresh(&mut self, record: Arc<Record>, is_acted: bool) {
        let is_parked =
            self.lanes.get(&record.partition).is_some_and(|lane| lane.parked.contains(&record.key));
        let reading = match self.poison.get(&(record.partition, record.offset)) {
            Some(rejection) => Reading::Rejected(rejection.clone()),
            None if redrive::is_action(&record) => Reading::Rejected(unheard(&record)),
            None if is_parked && !is_acted => Reading::Behind,
            None => self.read(&record),
        };
        self.entries.push(Entry { record, reading, is_parked: false });
    }

    /// The parked records that an action means, in their order.
    fn open(&mut self, opened: &Opened) {
        let steps: BTreeMap<i64, Step> = opened.plan.steps.iter().copied().collect();
        for record in &opened.records {
            let mut record = record.clone();
            if let Some(edited) = opened.action.edit_of(record.offset) {
                record.payload.clone_from(edited);
            }
            let reading =
                match (steps.get(&record.offset), self.poison.get(&(record.partition, record.offset))) {
                    (None, _) => continue,
                    (Some(Step::Run), Some(rejection)) => Reading::Rejected(rejection.clone()),
                    (Some(Step::Run), None) => self.read(&record),
                    (Some(Step::Drop), _) => {
                        self.dropped.extend(read_record(self.service, &record).ok());
                        let is_read = self.dropped.last().is_some_and(|last| last.offset == record.offset);
                        Reading::Drop(is_read.then(|| self.dropped.len() - 1))
                    }
                };
            self.entries.push(Entry { record: Arc::new(record), reading, is_parked: true });
        }
    }

    fn read(&mut self, record: &Record) -> Reading {
        match read_record(self.service, record) {
            Ok(delivery) => {
                self.deliveries.push(delivery);
                Reading::Delivery(self.deliveries.len() - 1)
            }
            Err(rejection) => Reading::Rejected(rejection),
        }
    }

    fn end(mut self, opened: Option<Opened>) -> Batch<S::Command> {
        let decided = self.deliveries.len();
        self.deliveries.append(&mut self.dropped);
        for entry in &mut self.entries {
            if let Reading::Drop(Some(index)) = &mut entry.reading {
                *index += decided;
            }
        }
        Batch { deliveries: self.deliveries, decided, entries: self.entries, opened }
    }
}

/// Why a command about parked records was not opened.
fn unheard(record: &Record) -> Rejection {
    let readable = address(record).and_then(|_| Action::read(record));
    readable.err().unwrap_or_else(|| Rejection::new(SENSELESS, "it did not open its batch"))
}

/// A record's key and envelope.
pub(crate) fn address(record: &Record) -> Result<(Uuid, Envelope), Rejection> {
    let key = std::str::from_utf8(&record.key)
        .ok()
        // one spelling: a key is parked and hashed to its partition by its bytes
        .filter(|text| text.len() == 36 && !text.bytes().any(|byte| byte.is_ascii_uppercase()))
        .and_then(|text| Uuid::try_parse(text).ok())
        .ok_or_else(|| {
            Rejection::new(KEYLESS, "the record's key is not a hyphenated lower-case UUID in text")
        })?;
    let envelope = record.envelope.clone().map_err(|error| match error {
        EnvelopeError::Version(_) => Rejection::new("unknown_envelope", error.to_string()),
        _ => Rejection::new("envelope", error.to_string()),
    })?;
    Ok((key, envelope))
}

fn read_record<S: Service>(service: &S, record: &Record) -> Result<Delivery<S::Command>, Rejection> {
    let (key, envelope) = address(record)?;
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
