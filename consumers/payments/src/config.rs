//! Settings of payments.

use crate::{
    calls::CallLimits,
    guard::Guard,
    handler::Payments,
    provider::Provider,
    retry::Retry,
    sandbox::Sandbox,
    stripe::{LinkError, Stripe, StripeSettings},
};
use chassis::{
    breaker::{Breaker, BreakerLimits},
    settings::{Environment, Secret, SettingError},
};
use harness::config::HistoryConfig;
use schemas::topics::Topic;
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
    /// Stripe, or what speaks like it, left alone while it fails.
    Stripe {
        /// How it is reached.
        link: StripeSettings,
        /// When it is left alone (`PAYMENT_BREAKER_WINDOW`, `PAYMENT_BREAKER_FEWEST`, `PAYMENT_BREAKER_FAILURES`,
        /// `PAYMENT_BREAKER_COOL_DOWN`, `PAYMENT_BREAKER_LONGEST`, `PAYMENT_BREAKER_PROBES`).
        breaker: BreakerLimits,
        /// Most calls under way, over all batches (`PAYMENT_IN_FLIGHT`).
        in_flight: usize,
    },
}

/// Why the service cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The sandbox's ledger.
    #[error("SANDBOX_DATABASE_URL: {0}")]
    Ledger(#[from] sqlx::Error),
    /// The way to Stripe.
    #[error(transparent)]
    Link(#[from] LinkError),
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
    /// When captures move to the history (`HISTORY_AFTER`, `HISTORY_ROWS`).
    pub history: HistoryConfig,
}

impl Settings {
    /// Reads them; every one has a default.
    ///
    /// # Errors
    /// A [`SettingError`] names the variable.
    pub fn read(environment: &Environment) -> Result<Self, SettingError> {
        let (limits, retry) = (CallLimits::default(), Retry::default());
        let timeout = positive(environment, "PAYMENT_CALL_TIMEOUT", limits.timeout)?;
        Ok(Self {
            history: HistoryConfig::from_environment(environment, &[Topic::PaymentCommands])?,
            provider: provider(environment, timeout)?,
            budget: positive(environment, "PAYMENT_CALL_BUDGET", Duration::from_millis(250))?,
            limits: CallLimits {
                concurrency: count(environment, "PAYMENT_CONCURRENCY", limits.concurrency)?,
                left_running: count(environment, "PAYMENT_LEFT_RUNNING", limits.left_running)?,
                timeout,
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
    /// A [`ServiceError`] names the setting that the provider cannot be made with.
    pub fn service(&self) -> Result<Payments, ServiceError> {
        let provider: Arc<dyn Provider> = match &self.provider {
            ProviderSettings::Sandbox { database_url, connections } => {
                Arc::new(Sandbox::connect(database_url.expose(), *connections)?)
            }
            ProviderSettings::Stripe { link, breaker, in_flight } => {
                let (seed, _) = chassis::ids::random().as_u64_pair();
                let breaker = Breaker::new(breaker.clone(), seed);
                Arc::new(Guard::new(Arc::new(Stripe::new(link)?), breaker, *in_flight))
            }
        };
        let payments = Payments::new(provider, self.limits.clone(), self.retry.clone(), self.budget);
        Ok(payments.with_history(self.history))
    }
}

fn provider(environment: &Environment, timeout: Duration) -> Result<ProviderSettings, SettingError> {
    let name = environment.text_or("PAYMENT_PROVIDER", "sandbox");
    match name.as_str() {
        "sandbox" => Ok(ProviderSettings::Sandbox {
            database_url: environment.secret_or(
                "SANDBOX_DATABASE_URL",
                "postgres://mambogo_sandbox:mambogo@127.0.0.1:25432/mambogo",
            ),
            connections: count(environment, "SANDBOX_CONNECTIONS", 8)?,
        }),
        "stripe" => Ok(ProviderSettings::Stripe {
            link: stripe(environment, timeout)?,
            breaker: breaker(environment)?,
            in_flight: count(environment, "PAYMENT_IN_FLIGHT", 256)?,
        }),
        _ => {
            Err(SettingError::Invalid { key: "PAYMENT_PROVIDER", value: name, expected: "sandbox or stripe" })
        }
    }
}

fn stripe(environment: &Environment, timeout: Duration) -> Result<StripeSettings, SettingError> {
    const KEY: &str = "STRIPE_SECRET_KEY";
    if environment.text(KEY).is_none() {
        let hint = "the account's secret key, sk_… or rk_…, from Stripe's dashboard";
        return Err(SettingError::Missing { key: KEY, hint });
    }
    Ok(StripeSettings {
        base_url: environment.text_or("STRIPE_BASE_URL", "https://api.stripe.com"),
        secret_key: environment.secret_or(KEY, ""),
        timeout,
    })
}

fn breaker(environment: &Environment) -> Result<BreakerLimits, SettingError> {
    let limits = BreakerLimits::default();
    let failures = count(environment, "PAYMENT_BREAKER_FAILURES", limits.failures)?;
    if failures > 100 {
        let value = failures.to_string();
        return Err(SettingError::Invalid {
            key: "PAYMENT_BREAKER_FAILURES",
            value,
            expected: "1 to 100 per cent",
        });
    }
    Ok(BreakerLimits {
        window: positive(environment, "PAYMENT_BREAKER_WINDOW", limits.window)?,
        fewest: count(environment, "PAYMENT_BREAKER_FEWEST", limits.fewest)?,
        failures,
        cool_down: positive(environment, "PAYMENT_BREAKER_COOL_DOWN", limits.cool_down)?,
        longest: positive(environment, "PAYMENT_BREAKER_LONGEST", limits.longest)?,
        probes: count(environment, "PAYMENT_BREAKER_PROBES", limits.probes)?,
    })
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
            ("PAYMENT_IN_FLIGHT", "0"),
            ("PAYMENT_BREAKER_FAILURES", "101"),
            ("PAYMENT_BREAKER_WINDOW", "0s"),
            ("STRIPE_SECRET_KEY", ""),
        ] {
            let stripe = [("PAYMENT_PROVIDER", "stripe"), ("STRIPE_SECRET_KEY", "sk_test_1")];
            let sandbox = key.starts_with("SANDBOX");
            let pairs: Vec<_> =
                stripe.into_iter().skip(if sandbox { 2 } else { 0 }).chain([(key, value)]).collect();
            let error = read(&pairs).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn stripe_is_made_of_its_settings_and_its_key_stays_hidden() {
        let pairs = [("PAYMENT_PROVIDER", "stripe"), ("STRIPE_SECRET_KEY", "sk_test_verysecret")];
        let settings = read(&pairs).unwrap();
        assert!(!format!("{settings:?}").contains("verysecret"));
        assert!(settings.service().is_ok());
        let bad = [pairs[0], pairs[1], ("STRIPE_BASE_URL", "http://api.stripe.com")];
        let error = read(&bad).unwrap().service().err().unwrap().to_string();
        assert!(error.contains("STRIPE_BASE_URL"), "{error}");
    }
}
