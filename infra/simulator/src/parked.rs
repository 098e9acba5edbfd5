//! The tables of parked records and of actions, read and written as the machine's store does.

use crate::{check::Violation, plant::Plant};
use harness::{
    pure::{Action, BEHIND, Concluded, Head, Most, Opened, Opening, Place, UNKNOWN_SCHEMA, Unknown},
    record::{Record, Rejection},
};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use uuid::Uuid;

/// A record that was set aside.
#[derive(Debug, Clone)]
pub(crate) struct Parked {
    pub(crate) record: Record,
    pub(crate) cause: &'static str,
    detail: String,
    pub(crate) attempts: i32,
    /// Its place in the order of parking.
    turn: u64,
}

/// Rows by place, and the actions that were done.
#[derive(Debug, Clone, Default)]
pub(crate) struct ParkedTables {
    pub(crate) rows: BTreeMap<Place, Parked>,
    pub(crate) actions: BTreeSet<Uuid>,
    last_turn: u64,
}

impl ParkedTables {
    pub(crate) fn of_partition(&self, partition: i32) -> impl Iterator<Item = (i64, &Parked)> {
        self.rows.range((partition, i64::MIN)..=(partition, i64::MAX)).map(|((_, at), row)| (*at, row))
    }

    /// The records of a key, in the order in which they were parked.
    pub(crate) fn of_key(&self, partition: i32, key: &[u8]) -> Vec<(i64, &Parked)> {
        let rows = self.of_partition(partition).filter(|(_, row)| row.record.key == key);
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|(_, row)| row.turn);
        rows
    }

    /// The keys of a lane, as its claim reads them.
    pub(crate) fn keys(&self, partition: i32) -> HashSet<Vec<u8>> {
        self.of_partition(partition).map(|(_, row)| row.record.key.clone()).collect()
    }

    /// What the command means, read while its lane is locked.
    pub(crate) fn open(&self, opening: Opening, again: usize, plant: Plant) -> Opened {
        let most = Most { records: again, bytes: 4 << 20 };
        let (partition, _) = opening.place;
        let is_repeat = self.actions.contains(&opening.action.id);
        let heads = self.heads(partition, &opening.key, &opening.action, most.records + 1, plant);
        let parked = self.of_key(partition, &opening.key).len();
        let mut opened = opening.plan(is_repeat, &heads, i64::try_from(parked).unwrap_or(i64::MAX), most);
        let rows = opened.wanted().into_iter().filter_map(|offset| self.rows.get(&(partition, offset)));
        opened.records = rows.map(|row| row.record.clone()).collect();
        opened
    }

    fn heads(&self, partition: i32, key: &[u8], action: &Action, first: usize, plant: Plant) -> Vec<Head> {
        let is_wanted = |place: usize, offset: i64| {
            action.named.contains(&offset) || place < first && !plant.redrives_named_only()
        };
        self.of_key(partition, key)
            .into_iter()
            .enumerate()
            .filter(|(place, (offset, _))| is_wanted(*place, *offset))
            .map(|(_, (offset, row))| Head {
                offset,
                cause: row.cause.to_owned(),
                size: row.record.payload.len(),
            })
            .collect()
    }

    /// As a claim finds them: parked because their schema was not known.
    pub(crate) fn unknown(&self, partition: i32) -> impl Iterator<Item = (&Record, Unknown)> {
        let rows = self.of_partition(partition).filter(|(_, row)| row.cause == UNKNOWN_SCHEMA);
        rows.map(move |(offset, row)| {
            let unknown = Unknown {
                partition,
                offset,
                attempts: row.attempts,
                key: row.record.key.clone(),
                beginning: row.record.payload.iter().copied().take(5).collect(),
            };
            (&row.record, unknown)
        })
    }

    /// Sets a record aside, unless it is.
    pub(crate) fn park(&mut self, record: &Record, rejection: &Rejection) {
        self.rows.entry((record.partition, record.offset)).or_insert_with(|| {
            self.last_turn += 1;
            Parked {
                record: record.clone(),
                cause: rejection.cause,
                detail: rejection.detail.clone(),
                attempts: 1,
                turn: self.last_turn,
            }
        });
    }

    /// Deletes what has run or was given up, keeps why one failed again, and writes the action down.
    pub(crate) fn conclude(&mut self, done: &Concluded) -> Result<(), Violation> {
        if done.is_repeat {
            return Ok(());
        }
        let wrong = |what: String| Err(Violation::new("redriven once", what));
        let (partition, _) = done.place;
        for offset in done.ran.iter().chain(&done.discarded) {
            if self.rows.remove(&(partition, *offset)).is_none() {
                return wrong(format!("{partition}/{offset} is not parked, and is run or given up"));
            }
        }
        if let Some((offset, rejection)) = &done.relapse
            && let Some(row) = self.rows.get_mut(&(partition, *offset))
        {
            row.attempts += 1;
            row.cause = rejection.cause;
            row.detail.clone_from(&rejection.detail);
        }
        if !self.actions.insert(done.action.id) {
            return wrong(format!("action {} is done twice", done.action.id));
        }
        Ok(())
    }

    /// Nothing but what failed is parked, and what came after it.
    pub(crate) fn check(&self, may_fail: impl Fn(&Record) -> bool) -> Result<(), Violation> {
        let unexpected = |row: &&Parked| row.cause != BEHIND && !may_fail(&row.record);
        match self.rows.values().find(unexpected) {
            Some(Parked { record, cause, detail, .. }) => {
                let key = String::from_utf8_lossy(&record.key);
                Err(Violation::new("nothing is parked", format!("{key} is parked: {cause}: {detail}")))
            }
            None => Ok(()),
        }
    }

    /// What ran had nothing of its key parked before it.
    pub(crate) fn check_passed(&self, ran: &Record) -> Result<(), Violation> {
        match self.of_key(ran.partition, &ran.key).first().filter(|(first, _)| *first < ran.offset) {
            Some((first, _)) => {
                let what = format!(
                    "{}/{} runs, and {first} of its key is parked before it",
                    ran.partition, ran.offset
                );
                Err(Violation::new("order per key", what))
            }
            None => Ok(()),
        }
    }
}
