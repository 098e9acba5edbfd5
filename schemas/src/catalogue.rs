//! The built-in schema catalogue: every Avro schema with its pinned id, from `schemas/avro`.
//!
//! An id is never reused and never changed; a new version of a record is a new row with a new id.

use crate::topics::Topic;
use apache_avro::{Schema, reader::datum::GenericDatumReader, writer::datum::GenericDatumWriter};
use std::{collections::HashMap, fmt, sync::LazyLock};

/// The id of a schema in the wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaId(pub u32);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One schema of the catalogue.
#[derive(Debug)]
pub struct Entry {
    /// Its pinned id.
    pub id: SchemaId,
    /// The record's name, e.g. `SubmitOrder`.
    pub record: &'static str,
    /// The topics it travels on; one, but for what is said of records.
    pub topics: &'static [Topic],
    /// The schema as written (JSON).
    pub json: &'static str,
}

impl Entry {
    /// The registry subjects, topic-record-name strategy: `order.commands-mambogo.SubmitOrder`.
    pub fn subjects(&self) -> impl Iterator<Item = String> + '_ {
        self.topics.iter().map(|topic| format!("{topic}-mambogo.{}", self.record))
    }
}

macro_rules! entry {
    ($id:expr, $record:expr, $($topic:ident)|+, $file:expr) => {
        Entry {
            id: SchemaId($id),
            record: $record,
            topics: &[$(Topic::$topic),+],
            json: include_str!(concat!("../avro/", $file)),
        }
    };
}

/// Every schema, oldest version first within a record.
pub static ENTRIES: &[Entry] = &[
    entry!(1001, "SubmitOrder", OrderCommands, "submit_order.v1.avsc"),
    entry!(1002, "CancelOrder", OrderCommands, "cancel_order.v1.avsc"),
    entry!(1003, "DeadlinePassed", OrderCommands, "deadline_passed.v1.avsc"),
    entry!(1004, "RefundOrder", OrderCommands, "refund_order.v1.avsc"),
    entry!(1005, "StockReserved", OrderCommands, "stock_reserved.v1.avsc"),
    entry!(1006, "StockRejected", OrderCommands, "stock_rejected.v1.avsc"),
    entry!(1007, "PaymentCaptured", OrderCommands, "payment_captured.v1.avsc"),
    entry!(1008, "PaymentDeclined", OrderCommands, "payment_declined.v1.avsc"),
    entry!(1009, "EffectFailed", OrderCommands, "effect_failed.v1.avsc"),
    entry!(1010, "RetryEffect", OrderCommands, "retry_effect.v1.avsc"),
    entry!(1011, "EffectDone", OrderCommands, "effect_done.v1.avsc"),
    entry!(1101, "ReserveStock", InventoryCommands, "reserve_stock.v1.avsc"),
    entry!(1102, "SettleStock", InventoryCommands, "settle_stock.v1.avsc"),
    entry!(1103, "AdjustStock", InventoryCommands, "adjust_stock.v1.avsc"),
    entry!(1104, "WalkQueue", InventoryCommands, "walk_queue.v1.avsc"),
    entry!(1201, "CapturePayment", PaymentCommands, "capture_payment.v1.avsc"),
    entry!(1202, "VoidCapture", PaymentCommands, "void_capture.v1.avsc"),
    entry!(1203, "RefundPayment", PaymentCommands, "refund_payment.v1.avsc"),
    entry!(1204, "ResumeEffect", PaymentCommands, "resume_effect.v1.avsc"),
    entry!(1205, "ProviderNotice", PaymentCommands, "provider_notice.v1.avsc"),
    entry!(1206, "RetryRefund", PaymentCommands, "retry_refund.v1.avsc"),
    entry!(1301, "OrderAccepted", OrderEvents, "order_accepted.v1.avsc"),
    entry!(1302, "OrderReserved", OrderEvents, "order_reserved.v1.avsc"),
    entry!(1303, "OrderConfirmed", OrderEvents, "order_confirmed.v1.avsc"),
    entry!(1304, "OrderRejected", OrderEvents, "order_rejected.v1.avsc"),
    entry!(1305, "OrderCancelled", OrderEvents, "order_cancelled.v1.avsc"),
    entry!(1306, "OrderExpired", OrderEvents, "order_expired.v1.avsc"),
    entry!(1307, "OrderAmended", OrderEvents, "order_amended.v1.avsc"),
    entry!(1401, "StockChanged", InventoryEvents, "stock_changed.v1.avsc"),
    entry!(1501, "CaptureSettled", PaymentEvents, "capture_settled.v1.avsc"),
    entry!(1502, "RefundSettled", PaymentEvents, "refund_settled.v1.avsc"),
    entry!(
        1601,
        "RedriveParked",
        OrderCommands | InventoryCommands | PaymentCommands,
        "redrive_parked.v1.avsc"
    ),
    entry!(
        1602,
        "DiscardParked",
        OrderCommands | InventoryCommands | PaymentCommands,
        "discard_parked.v1.avsc"
    ),
    entry!(1701, "ProductChanged", CatalogEvents, "product_changed.v1.avsc"),
];

/// A schema ready to read and write with.
pub(crate) struct Parsed {
    pub(crate) entry: &'static Entry,
    pub(crate) writer: GenericDatumWriter<'static>,
    pub(crate) reader: GenericDatumReader<'static>,
}

/// Longest string, array or map that a reader makes room for, in bytes.
const MAX_ALLOCATION: usize = 1 << 20;

static PARSED: LazyLock<HashMap<SchemaId, Parsed>> = LazyLock::new(|| {
    apache_avro::util::max_allocation_bytes(MAX_ALLOCATION);
    // A schema that does not parse is left out here and named by the test below: it can't be released.
    ENTRIES.iter().filter_map(|entry| Some((entry.id, parse(entry)?))).collect()
});

fn parse(entry: &'static Entry) -> Option<Parsed> {
    // parsed once, kept for the life of the process
    let schema: &'static Schema = Box::leak(Box::new(Schema::parse_str(entry.json).ok()?));
    Some(Parsed {
        entry,
        writer: GenericDatumWriter::builder(schema).human_readable(true).build().ok()?,
        reader: GenericDatumReader::builder(schema).human_readable(true).build().ok()?,
    })
}

/// The parsed schema of that id, if the catalogue knows it.
pub(crate) fn parsed(id: SchemaId) -> Option<&'static Parsed> {
    PARSED.get(&id)
}

/// The schema of that id, if the catalogue knows it.
#[must_use]
pub fn by_id(id: SchemaId) -> Option<&'static Entry> {
    parsed(id).map(|parsed| parsed.entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_schema_parses() {
        for entry in ENTRIES {
            assert!(by_id(entry.id).is_some(), "{} does not parse", entry.record);
        }
    }

    #[test]
    fn ids_are_unique() {
        let ids: HashSet<_> = ENTRIES.iter().map(|entry| entry.id).collect();
        assert_eq!(ids.len(), ENTRIES.len());
    }

    #[test]
    fn every_field_says_what_it_means() {
        fn check(record: &str, value: &serde_json::Value) {
            match value {
                serde_json::Value::Object(object) => {
                    if let Some(fields) = object.get("fields").and_then(|fields| fields.as_array()) {
                        assert!(object.contains_key("doc"), "{record}: a record without doc");
                        for field in fields {
                            assert!(field.get("doc").is_some(), "{record}: {} has no doc", field["name"]);
                        }
                    }
                    object.values().for_each(|value| check(record, value));
                }
                serde_json::Value::Array(values) => values.iter().for_each(|value| check(record, value)),
                _ => {}
            }
        }
        for entry in ENTRIES {
            check(entry.record, &serde_json::from_str(entry.json).unwrap());
        }
    }
}
