//! Settings of a producer, and of any other client of the same cluster in this crate.

use chassis::{
    kafka::Cluster,
    settings::{Environment, SettingError},
};
use rdkafka::ClientConfig;
use std::time::Duration;

/// Largest record handed to Kafka, in bytes of key, payload and headers: a broker's default `max.message.bytes`.
pub const MAX_RECORD: usize = 1_048_576;

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// LZ4: cheap on both sides.
    Lz4,
    /// Not at all.
    None,
}

/// Settings of one [`crate::Publisher`].
#[derive(Debug, Clone)]
pub struct PublisherConfig {
    /// Where the cluster is, and the prefix of its topics.
    pub cluster: Cluster,
    /// The name in broker logs and in metrics.
    pub client_id: String,
    /// How long after hand-over a record is given up as [`crate::PublishError::Unknown`]. `None`: never (a relay
    /// must not leave gaps).
    pub delivery_timeout: Option<Duration>,
    /// How long a batch waits for company.
    pub linger: Duration,
    /// How batches are compressed.
    pub compression: Compression,
    /// Most records in the queue; one more is [`crate::PublishError::QueueFull`].
    pub queue_messages: u32,
    /// Most KiB of records in the queue.
    pub queue_kib: u32,
    /// Most records in one produce batch. 1 makes a broker's verdict about a batch one about a record.
    pub batch_records: u32,
    /// Whether a producer with a fatal error is replaced in place. Not for a relay, which starts its lanes anew.
    pub heal: bool,
}

impl PublisherConfig {
    /// For `brokers` (`host:port`, separated by commas): records given up after 5 s, 3 ms linger, LZ4, a queue of
    /// 50,000 records or 64 MiB, healing.
    #[must_use]
    pub fn new(brokers: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            cluster: Cluster::plain(brokers, ""),
            client_id: client_id.into(),
            delivery_timeout: Some(Duration::from_secs(5)),
            linger: Duration::from_millis(3),
            compression: Compression::Lz4,
            queue_messages: 50_000,
            queue_kib: 64 * 1024,
            batch_records: 10_000,
            heal: true,
        }
    }

    /// The same with another topic prefix.
    #[must_use]
    pub fn with_prefix(self, prefix: impl Into<String>) -> Self {
        let mut cluster = self.cluster;
        cluster.prefix = prefix.into();
        Self { cluster, ..self }
    }

    /// Reads what [`Cluster::from_environment`] reads, `KAFKA_DELIVERY_TIMEOUT` (5s), `KAFKA_LINGER` (3ms),
    /// `KAFKA_QUEUE_RECORDS` (50000) and `KAFKA_QUEUE_KIB` (65536).
    ///
    /// # Errors
    /// [`SettingError`] names the variable that does not read.
    pub fn from_environment(
        environment: &Environment,
        client_id: impl Into<String>,
    ) -> Result<Self, SettingError> {
        let default = Self { cluster: Cluster::from_environment(environment), ..Self::new("", client_id) };
        let timeout = environment
            .duration_or("KAFKA_DELIVERY_TIMEOUT", default.delivery_timeout.unwrap_or_default())?;
        Ok(Self {
            // Kafka's 0 means for ever, which is not for a setting to say by accident
            delivery_timeout: Some(timeout.max(Duration::from_millis(1))),
            linger: environment.duration_or("KAFKA_LINGER", default.linger)?,
            queue_messages: environment.parse_or(
                "KAFKA_QUEUE_RECORDS",
                "a number of records",
                default.queue_messages,
            )?,
            queue_kib: environment.parse_or("KAFKA_QUEUE_KIB", "a number of KiB", default.queue_kib)?,
            ..default
        })
    }

    /// What every client of this cluster shares.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.extend(self.cluster.client_settings());
        client
            .set("client.id", &self.client_id)
            .set("socket.keepalive.enable", "true")
            .set("socket.timeout.ms", "10000")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("allow.auto.create.topics", "false")
            .set("log.connection.close", "false");
        client
    }

    /// The producer's own settings.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut client = self.client();
        let timeout = self.delivery_timeout.map_or(0, |timeout| timeout.as_millis().max(1));
        let compression = match self.compression {
            Compression::Lz4 => "lz4",
            Compression::None => "none",
        };
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("max.in.flight.requests.per.connection", "5")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", timeout.to_string())
            .set("request.timeout.ms", "8000")
            .set("message.max.bytes", MAX_RECORD.to_string())
            .set("linger.ms", (self.linger.as_secs_f64() * 1_000.0).to_string())
            .set("compression.type", compression)
            .set("queue.buffering.max.messages", self.queue_messages.to_string())
            .set("queue.buffering.max.kbytes", self.queue_kib.to_string())
            .set("batch.num.messages", self.batch_records.to_string());
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn an_error_names_the_variable() {
        let pairs = [("KAFKA_BROKERS", "b:1"), ("KAFKA_LINGER", "soon")];
        let error = PublisherConfig::from_environment(&environment(&pairs), "edge").unwrap_err();
        assert!(error.to_string().contains("KAFKA_LINGER"), "{error}");
    }

    #[test]
    fn settings_reach_the_client_and_secrets_stay_hidden() {
        let pairs = [
            ("KAFKA_BROKERS", "a:1,b:2"),
            ("TOPIC_PREFIX", "t-"),
            ("KAFKA_DELIVERY_TIMEOUT", "2s"),
            ("KAFKA_LINGER", "7ms"),
            ("KAFKA_SECURITY_PROTOCOL", "sasl_ssl"),
            ("KAFKA_SASL_PASSWORD", "canary"),
        ];
        let config = PublisherConfig::from_environment(&environment(&pairs), "edge").unwrap();
        assert!(!format!("{config:?}").contains("canary"));
        let client = config.producer();
        for (name, value) in [
            ("bootstrap.servers", "a:1,b:2"),
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("message.timeout.ms", "2000"),
            ("linger.ms", "7"),
            ("security.protocol", "sasl_ssl"),
            ("sasl.password", "canary"),
        ] {
            assert_eq!(client.get(name), Some(value), "{name}");
        }
        let relay = PublisherConfig { delivery_timeout: None, ..config };
        assert_eq!(relay.producer().get("message.timeout.ms"), Some("0"));
    }
}
