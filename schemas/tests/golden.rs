//! Golden examples: what was on a topic once is read for ever, by our structs and by any Avro reader. A schema
//! change that breaks this is no release.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

#[path = "golden/example.rs"]
mod example;
#[path = "golden/readers.rs"]
mod readers;

use apache_avro::{AvroResult, Schema, reader::datum::GenericDatumReader, types::Value};
use readers::{COMMANDS, READERS};
use schemas::{
    catalogue::{ENTRIES, Entry},
    messages::*,
    parked::ParkedCommand,
    topics::Topic,
    wire,
};
use std::collections::BTreeSet;

fn newest_of(record: &str) -> &'static Entry {
    ENTRIES.iter().rfind(|entry| entry.record == record).unwrap()
}

#[test]
fn the_readable_form_and_the_bytes_say_the_same() {
    for entry in ENTRIES {
        let readable = example::encode(entry, &example::read(entry));
        assert_eq!(
            example::to_hex(&readable),
            example::to_hex(&example::golden_bytes(entry)),
            "{}",
            entry.record
        );
    }
}

#[test]
fn todays_structs_read_every_example_and_write_the_newest_to_the_byte() {
    for entry in ENTRIES {
        let (_, topics, reader) = READERS
            .iter()
            .find(|(name, ..)| *name == entry.record)
            .unwrap_or_else(|| panic!("{} is missing among the readers of this test", entry.record));
        assert_eq!(*topics, entry.topics, "{}", entry.record);
        let golden = example::golden_bytes(entry);
        let written = reader(&golden).unwrap_or_else(|e| panic!("{} {}: {e}", entry.record, entry.id));
        let newest = newest_of(entry.record);
        assert_eq!(written[..5], [&[0][..], &newest.id.0.to_be_bytes()].concat(), "{}", entry.record);
        if newest.id == entry.id {
            assert_eq!(example::to_hex(&written), example::to_hex(&golden), "{}", entry.record);
        }
    }
}

#[test]
fn every_topics_reader_knows_its_messages() {
    for entry in ENTRIES {
        let payload = example::golden_bytes(entry);
        assert_eq!(ParkedCommand::is_one(&payload), entry.topics.len() > 1, "{}", entry.record);
        let name = match entry.topics {
            [Topic::OrderCommands] => OrderCommand::decode(&payload).map(|message| message.name()),
            [Topic::InventoryCommands] => InventoryCommand::decode(&payload).map(|message| message.name()),
            [Topic::PaymentCommands] => PaymentCommand::decode(&payload).map(|message| message.name()),
            [Topic::OrderEvents] => OrderEvent::decode(&payload).map(|message| message.name()),
            [Topic::InventoryEvents] => InventoryEvent::decode(&payload).map(|message| message.name()),
            [Topic::PaymentEvents] => PaymentEvent::decode(&payload).map(|message| message.name()),
            [Topic::CatalogEvents] => CatalogEvent::decode(&payload).map(|message| message.name()),
            several if several == COMMANDS => ParkedCommand::decode(&payload).map(|command| command.name()),
            other => panic!("nobody reads a {} from {other:?}", entry.record),
        };
        assert_eq!(name, Ok(entry.record));
    }
}

fn read(writer: &Schema, mut body: &[u8], reader: Option<&Schema>) -> AvroResult<Value> {
    let datum = GenericDatumReader::builder(writer).maybe_reader_schema(reader).build()?;
    datum.read_value(&mut body)
}

/// Any Avro reader that has the newest schema of a record reads every version's example, and the other way round:
/// the versions of a record are fully compatible (FULL_TRANSITIVE).
#[test]
fn each_version_of_a_record_reads_the_examples_of_all_others() {
    for writer in ENTRIES {
        let payload = example::golden_bytes(writer);
        let (found, body) = wire::open(&payload).unwrap();
        assert_eq!(found.id, writer.id);
        let written = Schema::parse_str(writer.json).unwrap();
        let plain = read(&written, body, None).unwrap();
        assert_eq!(example::to_json(&plain), example::read(writer), "{}", writer.record);
        for reader in ENTRIES.iter().filter(|entry| entry.record == writer.record) {
            let schema = Schema::parse_str(reader.json).unwrap();
            read(&written, body, Some(&schema))
                .unwrap_or_else(|e| panic!("{} {} read by {}: {e}", writer.record, writer.id, reader.id));
        }
    }
}

#[test]
fn every_schema_has_its_example_and_every_example_its_schema() {
    let files = |folder: &str, extension: &str| -> BTreeSet<String> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let names = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| Some(name.strip_suffix(extension)?.to_owned())).collect()
    };
    let expected: BTreeSet<String> = ENTRIES.iter().map(example::stem).collect();
    for (folder, extension) in [("avro", ".avsc"), ("golden", ".json"), ("golden", ".hex")] {
        assert_eq!(files(folder, extension), expected, "{folder}/*{extension}");
    }
}
