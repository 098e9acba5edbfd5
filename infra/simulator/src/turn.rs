//! One batch of one worker, step by step as the machine takes it: take in, (trace, call,) lock and check, load, judge,
//! pack, commit. Every step is the real one but the tables.

use crate::{
    check::Violation,
    script::{Calls, Fate},
    shop::{Shop, Worker},
    stage::Stage,
    tables::{Command, Outcomes, Tables},
};
use harness::{
    lane::{Heard, Lane},
    pure::{Locked, TakenIn, Trouble, check, pack, parkings, take_in},
    record::{Out, Record, Said},
    service::{Context, Service},
};
use payments_worker::calls::{self, Answer};
use schemas::topics::Topic;
use std::{
    collections::{BTreeMap, HashMap},
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

impl<T: Tables> Shop<T> {
    /// One batch. Says whether anything was done.
    pub(crate) fn work(&mut self, stage: &mut Stage, turn: Turn) -> Result<bool, Violation> {
        let Some(worker) = self.workers.get_mut(turn.worker) else { return Ok(false) };
        if let Some((records, outcomes)) = worker.halfway.take() {
            return self.settle(stage, turn, records, outcomes).map(|()| true);
        }
        if worker.busy == 0 {
            worker.fetch.append(&mut worker.seeks);
        }
        worker.busy = worker.busy.saturating_sub(1);
        let records = fetch(self.tables.service().input(), worker, stage, turn.size);
        if worker.lanes.is_empty() || (records.is_empty() && !turn.due) {
            return Ok(false);
        }
        let outcomes = if T::Service::CALLS_OUTSIDE {
            match self.call_outside(stage, turn, &records)? {
                Some(outcomes) => T::outcomes(outcomes),
                None => return Ok(true),
            }
        } else {
            Outcomes::<T>::default()
        };
        if turn.fate == Fate::Freezes && T::Service::CALLS_OUTSIDE {
            if let Some(worker) = self.workers.get_mut(turn.worker) {
                worker.halfway = Some((records, outcomes));
            }
            return Ok(true);
        }
        self.settle(stage, turn, records, outcomes).map(|()| true)
    }

    fn taken_in(
        &self,
        worker: &Worker<Outcomes<T>>,
        stage: &Stage,
        turn: Turn,
        records: Vec<Record>,
    ) -> TakenIn<Command<T>> {
        let records = if stage.plant.ignores_dedupe() { undone_dedupe(worker, records) } else { records };
        take_in(self.tables.service(), &worker.lanes, turn.due, records, &HashMap::new(), None)
    }

    /// Transaction A and the calls. `None`: the worker did not come so far.
    fn call_outside(
        &mut self,
        stage: &mut Stage,
        turn: Turn,
        records: &[Record],
    ) -> Result<Option<calls::Outcomes>, Violation> {
        let Some(worker) = self.workers.get(turn.worker) else { return Ok(None) };
        let taken = self.taken_in(worker, stage, turn, records.to_vec());
        if taken.batch.to_decide().is_empty() {
            return Ok(Some(calls::Outcomes::default()));
        }
        let partitions: Vec<i32> = taken.lanes.keys().copied().collect();
        if !self.passes(stage, turn.worker, &partitions)? {
            return Ok(None);
        }
        let now = self.context(stage, turn.worker).now;
        let intents = self.tables.trace(now, taken.batch.to_decide())?;
        let part = self.part.name();
        if turn.fate == Fate::DiesBetween {
            stage.stragglers.extend(intents);
            self.die(turn.worker);
            stage
                .notes
                .note(stage.now, |_| format!("{part} worker {} dies with its trace written", turn.worker));
            return Ok(None);
        }
        let mut heard = HashMap::new();
        for intent in intents {
            let answer = match turn.calls {
                Calls::Answered => stage.provider.ask(&intent)?,
                Calls::Unheard => {
                    stage.provider.ask(&intent)?;
                    Answer::Running
                }
                Calls::Late => {
                    stage.stragglers.push(intent.clone());
                    Answer::Running
                }
                Calls::NotBegun => Answer::NotBegun,
            };
            stage
                .notes
                .note(stage.now, |_| format!("{part} worker {} calls the provider: {answer:?}", turn.worker));
            heard.insert(intent.effect, calls::Heard { answer, fresh: intent.fresh });
        }
        Ok(Some(calls::Outcomes(Arc::new(heard))))
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
        records: Vec<Record>,
        outcomes: Outcomes<T>,
    ) -> Result<(), Violation> {
        let Some(worker) = self.workers.get(turn.worker) else { return Ok(()) };
        let read_to = records.iter().map(|record| (record.partition, record.offset + 1)).collect();
        let TakenIn { batch, mut lanes, seeks, .. } = self.taken_in(worker, stage, turn, records);
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
        }
        let places: Vec<(i32, i64)> =
            batch.records().map(|record| (record.partition, record.offset)).collect();
        let mut rows = None;
        let mut rejected = Vec::new();
        if !batch.is_empty() {
            let mut loaded = self.tables.load(stage.plant, batch.to_load(), &outcomes);
            let judgement = batch
                .judge(self.tables.service(), &context, &mut loaded, &mut lanes, &mut out)
                .map_err(|panicked| Violation::new("panic", format!("{panicked:?}")))?;
            rejected = judgement.rejected;
            self.tables.service().finish(&context, &mut loaded, &mut out)?;
            rows = Some(loaded);
        }
        let said = spoken(stage, out.said());
        let dlq = Topic::dlq_of(self.tables.service().group());
        let packed = pack(&said, &rejected, &mut lanes, stage.partitions, dlq, context.now);
        self.describe(stage, turn, &places, &said);
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
        for parking in parkings(&rejected) {
            let why = format!("{}: {}", parking.cause, parking.detail);
            self.base.parked.entry(parking.partition).or_default().entry(parking.key).or_insert(why);
        }
        for (partition, lane) in &lanes {
            self.base.lanes.insert(*partition, lane.clone());
        }
        self.remember(turn, lanes, read_to, seeks, ends);
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

    fn describe(&self, stage: &mut Stage, turn: Turn, places: &[(i32, i64)], said: &[Said]) {
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
        for said in said {
            let key = schemas::topics::key(said.outgoing.key);
            line.push_str(&format!(" → {}", stage.notes.describe(&key, &said.outgoing.payload)));
        }
        stage.notes.note(stage.now, |_| line);
    }
}

/// The next records of what the worker holds: each partition in offset order, among the heads the lowest timestamp.
fn fetch<O>(topic: Topic, worker: &Worker<O>, stage: &Stage, size: usize) -> Vec<Record> {
    // a partition whose seek is not done is left alone, as the machine does
    let mut at: BTreeMap<i32, i64> = worker
        .lanes
        .iter()
        .filter(|(partition, _)| !worker.seeks.contains_key(partition) || stage.plant.reads_before_seek())
        .map(|(partition, lane)| {
            (*partition, worker.fetch.get(partition).copied().unwrap_or(lane.next_offset))
        })
        .collect();
    let mut records = Vec::new();
    while records.len() < size {
        let heads = at.iter().filter_map(|(partition, at)| stage.log.read(topic, *partition, *at));
        let Some(head) = heads.min_by_key(|record| (record.timestamp, record.partition)) else { break };
        at.insert(head.partition, head.offset + 1);
        records.push(head.clone());
    }
    records
}

/// A planted bug: what was taken before comes without its number.
fn undone_dedupe<O>(worker: &Worker<O>, mut records: Vec<Record>) -> Vec<Record> {
    for record in &mut records {
        let Some(lane) = worker.lanes.get(&record.partition) else { continue };
        let Ok(envelope) = &mut record.envelope else { continue };
        let taken = envelope.source.is_some_and(|source| {
            matches!(lane.heard.get(&source.lane), Some(Heard::Sequence { last, .. }) if source.n <= *last)
        });
        if taken {
            envelope.source = None;
        }
    }
    records
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
