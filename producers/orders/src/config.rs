//! Settings of the orders endpoints.

use chassis::settings::{Environment, SettingError};
use schemas::payment_methods;
use std::time::Duration;
use uuid::Uuid;

/// Shortest deadline of an order.
const MIN_DEADLINE: Duration = Duration::from_secs(1);
/// Time between claim and hand-over, and a reserve for scheduling: a lease is this much longer than a delivery may take.
pub const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// The publisher's default; see `KAFKA_DELIVERY_TIMEOUT`.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of the orders endpoints.
#[derive(Debug, Clone)]
pub struct OrdersConfig {
    /// Namespace of all ids of orders; never changed in a deployment's life.
    pub namespace: Uuid,
    /// How long an order may stay open.
    pub deadline: Duration,
    /// Whether the sandbox provider's own payment methods are taken.
    pub sandbox: bool,
    /// How long a claim is in flight: the publisher's delivery time-out and [`LEASE_MARGIN`].
    pub lease: Duration,
    /// How long a submit waits for its row where only the row can tell.
    pub row_patience: Duration,
    /// How long a read waits for the proof that an order is not there.
    pub absence_patience: Duration,
    /// How long a cancel waits for its verdict.
    pub cancel_patience: Duration,
    /// Most streams of order events at once, in all and for one caller.
    pub watchers: usize,
    /// See [`OrdersConfig::watchers`].
    pub watchers_each: usize,
    /// Longest time a stream is open; its reader comes again.
    pub watch_time: Duration,
    /// How often the price book is refreshed.
    pub price_refresh: Duration,
    /// Most orders that are being accepted at once. As many again wait for [`OrdersConfig::room_patience`]; for more there is a
    /// 503 at once.
    pub in_flight: usize,
    /// How long a submit waits while so many others are being accepted.
    pub room_patience: Duration,
}

impl OrdersConfig {
    /// Reads `DEPLOYMENT_NAMESPACE`, `ORDER_DEADLINE` (15m, at least 1s), `PAYMENT_PROVIDER` (sandbox),
    /// `KAFKA_DELIVERY_TIMEOUT` (5s, the publisher's own setting), `WATCH_STREAMS` (2000), `WATCH_STREAMS_PER_CALLER` (50),
    /// `WATCH_TIME` (5m), `PRICE_REFRESH` (1s) and `ORDERS_IN_FLIGHT` (5000).
    ///
    /// # Errors
    /// [`SettingError`].
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let deadline = environment.duration_or("ORDER_DEADLINE", Duration::from_secs(15 * 60))?;
        if deadline < MIN_DEADLINE {
            return Err(SettingError::Invalid {
                key: "ORDER_DEADLINE",
                value: format!("{deadline:?}"),
                expected: "at least 1s",
            });
        }
        let delivery = environment.duration_or("KAFKA_DELIVERY_TIMEOUT", DELIVERY_TIMEOUT)?;
        Ok(Self {
            namespace: ingress::config::namespace(environment)?,
            deadline,
            sandbox: environment.text_or("PAYMENT_PROVIDER", "sandbox") == "sandbox",
            lease: delivery.saturating_add(LEASE_MARGIN),
            row_patience: Duration::from_secs(5),
            absence_patience: Duration::from_secs(2),
            cancel_patience: Duration::from_millis(300),
            watchers: environment.parse_or("WATCH_STREAMS", "a number of streams", 2_000)?,
            watchers_each: environment.parse_or("WATCH_STREAMS_PER_CALLER", "a number of streams", 50)?,
            watch_time: environment.duration_or("WATCH_TIME", Duration::from_secs(5 * 60))?,
            price_refresh: environment.duration_or("PRICE_REFRESH", Duration::from_secs(1))?,
            room_patience: Duration::from_secs(1),
            in_flight: environment.parse_or("ORDERS_IN_FLIGHT", "a number of orders", 5_000_usize)?.max(1),
        })
    }

    /// Whether `method` is a way to pay here.
    #[must_use]
    pub fn takes(&self, method: &str) -> bool {
        payment_methods::REAL.contains(&method)
            || (self.sandbox && payment_methods::SANDBOX.contains(&method))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<OrdersConfig, SettingError> {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        OrdersConfig::from_environment(&Environment::of(pairs))
    }

    #[test]
    fn a_deadline_below_a_second_is_refused() {
        assert_eq!(of(&[]).unwrap().deadline, Duration::from_secs(900));
        assert_eq!(of(&[("ORDER_DEADLINE", "1s")]).unwrap().deadline, Duration::from_secs(1));
        assert!(of(&[("ORDER_DEADLINE", "999ms")]).unwrap_err().to_string().contains("ORDER_DEADLINE"));
    }

    #[test]
    fn the_lease_outlasts_a_delivery() {
        assert_eq!(of(&[("KAFKA_DELIVERY_TIMEOUT", "7s")]).unwrap().lease, Duration::from_secs(12));
    }

    #[test]
    fn sandbox_methods_are_for_the_sandbox() {
        let sandbox = payment_methods::SANDBOX[0];
        assert!(of(&[]).unwrap().takes(sandbox));
        let real = of(&[("PAYMENT_PROVIDER", "stripe")]).unwrap();
        assert!(!real.takes(sandbox) && real.takes("CREDIT_CARD") && !real.takes("credit_card"));
    }
}
