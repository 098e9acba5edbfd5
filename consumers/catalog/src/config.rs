//! Settings of the catalogue's worker.

use chassis::{
    kafka::Cluster,
    settings::{Environment, Secret, SettingError},
};
use std::time::Duration;

/// What the worker connects to, and how long it gathers.
#[derive(Debug, Clone)]
pub struct CatalogWorkerConfig {
    /// Where the brokers are, and the prefix of topics and group.
    pub cluster: Cluster,
    /// Static group membership, where the platform gives a stable name.
    pub instance: Option<String>,
    /// URL of Redis; it may hold a password.
    pub redis_url: Secret,
    /// The catalogue's database.
    pub database_url: Secret,
    /// How long changes of stock are gathered before they are written.
    pub window: Duration,
}

impl CatalogWorkerConfig {
    /// Reads those of [`Cluster::from_environment`], `KAFKA_GROUP_INSTANCE_ID`, `REDIS_URL`, `CATALOG_DATABASE_URL` and
    /// `CATALOG_STOCK_WINDOW` (2s).
    ///
    /// # Errors
    /// When `CATALOG_STOCK_WINDOW` is not a duration.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let local = "postgres://mambogo_catalog:mambogo@127.0.0.1:25432/mambogo";
        Ok(Self {
            cluster: Cluster::from_environment(environment),
            instance: environment.text("KAFKA_GROUP_INSTANCE_ID"),
            redis_url: environment.secret_or("REDIS_URL", "redis://127.0.0.1:26379/0"),
            database_url: environment.secret_or("CATALOG_DATABASE_URL", local),
            window: environment.duration_or("CATALOG_STOCK_WINDOW", Duration::from_secs(2))?,
        })
    }
}
