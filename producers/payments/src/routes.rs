//! The whole surface of the payments service, and what its endpoints share.

use crate::{config::PaymentsConfig, refund::refund, webhook::webhook};
use axum::{Router, extract::FromRef, routing::post};
use chassis::clock::Clock;
use ingress::{auth::Verifier, kept_keys::KeptKeys, log::Log, redis_link::RedisLink};
use orders_api::Orders;
use schemas::time::Timestamp;

/// The routes of the payments service. A webhook comes without a token: its signature says who sent it.
pub fn router(payments: Payments) -> Router {
    Router::new()
        .route("/api/payments/webhooks", post(webhook))
        .route("/api/payments/{orderId}/refund", post(refund))
        .with_state(payments)
}

/// What the endpoints stand on.
#[derive(Clone)]
pub struct PaymentsParts {
    /// Settings.
    pub config: PaymentsConfig,
    /// Checks tokens.
    pub verifier: Verifier,
    /// The log.
    pub log: Log,
    /// Who can prove that an order is there, or is not.
    pub orders: Orders,
    /// Redis.
    pub redis: RedisLink,
    /// The time.
    pub clock: Clock,
}

/// The payments endpoints. Cheap to clone.
#[derive(Clone)]
pub struct Payments {
    pub(crate) config: PaymentsConfig,
    pub(crate) verifier: Verifier,
    pub(crate) log: Log,
    pub(crate) orders: Orders,
    pub(crate) keys: KeptKeys,
    pub(crate) clock: Clock,
}

impl Payments {
    /// The endpoints; nothing runs beside them.
    #[must_use]
    pub fn new(parts: PaymentsParts) -> Self {
        let PaymentsParts { config, verifier, log, orders, redis, clock } = parts;
        Self { config, verifier, log, orders, keys: KeptKeys::new(redis, "refund"), clock }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_millis())
    }
}

impl FromRef<Payments> for Verifier {
    fn from_ref(payments: &Payments) -> Self {
        payments.verifier.clone()
    }
}
