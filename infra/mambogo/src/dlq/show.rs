//! Parked records for people.

use super::{
    Outcome,
    read::{Groups, Whole},
};
use serde_json::json;
use std::fmt::Write;

/// One line a group, columns aligned.
pub(super) fn table(groups: &Groups) -> String {
    let mut text =
        format!("{:<10} {:<24} {:<37} {:>7} {:>9} TRIED\n", "SERVICE", "CAUSE", "KEY", "RECORDS", "OLDEST");
    for ((service, cause, key), (records, seconds, attempts)) in groups {
        let oldest = format!("{seconds:.0}s");
        // writing to a string does not fail
        let _ = writeln!(text, "{service:<10} {cause:<24} {key:<37} {records:>7} {oldest:>9} {attempts:>5}");
    }
    text
}

/// The schema's id that the payload begins with.
fn schema_of(payload: &[u8]) -> Option<u32> {
    let (magic, rest) = payload.split_first()?;
    rest.first_chunk::<4>().filter(|_| *magic == 0).map(|id| u32::from_be_bytes(*id))
}

/// The record as JSON: where it lies, why it is parked, what it says.
pub(super) fn record(whole: &Whole) -> Outcome<String> {
    let parked = &whole.parked;
    let (value, error) = match replay::readable(&whole.payload) {
        Ok(value) => (serde_json::to_value(value)?, None),
        Err(error) => (serde_json::Value::Null, Some(error.to_string())),
    };
    Ok(replay::for_terminals(serde_json::to_string_pretty(&json!({
        "service": parked.service,
        "origin": parked.origin(),
        "key": String::from_utf8_lossy(&parked.key),
        "cause": parked.cause,
        "detail": whole.detail,
        "attempts": parked.attempts,
        "parkedSeconds": parked.seconds.round(),
        "schema": schema_of(&whole.payload),
        "value": value,
        "error": error,
    }))?))
}
