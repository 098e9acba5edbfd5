//! The bounded queue between the polling thread and the task that owns the lanes.

use crate::record::Record;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// How much may wait, and how much one batch may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    bound: Bound,
    waiting: Mutex<Waiting>,
    room: Condvar,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    partitions: BTreeMap<i32, VecDeque<Arc<Record>>>,
    records: usize,
    bytes: usize,
}

impl Inbox {
    pub(crate) fn new(bound: Bound) -> Self {
        Self { bound, waiting: Mutex::default(), room: Condvar::new(), arrived: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record, unannounced, and says whether there is room for another. The polling thread asks
    /// [`Inbox::wait_for_room`] before it reads the first.
    pub(crate) fn push(&self, record: Record) -> bool {
        let mut waiting = self.lock();
        waiting.records += 1;
        waiting.bytes += record.size();
        waiting.partitions.entry(record.partition).or_default().push_back(Arc::new(record));
        !waiting.exceeds(self.bound)
    }

    /// Wakes the owner: what came together is one batch, and one wake-up.
    pub(crate) fn announce(&self) {
        self.arrived.notify_one();
    }

    /// Blocks until there is room, for `patience` at most; says whether there is.
    pub(crate) fn wait_for_room(&self, patience: Duration) -> bool {
        let full = |waiting: &mut Waiting| waiting.exceeds(self.bound);
        let (mut waiting, _) =
            self.room.wait_timeout_while(self.lock(), patience, full).unwrap_or_else(PoisonError::into_inner);
        !full(&mut waiting)
    }

    /// Returns when a record has arrived since the last call. Safe to drop.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes a batch from the partitions that `wanted` names: each strictly in offset order, among their heads the
    /// lowest timestamp first.
    pub(crate) fn take(&self, bound: Bound, wanted: impl Fn(i32) -> bool) -> Vec<Arc<Record>> {
        let mut waiting = self.lock();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < bound.records && bytes < bound.bytes {
            let head = waiting
                .partitions
                .iter()
                .filter(|(partition, _)| wanted(**partition))
                .filter_map(|(partition, queue)| Some((queue.front()?.timestamp, *partition)))
                .min();
            let Some((_, partition)) = head else { break };
            let Some(record) = waiting.partitions.get_mut(&partition).and_then(VecDeque::pop_front) else {
                break;
            };
            waiting.records -= 1;
            waiting.bytes -= record.size();
            bytes += record.size();
            batch.push(record);
        }
        drop(waiting);
        self.room.notify_all();
        batch
    }

    /// Puts a batch back where it came from, before all that arrived since.
    pub(crate) fn put_back(&self, batch: Vec<Arc<Record>>) {
        let mut waiting = self.lock();
        for record in batch.into_iter().rev() {
            waiting.records += 1;
            waiting.bytes += record.size();
            waiting.partitions.entry(record.partition).or_default().push_front(record);
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Forgets what waits of a partition.
    pub(crate) fn forget(&self, partition: i32) {
        let mut waiting = self.lock();
        if let Some(queue) = waiting.partitions.remove(&partition) {
            waiting.records -= queue.len();
            waiting.bytes -= queue.iter().map(|record| record.size()).sum::<usize>();
        }
        drop(waiting);
        self.room.notify_all();
    }

    /// Records that wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().records
    }
}

impl Waiting {
    fn exceeds(&self, bound: Bound) -> bool {
        self.records >= bound.records || self.bytes >= bound.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{envelope::EnvelopeError, time::Timestamp, topics::Topic};

    fn record(partition: i32, offset: i64, timestamp: i64) -> Record {
        Record {
            topic: Topic::OrderCommands,
            partition,
            offset,
            timestamp: Timestamp(timestamp),
            key: vec![],
            envelope: Err(EnvelopeError::Missing),
            header: None,
            payload: vec![0; 100],
            traceparent: None,
        }
    }

    fn taken(batch: &[Arc<Record>]) -> Vec<(i32, i64)> {
        batch.iter().map(|record| (record.partition, record.offset)).collect()
    }

    const ALL: Bound = Bound { records: 100, bytes: 1 << 20 };

    #[test]
    fn partitions_keep_their_order_and_the_oldest_head_goes_first() {
        let inbox = Inbox::new(ALL);
        // partition 0 has a young head before an old record: its own order wins
        for r in [record(0, 1, 50), record(0, 2, 10), record(1, 7, 20), record(1, 8, 60)] {
            inbox.push(r);
        }
        assert_eq!(taken(&inbox.take(ALL, |_| true)), [(1, 7), (0, 1), (0, 2), (1, 8)]);
    }

    #[test]
    fn what_is_put_back_comes_before_what_came_later() {
        let inbox = Inbox::new(ALL);
        for offset in 0..4 {
            inbox.push(record(0, offset, 0));
        }
        let batch = inbox.take(Bound { records: 2, ..ALL }, |_| true);
        inbox.put_back(batch);
        assert_eq!(taken(&inbox.take(ALL, |_| true)), [(0, 0), (0, 1), (0, 2), (0, 3)]);
        assert_eq!(inbox.len(), 0);
    }

    #[test]
    fn it_is_full_by_records_and_by_bytes_and_has_room_again() {
        let inbox = Inbox::new(Bound { records: 2, bytes: 1 << 20 });
        inbox.push(record(0, 0, 0));
        assert!(inbox.wait_for_room(Duration::ZERO));
        inbox.push(record(0, 1, 0));
        assert!(!inbox.wait_for_room(Duration::ZERO));
        inbox.forget(0);
        assert!(inbox.wait_for_room(Duration::ZERO));
        let inbox = Inbox::new(Bound { records: 100, bytes: 200 });
        inbox.push(record(0, 0, 0));
        assert!(!inbox.wait_for_room(Duration::ZERO), "one record of 228 bytes fills 200");
    }

    #[test]
    fn a_partition_without_a_lane_waits() {
        let inbox = Inbox::new(ALL);
        inbox.push(record(0, 0, 0));
        inbox.push(record(1, 0, 1));
        assert_eq!(taken(&inbox.take(ALL, |partition| partition == 1)), [(1, 0)]);
        assert_eq!(inbox.len(), 1);
    }
}
