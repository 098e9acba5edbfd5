//! Settings of the relay.

use crate::plan::Limits;
use chassis::settings::{Environment, Secret, SettingError};
use publisher::PublisherConfig;
use std::time::Duration;

/// A database and one schema in it that has lanes.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Where the database is.
    pub url: Secret,
    /// The schema, such as `orders`: lower-case letters, digits and `_`.
    pub schema: String,
}

/// Settings of [`crate::run`].
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// What is relayed.
    pub sources: Vec<SourceConfig>,
    /// Whether lanes are shared with other relays by leases. Without, everything is sent.
    pub leases: bool,
    /// A relay that was not heard of for this long has lost its lanes. Renewed three times in it.
    pub lease_time: Duration,
    /// How long nothing is read when nobody wakes the relay.
    pub tick: Duration,
    /// Longest pause between two reads of a source (`RELAY_READ_PAUSE`): after several rows, those that come meanwhile
    /// share the next one.
    pub read_pause: Duration,
    /// Between two deletes of what Kafka has (`RELAY_DELETE_PAUSE`).
    pub delete_pause: Duration,
    /// How long a stop waits for what is in flight.
    pub stop_deadline: Duration,
    /// How long a lane that Kafka refused something of waits for its first new try; twice as long each time.
    pub halt_retry: Duration,
    /// Most rows of one lane that one read takes.
    pub read_rows: u32,
    /// Bounds of what is in flight and what is read ahead, for each source.
    pub limits: Limits,
    /// The producer. Its message time-out, healing and batching are the relay's own.
    pub publisher: PublisherConfig,
}

impl RelayConfig {
    /// For those sources: leases of 3 s, a tick of 250 ms, 5 s to stop, 8,000 records or 8 MiB in flight and 1 MiB
    /// read ahead for each lane.
    #[must_use]
    pub fn new(publisher: PublisherConfig, sources: Vec<SourceConfig>) -> Self {
        Self {
            sources,
            leases: true,
            lease_time: Duration::from_secs(3),
            tick: Duration::from_millis(250),
            read_pause: Duration::from_millis(8),
            delete_pause: Duration::from_millis(50),
            stop_deadline: Duration::from_secs(5),
            halt_retry: Duration::from_secs(30),
            read_rows: 64,
            limits: Limits {
                records: 8_000,
                bytes: 8 * 1024 * 1024,
                lane_records: 2_000,
                lane_bytes: 1024 * 1024,
            },
            publisher: PublisherConfig { linger: Duration::ZERO, ..publisher },
        }
    }

    /// Reads `RELAY_DATABASE_URL`, `RELAY_SOURCES` (`orders,inventory,payments,catalog`; each a schema of that database, or
    /// `schema=URL` for one that has moved out), `RELAY_LEASES` (`on`), `RELAY_LEASE_TIME` (3s), `RELAY_TICK`
    /// (250ms), `RELAY_HALT_RETRY` (30s), and the producer's own settings.
    ///
    /// # Errors
    /// [`SettingError`] names the variable that is missing or does not read.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let publisher = PublisherConfig::from_environment(environment, "relay")?;
        let names = environment.text_or("RELAY_SOURCES", "orders,inventory,payments,catalog");
        let sources = names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(|name| source(environment, name))
            .collect::<Result<_, _>>()?;
        let default = Self::new(publisher, sources);
        let leases = match environment.text_or("RELAY_LEASES", "on").as_str() {
            "on" => true,
            "off" => false,
            other => {
                let value = other.to_owned();
                return Err(SettingError::Invalid { key: "RELAY_LEASES", value, expected: "on or off" });
            }
        };
        Ok(Self {
            leases,
            lease_time: environment.duration_or("RELAY_LEASE_TIME", default.lease_time)?,
            read_pause: environment.duration_or("RELAY_READ_PAUSE", default.read_pause)?,
            delete_pause: environment.duration_or("RELAY_DELETE_PAUSE", default.delete_pause)?,
            tick: environment.duration_or("RELAY_TICK", default.tick)?.max(Duration::from_millis(1)),
            halt_retry: environment.duration_or("RELAY_HALT_RETRY", default.halt_retry)?,
            ..default
        })
    }
}

fn source(environment: &Environment, text: &str) -> Result<SourceConfig, SettingError> {
    let (schema, url) = match text.split_once('=') {
        Some((schema, url)) => (schema.trim(), url.trim().to_owned()),
        None => {
            let hint = "the URL of the database that the relay reads";
            let url = environment.text("RELAY_DATABASE_URL");
            (text, url.ok_or(SettingError::Missing { key: "RELAY_DATABASE_URL", hint })?)
        }
    };
    // it becomes part of SQL
    let first = schema.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
    if !first || !schema.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        return Err(SettingError::Invalid {
            key: "RELAY_SOURCES",
            value: schema.to_owned(),
            expected: "schemas (lower-case letters, digits and _), or schema=URL, separated by commas",
        });
    }
    Ok(SourceConfig { url: Secret::new(url), schema: schema.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<RelayConfig, SettingError> {
        let known = [("KAFKA_BROKERS", "b:1"), ("RELAY_DATABASE_URL", "postgres://one")];
        let pairs = known.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        RelayConfig::from_environment(&Environment::of(pairs))
    }

    #[test]
    fn sources_are_schemas_of_one_database_until_one_moves_out() {
        let of = |config: RelayConfig| -> Vec<(String, String)> {
            let pair = |source: SourceConfig| (source.schema, source.url.expose().to_owned());
            config.sources.into_iter().map(pair).collect()
        };
        let pair = |schema: &str, url: &str| (schema.to_owned(), url.to_owned());
        let one = "postgres://one";
        assert_eq!(
            of(read(&[]).unwrap()),
            [pair("orders", one), pair("inventory", one), pair("payments", one), pair("catalog", one)]
        );
        let moved = read(&[("RELAY_SOURCES", "orders, payments=postgres://two")]).unwrap();
        assert_eq!(of(moved), [pair("orders", one), pair("payments", "postgres://two")]);
    }

    #[test]
    fn what_does_not_read_is_named() {
        for (key, value) in [
            ("RELAY_SOURCES", "orders; DROP TABLE outbox"),
            ("RELAY_SOURCES", "Orders"),
            ("RELAY_LEASES", "maybe"),
            ("RELAY_TICK", "often"),
        ] {
            let error = read(&[(key, value)]).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
        assert!(!read(&[("RELAY_LEASES", "off")]).unwrap().leases);
    }
}
