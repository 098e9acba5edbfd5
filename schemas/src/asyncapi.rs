//! The topics as an AsyncAPI 3 document, made of the catalogue: every topic, every record on it with its schema, who
//! reads it. For people and tools outside; nothing of ours reads it.

use crate::{
    catalogue::{ENTRIES, Entry},
    topics::{
        CATALOG_GROUP, INVENTORY_GROUP, ORDERS_GROUP, PAYMENTS_GROUP, STATUS_GROUP, Topic, WEBHOOKS_GROUP,
    },
};
use serde_json::{Map, Value, json};

const TITLE: &str = "Mambogo topics";
const DESCRIPTION: &str = "Records on Kafka: Avro in the Confluent wire format (a zero byte, the schema's id in four bytes, the \
    body). Keys are lower-case hyphenated UUIDs as text, partitioned as Java clients do (murmur2), so that all of an order is in \
    one partition, in order. A repeat carries the same message id; readers go by the version in the body. A deployment may \
    put a prefix before every name.";
/// The media type of a record's value.
const CONTENT: &str = "application/vnd.apache.avro";
/// Which Avro the schemas are written in.
const AVRO: &str = "application/vnd.apache.avro+json;version=1.9.0";
const BINDING: &str = "0.5.0";

/// Who reads what.
const READERS: [(&str, Topic); 7] = [
    (ORDERS_GROUP, Topic::OrderCommands),
    (INVENTORY_GROUP, Topic::InventoryCommands),
    (PAYMENTS_GROUP, Topic::PaymentCommands),
    (STATUS_GROUP, Topic::OrderEvents),
    (CATALOG_GROUP, Topic::InventoryEvents),
    (CATALOG_GROUP, Topic::CatalogEvents),
    (WEBHOOKS_GROUP, Topic::OrderEvents),
];

/// The document.
#[must_use]
pub fn document() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {"title": TITLE, "version": env!("CARGO_PKG_VERSION"), "description": DESCRIPTION,
                 "license": {"name": "MIT OR Apache-2.0"}},
        "defaultContentType": CONTENT,
        "channels": Topic::ALL.map(|topic| (topic.name().to_owned(), channel(topic))).into_iter().collect::<Map<_, _>>(),
        "operations": READERS.map(operation).into_iter().collect::<Map<_, _>>(),
        "components": {
            // of several versions of a record the newest, which the catalogue names last
            "messages": ENTRIES.iter().map(|entry| (entry.record.to_owned(), message(entry))).collect::<Map<_, _>>(),
        },
    })
}

/// The document as it is kept in `asyncapi.json`.
#[must_use]
pub fn document_json() -> String {
    format!("{:#}\n", document())
}

fn channel(topic: Topic) -> Value {
    let records = ENTRIES.iter().filter(|entry| entry.topics.contains(&topic));
    let messages: Map<String, Value> = records
        .map(|entry| (entry.record.to_owned(), reference("components/messages", entry.record)))
        .collect();
    let retention = u64::try_from(topic.retention().as_millis()).unwrap_or(u64::MAX);
    json!({
        "address": topic.name(),
        "description": carries(topic),
        "messages": messages,
        "bindings": {"kafka": {"topicConfiguration": {"retention.ms": retention}, "bindingVersion": BINDING}},
    })
}

fn operation((group, topic): (&'static str, Topic)) -> (String, Value) {
    let operation = json!({
        "action": "receive",
        "channel": reference("channels", topic.name()),
        "bindings": {"kafka": {"groupId": {"type": "string", "const": group}, "bindingVersion": BINDING}},
    });
    (format!("{group}.receives.{topic}"), operation)
}

fn message(entry: &Entry) -> Value {
    // every schema of the catalogue is JSON: its tests parse them
    let schema: Value = serde_json::from_str(entry.json).unwrap_or_default();
    json!({
        "name": entry.record,
        "title": entry.record,
        "summary": schema.get("doc"),
        "contentType": CONTENT,
        "payload": {"schemaFormat": AVRO, "schema": schema},
        "bindings": {"kafka": {
            "key": {"type": "string", "format": "uuid"},
            "schemaIdLocation": "payload",
            "schemaIdPayloadEncoding": "confluent",
            "bindingVersion": BINDING,
        }},
        "x-schema-id": entry.id.0,
        "x-subjects": entry.subjects().collect::<Vec<_>>(),
    })
}

fn reference(room: &str, name: &str) -> Value {
    json!({"$ref": format!("#/{room}/{name}")})
}

fn carries(topic: Topic) -> &'static str {
    match topic {
        Topic::OrderCommands => "All that the saga hears, keyed by order id.",
        Topic::InventoryCommands => {
            "What inventory is asked for, keyed by order id (product id for a restock)."
        }
        Topic::PaymentCommands => "What payments is asked for, keyed by order id.",
        Topic::OrderEvents => {
            "Public facts about orders, each with the order's whole public state, keyed by order id."
        }
        Topic::InventoryEvents => "Stock levels with the product's version, keyed by product id.",
        Topic::PaymentEvents => "Captures and refunds, keyed by order id.",
        Topic::CatalogEvents => "What the catalogue says of products, keyed by product id.",
        Topic::OrdersDlq => {
            "Copies of what the orders service rejected, as they came; the cause is in the headers."
        }
        Topic::InventoryDlq => {
            "Copies of what the inventory service rejected, as they came; the cause is in the headers."
        }
        Topic::PaymentsDlq => {
            "Copies of what the payments service rejected, as they came; the cause is in the headers."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_up_to_date() {
        let kept = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/asyncapi.json"));
        assert!(
            kept.unwrap_or_default() == document_json(),
            "asyncapi.json is not what the catalogue says; write it anew:\n  cargo run -p mambogo -- asyncapi > schemas/asyncapi.json"
        );
    }

    #[test]
    fn every_schema_is_told_where_it_travels_and_every_reference_leads_somewhere() {
        let document = document();
        for entry in ENTRIES {
            for topic in entry.topics {
                let place = format!("/channels/{topic}/messages/{}", entry.record);
                assert!(document.pointer(&place).is_some(), "{place}");
            }
        }
        let mut open = vec![&document];
        let mut followed = 0;
        while let Some(value) = open.pop() {
            if let Some(reference) = value["$ref"].as_str() {
                assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
                followed += 1;
            }
            open.extend(value.as_object().into_iter().flat_map(|object| object.values()));
            open.extend(value.as_array().into_iter().flatten());
        }
        assert!(followed > ENTRIES.len(), "{followed}");
        let summaries = document["components"]["messages"].as_object().unwrap().values();
        assert!(summaries.map(|message| &message["summary"]).all(Value::is_string));
    }
}
