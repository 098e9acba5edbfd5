//! What is read: which topics, from when, which key.

use chassis::kafka::Cluster;
use schemas::{time::Timestamp, topics, topics::Topic};
use std::time::Duration;
use uuid::Uuid;

/// One replay.
#[derive(Debug, Clone)]
pub struct ReplayConfig {
    /// Where the brokers are, and the prefix of topics.
    pub cluster: Cluster,
    /// The topics, see [`topics_by_name`].
    pub topics: Vec<Topic>,
    /// Only records that the log took within this time before `now`.
    pub since: Option<Duration>,
    /// What `since` counts back from.
    pub now: Timestamp,
    /// Only records of this key: an order id, a product id.
    pub key: Option<String>,
}

/// A name that no topic has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no topic {name:?}: say {}, or all", names())]
pub struct UnknownTopic {
    /// The name.
    pub name: String,
}

fn names() -> String {
    Topic::ALL.map(Topic::name).join(", ")
}

/// The topics of those names (without prefix), each once. `all` stands for those that one order passes through:
/// with its id as key, they are its whole trace.
///
/// # Errors
/// [`UnknownTopic`] names the first that there is not.
pub fn topics_by_name<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Topic>, UnknownTopic> {
    const OF_AN_ORDER: [Topic; 5] = [
        Topic::OrderCommands,
        Topic::InventoryCommands,
        Topic::PaymentCommands,
        Topic::OrderEvents,
        Topic::PaymentEvents,
    ];
    let mut found = Vec::new();
    for name in names {
        match Topic::from_name(name) {
            Some(topic) => found.push(topic),
            None if name == "all" => found.extend(OF_AN_ORDER),
            None => return Err(UnknownTopic { name: name.to_owned() }),
        }
    }
    found.sort_unstable_by_key(|topic| topic.code());
    found.dedup();
    Ok(found)
}

impl ReplayConfig {
    /// The time to read from.
    pub(crate) fn from(&self) -> Option<Timestamp> {
        let since = i64::try_from(self.since?.as_millis()).unwrap_or(i64::MAX);
        Some(Timestamp(self.now.0.saturating_sub(since).max(0)))
    }

    /// The key as records carry it: ids in lower case with hyphens, however they were typed.
    pub(crate) fn key_bytes(&self) -> Option<Vec<u8>> {
        let key = self.key.as_deref()?.trim();
        Some(match Uuid::try_parse(key) {
            Ok(id) => topics::key(id).to_vec(),
            Err(_) => key.as_bytes().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_found_by_name_each_once() {
        assert_eq!(topics_by_name(["order.events", "order.events"]), Ok(vec![Topic::OrderEvents]));
        assert_eq!(topics_by_name(["all", "order.events"]).unwrap().len(), 5);
        let error = topics_by_name(["orders"]).unwrap_err().to_string();
        assert!(error.contains("\"orders\"") && error.contains("order.commands"), "{error}");
    }

    #[test]
    fn keys_read_as_they_were_written() {
        let config = |key: &str| ReplayConfig {
            cluster: Cluster::plain("", ""),
            topics: Vec::new(),
            since: Some(Duration::from_secs(2)),
            now: Timestamp(5_000),
            key: Some(key.to_owned()),
        };
        let id = "C0FFEE00-0000-4000-8000-00000000000A";
        assert_eq!(config(id).key_bytes(), Some(id.to_lowercase().into_bytes()));
        assert_eq!(config(&id.replace('-', "")).key_bytes(), Some(id.to_lowercase().into_bytes()));
        assert_eq!(config("plain").key_bytes(), Some(b"plain".to_vec()));
        assert_eq!(config("plain").from(), Some(Timestamp(3_000)));
    }
}
