//! The way back from readable JSON to a payload: what `plain.rs` shows, changed by a person, checked field by field
//! against its schema. An error names the field.

use crate::plain::hex;
use apache_avro::{Schema, schema::RecordSchema, types::Value};
use chrono::DateTime;
use schemas::{
    catalogue::Entry,
    wire::{self, WireError},
};
use serde_json::Value as Json;

/// Why JSON could not become a payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// A field that the schema does not have like this.
    #[error("{field}: {found} is not {expected}")]
    Field {
        /// Its way from the top, such as `lines[0].quantity`.
        field: String,
        /// What stands there.
        found: String,
        /// What has to.
        expected: String,
    },
    /// What is written does not go into a payload.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// The payload of a record of `entry` that reads as `json`.
///
/// # Errors
/// [`EditError`]: a field is missing, unknown or of another kind, or the payload would be too long.
pub fn written(entry: &'static Entry, json: &Json) -> Result<Vec<u8>, EditError> {
    let unparsed =
        |error: apache_avro::Error| WireError::Encode { record: entry.record, message: error.to_string() };
    let schema = Schema::parse_str(entry.json).map_err(unparsed)?;
    let value = value(&schema, json, "")?;
    Ok(wire::encode_value(entry, &value)?)
}

fn value(schema: &Schema, json: &Json, field: &str) -> Result<Value, EditError> {
    let wrong = |expected: &str| {
        let field = if field.is_empty() { "the record" } else { field };
        EditError::Field { field: field.to_owned(), found: json.to_string(), expected: expected.to_owned() }
    };
    let text = || json.as_str().ok_or_else(|| wrong("a text"));
    Ok(match schema {
        Schema::Null if json.is_null() => Value::Null,
        Schema::Boolean => Value::Boolean(json.as_bool().ok_or_else(|| wrong("true or false"))?),
        Schema::Int => {
            let number = json.as_i64().and_then(|number| i32::try_from(number).ok());
            Value::Int(number.ok_or_else(|| wrong("a whole number of 32 bits"))?)
        }
        Schema::Long => Value::Long(json.as_i64().ok_or_else(|| wrong("a whole number of 64 bits"))?),
        Schema::String => Value::String(text()?.to_owned()),
        Schema::Uuid(_) => Value::Uuid(text()?.parse().map_err(|_| wrong("a UUID"))?),
        Schema::TimestampMillis => {
            let at = json.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
            let millis = at.map(|at| at.timestamp_millis()).or(json.as_i64());
            Value::TimestampMillis(millis.ok_or_else(|| wrong("a time such as 2025-06-01T08:30:00.000Z"))?)
        }
        Schema::Bytes => Value::Bytes(bytes(text()?).ok_or_else(|| wrong("hexadecimal digits"))?),
        Schema::Fixed(fixed) => {
            let of_size = bytes(text()?).filter(|bytes| bytes.len() == fixed.size);
            let expected = || wrong(&format!("{} bytes in hexadecimal digits", fixed.size));
            Value::Fixed(fixed.size, of_size.ok_or_else(expected)?)
        }
        Schema::Enum(of) => {
            let symbol = text()?;
            let place = of.symbols.iter().position(|known| known == symbol);
            let place = place.and_then(|place| u32::try_from(place).ok());
            Value::Enum(
                place.ok_or_else(|| wrong(&format!("one of {}", of.symbols.join(", "))))?,
                symbol.to_owned(),
            )
        }
        Schema::Array(array) => {
            let items = json.as_array().ok_or_else(|| wrong("a list"))?;
            let item = |(place, item)| value(&array.items, item, &format!("{field}[{place}]"));
            Value::Array(items.iter().enumerate().map(item).collect::<Result<_, _>>()?)
        }
        // ours are of nothing and one other kind
        Schema::Union(union) => {
            let is_fit = |variant: &&Schema| matches!(variant, Schema::Null) == json.is_null();
            let place = union.variants().iter().position(|variant| is_fit(&variant));
            let held =
                place.and_then(|place| Some((u32::try_from(place).ok()?, union.variants().get(place)?)));
            let (place, held) = held.ok_or_else(|| wrong("a value of this field"))?;
            Value::Union(place, Box::new(value(held, json, field)?))
        }
        Schema::Record(record) => Value::Record(fields(record, json, field)?),
        _ => return Err(wrong("of a kind that can be written")),
    })
}

fn fields(record: &RecordSchema, json: &Json, parent: &str) -> Result<Vec<(String, Value)>, EditError> {
    let path = |name: &str| if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
    let wrong = |field: String, found: &str, expected: &str| EditError::Field {
        field,
        found: found.to_owned(),
        expected: expected.to_owned(),
    };
    let name = record.name.name();
    let object = json.as_object().ok_or_else(|| wrong(path(""), &json.to_string(), &format!("a {name}")))?;
    if let Some(unknown) = object.keys().find(|key| record.fields.iter().all(|field| field.name != **key)) {
        return Err(wrong(path(unknown), "it", &format!("a field of {name}")));
    }
    record
        .fields
        .iter()
        .map(|field| {
            let path = path(&field.name);
            let found = object.get(&field.name);
            let found =
                found.ok_or_else(|| wrong(path.clone(), "nothing", "allowed: the field is required"))?;
            Ok((field.name.clone(), value(&field.schema, found, &path)?))
        })
        .collect()
}

/// The bytes of hexadecimal digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(pair).collect::<Option<_>>()?;
    // signs read as digits to the library's parser
    (hex(&bytes) == digits.to_ascii_lowercase()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readable;
    use schemas::catalogue::ENTRIES;
    use serde_json::json;

    fn entry(record: &str) -> &'static Entry {
        ENTRIES.iter().find(|entry| entry.record == record).unwrap()
    }

    fn submit() -> Json {
        json!({
            "orderId": "5b0c1f8e-3a52-5d0f-9f5e-0d6c8a3e7b21",
            "owner": "issuer\nuser",
            "bodyHash": "a7".repeat(32),
            "acceptedAt": "2025-06-01T08:30:00.000Z",
            "deadline": 9_223_372_036_854_775_807_i64,
            "currency": "USD",
            "total": 2_598,
            "lines": [{"productId": "74e37c9d-87ec-5ad9-8a50-3b94cf756db2", "quantity": 2, "unitPrice": 1_299}],
            "shippingAddress": "1 Harbour Road",
            "paymentMethod": "CREDIT_CARD"
        })
    }

    #[test]
    fn what_is_shown_is_written_as_it_was() {
        let payload = written(entry("SubmitOrder"), &submit()).unwrap();
        assert_eq!(serde_json::to_value(readable(&payload).unwrap()).unwrap(), submit());
        // every example of every schema, bytes compared
        for entry in ENTRIES {
            let payload = golden(entry);
            let shown = serde_json::to_value(readable(&payload).unwrap()).unwrap();
            assert_eq!(written(entry, &shown), Ok(payload), "{}", entry.record);
        }
    }

    fn golden(entry: &Entry) -> Vec<u8> {
        let mut stem = String::new();
        for letter in entry.record.chars() {
            if letter.is_uppercase() && !stem.is_empty() {
                stem.push('_');
            }
            stem.extend(letter.to_lowercase());
        }
        let version =
            ENTRIES.iter().filter(|other| other.record == entry.record && other.id <= entry.id).count();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/golden");
        let digits = std::fs::read_to_string(format!("{folder}/{stem}.v{version}.hex")).unwrap();
        bytes(&digits.split_whitespace().collect::<String>()).unwrap()
    }

    #[test]
    fn what_does_not_fit_its_schema_is_named() {
        let refused = |path: &str, found: Json| {
            let mut json = submit();
            *json.pointer_mut(path).unwrap() = found;
            written(entry("SubmitOrder"), &json).unwrap_err().to_string()
        };
        assert_eq!(
            refused("/lines/0/quantity", json!(3_000_000_000_i64)),
            "lines[0].quantity: 3000000000 is not a whole number of 32 bits"
        );
        for (path, found, said) in [
            ("/orderId", json!("order 7"), "orderId: \"order 7\" is not a UUID"),
            ("/total", json!("2598"), "total: \"2598\" is not a whole number of 64 bits"),
            ("/total", json!(25.98), "total: 25.98 is not"),
            ("/acceptedAt", json!("yesterday"), "acceptedAt: \"yesterday\" is not a time"),
            ("/bodyHash", json!("a7"), "bodyHash: \"a7\" is not 32 bytes"),
            ("/lines", json!(null), "lines: null is not a list"),
        ] {
            let error = refused(path, found);
            assert!(error.contains(said), "{error}");
        }
        let mut json = submit();
        json["colour"] = json!("red");
        assert!(
            written(entry("SubmitOrder"), &json)
                .unwrap_err()
                .to_string()
                .contains("colour: it is not a field")
        );
        let mut json = submit();
        json.as_object_mut().unwrap().remove("owner");
        assert!(
            written(entry("SubmitOrder"), &json)
                .unwrap_err()
                .to_string()
                .starts_with("owner: nothing is not")
        );
    }
}
