//! Turns what a batch says into numbered records, one packed row a lane, and what it rejects into parked rows with a
//! dead-letter copy. Pure.

use crate::{
    judge,
    lane::{Destination, Lane},
    record::{Record, Rejection, Said},
    store::{Packed, Parking},
};
use schemas::{
    envelope::{DLQ_ATTEMPTS, DLQ_CAUSE, DLQ_ORIGIN, Envelope, TRACEPARENT},
    ids::{self, MessageId},
    outbox::{self, OutboxRecord},
    time::Timestamp,
    topics::{self, Topic},
    wire,
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Numbers all that is said, in order, and packs one row for each lane that says something.
#[must_use]
pub fn pack(
    said: &[Said],
    rejected: &[(Record, Rejection)],
    lanes: &mut BTreeMap<i32, Lane>,
    partitions: i32,
    dlq: Option<Topic>,
    now: Timestamp,
) -> Vec<Packed> {
    let mut rows: BTreeMap<i32, Vec<OutboxRecord>> = BTreeMap::new();
    for said in said {
        let Some(lane) = lanes.get_mut(&said.from) else { continue };
        rows.entry(said.from).or_default().push(say(said, lane, partitions, now));
    }
    for (record, rejection) in rejected {
        let (Some(lane), Some(dlq)) = (lanes.get_mut(&record.partition), dlq) else { continue };
        rows.entry(record.partition).or_default().push(copy(record, rejection, lane, dlq, partitions, now));
    }
    rows.into_iter()
        .filter_map(|(partition, records)| {
            let lane = lanes.get_mut(&partition)?;
            Some(Packed { lane: lane.id, seq: lane.next_seq(), records: outbox::pack(&records) })
        })
        .collect()
}

/// The rows of what is set aside. What parks nothing is only dead-lettered.
#[must_use]
pub fn parkings(rejected: &[(Record, Rejection)]) -> Vec<Parking> {
    rejected
        .iter()
        .filter(|(record, rejection)| judge::parks(record, rejection))
        .map(|(record, rejection)| Parking {
            partition: record.partition,
            offset: record.offset,
            key: record.key.clone(),
            source: record
                .envelope
                .as_ref()
                .ok()
                .and_then(|e| e.source)
                .map(|source| (source.lane.0, source.n)),
            logged_at: record.timestamp,
            header: record.header.clone(),
            record: record.payload.clone(),
            cause: rejection.cause,
            detail: rejection.detail.chars().take(1_000).collect(),
        })
        .collect()
}

fn say(said: &Said, lane: &mut Lane, partitions: i32, now: Timestamp) -> OutboxRecord {
    let outgoing = &said.outgoing;
    let key = topics::key(outgoing.key);
    let to = Destination { topic: outgoing.topic, partition: topics::partition_of(&key, partitions) };
    OutboxRecord {
        topic: to.topic,
        partition: to.partition,
        n: lane.number(to),
        envelope: Envelope {
            message: outgoing.message,
            causation: said.causation.unwrap_or(outgoing.message),
            occurred_at: now,
            deadline: outgoing.deadline,
            source: None,
        },
        key: key.to_vec(),
        payload: outgoing.payload.clone(),
        headers: said.traceparent.iter().map(|value| (TRACEPARENT.to_owned(), value.clone())).collect(),
    }
}

/// A dead letter: the record unchanged, with cause, attempts and origin beside it. One too large to be sent again
/// leaves its payload behind; its origin tells where it lies.
fn copy(
    record: &Record,
    rejection: &Rejection,
    lane: &mut Lane,
    dlq: Topic,
    partitions: i32,
    now: Timestamp,
) -> OutboxRecord {
    let origin = format!("{}/{}/{}", record.topic, record.partition, record.offset);
    let message = match &record.envelope {
        Ok(envelope) => envelope.message,
        Err(_) => ids::message_id(Uuid::nil(), &origin),
    };
    let to = Destination { topic: dlq, partition: topics::partition_of(&record.key, partitions) };
    let fits = record.payload.len() <= wire::MAX_PAYLOAD;
    OutboxRecord {
        topic: to.topic,
        partition: to.partition,
        n: lane.number(to),
        envelope: Envelope {
            message: MessageId(Uuid::new_v5(&message.0, b"dead-letter")),
            causation: message,
            occurred_at: now,
            deadline: None,
            source: None,
        },
        key: record.key.iter().copied().take(1_024).collect(),
        payload: if fits { record.payload.clone() } else { Vec::new() },
        headers: vec![
            (DLQ_CAUSE.to_owned(), format!("{}: {}", rejection.cause, rejection.detail).into_bytes()),
            (DLQ_ATTEMPTS.to_owned(), b"1".to_vec()),
            (DLQ_ORIGIN.to_owned(), origin.into_bytes()),
        ],
    }
}
