//! The Confluent wire format: magic byte 0, schema id (4 bytes, big endian), Avro body.

use crate::{
    catalogue::{self, Entry, SchemaId},
    messages::Body,
    topics::Topic,
};
use apache_avro::{reader::datum::GenericDatumReader, types::Value};
use serde::de::DeserializeOwned;

/// Longest payload a reader takes, in bytes: Kafka's default `max.message.bytes` less room for headers.
pub const MAX_PAYLOAD: usize = 1_000_000;

/// Why a payload could not be read, or a message not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Shorter than the five bytes of its own header.
    #[error("the payload has {0} bytes: too short for the wire format")]
    Short(usize),
    /// Longer than [`MAX_PAYLOAD`].
    #[error("the payload has {0} bytes: more than {MAX_PAYLOAD}")]
    Long(usize),
    /// The first byte is not 0.
    #[error("the payload begins with byte {0}, not with the wire format's 0")]
    Magic(u8),
    /// The catalogue of this build has no such schema.
    #[error("schema id {0} is not known to this release")]
    UnknownSchema(SchemaId),
    /// A schema of another topic.
    #[error("a {record} does not belong on {topic}")]
    NotOfTopic {
        /// The record's name.
        record: &'static str,
        /// Where it was found.
        topic: Topic,
    },
    /// Another record than the one that was asked for.
    #[error("a {record} where a {expected} was expected")]
    Other {
        /// The record's name.
        record: &'static str,
        /// What was asked for.
        expected: &'static str,
    },
    /// The body does not fit its schema.
    #[error("the body of a {record} does not decode: {message}")]
    Body {
        /// The record's name.
        record: &'static str,
        /// What the decoder said.
        message: String,
    },
    /// A message that its own schema refuses.
    #[error("a {record} does not encode: {message}")]
    Encode {
        /// The record's name.
        record: &'static str,
        /// What the encoder said.
        message: String,
    },
}

/// Writes a message in the newest version of its schema.
///
/// # Errors
/// [`WireError::Encode`] or [`WireError::Long`]; neither can happen to a message within the edge's limits.
pub fn encode<M: Body>(message: &M) -> Result<Vec<u8>, WireError> {
    let failed = |message: String| WireError::Encode { record: M::NAME, message };
    let parsed = catalogue::parsed(M::SCHEMA).ok_or(WireError::UnknownSchema(M::SCHEMA))?;
    let mut payload = Vec::with_capacity(256);
    payload.push(0);
    payload.extend_from_slice(&M::SCHEMA.0.to_be_bytes());
    parsed.writer.write_ser(&mut payload, message).map_err(|e| failed(e.to_string()))?;
    if payload.len() > MAX_PAYLOAD {
        return Err(WireError::Long(payload.len()));
    }
    Ok(payload)
}

/// Writes a value of any schema: for tools that take what people have written.
///
/// # Errors
/// [`WireError::Encode`] when the value is not of that schema, or [`WireError::Long`].
pub fn encode_value(entry: &'static Entry, value: &Value) -> Result<Vec<u8>, WireError> {
    let failed = |message: String| WireError::Encode { record: entry.record, message };
    let parsed = catalogue::parsed(entry.id).ok_or(WireError::UnknownSchema(entry.id))?;
    let mut payload = vec![0];
    payload.extend_from_slice(&entry.id.0.to_be_bytes());
    parsed.writer.write_value_ref(&mut payload, value).map_err(|e| failed(e.to_string()))?;
    if payload.len() > MAX_PAYLOAD {
        return Err(WireError::Long(payload.len()));
    }
    Ok(payload)
}

/// Reads the wire header: which schema, and the body behind it.
///
/// # Errors
/// [`WireError::Short`], [`WireError::Long`], [`WireError::Magic`] or [`WireError::UnknownSchema`].
pub fn open(payload: &[u8]) -> Result<(&'static Entry, &[u8]), WireError> {
    if payload.len() > MAX_PAYLOAD {
        return Err(WireError::Long(payload.len()));
    }
    let ([magic, id @ ..], body) = payload.split_first_chunk::<5>().ok_or(WireError::Short(payload.len()))?;
    if *magic != 0 {
        return Err(WireError::Magic(*magic));
    }
    let id = SchemaId(u32::from_be_bytes(*id));
    let entry = catalogue::by_id(id).ok_or(WireError::UnknownSchema(id))?;
    Ok((entry, body))
}

/// Reads a body with the schema it was written with. Fields are matched by name, so an older version reads into
/// today's struct where that has defaults.
///
/// # Errors
/// [`WireError::Body`] when it does not fit, or bytes are left over.
pub fn decode_body<T: DeserializeOwned>(entry: &'static Entry, body: &[u8]) -> Result<T, WireError> {
    decode_with(entry, body, |reader, left| reader.read_deser(left))
}

/// Reads a body as a value of its schema, logical types included: for readers that take every message.
///
/// # Errors
/// [`WireError::Body`] when it does not fit, or bytes are left over.
pub fn decode_value(entry: &'static Entry, body: &[u8]) -> Result<Value, WireError> {
    decode_with(entry, body, |reader, left| reader.read_value(left))
}

fn decode_with<T>(
    entry: &'static Entry,
    body: &[u8],
    read: impl Fn(&GenericDatumReader<'static>, &mut &[u8]) -> Result<T, apache_avro::Error>,
) -> Result<T, WireError> {
    let failed = |message: String| WireError::Body { record: entry.record, message };
    let parsed = catalogue::parsed(entry.id).ok_or(WireError::UnknownSchema(entry.id))?;
    let mut left = body;
    let value = read(&parsed.reader, &mut left).map_err(|e| failed(e.to_string()))?;
    if !left.is_empty() {
        return Err(failed(format!("{} bytes are left over", left.len())));
    }
    Ok(value)
}

/// Reads a payload of one known message.
///
/// # Errors
/// As [`open`] and [`decode_body`]; [`WireError::Other`] for another record.
pub fn decode<M: Body>(payload: &[u8]) -> Result<M, WireError> {
    let (entry, body) = open(payload)?;
    if entry.record != M::NAME {
        return Err(WireError::Other { record: entry.record, expected: M::NAME });
    }
    decode_body(entry, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{self, ProductId},
        messages::{
            BodyHash, OrderAccepted, OrderCommand, OrderState, OrderStatus, PricedLine, SubmitOrder,
            TimelineEntry,
        },
        money::Currency,
        time::Timestamp,
    };
    use proptest::prelude::*;
    use uuid::Uuid;

    fn submit() -> SubmitOrder {
        SubmitOrder {
            order_id: ids::order_id(&Uuid::nil(), "issuer\nuser", "orders", "key-1"),
            owner: "issuer\nuser".to_owned(),
            body_hash: BodyHash([7; 32]),
            accepted_at: Timestamp(1_700_000_000_000),
            deadline: Timestamp(1_700_000_900_000),
            currency: Currency::USD,
            total: 2_598,
            lines: vec![PricedLine {
                product_id: ProductId(Uuid::from_u128(5)),
                quantity: 2,
                unit_price: 1_299,
            }],
            shipping_address: "1 Harbour Road".to_owned(),
            payment_method: "CREDIT_CARD".to_owned(),
        }
    }

    fn accepted() -> OrderAccepted {
        let submit = submit();
        OrderAccepted {
            order: OrderState {
                order_id: submit.order_id,
                owner: submit.owner,
                body_hash: submit.body_hash,
                version: 1,
                status: OrderStatus::Pending,
                reason: None,
                currency: submit.currency,
                total: submit.total,
                refunded: 0,
                lines: submit.lines,
                shipping_address: submit.shipping_address,
                payment_method: submit.payment_method,
                accepted_at: submit.accepted_at,
                deadline: submit.deadline,
                updated_at: submit.accepted_at,
                timeline: vec![TimelineEntry {
                    at: submit.accepted_at,
                    event: "ACCEPTED".to_owned(),
                    detail: Some("first".to_owned()),
                }],
            },
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let message = submit();
        let payload = encode(&message).unwrap();
        assert_eq!(OrderCommand::decode(&payload), Ok(message.into()));
        let event = accepted();
        assert_eq!(decode::<OrderAccepted>(&encode(&event).unwrap()), Ok(event));
    }

    #[test]
    fn each_kind_of_bad_payload_is_named() {
        let good = encode(&submit()).unwrap();
        assert_eq!(OrderCommand::decode(&[]), Err(WireError::Short(0)));
        assert_eq!(OrderCommand::decode(&[1, 0, 0, 0, 1, 9]), Err(WireError::Magic(1)));
        assert_eq!(OrderCommand::decode(&[0, 0, 0, 0, 1, 9]), Err(WireError::UnknownSchema(SchemaId(1))));
        assert!(matches!(OrderCommand::decode(&good[..good.len() - 1]), Err(WireError::Body { .. })));
        let longer = [&good[..], &[0]].concat();
        assert!(matches!(OrderCommand::decode(&longer), Err(WireError::Body { .. })));
        assert!(matches!(
            crate::messages::PaymentCommand::decode(&good),
            Err(WireError::NotOfTopic { record: "SubmitOrder", .. })
        ));
        assert_eq!(OrderCommand::decode(&vec![0; MAX_PAYLOAD + 1]), Err(WireError::Long(MAX_PAYLOAD + 1)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_allocate_without_bound(
            id in proptest::sample::select(catalogue::ENTRIES.iter().map(|e| e.id.0).collect::<Vec<_>>()),
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let payload = [&[0u8][..], &id.to_be_bytes(), &body].concat();
            let _ = OrderCommand::decode(&payload);
            let _ = crate::messages::InventoryCommand::decode(&payload);
            let _ = crate::messages::PaymentCommand::decode(&payload);
            let _ = crate::messages::OrderEvent::decode(&payload);
        }

        #[test]
        fn a_changed_byte_never_panics(at in 0usize..200, byte in any::<u8>()) {
            let mut payload = encode(&accepted()).unwrap();
            let at = at % payload.len();
            payload[at] = byte;
            let _ = crate::messages::OrderEvent::decode(&payload);
        }
    }
}
