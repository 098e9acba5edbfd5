//! An Avro body as plain JSON: fields in the schema's order, uuids and enum symbols as text, a union as what it
//! holds, `fixed` and `bytes` as hexadecimal digits, `timestamp-millis` as RFC 3339 in UTC. Other numbers as they are.

use chrono::{DateTime, SecondsFormat, Utc};
use schemas::catalogue::{self, Entry, SchemaId};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::Value;
use std::{
    collections::HashMap,
    fmt::{self, Write},
    sync::LazyLock,
};

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
    /// Shows times as times: a body alone does not say which of its numbers are.
    pub(crate) fn with_times(mut self, entry: &'static Entry) -> Self {
        if let Some(shape) = SHAPES.get(&entry.id) {
            shape.show_times(&mut self);
        }
        self
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

/// Hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // writing to a string does not fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Plain;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_unit<E>(self) -> Result<Plain, E> {
                Ok(Plain::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Plain, E> {
                Ok(Plain::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Plain, E> {
                Ok(Plain::Int(value))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Plain, E> {
                Ok(Plain::Float(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Plain, E> {
                Ok(Plain::Text(value.to_owned()))
            }
            fn visit_bytes<E>(self, value: &[u8]) -> Result<Plain, E> {
                Ok(Plain::Text(hex(value)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Plain, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Plain::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Plain, A::Error> {
                let mut record = Vec::new();
                while let Some(field) = fields.next_entry()? {
                    record.push(field);
                }
                Ok(Plain::Record(record))
            }
        }
        deserializer.deserialize_any(Any)
    }
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

/// Where the times are in a schema.
#[derive(Debug)]
enum Shape {
    Time,
    List(Box<Shape>),
    Record(HashMap<String, Shape>),
}

static SHAPES: LazyLock<HashMap<SchemaId, Shape>> = LazyLock::new(|| {
    catalogue::ENTRIES
        .iter()
        .filter_map(|entry| Some((entry.id, Shape::of(&serde_json::from_str(entry.json).ok()?)?)))
        .collect()
});

impl Shape {
    /// The shape of a schema; none where no time is in it. Our schemas write a named record out where it stands.
    fn of(schema: &Value) -> Option<Self> {
        if let Some(union) = schema.as_array() {
            return union.iter().find_map(Self::of);
        }
        if schema.get("logicalType").and_then(Value::as_str) == Some("timestamp-millis") {
            return Some(Self::Time);
        }
        match schema.get("type")? {
            Value::String(kind) if kind == "array" => {
                Some(Self::List(Box::new(Self::of(schema.get("items")?)?)))
            }
            Value::String(kind) if kind == "record" => {
                let timed = |field: &Value| {
                    Some((field.get("name")?.as_str()?.to_owned(), Self::of(field.get("type")?)?))
                };
                let fields: HashMap<_, _> =
                    schema.get("fields")?.as_array()?.iter().filter_map(timed).collect();
                (!fields.is_empty()).then_some(Self::Record(fields))
            }
            _ => None,
        }
    }

    fn show_times(&self, value: &mut Plain) {
        match (self, value) {
            (Self::Time, value) => {
                if let Plain::Int(millis) = value
                    && let Some(text) = rfc3339(*millis)
                {
                    *value = Plain::Text(text);
                }
            }
            (Self::List(items), Plain::List(values)) => {
                values.iter_mut().for_each(|value| items.show_times(value));
            }
            (Self::Record(shapes), Plain::Record(fields)) => {
                for (name, value) in fields {
                    if let Some(shape) = shapes.get(name) {
                        shape.show_times(value);
                    }
                }
            }
            _ => {}
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
        wire::decode_body::<Plain>(entry, body).unwrap().with_times(entry)
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

    /// Every schema's times, as the reference library understands the schema.
    #[test]
    fn every_time_of_every_schema_is_found() {
        fn times(schema: &apache_avro::Schema) -> usize {
            match schema {
                apache_avro::Schema::TimestampMillis => 1,
                apache_avro::Schema::Array(array) => times(&array.items),
                apache_avro::Schema::Union(union) => union.variants().iter().map(times).sum(),
                apache_avro::Schema::Record(record) => {
                    record.fields.iter().map(|field| times(&field.schema)).sum()
                }
                _ => 0,
            }
        }
        fn found(shape: &Shape) -> usize {
            match shape {
                Shape::Time => 1,
                Shape::List(items) => found(items),
                Shape::Record(fields) => fields.values().map(found).sum(),
            }
        }
        for entry in catalogue::ENTRIES {
            let schema = apache_avro::Schema::parse_str(entry.json).unwrap();
            assert_eq!(SHAPES.get(&entry.id).map_or(0, found), times(&schema), "{}", entry.record);
        }
    }
}
