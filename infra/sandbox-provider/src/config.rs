//! Settings of the sandbox provider.

use chassis::settings::{Environment, Secret, SettingError};
use std::net::SocketAddr;

/// How it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Where it listens (`SANDBOX_PROVIDER_ADDR`).
    pub address: SocketAddr,
    /// What its faults are drawn from (`SANDBOX_PROVIDER_SEED`).
    pub seed: u64,
    /// Most payments and most refunds kept; beyond them it answers 429 (`SANDBOX_PROVIDER_KEEP`).
    pub keep: usize,
    /// Where webhooks go; nowhere when it is not set (`SANDBOX_WEBHOOK_URL`).
    pub webhook_url: Option<String>,
    /// What they are signed with (`STRIPE_WEBHOOK_SECRET`, the first of them).
    pub webhook_secret: Secret,
}

impl Default for ProviderConfig {
    /// Port 8090 on loopback, seed 1, 200,000 payments, no webhooks.
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8090)),
            seed: 1,
            keep: 200_000,
            webhook_url: None,
            webhook_secret: Secret::new(""),
        }
    }
}

impl ProviderConfig {
    /// Reads it; every setting has a default.
    ///
    /// # Errors
    /// A [`SettingError`] names the variable.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let default = Self::default();
        let address = "an address such as 127.0.0.1:8090";
        let webhook_url = environment.text("SANDBOX_WEBHOOK_URL");
        // its receiver takes several while one is being replaced: the first signs
        let secrets = environment.secret_or("STRIPE_WEBHOOK_SECRET", "");
        let webhook_secret = Secret::new(secrets.expose().split(',').next().unwrap_or_default().trim());
        if webhook_url.is_some() && webhook_secret.expose().is_empty() {
            let hint = "SANDBOX_WEBHOOK_URL is set, and webhooks have to be signed with what their receiver checks them by";
            return Err(SettingError::Missing { key: "STRIPE_WEBHOOK_SECRET", hint });
        }
        Ok(Self {
            address: environment.parse_or("SANDBOX_PROVIDER_ADDR", address, default.address)?,
            seed: environment.parse_or("SANDBOX_PROVIDER_SEED", "a number", default.seed)?,
            keep: environment.parse_or("SANDBOX_PROVIDER_KEEP", "a count", default.keep)?,
            webhook_url,
            webhook_secret,
        })
    }
}
