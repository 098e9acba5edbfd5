//! Settings of the status worker.

use chassis::{
    kafka::Cluster,
    settings::{Environment, Secret, SettingError},
};
use std::time::Duration;

/// What the status worker connects to, and how long a view lives.
#[derive(Debug, Clone)]
pub struct StatusConfig {
    /// Where the brokers are, and the prefix of topic and group.
    pub cluster: Cluster,
    /// Static group membership, where the platform gives a stable name.
    pub instance: Option<String>,
    /// URL of Redis; it may hold a password.
    pub redis_url: Secret,
    /// A view that nothing changes for this long is forgotten; reads fall through to Postgres then.
    pub ttl: Duration,
}

impl StatusConfig {
    /// Reads those of [`Cluster::from_environment`], `KAFKA_GROUP_INSTANCE_ID`, `REDIS_URL` and `STATUS_TTL`.
    ///
    /// # Errors
    /// When `STATUS_TTL` is not a duration.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        Ok(Self {
            cluster: Cluster::from_environment(environment),
            instance: environment.text("KAFKA_GROUP_INSTANCE_ID"),
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
