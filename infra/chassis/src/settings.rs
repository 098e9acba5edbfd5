//! Settings from the environment, read once, in final types. Every error names the variable.

use std::{fmt, str::FromStr, time::Duration};

/// Why a setting could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No value, and there is no default.
    #[error("{key} is not set: {hint}")]
    Missing {
        /// The variable.
        key: &'static str,
        /// What to set it to.
        hint: &'static str,
    },
    /// A value that does not read.
    #[error("{key}={value:?} is not {expected}")]
    Invalid {
        /// The variable.
        key: &'static str,
        /// What it holds (`***` for a secret).
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// Where settings come from: the process's environment, or a test's list.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    overrides: Vec<(String, String)>,
    isolated: bool,
}

impl Environment {
    /// The process's environment.
    #[must_use]
    pub fn process() -> Self {
        Self::default()
    }

    /// Only these pairs; the process's environment is not looked at.
    #[must_use]
    pub fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { overrides: pairs.into_iter().collect(), isolated: true }
    }

    /// The same with `key` set to `value`.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.overrides.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The text of `key`; an empty one counts as unset.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the edge of the process")]
    pub fn text(&self, key: &str) -> Option<String> {
        let own = self.overrides.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        let found = if self.isolated { own } else { own.or_else(|| std::env::var(key).ok()) };
        found.filter(|value| !value.is_empty())
    }

    /// The text of `key`, or `default`.
    #[must_use]
    pub fn text_or(&self, key: &str, default: &str) -> String {
        self.text(key).unwrap_or_else(|| default.to_owned())
    }

    /// A value that reads by `FromStr`, or `default`.
    ///
    /// # Errors
    /// [`SettingError::Invalid`] when it does not read; `expected` says what it should be.
    pub fn parse_or<T: FromStr>(
        &self,
        key: &'static str,
        expected: &'static str,
        default: T,
    ) -> Result<T, SettingError> {
        match self.text(key) {
            None => Ok(default),
            Some(value) => value.trim().parse().map_err(|_| SettingError::Invalid { key, value, expected }),
        }
    }

    /// A duration such as `250ms`, `4s`, `15m`, `24h`, `7d`, or `default`.
    ///
    /// # Errors
    /// [`SettingError::Invalid`] for any other form.
    pub fn duration_or(&self, key: &'static str, default: Duration) -> Result<Duration, SettingError> {
        match self.text(key) {
            None => Ok(default),
            Some(value) => parse_duration(&value).ok_or(SettingError::Invalid {
                key,
                value,
                expected: "a duration such as 250ms, 4s, 15m, 24h or 7d",
            }),
        }
    }

    /// A secret, or `default`.
    #[must_use]
    pub fn secret_or(&self, key: &str, default: &str) -> Secret {
        Secret(self.text_or(key, default))
    }
}

/// Reads `250ms`, `4s`, `15m`, `24h`, `7d`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// A value that never shows itself: prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_in_each_unit_and_nothing_else() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("4s"), Some(Duration::from_secs(4)));
        assert_eq!(parse_duration("15m"), Some(Duration::from_secs(900)));
        assert_eq!(parse_duration("24h"), Some(Duration::from_secs(86_400)));
        for bad in ["", "4", "s", "-4s", "4 s", "1.5s", "99999999999999999999d", "18446744073709551615d"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_error_names_the_variable_and_a_secret_stays_hidden() {
        let environment = Environment::of([("ORDER_DEADLINE".to_owned(), "soon".to_owned())]);
        let error = environment.duration_or("ORDER_DEADLINE", Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("ORDER_DEADLINE=\"soon\""), "{error}");
        assert_eq!(format!("{:?} {}", Secret::new("x"), Secret::new("x")), "*** ***");
    }
}
