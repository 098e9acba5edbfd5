//! The document that is checked in is the one that is served, and what it shows is true to its own shapes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

use serde_json::Value;

fn document() -> Value {
    serde_json::to_value(gateway::document()).unwrap()
}

#[test]
fn the_file_is_up_to_date() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let kept = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        kept == gateway::document_json().unwrap(),
        "openapi.json is not what the code tells; write it anew:\n  cargo run -p mambogo -- openapi > producers/gateway/openapi.json"
    );
}

/// Every example, with the shape it is to have and where it stands.
fn examples(document: &Value) -> Vec<(String, Value, Value)> {
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            let at = format!("{method} {path}");
            let answers = call["responses"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(status, answer)| (status.clone(), answer));
            let bodies = std::iter::once(("body".to_owned(), &call["requestBody"]));
            for (what, place) in answers.chain(bodies) {
                let named = place["$ref"]
                    .as_str()
                    .map(|name| document.pointer(name.trim_start_matches('#')).unwrap());
                let place = named.unwrap_or(place);
                for content in place["content"].as_object().into_iter().flat_map(|types| types.values()) {
                    let named = content["examples"].as_object().into_iter().flatten();
                    let all = named.map(|(_, example)| &example["value"]).chain(content.get("example"));
                    found.extend(all.map(|example| {
                        (format!("{at}, {what}"), content["schema"].clone(), example.clone())
                    }));
                }
            }
        }
    }
    found
}

#[test]
fn every_example_has_the_shape_that_is_told() {
    let document = document();
    let examples = examples(&document);
    assert!(examples.len() > 50, "{}", examples.len());
    for (at, schema, example) in examples {
        check(&document, &schema, &example).unwrap_or_else(|wrong| panic!("{at}: {wrong}\n{example}"));
    }
}

/// As much of JSON Schema as the document uses. Fields that no shape names are wrong here, though clients shall bear them.
fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return check(document, document.pointer(reference.trim_start_matches('#')).unwrap(), value);
    }
    if let Some(shapes) = schema["oneOf"].as_array() {
        let fitting = shapes.iter().filter(|shape| check(document, shape, value).is_ok()).count();
        return if fitting == 1 { Ok(()) } else { Err(format!("fits {fitting} of the shapes")) };
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !types.contains(&kind) {
        return Err(format!("is {kind}, not {types:?}"));
    }
    let (least, most) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
    if value.as_i64().is_some_and(|number| {
        least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most)
    }) {
        return Err(format!("{value} is out of bounds"));
    }
    if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        return Err(format!("{value} is none of {}", schema["enum"]));
    }
    for item in value.as_array().into_iter().flatten() {
        check(document, &schema["items"], item).map_err(|wrong| format!("[]: {wrong}"))?;
    }
    let Some(shapes) = schema["properties"].as_object().filter(|shapes| !shapes.is_empty()) else {
        return Ok(());
    };
    let Some(fields) = value.as_object() else { return Ok(()) };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            return Err(format!("{name} is missing"));
        }
    }
    for (name, field) in fields {
        let shape = shapes.get(name).ok_or_else(|| format!("{name} is not told"))?;
        check(document, shape, field).map_err(|wrong| format!("{name}: {wrong}"))?;
    }
    Ok(())
}
