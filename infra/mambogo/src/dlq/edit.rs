//! A record changed by a person: the output of `dlq show` with another `value`, checked against its schema and against
//! what its service reads, before anything is sent. The worker keeps the original in `parked_action`.

use super::{Outcome, read::Parked};
use schemas::{
    catalogue::{self, SchemaId},
    messages::{InventoryCommand, OrderCommand, PaymentCommand},
    topics::Topic,
    wire::WireError,
};
use serde::Deserialize;
use std::path::Path;

/// What `dlq show` prints, as far as it is read back.
#[derive(Debug, Deserialize)]
struct File {
    origin: String,
    schema: u32,
    value: serde_json::Value,
}

/// A payload to run in place of a record's own.
#[derive(Debug)]
pub(super) struct Edit {
    origin: String,
    pub(super) payload: Vec<u8>,
}

/// Reads and encodes it.
pub(super) fn read(path: &Path) -> Outcome<Edit> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
    let file: File = serde_json::from_str(&text).map_err(|error| {
        named(&format!("{error}; it has to be the output of `mambogo dlq show`, its value changed"))
    })?;
    encode(file).map_err(|error| named(&error).into())
}

fn encode(File { origin, schema, value }: File) -> Result<Edit, String> {
    let entry =
        catalogue::by_id(SchemaId(schema)).ok_or_else(|| format!("no schema {schema} in this release"))?;
    let payload = replay::written(entry, &value).map_err(|error| format!("value: {error}"))?;
    let topic = origin.split('/').next().and_then(Topic::from_name);
    heard(topic, &payload).map_err(|error| format!("value: {error}"))?;
    Ok(Edit { origin, payload })
}

/// Whether the service that reads `topic` can read the payload.
fn heard(topic: Option<Topic>, payload: &[u8]) -> Result<(), String> {
    let read: Result<(), WireError> = match topic {
        Some(Topic::OrderCommands) => OrderCommand::decode(payload).map(drop),
        Some(Topic::InventoryCommands) => InventoryCommand::decode(payload).map(drop),
        Some(Topic::PaymentCommands) => PaymentCommand::decode(payload).map(drop),
        _ => return Err("its origin names no topic of commands".to_owned()),
    };
    read.map_err(|error| error.to_string())
}

impl Edit {
    /// Whether it is the one record selected that was edited.
    pub(super) fn check(&self, selected: &[Parked]) -> Result<(), String> {
        match selected {
            [one] if one.origin() == self.origin => Ok(()),
            [one] => Err(format!("the file edits {}, and {} is selected", self.origin, one.origin())),
            _ => Err(format!(
                "an edit is of one record, and {} are selected: name it by --service, --partition and --offset",
                selected.len()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cancel(change: impl FnOnce(&mut serde_json::Value)) -> Result<Edit, String> {
        let mut file = json!({
            "origin": "order.commands/2/17",
            "cause": "decode",
            "schema": 1002,
            "value": {"orderId": "5b0c1f8e-3a52-5d0f-9f5e-0d6c8a3e7b21", "requestedBy": "amina", "reason": null},
        });
        change(&mut file);
        encode(serde_json::from_value(file).unwrap())
    }

    fn parked(offset: i64) -> Parked {
        Parked {
            service: "orders",
            topic: Topic::OrderCommands,
            partition: 2,
            offset,
            key: vec![],
            cause: "decode".to_owned(),
            attempts: 1,
            seconds: 0.0,
        }
    }

    #[test]
    fn what_was_edited_is_read_by_its_service() {
        let edit = cancel(|_| ()).unwrap();
        assert_eq!(OrderCommand::decode(&edit.payload).unwrap().name(), "CancelOrder");
        assert_eq!(edit.check(&[parked(17)]), Ok(()));
    }

    #[test]
    fn an_edit_of_another_record_is_refused() {
        let edit = cancel(|_| ()).unwrap();
        assert!(edit.check(&[parked(18)]).unwrap_err().contains("order.commands/2/18 is selected"));
        assert!(edit.check(&[parked(17), parked(18)]).unwrap_err().contains("2 are selected"));
    }

    #[test]
    fn what_its_service_could_not_read_is_refused_by_name() {
        let refused = |change: fn(&mut serde_json::Value), said: &str| {
            let error = cancel(change).unwrap_err();
            assert!(error.contains(said), "{error}");
        };
        refused(|file| file["schema"] = json!(9_999), "no schema 9999");
        refused(|file| file["value"]["orderId"] = json!("seven"), "value: orderId: \"seven\" is not a UUID");
        refused(|file| file["value"] = json!(null), "is not a CancelOrder");
        refused(
            |file| file["origin"] = json!("inventory.commands/2/17"),
            "does not belong on inventory.commands",
        );
        refused(|file| file["origin"] = json!("order.events/2/17"), "no topic of commands");
    }
}
