//! One batch, one transaction (two where the outside is called). State, position and what is said commit together
//! or not at all.

mod parked;
mod points;

use crate::{
    judge::{Batch, Judgement, Place},
    lane::{Intake, Lane, LastRead},
    record::{Out, Record, Rejection},
    redrive::{self, Most, Opened},
    seal,
    service::{Context, Service},
    store::{LaneSet, Locked},
};
use chassis::crash::{self, CrashPoint};
use schemas::{time::Timestamp, topics::Topic};
use sqlx::{Connection, PgConnection, Postgres, Transaction};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

/// A batch's place in the world, as its owner knows it before the attempt.
pub(crate) struct Attempt<'a, S: Service> {
    pub(crate) service: &'a S,
    pub(crate) set: LaneSet,
    pub(crate) partitions: i32,
    /// Every lane this owner holds.
    pub(crate) lanes: &'a BTreeMap<i32, Lane>,
    pub(crate) poison: &'a HashMap<Place, Rejection>,
    /// Where lanes would stand if a commit whose answer was lost did happen: partition → (position, sequence).
    pub(crate) unanswered: &'a BTreeMap<i32, (i64, i64)>,
    /// Whether something is due: then all lanes take part.
    pub(crate) due: bool,
    /// Lanes claimed since the last commit: what was parked there by an older release may be readable now.
    pub(crate) claimed: &'a BTreeSet<i32>,
    /// How many parked records run again at once.
    pub(crate) most: Most,
    /// Filled when the commit is asked for: if its answer never comes, where its lanes stand if it happened.
    pub(crate) committing: &'a Mutex<Option<Ends>>,
}

/// Where lanes stand: partition → (position, sequence).
pub(crate) type Ends = BTreeMap<i32, (i64, i64)>;

/// What a batch came to, committed.
pub(crate) struct Committed<T> {
    /// The lanes that moved, as they stand now.
    pub(crate) lanes: BTreeMap<i32, Lane>,
    pub(crate) seeks: BTreeMap<i32, i64>,
    pub(crate) passed: Passed,
    pub(crate) judgement: Judgement,
    pub(crate) said: usize,
    /// Of these, commands whose time had come.
    pub(crate) due: usize,
    pub(crate) tally: Option<T>,
    /// Records that belong to the next batch.
    pub(crate) later: Vec<Arc<Record>>,
}

/// Records that needed no decision.
#[derive(Debug, Default, Clone, Copy)]
pub struct Passed {
    /// They lay below the position.
    pub below: u64,
    /// Their numbers had been taken.
    pub repeats: u64,
    /// A number before theirs was missing.
    pub holes: u64,
    /// They made the lane seek.
    pub gaps: u64,
}

/// Why a batch did not commit.
#[derive(Debug)]
pub enum Trouble {
    /// Somebody else claimed these lanes.
    Fenced(Vec<i32>),
    /// A commit whose answer was lost did happen: these lanes are to be read again.
    Answered(Vec<i32>),
    /// Something that must not be: these lanes stop until somebody looks.
    Halt {
        /// The lanes.
        partitions: Vec<i32>,
        /// What is wrong with them.
        why: String,
    },
    /// A record that made the service panic.
    Poison {
        /// Where it lies.
        place: Place,
        /// What the panic said.
        message: String,
    },
    /// The database refused, or is away.
    Database {
        /// What it said.
        error: sqlx::Error,
        /// Set when the commit itself got no answer: where its lanes stand if it happened.
        ends: Option<BTreeMap<i32, (i64, i64)>>,
        /// The parked records that ran again in the batch.
        again: Vec<Place>,
    },
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Database { error, ends: None, again: Vec::new() }
    }
}

/// A batch's records, judged by offset and number.
pub struct TakenIn<C> {
    /// Those that count.
    pub batch: Batch<C>,
    /// The lanes of the batch, moved past its records.
    pub lanes: BTreeMap<i32, Lane>,
    /// Where reading goes on, for lanes that do not simply go on.
    pub seeks: BTreeMap<i32, i64>,
    /// The others.
    pub passed: Passed,
}

impl<S: Service> Attempt<'_, S> {
    /// Tries the batch once.
    pub(crate) async fn run(
        &self,
        connection: &mut PgConnection,
        mut records: Vec<Arc<Record>>,
    ) -> Result<Committed<S::Tally>, Trouble> {
        let later = redrive::cut(&mut records);
        let opened = self.open(connection, &records).await?;
        let again = opened.as_ref().map(Opened::runs).unwrap_or_default();
        let committed = self.run_opened(connection, records, opened).await;
        committed.map(|committed| Committed { later, ..committed }).map_err(|trouble| match trouble {
            Trouble::Database { error, ends, .. } => Trouble::Database { error, ends, again },
            other => other,
        })
    }

    async fn run_opened(
        &self,
        connection: &mut PgConnection,
        records: Vec<Arc<Record>>,
        opened: Option<Opened>,
    ) -> Result<Committed<S::Tally>, Trouble> {
        let taken_in = take_in(self.service, self.lanes, self.due, records, self.poison, opened);
        let partitions: Vec<i32> = taken_in.lanes.keys().copied().collect();
        if partitions.is_empty() {
            return Ok(Committed {
                lanes: taken_in.lanes,
                seeks: taken_in.seeks,
                passed: taken_in.passed,
                judgement: Judgement::default(),
                said: 0,
                due: 0,
                tally: None,
                later: Vec::new(),
            });
        }
        let outcomes = self.call_outside(connection, &partitions, &taken_in.batch).await?;
        self.settle(connection, &partitions, taken_in, &outcomes).await
    }

    /// The first transaction of a batch that calls the outside, and the calls.
    async fn call_outside(
        &self,
        connection: &mut PgConnection,
        partitions: &[i32],
        batch: &Batch<S::Command>,
    ) -> Result<S::Outcomes, Trouble> {
        if !S::CALLS_OUTSIDE || batch.to_decide().is_empty() {
            return Ok(S::Outcomes::default());
        }
        let mut tx = connection.begin().await?;
        match self.intend_in_tx(&mut tx, partitions, batch).await {
            Ok(intents) => {
                crash::point_of(self.set.group, CrashPoint::TraceBefore);
                tx.commit().await?;
                crash::point_of(self.set.group, CrashPoint::TraceAfter);
                let outcomes = self.service.call(intents).await;
                crash::point_of(self.set.group, CrashPoint::CallsAfter);
                Ok(outcomes)
            }
            Err(trouble) => Err(roll_back(tx, trouble).await),
        }
    }

    async fn intend_in_tx(
        &self,
        tx: &mut PgConnection,
        partitions: &[i32],
        batch: &Batch<S::Command>,
    ) -> Result<S::Intents, Trouble> {
        let context = self.lock_in_tx(tx, partitions).await?;
        Ok(self.service.intend_in_tx(tx, &context, batch.to_decide()).await?)
    }

    /// The transaction that moves the lanes.
    async fn settle(
        &self,
        connection: &mut PgConnection,
        partitions: &[i32],
        taken_in: TakenIn<S::Command>,
        outcomes: &S::Outcomes,
    ) -> Result<Committed<S::Tally>, Trouble> {
        let mut tx = connection.begin().await?;
        match self.settle_in_tx(&mut tx, partitions, taken_in, outcomes).await {
            Ok(settled) => {
                let end = |lane: &Lane| (lane.partition, (lane.next_offset, lane.outbox_seq));
                let ends: Ends = settled.lanes.values().map(end).collect();
                *self.committing.lock().unwrap_or_else(PoisonError::into_inner) = Some(ends.clone());
                settled.before_commit(self.set.group);
                match tx.commit().await {
                    Ok(()) => {
                        settled.after_commit(self.set.group);
                        Ok(settled)
                    }
                    Err(error) => Err(Trouble::Database { error, ends: Some(ends), again: Vec::new() }),
                }
            }
            Err(trouble) => Err(roll_back(tx, trouble).await),
        }
    }

    async fn settle_in_tx(
        &self,
        tx: &mut PgConnection,
        partitions: &[i32],
        taken_in: TakenIn<S::Command>,
        outcomes: &S::Outcomes,
    ) -> Result<Committed<S::Tally>, Trouble> {
        let TakenIn { batch, mut lanes, seeks, passed } = taken_in;
        let context = self.lock_in_tx(tx, partitions).await?;
        let mut out = Out::default();
        if self.due {
            for lane in lanes.values_mut() {
                let mark =
                    self.service.due_in_tx(tx, &context, lane.partition, lane.due_mark, &mut out).await?;
                lane.due_mark = lane.due_mark.max(mark);
            }
            self.redrive_unknown_in_tx(tx, &lanes, &mut out).await?;
        }
        let due = out.said().len();
        let mut judgement = Judgement::default();
        let mut tally = None;
        if !batch.is_empty() {
            let mut rows = self.service.load_in_tx(tx, &context, batch.to_load(), outcomes).await?;
            judgement = batch
                .judge(self.service, &context, &mut rows, &mut lanes, &mut out)
                .map_err(|panicked| Trouble::Poison { place: panicked.place, message: panicked.message })?;
            self.service.finish(&context, &mut rows, &mut out).map_err(|rejection| Trouble::Halt {
                partitions: partitions.to_vec(),
                why: format!("{}: {}", rejection.cause, rejection.detail),
            })?;
            tally = Some(self.service.save_in_tx(tx, &context, rows).await?);
        }
        if self.due {
            for lane in lanes.values() {
                self.service.age_in_tx(tx, &context, lane.partition).await?;
            }
        }
        let dlq = Topic::dlq_of(self.service.group());
        let said = out.said().len();
        let rows =
            seal::pack(out.into_said(), &judgement.rejected, &mut lanes, self.partitions, dlq, context.now);
        if !rows.is_empty() {
            self.set.say_in_tx(tx, rows).await?;
        }
        let parkings = seal::parkings(&judgement.rejected);
        if !parkings.is_empty() {
            self.set.park_in_tx(tx, &parkings).await?;
        }
        if let Some(concluded) = &judgement.concluded {
            self.set.conclude_in_tx(tx, concluded).await?;
        }
        self.set.move_in_tx(tx, &lanes.values().collect::<Vec<_>>()).await?;
        Ok(Committed { lanes, seeks, passed, judgement, said, due, tally, later: Vec::new() })
    }

    /// Locks the lanes' rows and compares them with what this owner knows.
    async fn lock_in_tx(&self, tx: &mut PgConnection, partitions: &[i32]) -> Result<Context, Trouble> {
        let (locked, now) = self.set.lock_in_tx(tx, partitions).await?;
        check(self.lanes, &locked, partitions, self.unanswered)?;
        let due_marks = self.lanes.iter().map(|(partition, lane)| (*partition, lane.due_mark)).collect();
        Ok(Context { now: now.max(self.latest_mark()), due_marks })
    }

    /// The database's clock may step back; a due mark never does.
    fn latest_mark(&self) -> Timestamp {
        self.lanes.values().map(|lane| lane.due_mark).max().unwrap_or_default()
    }
}

/// Judges each record by offset and number, on copies of the lanes that their owner holds. Pure.
///
/// `due`: all lanes take part, whether they have records or not. `opened` is the command about parked records that opens
/// the batch, if one does.
pub fn take_in<S: Service>(
    service: &S,
    held: &BTreeMap<i32, Lane>,
    due: bool,
    records: Vec<Arc<Record>>,
    poison: &HashMap<Place, Rejection>,
    opened: Option<Opened>,
) -> TakenIn<S::Command> {
    let mut lanes: BTreeMap<i32, Lane> = if due { held.clone() } else { BTreeMap::new() };
    let mut seeks = BTreeMap::new();
    let mut passed = Passed::default();
    let mut taken = Vec::with_capacity(records.len());
    let mut last = BTreeMap::new();
    for record in records {
        let Some(before) = held.get(&record.partition) else { continue };
        if seeks.contains_key(&record.partition) {
            continue;
        }
        let lane = lanes.entry(record.partition).or_insert_with(|| before.clone());
        let source = record.envelope.as_ref().ok().and_then(|envelope| envelope.source);
        let intake = lane.intake(record.offset, source);
        if matches!(intake, Intake::Take | Intake::Repeat | Intake::Hole) {
            last.insert(record.partition, Arc::clone(&record));
        }
        match intake {
            Intake::Take => {
                // it was taken although its successors lie before it: those are read again
                if lane.next_offset <= record.offset {
                    seeks.insert(record.partition, lane.next_offset);
                }
                taken.push(record);
            }
            Intake::Below => passed.below += 1,
            Intake::Repeat => passed.repeats += 1,
            Intake::Hole => passed.holes += 1,
            Intake::Gap | Intake::Reread => {
                passed.gaps += 1;
                seeks.insert(record.partition, lane.next_offset);
            }
        }
    }
    for (partition, record) in last {
        lanes.entry(partition).and_modify(|lane| lane.last_read = Some(LastRead::of(&record)));
    }
    // a lane that only dropped records below its position has nothing to write
    lanes.retain(|partition, lane| due || held.get(partition) != Some(lane));
    let batch = Batch::read(service, taken, &lanes, poison, opened);
    TakenIn { batch, lanes, seeks, passed }
}

/// Rolls back at once: a transaction that is only dropped keeps its locks until its connection is used again, and
/// whoever claimed our lanes waits for them.
async fn roll_back(tx: Transaction<'_, Postgres>, trouble: Trouble) -> Trouble {
    if let Err(error) = tx.rollback().await {
        tracing::debug!(%error, "rolling back");
    }
    trouble
}

/// Compares the rows with what their owner knows: all as expected, or what is wrong. Pure.
///
/// # Errors
/// [`Trouble`]: fenced, an answer that was lost, or a halt.
pub fn check(
    held: &BTreeMap<i32, Lane>,
    locked: &[Locked],
    partitions: &[i32],
    unanswered: &BTreeMap<i32, (i64, i64)>,
) -> Result<(), Trouble> {
    let missing: Vec<i32> =
        partitions.iter().copied().filter(|p| !locked.iter().any(|row| row.partition == *p)).collect();
    if !missing.is_empty() {
        return Err(Trouble::Halt { partitions: missing, why: "the lane's row is gone".to_owned() });
    }
    let mut fenced = Vec::new();
    let mut answered = Vec::new();
    for row in locked {
        let Some(lane) = held.get(&row.partition) else { continue };
        let stands = (row.next_offset, row.outbox_seq);
        if row.epoch != lane.epoch {
            fenced.push(row.partition);
        } else if stands != (lane.next_offset, lane.outbox_seq) {
            if unanswered.get(&row.partition) != Some(&stands) {
                let why = format!(
                    "the lane's row stands at offset {} and sequence {}, its owner at {} and {}, with the same epoch",
                    row.next_offset, row.outbox_seq, lane.next_offset, lane.outbox_seq
                );
                return Err(Trouble::Halt { partitions: vec![row.partition], why });
            }
            answered.push(row.partition);
        }
    }
    if !fenced.is_empty() {
        return Err(Trouble::Fenced(fenced));
    }
    if !answered.is_empty() {
        return Err(Trouble::Answered(answered));
    }
    Ok(())
}
