//! Settings of the status worker.

use chassis::settings::{Environment, Secret, SettingError};
use std::time::Duration;

/// What the status worker connects to, and how long a view lives.
#[derive(Debug, Clone)]
pub struct StatusConfig {
    /// Kafka brokers, `host:port` separated by commas.
    pub brokers: String,
    /// Put before the topic's and the group's name.
    pub prefix: String,
    /// URL of Redis; it may hold a password.
    pub redis_url: Secret,
    /// A view that nothing changes for this long is forgotten; reads fall through to Postgres then.
    pub ttl: Duration,
}

impl StatusConfig {
    /// Reads `KAFKA_BROKERS`, `TOPIC_PREFIX`, `REDIS_URL` and `STATUS_TTL`.
    ///
    /// # Errors
    /// When `STATUS_TTL` is not a duration.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        Ok(Self {
            brokers: environment.text_or("KAFKA_BROKERS", "127.0.0.1:29092"),
            prefix: environment.text_or("TOPIC_PREFIX", ""),
            redis_url: environment.secret_or("REDIS_URL", "redis://127.0.0.1:26379/0"),
            ttl: environment.duration_or("STATUS_TTL", Duration::from_secs(24 * 60 * 60))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_defaults_and_errors_name_their_key() {
        let config = StatusConfig::from_environment(&Environment::of([])).unwrap();
        assert_eq!(config.ttl, Duration::from_secs(86_400));
        let bad = Environment::of([("STATUS_TTL".to_owned(), "a day".to_owned())]);
        assert!(StatusConfig::from_environment(&bad).unwrap_err().to_string().contains("STATUS_TTL"));
    }
}
