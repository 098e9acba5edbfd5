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
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

/// A row with this many bytes takes no further record. Compressed it then fits a page of the table: a longer one is cut
/// up by the database and kept aside, piece by piece, each with an index entry.
const FULL_ROW: usize = 12 * 1_024;

/// Numbers all that is said, in order, and packs it into rows, lane by lane.
#[must_use]
pub fn pack(
    said: Vec<Said>,
    rejected: &[(Arc<Record>, Rejection)],
    lanes: &mut BTreeMap<i32, Lane>,
    partitions: i32,
    dlq: Option<Topic>,
    now: Timestamp,
) -> Vec<Packed> {
    let mut rows: BTreeMap<i32, Vec<Vec<u8>>> = BTreeMap::new();
    for said in said {
        let Some(lane) = lanes.get_mut(&said.from) else { continue };
        append(rows.entry(said.from).or_default(), &say(said, lane, partitions, now));
    }
    for (record, rejection) in rejected {
        let (Some(lane), Some(dlq)) = (lanes.get_mut(&record.partition), dlq) else { continue };
        append(
            rows.entry(record.partition).or_default(),
            &copy(record, rejection, lane, dlq, partitions, now),
        );
    }
    let mut packed = Vec::with_capacity(rows.len());
    for (partition, rows) in rows {
        let Some(lane) = lanes.get_mut(&partition) else { continue };
        packed.extend(rows.into_iter().map(|records| Packed {
            lane: lane.id,
            seq: lane.next_seq(),
            records,
        }));
    }
    packed
}

/// Packs a record into the last row, or into a new one when that is full.
fn append(rows: &mut Vec<Vec<u8>>, record: &OutboxRecord) {
    let is_full = rows.last().is_none_or(|row| row.len() >= FULL_ROW);
    if is_full {
        rows.push(Vec::with_capacity(FULL_ROW + 1_024));
    }
    if let Some(row) = rows.last_mut() {
        outbox::append(row, record);
    }
}

/// The rows of what is set aside. What parks nothing is only dead-lettered.
#[must_use]
pub fn parkings(rejected: &[(Arc<Record>, Rejection)]) -> Vec<Parking> {
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
            detail: rejection.detail.clone(),
        })
        .collect()
}

fn say(said: Said, lane: &mut Lane, partitions: i32, now: Timestamp) -> OutboxRecord {
    let outgoing = said.outgoing;
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
        payload: outgoing.payload,
        headers: said.traceparent.map(|value| (TRACEPARENT.to_owned(), value)).into_iter().collect(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::MAX_DETAIL;
    use schemas::{envelope::EnvelopeError, ids::LaneId};

    fn lane() -> Lane {
        Lane {
            id: LaneId(Uuid::from_u128(1)),
            partition: 0,
            epoch: 1,
            next_offset: 8,
            last_read: None,
            outbox_seq: 0,
            due_mark: Timestamp(0),
            heard: BTreeMap::new(),
            ended: Arc::default(),
            sent: BTreeMap::new(),
            parked: std::sync::Arc::default(),
            gap_checked: None,
        }
    }

    #[test]
    fn a_dead_letter_is_never_larger_than_its_topic_takes() {
        let record = |payload: usize| Record {
            topic: Topic::OrderCommands,
            partition: 0,
            offset: 7,
            timestamp: Timestamp(0),
            key: vec![b'k'; 100_000],
            envelope: Err(EnvelopeError::Missing),
            header: None,
            payload: vec![1; payload],
            traceparent: None,
        };
        // what could not be read is quoted whole
        let rejection = Rejection::new("decode", "\u{1f980}".repeat(500_000));
        for (payload, kept) in [(wire::MAX_PAYLOAD, wire::MAX_PAYLOAD), (wire::MAX_PAYLOAD + 1, 0)] {
            let rejected = [(Arc::new(record(payload)), rejection.clone())];
            let rows = pack(
                Vec::new(),
                &rejected,
                &mut BTreeMap::from([(0, lane())]),
                4,
                Some(Topic::OrdersDlq),
                Timestamp(0),
            );
            let said = outbox::unpack(outbox::FORMAT, &rows[0].records).unwrap();
            let letter = &said[0];
            assert_eq!(letter.payload.len(), kept);
            let headers: usize = letter.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
            let size = letter.key.len() + letter.payload.len() + headers + letter.envelope.to_bytes().len();
            assert!(size < 1_040_000, "{size} bytes: Kafka's default is 1048576, all included");
            assert_eq!(parkings(&rejected)[0].detail.chars().count(), MAX_DETAIL);
        }
    }
}
