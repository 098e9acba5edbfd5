//! Settings of the webhooks.

use chassis::{
    egress::Egress,
    kafka::Cluster,
    postgres::{PoolLimits, Session, SessionLimits},
    settings::{Environment, Secret, SettingError},
};
use std::time::Duration;

/// What the webhooks worker connects to, and how it sends.
#[derive(Debug, Clone)]
pub struct WebhooksConfig {
    /// Where the brokers are, and the prefix of topic and group.
    pub cluster: Cluster,
    /// Static group membership, where the platform gives a stable name.
    pub instance: Option<String>,
    /// The role `mambogo_webhooks`.
    pub database_url: Secret,
    /// What may be called.
    pub egress: Egress,
    /// Longest wait for an endpoint's answer, connecting included.
    pub timeout: Duration,
    /// Most calls under way; half of them to endpoints that failed last.
    pub in_flight: usize,
    /// Most calls under way to one endpoint; to one that failed last there is one.
    pub in_flight_each: usize,
    /// The pause after a first failure; doubles.
    pub retry_first: Duration,
    /// The longest pause.
    pub retry_longest: Duration,
    /// An event that was not taken for so long disables its endpoint.
    pub disable_after: Duration,
    /// An endpoint that more events than that wait for is disabled.
    pub backlog: i64,
}

impl WebhooksConfig {
    /// Reads `WEBHOOKS_DATABASE_URL`, `KAFKA_GROUP_INSTANCE_ID`, `WEBHOOK_TIMEOUT` (10s), `WEBHOOK_IN_FLIGHT` (64),
    /// `WEBHOOK_IN_FLIGHT_EACH` (4), `WEBHOOK_RETRY_FIRST` (5s), `WEBHOOK_RETRY_LONGEST` (1h), `WEBHOOK_DISABLE_AFTER`
    /// (24h), `WEBHOOK_BACKLOG` (100000), and those of [`Egress`] and [`Cluster`].
    ///
    /// # Errors
    /// [`SettingError`] names the variable.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        let local = "postgres://mambogo_webhooks:mambogo@127.0.0.1:25432/mambogo";
        let calls = "a number of calls";
        Ok(Self {
            cluster: Cluster::from_environment(environment),
            instance: environment.text("KAFKA_GROUP_INSTANCE_ID"),
            database_url: environment.secret_or("WEBHOOKS_DATABASE_URL", local),
            egress: Egress::from_environment(environment)?,
            timeout: environment.duration_or("WEBHOOK_TIMEOUT", Duration::from_secs(10))?,
            in_flight: environment.parse_or("WEBHOOK_IN_FLIGHT", calls, 64)?,
            in_flight_each: environment.parse_or("WEBHOOK_IN_FLIGHT_EACH", calls, 4)?,
            retry_first: environment.duration_or("WEBHOOK_RETRY_FIRST", Duration::from_secs(5))?,
            retry_longest: environment.duration_or("WEBHOOK_RETRY_LONGEST", HOUR)?,
            disable_after: environment.duration_or("WEBHOOK_DISABLE_AFTER", 24 * HOUR)?,
            backlog: environment.parse_or("WEBHOOK_BACKLOG", "a number of events", 100_000)?,
        })
    }

    /// For what is sent; what is taken in has a connection of its own.
    pub(crate) fn pool(&self) -> sqlx::Result<sqlx::PgPool> {
        let limits = PoolLimits { max: 4, min: 0, ..PoolLimits::default() };
        let session = Session::new(self.database_url.expose(), "mambogo-webhooks", SessionLimits::EDGE)?;
        Ok(session.pool(limits))
    }
}
