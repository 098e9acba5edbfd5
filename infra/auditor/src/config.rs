//! Settings of the auditor.

use chassis::settings::{Environment, Secret, SettingError};
use std::time::Duration;

/// A service's database and its schema there.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Where the database is, with a role that may read all of the schema.
    pub url: Secret,
    /// The schema.
    pub schema: String,
}

/// Settings of [`crate::run`] and [`crate::Auditor`].
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// Orders' books.
    pub orders: SourceConfig,
    /// Inventory's.
    pub inventory: SourceConfig,
    /// Payments'.
    pub payments: SourceConfig,
    /// The built-in provider's ledger; none where another provider takes the money.
    pub ledger: Option<SourceConfig>,
    /// How often the role looks.
    pub tick: Duration,
    /// Most orders looked at in a second.
    pub rate: u32,
    /// Work in the background that took so long is followed by this many times the time without.
    pub pause: u32,
    /// How long a lane may take to hear what was sent to it, and an outbox to drain.
    pub patience: Duration,
}

const SERVICES: [&str; 3] = ["orders", "inventory", "payments"];

impl AuditConfig {
    /// All services' schemas in one database.
    #[must_use]
    pub fn new(database: &Secret) -> Self {
        let source = |schema: &str| SourceConfig { url: database.clone(), schema: schema.to_owned() };
        let [orders, inventory, payments] = SERVICES.map(source);
        Self {
            orders,
            inventory,
            payments,
            ledger: Some(source("sandbox")),
            tick: Duration::from_secs(1),
            rate: 2_000,
            pause: 1_000,
            patience: Duration::from_secs(60),
        }
    }

    /// Reads `AUDIT_MOVED` (services that have moved out of `database`: `service=URL`, separated by commas),
    /// `AUDIT_TICK` (1s), `AUDIT_RATE` (2000), `AUDIT_PAUSE` (1000), `AUDIT_PATIENCE` (60s), and whether `PAYMENT_PROVIDER` is the built-in
    /// `sandbox`, whose ledger is compared too.
    ///
    /// # Errors
    /// [`SettingError`] names the variable that does not read.
    pub fn from_environment(environment: &Environment, database: &Secret) -> Result<Self, SettingError> {
        let mut config = Self::new(database);
        if environment.text_or("PAYMENT_PROVIDER", "sandbox") != "sandbox" {
            config.ledger = None;
        }
        config.tick = environment.duration_or("AUDIT_TICK", config.tick)?.max(Duration::from_millis(10));
        config.rate = environment.parse_or("AUDIT_RATE", "a number of orders", config.rate)?.max(1);
        config.pause = environment.parse_or("AUDIT_PAUSE", "a number of times", config.pause)?;
        config.patience = environment.duration_or("AUDIT_PATIENCE", config.patience)?;
        for moved in environment.text_or("AUDIT_MOVED", "").split(',').filter(|text| !text.trim().is_empty())
        {
            config.move_out(moved)?;
        }
        Ok(config)
    }

    fn move_out(&mut self, text: &str) -> Result<(), SettingError> {
        // the rest may be a URL with a password: it is not shown
        let name = text.split('=').next().unwrap_or_default().trim();
        let wrong = || SettingError::Invalid {
            key: "AUDIT_MOVED",
            value: name.to_owned(),
            expected: "orders, inventory, payments or sandbox, each with =URL, separated by commas",
        };
        let (_, url) = text.split_once('=').ok_or_else(wrong)?;
        let source = match name {
            "orders" => &mut self.orders,
            "inventory" => &mut self.inventory,
            "payments" => &mut self.payments,
            "sandbox" => self.ledger.as_mut().ok_or_else(wrong)?,
            _ => return Err(wrong()),
        };
        source.url = Secret::new(url.trim());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<AuditConfig, SettingError> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        AuditConfig::from_environment(&Environment::of(pairs), &Secret::new("postgres://one"))
    }

    #[test]
    fn services_share_a_database_until_one_moves_out() {
        let config = read(&[("AUDIT_MOVED", "payments=postgres://two?a=b")]).unwrap();
        assert_eq!(config.orders.url.expose(), "postgres://one");
        assert_eq!(config.payments.url.expose(), "postgres://two?a=b");
        assert_eq!((config.payments.schema.as_str(), config.ledger.is_some()), ("payments", true));
        assert!(read(&[("PAYMENT_PROVIDER", "stripe")]).unwrap().ledger.is_none());
    }

    #[test]
    fn what_does_not_read_is_named_without_its_secret() {
        for (key, value) in
            [("AUDIT_MOVED", "cart=postgres://a:secret@b"), ("AUDIT_RATE", "all"), ("AUDIT_TICK", "often")]
        {
            let error = read(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(key) && !error.contains("secret"), "{error}");
        }
    }
}
