//! Which records a worker takes next.

use crate::{shop::Worker, stage::Stage};
use harness::{lane::Heard, record::Record};
use schemas::topics::Topic;
use std::collections::BTreeMap;

/// The next records of what the worker holds: each partition in offset order, among the heads the lowest timestamp.
pub(super) fn fetch<O>(topic: Topic, worker: &Worker<O>, stage: &Stage, size: usize) -> Vec<Record> {
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
pub(super) fn undone_dedupe<O>(worker: &Worker<O>, mut records: Vec<Record>) -> Vec<Record> {
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
