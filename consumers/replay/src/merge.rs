//! Several partitions as one sequence: always the oldest of their heads, by the log's timestamp, then topic, then
//! partition. A partition's own order stands, whatever its timestamps say. Pure: it reads nothing.

use crate::line::Record;
use std::collections::VecDeque;

/// Records a partition may have waiting before it is full. So memory is bounded by the number of partitions.
pub(crate) const FULL_RECORDS: usize = 1_000;
/// Bytes a partition may have waiting before it is full.
pub(crate) const FULL_BYTES: usize = 4 << 20;

/// One partition's records that wait for their turn.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Record>,
    bytes: usize,
    is_done: bool,
}

/// All partitions; each is known by its number in the list they came in.
#[derive(Debug)]
pub(crate) struct Merge {
    queues: Vec<Queue>,
}

impl Merge {
    pub(crate) fn new(partitions: usize) -> Self {
        Self { queues: std::iter::repeat_with(Queue::default).take(partitions).collect() }
    }

    /// Takes the next record of a partition.
    pub(crate) fn push(&mut self, source: usize, record: Record) {
        if let Some(queue) = self.queues.get_mut(source) {
            queue.bytes += record.size();
            queue.waiting.push_back(record);
        }
    }

    /// Nothing more will come of that partition.
    pub(crate) fn finish(&mut self, source: usize) {
        if let Some(queue) = self.queues.get_mut(source) {
            queue.is_done = true;
        }
    }

    /// The oldest head with its partition; none while a partition that goes on has no head.
    pub(crate) fn next(&mut self) -> Option<(usize, Record)> {
        if self.queues.iter().any(|queue| queue.waiting.is_empty() && !queue.is_done) {
            return None;
        }
        let heads = self.queues.iter().enumerate().filter_map(|(source, queue)| {
            let head = queue.waiting.front()?;
            Some(((head.timestamp, head.topic.code(), head.partition), source))
        });
        let (_, source) = heads.min()?;
        let queue = self.queues.get_mut(source)?;
        let record = queue.waiting.pop_front()?;
        queue.bytes -= record.size();
        Some((source, record))
    }

    /// Everything was given out.
    pub(crate) fn is_done(&self) -> bool {
        self.queues.iter().all(|queue| queue.is_done && queue.waiting.is_empty())
    }

    /// That partition should wait.
    pub(crate) fn is_full(&self, source: usize) -> bool {
        self.queues
            .get(source)
            .is_some_and(|queue| queue.waiting.len() >= FULL_RECORDS || queue.bytes >= FULL_BYTES)
    }

    /// That partition may go on.
    pub(crate) fn has_room(&self, source: usize) -> bool {
        self.queues
            .get(source)
            .is_some_and(|queue| queue.waiting.len() <= FULL_RECORDS / 2 && queue.bytes <= FULL_BYTES / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{envelope::EnvelopeError, time::Timestamp, topics::Topic};

    fn record(topic: Topic, partition: i32, offset: i64, at: i64) -> Record {
        Record {
            topic,
            partition,
            offset,
            timestamp: Timestamp(at),
            key: None,
            envelope: Err(EnvelopeError::Missing),
            traceparent: None,
            dead_letter: None,
            payload: Some(vec![0; 10_000]),
        }
    }

    #[test]
    fn the_oldest_head_comes_first_once_every_partition_has_one() {
        let mut merge = Merge::new(3);
        merge.push(0, record(Topic::OrderEvents, 0, 0, 20));
        merge.push(0, record(Topic::OrderEvents, 0, 1, 5)); // its clock went back: its place in its partition stands
        merge.push(1, record(Topic::OrderCommands, 0, 0, 20));
        assert!(merge.next().is_none(), "the third may hold an older one");
        merge.push(2, record(Topic::OrderEvents, 1, 7, 10));
        merge.finish(2);
        let mut order = Vec::new();
        while let Some((source, record)) = merge.next() {
            order.push((source, record.offset));
        }
        assert_eq!(order, [(2, 7), (1, 0)], "and then the second has no head");
        merge.finish(1);
        assert_eq!(merge.next().map(|(source, r)| (source, r.offset)), Some((0, 0)));
        assert_eq!(merge.next().map(|(source, r)| (source, r.offset)), Some((0, 1)));
        assert!(!merge.is_done());
        merge.finish(0);
        assert!(merge.is_done());
    }

    #[test]
    fn a_partition_is_full_by_bytes_and_by_records_and_has_room_at_half() {
        let mut merge = Merge::new(1);
        while !merge.is_full(0) {
            merge.push(0, record(Topic::OrderEvents, 0, 0, 1));
        }
        let mut taken = 0;
        while !merge.has_room(0) {
            merge.next().unwrap();
            taken += 1;
        }
        assert!((200..=220).contains(&taken), "half of 4 MiB in records of 10 KB: {taken}");
    }
}
