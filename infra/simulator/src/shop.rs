//! One service with its database: tables, lanes, outbox, parked keys. Two workers share its partitions, and two relays
//! send its outbox, none of which knows of the other.

use crate::{
    operator::Sent,
    parked::ParkedTables,
    relaying::Relaying,
    script::{Part, Setup},
    stage::Stage,
    tables::{Outcomes, Tables},
    turn::Hand,
};
use harness::{lane::Lane, pure::Locked, service::Service};
use schemas::{ids::LaneId, time::Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use uuid::Uuid;

/// What the machine keeps in a service's database.
#[derive(Debug, Clone, Default)]
pub(crate) struct Base {
    /// Rows by partition.
    pub(crate) lanes: BTreeMap<i32, Lane>,
    /// Packed rows by lane and place.
    pub(crate) outbox: BTreeMap<LaneId, BTreeMap<i64, Vec<u8>>>,
    /// What was set aside.
    pub(crate) parked: ParkedTables,
}

impl Base {
    fn new(part: Part, partitions: i32) -> Self {
        let lane = |partition: i32| Lane {
            id: LaneId(Uuid::from_u64_pair(0x1a7e_0000 + part as u64, u64::from(partition.unsigned_abs()))),
            partition,
            epoch: 0,
            next_offset: 0,
            last_read: None,
            outbox_seq: 0,
            due_mark: Timestamp(0),
            heard: BTreeMap::new(),
            ended: Arc::default(),
            sent: BTreeMap::new(),
            parked: Arc::default(),
            gap_checked: None,
        };
        let lanes = (0..partitions).map(|partition| (partition, lane(partition))).collect();
        Self { lanes, ..Self::default() }
    }

    /// A lane's row as a claim or a look reads it.
    pub(crate) fn read(&self, partition: i32) -> Option<Lane> {
        let row = self.lanes.get(&partition)?;
        let parked = Arc::new(self.parked.keys(partition));
        Some(Lane { parked, gap_checked: None, ..row.clone() })
    }

    pub(crate) fn locked(&self, partitions: &[i32]) -> Vec<Locked> {
        let rows = partitions.iter().filter_map(|partition| self.lanes.get(partition));
        rows.map(|row| Locked {
            partition: row.partition,
            epoch: row.epoch,
            next_offset: row.next_offset,
            outbox_seq: row.outbox_seq,
        })
        .collect()
    }
}

/// A worker: what it believes to hold, and where it reads.
#[derive(Clone)]
pub(crate) struct Worker<O> {
    pub(crate) lanes: BTreeMap<i32, Lane>,
    /// Where the next fetch of each partition begins.
    pub(crate) fetch: BTreeMap<i32, i64>,
    /// Seeks that its polling thread was told and has not done.
    pub(crate) seeks: BTreeMap<i32, i64>,
    /// So many batches go by before it does.
    pub(crate) busy: u8,
    /// As the real one's: where its lanes stand if a commit whose answer was lost did happen.
    pub(crate) unanswered: BTreeMap<i32, (i64, i64)>,
    /// A batch whose calls are made and which is not decided yet.
    pub(crate) halfway: Option<(Hand, O)>,
    /// Lanes claimed since its last commit.
    pub(crate) claimed: BTreeSet<i32>,
}

impl<O> Default for Worker<O> {
    fn default() -> Self {
        Self {
            lanes: BTreeMap::new(),
            fetch: BTreeMap::new(),
            seeks: BTreeMap::new(),
            busy: 0,
            unanswered: BTreeMap::new(),
            halfway: None,
            claimed: BTreeSet::new(),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Shop<T: Tables> {
    pub(crate) part: Part,
    pub(crate) tables: T,
    pub(crate) base: Base,
    pub(crate) workers: [Worker<Outcomes<T>>; 2],
    pub(crate) relays: [Relaying; 2],
    /// Most parked records that run again at once.
    pub(crate) again: usize,
    /// The last command of an operator.
    pub(crate) sent: Sent,
}

impl<T: Tables> Shop<T> {
    pub(crate) fn new(part: Part, tables: T, setup: &Setup) -> Self {
        let (partitions, again) = (setup.partitions, setup.again);
        let base = Base::new(part, partitions);
        let relays = [Relaying::new(&base), Relaying::new(&base)];
        let mut shop = Self { part, tables, base, workers: Default::default(), relays, again, sent: None };
        for partition in 0..partitions {
            let half = usize::from(partition % 2 != 0);
            shop.take_over(half, partition);
        }
        shop
    }

    /// Raises the fence of a partition and gives it to a worker. Nobody tells the one who had it.
    pub(crate) fn take_over(&mut self, worker: usize, partition: i32) {
        let Some(row) = self.base.lanes.get_mut(&partition) else { return };
        row.epoch += 1;
        let (Some(lane), Some(worker)) = (self.base.read(partition), self.workers.get_mut(worker)) else {
            return;
        };
        worker.unanswered.remove(&partition);
        worker.seeks.remove(&partition);
        worker.claimed.insert(partition);
        worker.fetch.insert(partition, lane.next_offset);
        worker.lanes.insert(partition, lane);
    }

    pub(crate) fn claim(&mut self, stage: &mut Stage, worker: usize, partition: i32) {
        self.take_over(worker, partition);
        let part = self.part.name();
        stage.notes.note(stage.now, |_| format!("{part} worker {worker} claims partition {partition}"));
    }

    /// Moves where a worker's next fetches begin: repeats, or a jump.
    pub(crate) fn stray(&mut self, worker: usize, by: i64) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.fetch.values_mut().for_each(|at| *at = (*at + by).max(0));
        }
    }

    /// Its polling thread is late.
    pub(crate) fn keep_busy(&mut self, worker: usize, batches: u8) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.busy = batches;
        }
    }

    /// A worker that dies forgets everything.
    pub(crate) fn die(&mut self, worker: usize) {
        if let Some(worker) = self.workers.get_mut(worker) {
            *worker = Worker::default();
        }
    }

    /// Whether all that was produced for it is done, and all that it says is sent.
    pub(crate) fn is_at_rest(&self, stage: &Stage) -> bool {
        let topic = self.tables.service().input();
        let is_read = |lane: &Lane| lane.next_offset == stage.log.end(topic, lane.partition);
        self.base.lanes.values().all(is_read) && self.base.outbox.values().all(BTreeMap::is_empty)
    }
}
