//! Settings of the inventory endpoints.

use chassis::{
    breaker::BreakerLimits,
    settings::{Environment, SettingError},
};
use std::time::Duration;
use uuid::Uuid;

/// Settings of the inventory endpoints.
#[derive(Debug, Clone)]
pub struct InventoryConfig {
    /// Namespace of all derived ids; never changed in a deployment's life.
    pub namespace: Uuid,
    /// How long a reserve waits for its verdict.
    pub reserve_patience: Duration,
    /// When reserves are answered without asking: the fallback.
    pub breaker: BreakerLimits,
}

impl InventoryConfig {
    /// Reads `DEPLOYMENT_NAMESPACE` and `INVENTORY_RESERVE_PATIENCE` (2s).
    ///
    /// # Errors
    /// [`SettingError`].
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        Ok(Self {
            namespace: ingress::config::namespace(environment)?,
            reserve_patience: environment
                .duration_or("INVENTORY_RESERVE_PATIENCE", Duration::from_secs(2))?,
            breaker: BreakerLimits::default(),
        })
    }
}
