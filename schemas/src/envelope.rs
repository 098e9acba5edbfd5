//! The one binary header of every record: what it means, why it was sent, and its place in its source lane.

use crate::{
    ids::{LaneId, MessageId},
    time::Timestamp,
};
use uuid::Uuid;

/// Name of the header that holds an [`Envelope`].
pub const HEADER: &str = "mb";
/// Name of the W3C trace context header; present only when sampled.
pub const TRACEPARENT: &str = "traceparent";
/// On a dead letter: why it was rejected.
pub const DLQ_CAUSE: &str = "mb-cause";
/// On a dead letter: how often it was tried, decimal.
pub const DLQ_ATTEMPTS: &str = "mb-attempts";
/// On a dead letter: `topic/partition/offset` of the original.
pub const DLQ_ORIGIN: &str = "mb-origin";

const VERSION: u8 = 1;
const PLAIN: usize = 1 + 16 + 16 + 8 + 8;
const SOURCED: usize = PLAIN + 16 + 8 + 8;
const NEVER: i64 = i64::MAX;

/// Where a record stands in what its lane has sent to this partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The sending lane.
    pub lane: LaneId,
    /// Its number among all the lane sent to this partition: 1, 2, 3, … without gaps.
    pub n: u64,
    /// Every number up to this one had been acknowledged, in order, when this record was sent.
    pub floor: u64,
}

/// What travels beside the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// What the message means; a retry keeps it.
    pub message: MessageId,
    /// The message that made the sender say this; its own id at the edge.
    pub causation: MessageId,
    /// When it was decided.
    pub occurred_at: Timestamp,
    /// Work is not begun after this.
    pub deadline: Option<Timestamp>,
    /// The sending lane; absent from the edge.
    pub source: Option<Source>,
}

/// Why a header could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// There is none.
    #[error("the record has no {HEADER:?} header")]
    Missing,
    /// A version this release does not know.
    #[error("header version {0} is not known to this release")]
    Version(u8),
    /// Not one of the two lengths there are.
    #[error("the {HEADER:?} header has {0} bytes, not {PLAIN} or {SOURCED}")]
    Length(usize),
    /// A number 0, or a floor at or above its own number.
    #[error("the {HEADER:?} header has number {n} with floor {floor}")]
    Number {
        /// The number.
        n: u64,
        /// The floor.
        floor: u64,
    },
}

impl Envelope {
    /// The header's bytes: version, message, causation, occurred-at, deadline, and, from a lane, lane, number
    /// and floor; integers big endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SOURCED);
        bytes.push(VERSION);
        bytes.extend_from_slice(self.message.0.as_bytes());
        bytes.extend_from_slice(self.causation.0.as_bytes());
        bytes.extend_from_slice(&self.occurred_at.0.to_be_bytes());
        bytes.extend_from_slice(&self.deadline.map_or(NEVER, |at| at.0).to_be_bytes());
        if let Some(source) = self.source {
            bytes.extend_from_slice(source.lane.0.as_bytes());
            bytes.extend_from_slice(&source.n.to_be_bytes());
            bytes.extend_from_slice(&source.floor.to_be_bytes());
        }
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`EnvelopeError`] names what is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let length = EnvelopeError::Length(bytes.len());
        match bytes.first() {
            Some(&VERSION) => {}
            Some(&other) => return Err(EnvelopeError::Version(other)),
            None => return Err(length),
        }
        if bytes.len() != PLAIN && bytes.len() != SOURCED {
            return Err(length);
        }
        let mut reader = Reader { rest: bytes.get(1..).unwrap_or_default() };
        let (Some(message), Some(causation), Some(occurred_at), Some(deadline)) =
            (reader.uuid(), reader.uuid(), reader.int(), reader.int())
        else {
            return Err(length);
        };
        let source = match (reader.uuid(), reader.int(), reader.int()) {
            (Some(lane), Some(n), Some(floor)) => {
                let (n, floor) = (n.cast_unsigned(), floor.cast_unsigned());
                if n == 0 || floor >= n {
                    return Err(EnvelopeError::Number { n, floor });
                }
                Some(Source { lane: LaneId(lane), n, floor })
            }
            _ => None,
        };
        Ok(Self {
            message: MessageId(message),
            causation: MessageId(causation),
            occurred_at: Timestamp(occurred_at),
            deadline: (deadline != NEVER).then_some(Timestamp(deadline)),
            source,
        })
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn uuid(&mut self) -> Option<Uuid> {
        let (bytes, rest) = self.rest.split_first_chunk::<16>()?;
        self.rest = rest;
        Some(Uuid::from_bytes(*bytes))
    }

    fn int(&mut self) -> Option<i64> {
        let (bytes, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some(i64::from_be_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_envelope() -> impl Strategy<Value = Envelope> {
        let source = proptest::option::of((any::<u128>(), 1..u64::MAX, any::<u64>()));
        (any::<u128>(), any::<u128>(), any::<i64>(), proptest::option::of(0..NEVER), source).prop_map(
            |(message, causation, occurred_at, deadline, source)| Envelope {
                message: MessageId(Uuid::from_u128(message)),
                causation: MessageId(Uuid::from_u128(causation)),
                occurred_at: Timestamp(occurred_at),
                deadline: deadline.map(Timestamp),
                source: source.map(|(lane, n, floor)| Source {
                    lane: LaneId(Uuid::from_u128(lane)),
                    n,
                    floor: floor % n,
                }),
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(envelope in any_envelope()) {
            prop_assert_eq!(Envelope::from_bytes(&envelope.to_bytes()), Ok(envelope));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Envelope::from_bytes(&bytes);
        }
    }
}
