//! Settings of payments.

use crate::{calls::CallLimits, handler::Payments, provider::Provider, retry::Retry, sandbox::Sandbox};
use chassis::settings::{Environment, Secret, SettingError};
use std::{sync::Arc, time::Duration};

/// Which provider takes the money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderSettings {
    /// The built-in one.
    Sandbox {
        /// Its ledger: URL with password (`SANDBOX_DATABASE_URL`).
        database_url: Secret,
        /// Most connections to it (`SANDBOX_CONNECTIONS`).
        connections: u32,
    },
}

/// Settings of the payments worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who takes the money (`PAYMENT_PROVIDER`).
    pub provider: ProviderSettings,
    /// Longest time a batch waits for its calls (`PAYMENT_CALL_BUDGET`).
    pub budget: Duration,
    /// Bounds of calls (`PAYMENT_CALL_TIMEOUT`, `PAYMENT_CONCURRENCY`, `PAYMENT_LEFT_RUNNING`).
    pub limits: CallLimits,
    /// Retries (`PAYMENT_RETRY_FIRST`, `PAYMENT_RETRY_LONGEST`, `PAYMENT_LOOKUP_AFTER_ATTEMPTS`, `PAYMENT_LOOKUP_AFTER`,
    /// `PAYMENT_REFUND_ATTEMPTS`).
    pub retry: Retry,
}

impl Settings {
    /// Reads them; every one has a default.
    ///
    /// # Errors
    /// A [`SettingError`] names the variable.
    pub fn read(environment: &Environment) -> Result<Self, SettingError> {
        let (limits, retry) = (CallLimits::default(), Retry::default());
        Ok(Self {
            provider: provider(environment)?,
            budget: positive(environment, "PAYMENT_CALL_BUDGET", Duration::from_millis(250))?,
            limits: CallLimits {
                concurrency: count(environment, "PAYMENT_CONCURRENCY", limits.concurrency)?,
                left_running: count(environment, "PAYMENT_LEFT_RUNNING", limits.left_running)?,
                timeout: positive(environment, "PAYMENT_CALL_TIMEOUT", limits.timeout)?,
            },
            retry: Retry {
                first: positive(environment, "PAYMENT_RETRY_FIRST", retry.first)?,
                longest: positive(environment, "PAYMENT_RETRY_LONGEST", retry.longest)?,
                lookup_after_attempts: count(
                    environment,
                    "PAYMENT_LOOKUP_AFTER_ATTEMPTS",
                    retry.lookup_after_attempts,
                )?,
                lookup_after: positive(environment, "PAYMENT_LOOKUP_AFTER", retry.lookup_after)?,
                refund_attempts: count(environment, "PAYMENT_REFUND_ATTEMPTS", retry.refund_attempts)?,
            },
        })
    }

    /// The service with these settings.
    ///
    /// # Errors
    /// When the ledger's URL does not read.
    pub fn service(&self) -> sqlx::Result<Payments> {
        let provider: Arc<dyn Provider> = match &self.provider {
            ProviderSettings::Sandbox { database_url, connections } => {
                Arc::new(Sandbox::connect(database_url.expose(), *connections)?)
            }
        };
        Ok(Payments::new(provider, self.limits.clone(), self.retry.clone(), self.budget))
    }
}

fn provider(environment: &Environment) -> Result<ProviderSettings, SettingError> {
    let name = environment.text_or("PAYMENT_PROVIDER", "sandbox");
    match name.as_str() {
        "sandbox" => Ok(ProviderSettings::Sandbox {
            database_url: environment.secret_or(
                "SANDBOX_DATABASE_URL",
                "postgres://mambogo_sandbox:mambogo@127.0.0.1:25432/mambogo",
            ),
            connections: count(environment, "SANDBOX_CONNECTIONS", 8)?,
        }),
        _ => Err(SettingError::Invalid { key: "PAYMENT_PROVIDER", value: name, expected: "sandbox" }),
    }
}

fn positive(
    environment: &Environment,
    key: &'static str,
    default: Duration,
) -> Result<Duration, SettingError> {
    let value = environment.duration_or(key, default)?;
    if value.is_zero() {
        return Err(SettingError::Invalid { key, value: "0".to_owned(), expected: "a duration above zero" });
    }
    Ok(value)
}

fn count<T>(environment: &Environment, key: &'static str, default: T) -> Result<T, SettingError>
where
    T: std::str::FromStr + PartialOrd + From<u8>,
{
    const EXPECTED: &str = "a count of 1 or more";
    let value = environment.parse_or(key, EXPECTED, default)?;
    if value < T::from(1) {
        let value = environment.text_or(key, "");
        return Err(SettingError::Invalid { key, value, expected: EXPECTED });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingError> {
        Settings::read(&Environment::of(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))))
    }

    #[test]
    fn defaults_read_and_secrets_stay_hidden() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.budget, Duration::from_millis(250));
        assert_eq!(settings.limits.timeout, Duration::from_secs(10));
        assert_eq!(settings.limits.concurrency, 64);
        assert!(!format!("{settings:?}").contains("mambogo_sandbox"));
    }

    #[test]
    fn an_error_names_its_variable() {
        for (key, value) in [
            ("PAYMENT_PROVIDER", "bank"),
            ("PAYMENT_CALL_BUDGET", "0s"),
            ("PAYMENT_CALL_TIMEOUT", "soon"),
            ("PAYMENT_CONCURRENCY", "0"),
            ("PAYMENT_REFUND_ATTEMPTS", "-1"),
            ("SANDBOX_CONNECTIONS", "many"),
        ] {
            let error = read(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
