//! Settings of the catalogue.

use chassis::{
    postgres::PoolLimits,
    settings::{Environment, Secret, SettingError},
};
use ingress::config::PoolConfig;
use std::time::Duration;

/// Most connections for changes: they are made one after the other.
const WRITERS: u32 = 2;

/// Settings of the catalogue.
#[derive(Debug, Clone)]
pub struct CatalogConfig {
    /// A streaming replica for reads, as the role `mambogo_edge`; without one the primary is read.
    pub replica: Option<PoolConfig>,
    /// A replica that is further behind is not read.
    pub max_lag: Duration,
    /// The primary as the role `mambogo_catalog`, for changes; without one they are refused.
    pub writer: Option<PoolConfig>,
}

impl CatalogConfig {
    /// Reads `CATALOG_REPLICA_URL` (none), `CATALOG_REPLICA_MAX_LAG` (5s), `CATALOG_DATABASE_URL` (none), and the sizes of
    /// the edge's pool for the replica's.
    ///
    /// # Errors
    /// [`SettingError`] names the variable.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let limits = ingress::config::pool_limits(environment)?;
        let pool =
            |key: &str, limits| environment.text(key).map(|url| PoolConfig { url: Secret::new(url), limits });
        Ok(Self {
            replica: pool("CATALOG_REPLICA_URL", limits),
            max_lag: environment.duration_or("CATALOG_REPLICA_MAX_LAG", Duration::from_secs(5))?,
            writer: pool("CATALOG_DATABASE_URL", PoolLimits { max: WRITERS, min: 0, ..limits }),
        })
    }
}
