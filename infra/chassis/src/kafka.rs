//! How a process reaches the brokers: the same for producers, consumers and tools.

use crate::settings::{Environment, Secret};

/// Where the cluster is, under which prefix, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// `KAFKA_BROKERS`: `host:port`, separated by commas.
    pub brokers: String,
    /// `TOPIC_PREFIX`: put before every topic's and group's name.
    pub prefix: String,
    security: Vec<(&'static str, Secret)>,
}

impl Cluster {
    /// Reads `KAFKA_BROKERS`, `TOPIC_PREFIX`, `KAFKA_SECURITY_PROTOCOL`, `KAFKA_SASL_MECHANISM`,
    /// `KAFKA_SASL_USERNAME`, `KAFKA_SASL_PASSWORD` and `KAFKA_SSL_CA`; the defaults reach the local stack in plain
    /// text.
    #[must_use]
    pub fn from_environment(environment: &Environment) -> Self {
        let security = [
            ("security.protocol", environment.text("KAFKA_SECURITY_PROTOCOL")),
            ("sasl.mechanisms", environment.text("KAFKA_SASL_MECHANISM")),
            ("sasl.username", environment.text("KAFKA_SASL_USERNAME")),
            ("sasl.password", environment.text("KAFKA_SASL_PASSWORD")),
            ("ssl.ca.location", environment.text("KAFKA_SSL_CA")),
        ];
        Self {
            brokers: environment.text_or("KAFKA_BROKERS", "127.0.0.1:29092"),
            prefix: environment.text_or("TOPIC_PREFIX", ""),
            security: security
                .into_iter()
                .filter_map(|(name, value)| Some((name, Secret::new(value?))))
                .collect(),
        }
    }

    /// The cluster at `brokers`, in plain text.
    #[must_use]
    pub fn plain(brokers: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), prefix: prefix.into(), security: Vec::new() }
    }

    /// What any `librdkafka` client is told, by its names.
    #[must_use]
    pub fn client_settings(&self) -> Vec<(String, String)> {
        let brokers = ("bootstrap.servers".to_owned(), self.brokers.clone());
        let security =
            self.security.iter().map(|(name, value)| ((*name).to_owned(), value.expose().to_owned()));
        std::iter::once(brokers).chain(security).collect()
    }
}
