//! One record as one JSON line.

use crate::plain::{self, Plain};
use schemas::{
    catalogue::Entry,
    envelope::{DLQ_ATTEMPTS, DLQ_CAUSE, DLQ_ORIGIN, Envelope, EnvelopeError},
    time::Timestamp,
    topics::Topic,
    wire,
};
use serde::Serialize;
use uuid::Uuid;

/// A record as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) topic: Topic,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// The log's timestamp.
    pub(crate) timestamp: Timestamp,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) envelope: Result<Envelope, EnvelopeError>,
    /// The trace that it belongs to, when that is sampled.
    pub(crate) traceparent: Option<Vec<u8>>,
    /// Cause, attempts and origin of a dead letter, where there are any.
    pub(crate) dead_letter: Option<DeadLetter>,
    /// The payload; none for a record without one.
    pub(crate) payload: Option<Vec<u8>>,
}

impl Record {
    /// Bytes it holds in memory.
    pub(crate) fn size(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        length(&self.key) + length(&self.payload) + length(&self.traceparent) + size_of::<Self>()
    }
}

/// What the headers of a dead letter say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct DeadLetter {
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

impl DeadLetter {
    /// Takes one header's value, if it is of a dead letter.
    pub(crate) fn hear(&mut self, header: &str, value: &[u8]) {
        let text = || Some(String::from_utf8_lossy(value).into_owned());
        match header {
            DLQ_CAUSE => self.cause = text(),
            DLQ_ATTEMPTS => self.attempts = text(),
            DLQ_ORIGIN => self.origin = text(),
            _ => {}
        }
    }
}

/// The line. `value` is the body; where it cannot be read, `error` says why and `payload` holds all its bytes in
/// hexadecimal digits. Where the header cannot be read, `headerError` says why.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line<'a> {
    topic: &'static str,
    partition: i32,
    offset: i64,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(flatten)]
    header: Option<Header>,
    #[serde(skip_serializing_if = "Option::is_none")]
    header_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter: &'a Option<DeadLetter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Schema>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Plain>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    message_id: Uuid,
    causation_id: Uuid,
    occurred_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
}

#[derive(Debug, Serialize)]
struct Source {
    lane: Uuid,
    n: u64,
    floor: u64,
}

#[derive(Debug, Serialize)]
struct Schema {
    id: u32,
    record: &'static str,
}

impl<'a> Line<'a> {
    pub(crate) fn of(record: &'a Record) -> Self {
        let payload = record.payload.as_deref().unwrap_or_default();
        let opened = wire::open(payload);
        let schema = opened.as_ref().ok().map(|(entry, _)| Schema { id: entry.id.0, record: entry.record });
        let body = opened.and_then(|(entry, body)| decode(entry, body));
        let (value, error) = match body {
            Ok(value) => (Some(value), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            topic: record.topic.name(),
            partition: record.partition,
            offset: record.offset,
            timestamp: time(record.timestamp),
            key: record.key.as_deref().map(text),
            correlation_id: value.as_ref().and_then(Plain::order_id).map(str::to_owned),
            header: record.envelope.as_ref().ok().map(Header::from),
            header_error: record.envelope.as_ref().err().map(ToString::to_string),
            traceparent: record.traceparent.as_deref().map(text),
            dead_letter: &record.dead_letter,
            schema,
            payload: error.is_some().then(|| plain::hex(payload)),
            value,
            error,
        }
    }

    /// Whether body or header could not be read.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.error.is_some() || self.header_error.is_some()
    }
}

fn decode(entry: &'static Entry, body: &[u8]) -> Result<Plain, wire::WireError> {
    Plain::decode(entry, body)
}

impl From<&Envelope> for Header {
    fn from(envelope: &Envelope) -> Self {
        Self {
            message_id: envelope.message.0,
            causation_id: envelope.causation.0,
            occurred_at: time(envelope.occurred_at),
            deadline: envelope.deadline.map(time),
            source: envelope.source.map(|source| Source {
                lane: source.lane.0,
                n: source.n,
                floor: source.floor,
            }),
        }
    }
}

/// RFC 3339, or the bare number of milliseconds for a time past the calendar.
fn time(at: Timestamp) -> String {
    plain::rfc3339(at.0).unwrap_or_else(|| at.0.to_string())
}

/// A key as text; `0x` and hexadecimal digits when it is none.
fn text(key: &[u8]) -> String {
    std::str::from_utf8(key).map_or_else(|_| format!("0x{}", plain::hex(key)), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{
        envelope::Source as EnvelopeSource,
        ids::{LaneId, MessageId, OrderId},
        messages::{StockReserved, WalkQueue},
    };

    fn record(payload: Vec<u8>) -> Record {
        Record {
            topic: Topic::OrderCommands,
            partition: 3,
            offset: 42,
            timestamp: Timestamp(1_700_000_000_000),
            key: Some(b"k".to_vec()),
            envelope: Ok(Envelope {
                message: MessageId(Uuid::from_u128(1)),
                causation: MessageId(Uuid::from_u128(2)),
                occurred_at: Timestamp(1_700_000_000_001),
                deadline: Some(Timestamp(1_700_000_000_002)),
                source: Some(EnvelopeSource { lane: LaneId(Uuid::from_u128(3)), n: 5, floor: 4 }),
            }),
            traceparent: None,
            dead_letter: None,
            payload: Some(payload),
        }
    }

    #[test]
    fn a_line_tells_where_when_why_and_what() {
        let payload = wire::encode(&StockReserved { order_id: OrderId(Uuid::from_u128(9)) }).unwrap();
        assert_eq!(
            serde_json::to_string(&Line::of(&record(payload))).unwrap(),
            concat!(
                r#"{"topic":"order.commands","partition":3,"offset":42,"timestamp":"2023-11-14T22:13:20.000Z","#,
                r#""key":"k","correlationId":"00000000-0000-0000-0000-000000000009","#,
                r#""messageId":"00000000-0000-0000-0000-000000000001","#,
                r#""causationId":"00000000-0000-0000-0000-000000000002","#,
                r#""occurredAt":"2023-11-14T22:13:20.001Z","deadline":"2023-11-14T22:13:20.002Z","#,
                r#""source":{"lane":"00000000-0000-0000-0000-000000000003","n":5,"floor":4},"#,
                r#""schema":{"id":1005,"record":"StockReserved"},"#,
                r#""value":{"orderId":"00000000-0000-0000-0000-000000000009"}}"#
            )
        );
    }

    #[test]
    fn what_cannot_be_read_is_a_line_too() {
        let mut broken = record(vec![0, 0, 0, 0x27, 0x0f, 0xff]);
        broken.key = Some(vec![0xff, 1]);
        broken.envelope = Err(EnvelopeError::Missing);
        broken.dead_letter = Some(DeadLetter { cause: Some("decode".to_owned()), ..DeadLetter::default() });
        let line = Line::of(&broken);
        assert!(line.is_unreadable());
        let json: serde_json::Value = serde_json::to_value(&line).unwrap();
        assert_eq!(json["key"], "0xff01");
        assert_eq!(json["error"], "schema id 9999 is not known to this release");
        assert_eq!(json["payload"], "000000270fff");
        assert_eq!(json["headerError"], "the record has no \"mb\" header");
        assert_eq!(json["deadLetter"], serde_json::json!({"cause": "decode"}));
        assert!(json.get("value").is_none() && json.get("messageId").is_none());
    }

    #[test]
    fn a_record_about_a_product_has_no_correlation_id() {
        let walk = WalkQueue { product_id: schemas::ids::ProductId(Uuid::from_u128(7)) };
        let record = record(wire::encode(&walk).unwrap());
        let json = serde_json::to_value(Line::of(&record)).unwrap();
        assert!(json.get("correlationId").is_none(), "{json}");
    }
}
