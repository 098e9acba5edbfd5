//! The record that a lane read last, kept beside its position: whoever claims the lane reads that record once more, and
//! so knows whether the topic is still the one that the position is a place in. A topic that was made anew while nobody
//! was reading, and has grown beyond the position since, cannot be told otherwise: the client gives no ids of topics.

use crate::record::Record;
use uuid::Uuid;

/// Which record it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRead {
    /// Its offset.
    pub offset: i64,
    /// `UUIDv5` (RFC 9562 §5.5) of all that the log keeps of it.
    pub fingerprint: Uuid,
}

impl LastRead {
    pub(crate) fn of(record: &Record) -> Self {
        let Record { offset, timestamp, key, header, payload, .. } = record;
        let parts = [&key[..], header.as_deref().unwrap_or_default(), payload];
        let mut bytes = timestamp.0.to_be_bytes().to_vec();
        for part in parts {
            bytes.extend(part.len().to_be_bytes());
            bytes.extend(part);
        }
        Self { offset: *offset, fingerprint: Uuid::new_v5(&Uuid::nil(), &bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{envelope::EnvelopeError, time::Timestamp, topics::Topic};

    #[test]
    fn each_part_of_a_record_shows() {
        let record = Record {
            topic: Topic::OrderCommands,
            partition: 0,
            offset: 7,
            timestamp: Timestamp(1),
            key: b"key".to_vec(),
            envelope: Err(EnvelopeError::Missing),
            header: Some(b"header".to_vec()),
            payload: b"payload".to_vec(),
            traceparent: None,
        };
        let read = LastRead::of(&record);
        assert_eq!(read, LastRead::of(&record.clone()));
        for other in [
            Record { offset: 8, ..record.clone() },
            Record { timestamp: Timestamp(2), ..record.clone() },
            Record { key: b"keyh".to_vec(), header: Some(b"eader".to_vec()), ..record.clone() },
            Record { header: None, ..record.clone() },
            Record { payload: Vec::new(), ..record.clone() },
        ] {
            assert_ne!(read, LastRead::of(&other), "{other:?}");
        }
    }
}
