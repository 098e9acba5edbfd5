//! An Avro body as plain JSON: fields in the schema's order, uuids and enum symbols as text, a union as what it
//! holds, `fixed` and `bytes` as hexadecimal digits, `timestamp-millis` as RFC 3339 in UTC. Other numbers as they are.

use apache_avro::types::Value;
use chrono::{DateTime, SecondsFormat, Utc};
use schemas::{
    catalogue::Entry,
    wire::{self, WireError},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::fmt::Write;

/// A decoded value of any schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plain {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Plain>),
    Record(Vec<(String, Plain)>),
}

impl Plain {
    /// Reads a body by its schema.
    pub(crate) fn decode(entry: &'static Entry, body: &[u8]) -> Result<Self, WireError> {
        wire::decode_value(entry, body).map(Self::from)
    }

    /// The order it is about, if it says so: `orderId`, or that of its `order`.
    pub(crate) fn order_id(&self) -> Option<&str> {
        match (self.field("orderId"), self.field("order")) {
            (Some(Self::Text(id)), _) => Some(id),
            (_, Some(order)) => order.order_id(),
            _ => None,
        }
    }

    fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Record(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, value)| value),
            _ => None,
        }
    }
}

impl From<Value> for Plain {
    fn from(value: Value) -> Self {
        match value {
            Value::Boolean(value) => Self::Bool(value),
            Value::Int(value) => Self::Int(value.into()),
            Value::Long(value) => Self::Int(value),
            Value::Float(value) => Self::Float(value.into()),
            Value::Double(value) => Self::Float(value),
            Value::String(text) | Value::Enum(_, text) => Self::Text(text),
            Value::Bytes(bytes) | Value::Fixed(_, bytes) => Self::Text(hex(&bytes)),
            Value::Uuid(id) => Self::Text(id.to_string()),
            Value::TimestampMillis(millis) => rfc3339(millis).map_or(Self::Int(millis), Self::Text),
            Value::Union(_, value) => Self::from(*value),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Record(fields) => {
                Self::Record(fields.into_iter().map(|(name, value)| (name, Self::from(value))).collect())
            }
            Value::Map(fields) => {
                Self::Record(fields.into_iter().map(|(name, value)| (name, Self::from(value))).collect())
            }
            Value::Null => Self::Null,
            // kinds that no schema of ours has
            other => Self::Text(format!("{other:?}")),
        }
    }
}

/// Hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // writing to a string does not fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(items) => serializer.collect_seq(items),
            Self::Record(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

/// RFC 3339 in UTC with milliseconds; none past the years that it can say.
pub(crate) fn rfc3339(millis: i64) -> Option<String> {
    let at = DateTime::<Utc>::from_timestamp_millis(millis)?;
    Some(at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{
        ids::{OrderId, ProductId},
        messages::{BodyHash, OrderAccepted, OrderState, OrderStatus, PricedLine, TimelineEntry},
        money::Currency,
        time::Timestamp,
        wire,
    };
    use uuid::Uuid;

    fn accepted() -> OrderAccepted {
        OrderAccepted {
            order: OrderState {
                order_id: OrderId(Uuid::from_u128(9)),
                owner: "issuer\nuser".to_owned(),
                body_hash: BodyHash([0xa7; 32]),
                version: 1,
                status: OrderStatus::Pending,
                reason: None,
                currency: Currency::USD,
                total: 2_598,
                refunded: 0,
                lines: vec![PricedLine {
                    product_id: ProductId(Uuid::from_u128(5)),
                    quantity: 2,
                    unit_price: 1_299,
                }],
                shipping_address: "1 Harbour Road".to_owned(),
                payment_method: "CREDIT_CARD".to_owned(),
                accepted_at: Timestamp(1_700_000_000_123),
                deadline: Timestamp(i64::MAX),
                updated_at: Timestamp(1_700_000_000_123),
                timeline: vec![TimelineEntry {
                    at: Timestamp(1_700_000_000_123),
                    event: "ACCEPTED".to_owned(),
                    detail: Some("first".to_owned()),
                }],
            },
        }
    }

    fn decoded() -> Plain {
        let payload = wire::encode(&accepted()).unwrap();
        let (entry, body) = wire::open(&payload).unwrap();
        Plain::decode(entry, body).unwrap()
    }

    #[test]
    fn a_body_is_shown_as_people_read_it_in_the_schemas_order() {
        assert_eq!(
            serde_json::to_string(&decoded()).unwrap(),
            format!(
                concat!(
                    r#"{{"order":{{"orderId":"00000000-0000-0000-0000-000000000009","owner":"issuer\nuser","#,
                    r#""bodyHash":"{}","version":1,"status":"PENDING","reason":null,"currency":"USD","#,
                    r#""total":2598,"refunded":0,"lines":[{{"productId":"00000000-0000-0000-0000-000000000005","#,
                    r#""quantity":2,"unitPrice":1299}}],"shippingAddress":"1 Harbour Road","#,
                    r#""paymentMethod":"CREDIT_CARD","acceptedAt":"2023-11-14T22:13:20.123Z","#,
                    r#""deadline":9223372036854775807,"updatedAt":"2023-11-14T22:13:20.123Z","#,
                    r#""timeline":[{{"at":"2023-11-14T22:13:20.123Z","event":"ACCEPTED","detail":"first"}}]}}}}"#
                ),
                "a7".repeat(32)
            )
        );
        assert_eq!(decoded().order_id(), Some("00000000-0000-0000-0000-000000000009"));
    }
}
