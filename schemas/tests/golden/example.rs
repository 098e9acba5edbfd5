//! A golden example: a record as readable JSON, and what that is on the wire. Shared by the test and by
//! `examples/golden.rs`, which writes the bytes of a new one.
//!
//! The JSON is that of `mambogo replay`: uuids and enum symbols as text, a union as what it holds, `fixed` and
//! `bytes` as hexadecimal digits, `timestamp-millis` as RFC 3339.

use apache_avro::{Schema, schema::RecordSchema, types::Value, writer::datum::GenericDatumWriter};
use chrono::{DateTime, SecondsFormat};
use schemas::catalogue::{ENTRIES, Entry};
use serde_json::{Value as Json, json};
use std::path::PathBuf;

/// Where an example is kept: `golden/<record>.v<version>.<extension>`, named as the schema's file is.
pub(crate) fn path(entry: &Entry, extension: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{}.{extension}", stem(entry)))
}

/// `submit_order.v1`: the record in snake case, and which of its versions the schema is.
pub(crate) fn stem(entry: &Entry) -> String {
    let mut name = String::new();
    for letter in entry.record.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    let older = |other: &&Entry| other.record == entry.record && other.id <= entry.id;
    format!("{name}.v{}", ENTRIES.iter().filter(older).count())
}

/// The example's body, checked to be of that schema.
pub(crate) fn read(entry: &Entry) -> Json {
    let path = path(entry, "json");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; every schema has an example", path.display()));
    let file: Json =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!((&file["schema"], &file["record"]), (&json!(entry.id.0), &json!(entry.record)), "{path:?}");
    file["value"].clone()
}

/// The wire bytes of that body: magic, schema id, datum. By the library's values, not by our structs.
pub(crate) fn encode(entry: &Entry, body: &Json) -> Vec<u8> {
    let schema = Schema::parse_str(entry.json).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    let datum = writer.write_value_to_vec(to_avro(&schema, body)).unwrap();
    [&[0][..], &entry.id.0.to_be_bytes(), &datum].concat()
}

/// The example's bytes as they were on the topic.
#[allow(dead_code, reason = "the writer of bytes does not read")]
pub(crate) fn golden_bytes(entry: &Entry) -> Vec<u8> {
    let path = path(entry, "hex");
    let hint = "write it: cargo run -p schemas --example golden";
    from_hex(&std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}; {hint}")))
}

/// Bytes as hexadecimal digits, 32 bytes a line.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(line).collect()
}

/// Bytes of hexadecimal digits; white space is passed over.
pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn to_avro(schema: &Schema, json: &Json) -> Value {
    match schema {
        Schema::String => Value::String(json.as_str().unwrap().to_owned()),
        Schema::Uuid(_) => Value::Uuid(json.as_str().unwrap().parse().unwrap()),
        Schema::Boolean => Value::Boolean(json.as_bool().unwrap()),
        Schema::Int => Value::Int(json.as_i64().unwrap().try_into().unwrap()),
        Schema::Long => Value::Long(json.as_i64().unwrap()),
        Schema::TimestampMillis => {
            let at = DateTime::parse_from_rfc3339(json.as_str().unwrap()).unwrap();
            Value::TimestampMillis(at.timestamp_millis())
        }
        Schema::Bytes => Value::Bytes(from_hex(json.as_str().unwrap())),
        Schema::Fixed(fixed) => Value::Fixed(fixed.size, from_hex(json.as_str().unwrap())),
        Schema::Enum(enumeration) => {
            let symbol = json.as_str().unwrap();
            let place = enumeration.symbols.iter().position(|known| known == symbol).unwrap();
            Value::Enum(place.try_into().unwrap(), symbol.to_owned())
        }
        Schema::Array(array) => {
            Value::Array(json.as_array().unwrap().iter().map(|item| to_avro(&array.items, item)).collect())
        }
        Schema::Union(union) => {
            let holds_null = |schema: &Schema| matches!(schema, Schema::Null);
            let wanted = union.variants().iter().position(|variant| holds_null(variant) == json.is_null());
            let place = wanted.unwrap();
            let held = if json.is_null() { Value::Null } else { to_avro(&union.variants()[place], json) };
            Value::Union(place.try_into().unwrap(), Box::new(held))
        }
        Schema::Record(record) => record_to_avro(record, json),
        other => panic!("no schema of ours has a {other:?} yet"),
    }
}

fn record_to_avro(record: &RecordSchema, json: &Json) -> Value {
    let object = json.as_object().unwrap();
    let known = |name: &String| record.fields.iter().any(|field| field.name == *name);
    assert!(object.keys().all(known), "{}: a field that the schema has not in {json}", record.name);
    let field = |name: &String| object.get(name).unwrap_or_else(|| panic!("{}: no {name}", record.name));
    Value::Record(
        record.fields.iter().map(|f| (f.name.clone(), to_avro(&f.schema, field(&f.name)))).collect(),
    )
}

/// What was read as a value of its schema, in the same readable form.
#[allow(dead_code, reason = "the writer of bytes does not read")]
pub(crate) fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::String(text) => json!(text),
        Value::Uuid(id) => json!(id.to_string()),
        Value::Boolean(is) => json!(is),
        Value::Int(number) => json!(number),
        Value::Long(number) => json!(number),
        Value::TimestampMillis(millis) => {
            let at = DateTime::from_timestamp_millis(*millis).unwrap();
            json!(at.to_rfc3339_opts(SecondsFormat::Millis, true))
        }
        Value::Bytes(bytes) | Value::Fixed(_, bytes) => json!(to_hex(bytes).replace('\n', "")),
        Value::Enum(_, symbol) => json!(symbol),
        Value::Array(items) => items.iter().map(to_json).collect(),
        Value::Union(_, held) => to_json(held),
        Value::Record(fields) => fields.iter().map(|(name, value)| (name.clone(), to_json(value))).collect(),
        other => panic!("no schema of ours has a {other:?} yet"),
    }
}
