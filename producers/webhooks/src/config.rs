//! Settings of the webhooks' surface.

use chassis::{
    egress::Egress,
    settings::{Environment, SettingError},
};

/// What may be registered.
#[derive(Debug, Clone)]
pub struct WebhooksApiConfig {
    /// What may be called.
    pub egress: Egress,
    /// Most endpoints of one user.
    pub most: i16,
}

impl WebhooksApiConfig {
    /// Reads `WEBHOOK_ENDPOINTS` (10) and those of [`Egress::from_environment`].
    ///
    /// # Errors
    /// [`SettingError`] names the variable.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let most = environment.parse_or("WEBHOOK_ENDPOINTS", "a number of endpoints below 32768", 10)?;
        Ok(Self { egress: Egress::from_environment(environment)?, most })
    }
}
