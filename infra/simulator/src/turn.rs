//! One batch of one worker, step by step as the machine takes it: open, take in, (trace, call,) lock and check, load,
//! judge, pack, commit. Every step is the real one but the tables.

mod fetch;
mod outside;

use crate::{
    check::Violation,
    script::{Calls, Fate},
    shop::{Shop, Worker},
    stage::Stage,
    tables::{Command, Outcomes, Tables},
};
use fetch::{fetch, undone_dedupe};
use harness::{
    lane::Lane,
    pure::{
        Judgement, Locked, Opened, Opening, Place, TakenIn, Trouble, check, cut, pack, parkings, take_in,
    },
    record::{Out, Record, Rejection, Said},
    service::{Context, Service},
};
use schemas::{parked::ParkedCommand, topics::Topic};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// How a turn is to go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) worker: usize,
    pub(crate) size: usize,
    pub(crate) due: bool,
    pub(crate) calls: Calls,
    pub(crate) fate: Fate,
}

/// What a batch begins with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hand {
    records: Vec<Record>,
    /// The command about parked records that opens it, if one does.
    opened: Option<Opened>,
    /// Those of them that fail.
    poison: HashMap<Place, Rejection>,
}

impl Hand {
    pub(crate) fn places(&self) -> Vec<Place> {
        self.records.iter().map(|record| (record.partition, record.offset)).collect()
    }
}

impl<T: Tables> Shop<T> {
    /// One batch. Says whether anything was done.
    pub(crate) fn work(&mut self, stage: &mut Stage, turn: Turn) -> Result<bool, Violation> {
        let Some(worker) = self.workers.get_mut(turn.worker) else { return Ok(false) };
        if let Some((hand, outcomes)) = worker.halfway.take() {
            return self.settle(stage, turn, hand, outcomes).map(|()| true);
        }
        if worker.busy == 0 {
            worker.fetch.append(&mut worker.seeks);
        }
        worker.busy = worker.busy.saturating_sub(1);
        let mut records = fetch(self.tables.service().input(), worker, stage, turn.size);
        // what comes after a command about parked records is fetched again
        cut(&mut records);
        if worker.lanes.is_empty() || (records.is_empty() && !turn.due) {
            return Ok(false);
        }
        let Some(hand) = self.open(stage, turn.worker, records)? else { return Ok(true) };
        let outcomes = if T::Service::CALLS_OUTSIDE {
            match self.call_outside(stage, turn, &hand)? {
                Some(outcomes) => T::outcomes(outcomes),
                None => return Ok(true),
            }
        } else {
            Outcomes::<T>::default()
        };
        if turn.fate == Fate::Freezes && T::Service::CALLS_OUTSIDE {
            if let Some(worker) = self.workers.get_mut(turn.worker) {
                worker.halfway = Some((hand, outcomes));
            }
            return Ok(true);
        }
        self.settle(stage, turn, hand, outcomes).map(|()| true)
    }

    /// What the command that opens the batch means, if one does; and which records fail. `None`: it is refused.
    fn open(
        &mut self,
        stage: &mut Stage,
        number: usize,
        records: Vec<Record>,
    ) -> Result<Option<Hand>, Violation> {
        let Some(worker) = self.workers.get(number) else { return Ok(None) };
        let mut opened = None;
        if let Some(opening) = Opening::of(&records, &worker.lanes, &HashMap::new()) {
            if !self.passes(stage, number, &[opening.place.0])? {
                return Ok(None);
            }
            opened = Some(self.base.parked.open(opening, self.again, stage.plant));
        }
        let Some(worker) = self.workers.get(number) else { return Ok(None) };
        let again = opened.iter().flat_map(|opened| &opened.records);
        let is_new = |record: &Record| {
            worker.lanes.get(&record.partition).is_some_and(|lane| record.offset >= lane.next_offset)
        };
        let poison = stage.curses.poison(self.part, again.chain(&records), is_new);
        Ok(Some(Hand { records, opened, poison }))
    }

    fn taken_in(
        &self,
        worker: &Worker<Outcomes<T>>,
        stage: &Stage,
        turn: Turn,
        hand: Hand,
    ) -> TakenIn<Command<T>> {
        let Hand { mut records, opened, poison } = hand;
        if stage.plant.ignores_dedupe() {
            records = undone_dedupe(worker, records);
        }
        let records = records.into_iter().map(Arc::new).collect();
        take_in(self.tables.service(), &worker.lanes, turn.due, records, &poison, opened)
    }

    /// Compares rows and memory as the machine does, and does what it does when they differ.
    fn passes(&mut self, stage: &mut Stage, number: usize, partitions: &[i32]) -> Result<bool, Violation> {
        let Some(worker) = self.workers.get_mut(number) else { return Ok(false) };
        if stage.plant.ignores_fence() {
            return Ok(true);
        }
        let part = self.part.name();
        let locked: Vec<Locked> = self.base.locked(partitions);
        match check(&worker.lanes, &locked, partitions, &worker.unanswered) {
            Ok(()) => Ok(true),
            Err(Trouble::Fenced(fenced)) => {
                for partition in &fenced {
                    worker.lanes.remove(partition);
                    worker.fetch.remove(partition);
                    worker.seeks.remove(partition);
                    worker.unanswered.remove(partition);
                }
                stage.notes.note(stage.now, |_| format!("{part} worker {number} is fenced off {fenced:?}"));
                Ok(false)
            }
            Err(Trouble::Answered(answered)) => {
                for lane in answered.iter().filter_map(|partition| self.base.read(*partition)) {
                    worker.unanswered.remove(&lane.partition);
                    worker.lanes.insert(lane.partition, lane);
                }
                stage.notes.note(stage.now, |_| {
                    format!("{part} worker {number} finds its lost commit on {answered:?}")
                });
                Ok(false)
            }
            Err(trouble) => Err(Violation::new("halt", format!("{part} worker {number}: {trouble:?}"))),
        }
    }

    /// As the machine makes it: no time before a due mark.
    fn context(&self, stage: &Stage, worker: usize) -> Context {
        let due_marks: BTreeMap<_, _> = self
            .workers
            .get(worker)
            .map(|worker| worker.lanes.iter().map(|(partition, lane)| (*partition, lane.due_mark)).collect())
            .unwrap_or_default();
        Context { now: due_marks.values().copied().fold(stage.now, Ord::max), due_marks }
    }

    /// The transaction that moves the lanes.
    fn settle(
        &mut self,
        stage: &mut Stage,
        turn: Turn,
        hand: Hand,
        outcomes: Outcomes<T>,
    ) -> Result<(), Violation> {
        let Some(worker) = self.workers.get(turn.worker) else { return Ok(()) };
        let read_to = hand.records.iter().map(|record| (record.partition, record.offset + 1)).collect();
        let again = hand.opened.iter().flat_map(|opened| &opened.records);
        let again: BTreeSet<Place> = again.map(|record| (record.partition, record.offset)).collect();
        let TakenIn { batch, mut lanes, seeks, .. } = self.taken_in(worker, stage, turn, hand);
        let partitions: Vec<i32> = lanes.keys().copied().collect();
        if !self.passes(stage, turn.worker, &partitions)? {
            return Ok(());
        }
        let context = self.context(stage, turn.worker);
        let mut out = Out::default();
        let mut due_taken = Vec::new();
        if turn.due {
            for lane in lanes.values_mut() {
                let due = self.tables.due(context.now, lane.partition, lane.due_mark, &mut out)?;
                lane.due_mark = lane.due_mark.max(due.mark);
                due_taken.extend(due.taken);
            }
            self.redrive_unknown(stage, turn.worker, &lanes, &mut out)?;
        }
        let places: Vec<Place> = batch
            .records()
            .map(|record| (record.partition, record.offset))
            .filter(|place| !again.contains(place))
            .collect();
        let mut rows = None;
        let mut judgement = Judgement::default();
        if !batch.is_empty() {
            let mut loaded = self.tables.load(stage.plant, batch.to_load(), &outcomes);
            judgement = batch
                .judge(self.tables.service(), &context, &mut loaded, &mut lanes, &mut out)
                .map_err(|panicked| Violation::new("panic", format!("{panicked:?}")))?;
            self.tables.service().finish(&context, &mut loaded, &mut out)?;
            rows = Some(loaded);
        }
        let said = spoken(stage, out.said());
        let dlq = Topic::dlq_of(self.tables.service().group());
        self.describe(stage, turn, &places, &said, &judgement);
        let packed = pack(said, &judgement.rejected, &mut lanes, stage.partitions, dlq, context.now);
        let ends = lanes.iter().map(|(at, lane)| (*at, (lane.next_offset, lane.outbox_seq))).collect();
        if turn.fate == Fate::DiesBefore {
            self.die(turn.worker);
            return Ok(());
        }
        if turn.fate == Fate::CommitLost {
            if let Some(worker) = self.workers.get_mut(turn.worker) {
                worker.unanswered.extend(ends);
            }
            return Ok(());
        }
        self.check_fence(turn.worker, &lanes)?;
        stage.takes.note(self.tables.service().input(), &stage.log, &places)?;
        self.tables.save(context.now, rows, &due_taken)?;
        for row in packed {
            if self.base.outbox.entry(row.lane).or_default().insert(row.seq, row.records).is_some() {
                return Err(Violation::new("batch", format!("lane {} says row {} twice", row.lane, row.seq)));
            }
        }
        self.set_aside(stage, &places, &judgement)?;
        for (partition, lane) in &lanes {
            self.base.lanes.insert(*partition, lane.clone());
        }
        self.remember(turn, lanes, read_to, seeks, ends);
        Ok(())
    }

    /// What is parked, what ran again, and that each key's order held.
    fn set_aside(
        &mut self,
        stage: &mut Stage,
        places: &[Place],
        judgement: &Judgement,
    ) -> Result<(), Violation> {
        let parkings: BTreeSet<Place> =
            parkings(&judgement.rejected).iter().map(|row| (row.partition, row.offset)).collect();
        for (record, rejection) in &judgement.rejected {
            if parkings.contains(&(record.partition, record.offset)) {
                self.base.parked.park(record, rejection);
                stage.curses.failed(self.part, record);
            }
        }
        let mut ran: Vec<Place> = Vec::new();
        if let Some(done) = &judgement.concluded {
            let (partition, _) = done.place;
            if let Some((offset, _)) = &done.relapse
                && let Some(row) = self.base.parked.rows.get(&(partition, *offset))
            {
                stage.curses.failed(self.part, &row.record);
            }
            self.base.parked.conclude(done)?;
            ran.extend(done.ran.iter().map(|offset| (partition, *offset)));
        }
        ran.extend(places.iter().copied().filter(|place| !parkings.contains(place)));
        let topic = self.tables.service().input();
        for (partition, offset) in ran {
            let record = stage.log.read(topic, partition, offset);
            let Some(record) = record.filter(|it| !ParkedCommand::is_one(&it.payload)) else { continue };
            stage.runs.note(record)?;
            self.base.parked.check_passed(record)?;
        }
        Ok(())
    }

    /// What an older release could not read and this one can.
    fn redrive_unknown(
        &self,
        stage: &Stage,
        number: usize,
        lanes: &BTreeMap<i32, Lane>,
        out: &mut Out,
    ) -> Result<(), Violation> {
        let Some(worker) = self.workers.get(number) else { return Ok(()) };
        for partition in worker.claimed.iter().filter(|partition| lanes.contains_key(partition)) {
            for (record, unknown) in self.base.parked.unknown(*partition) {
                if stage.curses.holds(self.part, record) {
                    continue;
                }
                if let Some(outgoing) = unknown.redrive(self.tables.service().input())? {
                    out.send_from(*partition, outgoing);
                }
            }
        }
        Ok(())
    }

    /// What the worker knows after the commit.
    fn remember(
        &mut self,
        turn: Turn,
        lanes: BTreeMap<i32, Lane>,
        read_to: BTreeMap<i32, i64>,
        seeks: BTreeMap<i32, i64>,
        ends: BTreeMap<i32, (i64, i64)>,
    ) {
        let Some(worker) = self.workers.get_mut(turn.worker) else { return };
        match turn.fate {
            Fate::DiesAfter => *worker = Worker::default(),
            Fate::AnswerLost => worker.unanswered.extend(ends),
            _ => {
                for (partition, mut lane) in lanes {
                    let held = worker.lanes.get(&partition).and_then(|held| held.gap_checked);
                    lane.gap_checked = lane.gap_checked.or(held);
                    worker.unanswered.remove(&partition);
                    worker.claimed.remove(&partition);
                    worker.lanes.insert(partition, lane);
                }
                worker.fetch.extend(read_to);
                worker.seeks.extend(seeks);
            }
        }
    }

    /// A zombie cannot write: asked of the rows themselves, beside what the machine asked.
    fn check_fence(&self, number: usize, lanes: &BTreeMap<i32, Lane>) -> Result<(), Violation> {
        for (partition, lane) in lanes {
            let stands = self.base.lanes.get(partition).map(|row| row.epoch);
            if stands != Some(lane.epoch) {
                let part = self.part.name();
                let what = format!(
                    "{part} worker {number} writes partition {partition} with epoch {}, it stands at {stands:?}",
                    lane.epoch
                );
                return Err(Violation::new("a zombie cannot write", what));
            }
        }
        Ok(())
    }

    fn describe(
        &self,
        stage: &mut Stage,
        turn: Turn,
        places: &[Place],
        said: &[Said],
        judgement: &Judgement,
    ) {
        if !stage.notes.wanted {
            return;
        }
        let topic = self.tables.service().input();
        let mut line = format!("{} worker {}, {:?}:", self.part.name(), turn.worker, turn.fate);
        for (partition, offset) in places {
            if let Some(record) = stage.log.read(topic, *partition, *offset) {
                let what = stage.notes.describe(&record.key, &record.payload);
                line.push_str(&format!(" {partition}/{offset} {what};"));
            }
        }
        for (record, rejection) in &judgement.rejected {
            line.push_str(&format!(" {}/{} {};", record.partition, record.offset, rejection.cause));
        }
        if let Some(done) = &judgement.concluded {
            let (ran, gone, relapse) = (&done.ran, &done.discarded, done.relapse.as_ref().map(|(at, _)| at));
            line.push_str(&format!(
                " {}: ran {ran:?}, gave up {gone:?}, failed again {relapse:?};",
                done.result
            ));
        }
        for said in said {
            let key = schemas::topics::key(said.outgoing.key);
            line.push_str(&format!(" → {}", stage.notes.describe(&key, &said.outgoing.payload)));
        }
        stage.notes.note(stage.now, |_| line);
    }
}

/// What is said; with a planted bug, not that captures are to be undone.
fn spoken(stage: &Stage, said: &[Said]) -> Vec<Said> {
    let undoes = |said: &Said| {
        let record = schemas::wire::open(&said.outgoing.payload).map_or("", |(schema, _)| schema.record);
        said.outgoing.topic == Topic::PaymentCommands && matches!(record, "VoidCapture" | "RefundPayment")
    };
    let is_left_out = |said: &Said| stage.plant.keeps_late_capture() && undoes(said);
    said.iter().filter(|said| !is_left_out(said)).cloned().collect()
}
