//! The log: topics, partitions, offsets, nothing ever taken away.

use crate::digest::Digest;
use harness::record::Record;
use schemas::{
    envelope::Envelope,
    ids::MessageId,
    time::Timestamp,
    topics::{self, Topic},
};
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    partitions: BTreeMap<(Topic, i32), Vec<Arc<Record>>>,
}

impl Log {
    /// Appends a record and says where it lies.
    pub(crate) fn append(
        &mut self,
        (topic, partition): (Topic, i32),
        now: Timestamp,
        key: Vec<u8>,
        envelope: Envelope,
        payload: Vec<u8>,
    ) -> i64 {
        let records = self.partitions.entry((topic, partition)).or_default();
        let offset = i64::try_from(records.len()).unwrap_or(i64::MAX);
        records.push(Arc::new(Record {
            topic,
            partition,
            offset,
            timestamp: now,
            key,
            envelope: Ok(envelope),
            header: None,
            payload,
            traceparent: None,
        }));
        offset
    }

    /// Appends what the edge produces.
    pub(crate) fn produce(
        &mut self,
        topic: Topic,
        partitions: i32,
        now: Timestamp,
        (key, message): (Uuid, MessageId),
        payload: Vec<u8>,
    ) {
        let key = topics::key(key);
        let partition = topics::partition_of(&key, partitions);
        let envelope =
            Envelope { message, causation: message, occurred_at: now, deadline: None, source: None };
        self.append((topic, partition), now, key.to_vec(), envelope, payload);
    }

    pub(crate) fn end(&self, topic: Topic, partition: i32) -> i64 {
        self.partitions.get(&(topic, partition)).map_or(0, |records| records.len() as i64)
    }

    pub(crate) fn read(&self, topic: Topic, partition: i32, offset: i64) -> Option<&Record> {
        self.partitions.get(&(topic, partition))?.get(usize::try_from(offset).ok()?).map(Arc::as_ref)
    }

    /// All of it, into the fingerprint of a state.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        for (place, records) in &self.partitions {
            digest.add(&(place, records.len()));
            for record in records {
                digest.bytes(&record.key);
                digest.bytes(&record.payload);
                digest.add(&(record.timestamp, &record.envelope));
            }
        }
    }
}
