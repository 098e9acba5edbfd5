//! What a packed outbox row holds: records that one lane says in one batch, in order.
//!
//! Written by the workers, read by the relay. The relay adds the lane and the floor when it sends.

use crate::{envelope::Envelope, topics::Topic};

/// The format written by this release (the row's `format` column).
pub const FORMAT: i16 = 1;

/// A record on its way out of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRecord {
    /// Where to.
    pub topic: Topic,
    /// Which partition; chosen by the worker.
    pub partition: i32,
    /// Its number among all the lane sent to that partition: 1, 2, 3, … without gaps.
    pub n: u64,
    /// Its envelope; `source` is absent here and filled in by the relay.
    pub envelope: Envelope,
    /// The record key.
    pub key: Vec<u8>,
    /// The payload, in the wire format.
    pub payload: Vec<u8>,
    /// Further headers: trace context, a dead letter's cause and origin.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Why a packed row could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Another release's format.
    #[error("outbox format {0} is not known to this release")]
    Format(i16),
    /// It ends, or its lengths say more than there is.
    #[error("the packed outbox row is cut short at byte {0}")]
    Short(usize),
    /// A field that no release writes.
    #[error("the packed outbox row holds an impossible {0}")]
    Field(&'static str),
}

/// Packs records into one row's bytes.
#[must_use]
pub fn pack(records: &[OutboxRecord]) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.iter().map(|r| r.payload.len() + 160).sum());
    records.iter().for_each(|record| append(&mut out, record));
    out
}

/// Packs one more record into a row's bytes.
pub fn append(out: &mut Vec<u8>, record: &OutboxRecord) {
    out.push(record.topic.code());
    out.extend_from_slice(&record.partition.to_be_bytes());
    out.extend_from_slice(&record.n.to_be_bytes());
    put(out, &record.envelope.to_bytes());
    put(out, &record.key);
    put(out, &record.payload);
    out.push(u8::try_from(record.headers.len()).unwrap_or(u8::MAX));
    for (name, value) in record.headers.iter().take(usize::from(u8::MAX)) {
        put(out, name.as_bytes());
        put(out, value);
    }
}

/// Reads a row's records, in order.
///
/// # Errors
/// [`PackError`] for a format of another release or bytes that no release writes.
pub fn unpack(format: i16, bytes: &[u8]) -> Result<Vec<OutboxRecord>, PackError> {
    if format != FORMAT {
        return Err(PackError::Format(format));
    }
    let mut reader = Reader { bytes, at: 0 };
    let mut records = Vec::new();
    while reader.at < bytes.len() {
        records.push(reader.record()?);
    }
    Ok(records)
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn record(&mut self) -> Result<OutboxRecord, PackError> {
        let [code] = self.array()?;
        let topic = Topic::from_code(code).ok_or(PackError::Field("topic"))?;
        let partition = i32::from_be_bytes(self.array()?);
        let n = u64::from_be_bytes(self.array()?);
        let envelope = Envelope::from_bytes(self.bytes_field()?).map_err(|_| PackError::Field("envelope"))?;
        let key = self.bytes_field()?.to_vec();
        let payload = self.bytes_field()?.to_vec();
        let [count] = self.array()?;
        let mut headers = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let name =
                std::str::from_utf8(self.bytes_field()?).map_err(|_| PackError::Field("header name"))?;
            headers.push((name.to_owned(), self.bytes_field()?.to_vec()));
        }
        Ok(OutboxRecord { topic, partition, n, envelope, key, payload, headers })
    }

    fn bytes_field(&mut self) -> Result<&'a [u8], PackError> {
        let length = usize::try_from(u32::from_be_bytes(self.array()?)).unwrap_or(usize::MAX);
        self.take(length)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PackError> {
        self.take(N)?.try_into().map_err(|_| PackError::Short(self.at))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], PackError> {
        let end = self.at.checked_add(length).ok_or(PackError::Short(self.at))?;
        let taken = self.bytes.get(self.at..end).ok_or(PackError::Short(self.at))?;
        self.at = end;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::MessageId, time::Timestamp};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn any_record() -> impl Strategy<Value = OutboxRecord> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
        (0..Topic::ALL.len(), 0..64, 1..u64::MAX, any::<u128>(), bytes(), bytes(), ".{0,9}", bytes())
            .prop_map(|(topic, partition, n, message, key, payload, name, value)| OutboxRecord {
                topic: Topic::ALL[topic],
                partition,
                n,
                envelope: Envelope {
                    message: MessageId(Uuid::from_u128(message)),
                    causation: MessageId(Uuid::from_u128(!message)),
                    occurred_at: Timestamp(7),
                    deadline: None,
                    source: None,
                },
                key,
                payload,
                headers: vec![(name, value)],
            })
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(records in proptest::collection::vec(any_record(), 0..9)) {
            prop_assert_eq!(unpack(FORMAT, &pack(&records)), Ok(records));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = unpack(FORMAT, &bytes);
        }

        #[test]
        fn a_cut_row_is_refused(record in any_record(), cut in 1usize..40) {
            let bytes = pack(&[record]);
            prop_assert!(unpack(FORMAT, &bytes[..bytes.len() - cut]).is_err());
        }
    }
}
