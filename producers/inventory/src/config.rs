//! Settings of the inventory endpoints.

use chassis::settings::{Environment, SettingError};
use uuid::Uuid;

/// Settings of the inventory endpoints.
#[derive(Debug, Clone)]
pub struct InventoryConfig {
    /// Namespace of all derived ids; never changed in a deployment's life.
    pub namespace: Uuid,
}

impl InventoryConfig {
    /// Reads `DEPLOYMENT_NAMESPACE`.
    ///
    /// # Errors
    /// [`SettingError`].
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        Ok(Self { namespace: ingress::config::namespace(environment)? })
    }
}
