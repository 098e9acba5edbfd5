//! Settings of the payments endpoints.

use chassis::settings::{Environment, Secret, SettingError};
use schemas::webhook_signature::TOLERANCE;
use std::time::Duration;

/// Settings of the payments endpoints.
#[derive(Debug, Clone)]
pub struct PaymentsConfig {
    /// What the provider signs its webhooks with. Several while one is being replaced; none: no webhook is believed.
    pub webhook_secrets: Vec<Secret>,
    /// How far a webhook's time may lie from ours.
    pub webhook_tolerance: Duration,
}

impl PaymentsConfig {
    /// Reads `STRIPE_WEBHOOK_SECRET` (several with commas between, none by default) and `STRIPE_WEBHOOK_TOLERANCE` (5m).
    ///
    /// # Errors
    /// [`SettingError`].
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let secrets = environment.secret_or("STRIPE_WEBHOOK_SECRET", "");
        let each = secrets.expose().split(',').map(str::trim).filter(|secret| !secret.is_empty());
        Ok(Self {
            webhook_secrets: each.map(Secret::new).collect(),
            webhook_tolerance: environment.duration_or("STRIPE_WEBHOOK_TOLERANCE", TOLERANCE)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_secrets_are_taken_and_none_is_shown() {
        let of = |text: &str| {
            let pair = ("STRIPE_WEBHOOK_SECRET".to_owned(), text.to_owned());
            PaymentsConfig::from_environment(&Environment::of([pair])).unwrap()
        };
        let two = of("whsec_new, whsec_old,");
        let secrets: Vec<_> = two.webhook_secrets.iter().map(Secret::expose).collect();
        assert_eq!(secrets, ["whsec_new", "whsec_old"]);
        assert!(!format!("{two:?}").contains("whsec"));
        assert!(of("").webhook_secrets.is_empty());
        assert_eq!(two.webhook_tolerance, Duration::from_secs(300));
    }
}
