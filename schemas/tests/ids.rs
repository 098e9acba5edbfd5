//! `avro/ids.json` tells readers in other languages which file each schema id stands for. It says what the
//! catalogue says, and no schema lies beside it unused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use schemas::catalogue::ENTRIES;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

fn avro() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("avro")
}

/// File by id, as text: JSON has no other keys.
fn listed() -> BTreeMap<String, String> {
    serde_json::from_str(&fs::read_to_string(avro().join("ids.json")).unwrap()).unwrap()
}

#[test]
fn the_list_of_ids_says_what_the_catalogue_says() {
    let listed = listed();
    for entry in ENTRIES {
        let file = listed
            .get(&entry.id.to_string())
            .unwrap_or_else(|| panic!("ids.json lacks {} ({})", entry.id, entry.record));
        let text = fs::read_to_string(avro().join(file)).unwrap();
        assert_eq!(text, entry.json, "{} is not the schema of {}", file, entry.id);
    }
    assert_eq!(listed.len(), ENTRIES.len(), "ids.json names ids that the catalogue does not know");
}

#[test]
fn every_schema_has_an_id() {
    let files = fs::read_dir(avro()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let schemas: BTreeSet<_> = files.filter(|file| file.ends_with(".avsc")).collect();
    assert_eq!(schemas, listed().into_values().collect());
}
