//! Settings of the webhooks' surface.

use chassis::{
    egress::Egress,
    settings::{Environment, SettingError},
};
use std::time::Duration;

/// What may be registered.
#[derive(Debug, Clone)]
pub struct WebhooksApiConfig {
    /// What may be called.
    pub egress: Egress,
    /// Most endpoints of one user.
    pub most: i16,
    /// How long a secret that was replaced signs beside the new one.
    pub both_secrets: Duration,
}

impl WebhooksApiConfig {
    /// Reads `WEBHOOK_ENDPOINTS` (10), `WEBHOOK_BOTH_SECRETS` (24h) and those of [`Egress::from_environment`].
    ///
    /// # Errors
    /// [`SettingError`] names the variable.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let most = environment.parse_or("WEBHOOK_ENDPOINTS", "a number of endpoints below 32768", 10)?;
        let both_secrets =
            environment.duration_or("WEBHOOK_BOTH_SECRETS", Duration::from_secs(24 * 60 * 60))?;
        Ok(Self { egress: Egress::from_environment(environment)?, most, both_secrets })
    }
}
