//! The whole surface of the payments service, and what its endpoints share.

use crate::{config::PaymentsConfig, refund, webhook};
use chassis::clock::Clock;
use ingress::{
    auth::PAYMENTS_REFUND,
    kept_keys::KeptKeys,
    log::Log,
    redis_link::RedisLink,
    surface::{Rule, Surface},
};
use orders_api::Orders;
use schemas::time::Timestamp;

/// The routes of the payments service. A webhook comes without a token: its signature says who sent it.
#[must_use]
pub fn surface() -> Surface<Payments> {
    let refunds = Rule::scope(PAYMENTS_REFUND);
    Surface::new().post("/api/payments/webhooks", Rule::signed(), webhook::webhook, webhook::about()).post(
        "/api/payments/{orderId}/refund",
        refunds,
        refund::refund,
        refund::about(),
    )
}

/// What the endpoints stand on.
#[derive(Clone)]
pub struct PaymentsParts {
    /// Settings.
    pub config: PaymentsConfig,
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
    pub(crate) log: Log,
    pub(crate) orders: Orders,
    pub(crate) keys: KeptKeys,
    pub(crate) clock: Clock,
}

impl Payments {
    /// The endpoints; nothing runs beside them.
    #[must_use]
    pub fn new(parts: PaymentsParts) -> Self {
        let PaymentsParts { config, log, orders, redis, clock } = parts;
        Self { config, log, orders, keys: KeptKeys::new(redis, "refund"), clock }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_millis())
    }
}
