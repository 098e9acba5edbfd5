//! Puts the services together on what they stand on.

use crate::{config::GatewayConfig, readiness::Watched};
use axum::Router;
use catalog_api::Catalog;
use chassis::clock::Clock;
use ingress::{auth::Verifier, layers, log::Log, redis_link::RedisLink, wakeups::Wakeups};
use inventory_api::{Inventory, InventoryParts};
use orders_api::{Orders, OrdersParts};
use payments_api::{Payments, PaymentsParts};
use tokio_util::sync::CancellationToken;

/// What the process gives to the gateway.
#[derive(Clone)]
pub struct GatewayParts {
    /// The log: a started [`publisher::Publisher`] in an `Arc`.
    pub log: Log,
    /// The time.
    pub clock: Clock,
}

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `REDIS_URL` does not read.
    #[error("REDIS_URL does not read: {0}")]
    Redis(#[from] redis::RedisError),
    /// `EDGE_DATABASE_URL` does not read.
    #[error("EDGE_DATABASE_URL does not read: {0}")]
    Postgres(#[from] sqlx::Error),
}

/// The whole public surface, with the layers around it; what runs beside it ends with `stop`.
///
/// # Errors
/// [`StartError`].
pub fn router(
    config: GatewayConfig,
    parts: GatewayParts,
    stop: CancellationToken,
) -> Result<Router, StartError> {
    start(config, parts, stop).map(|(app, _)| app)
}

pub(crate) fn start(
    config: GatewayConfig,
    parts: GatewayParts,
    stop: CancellationToken,
) -> Result<(Router, Watched), StartError> {
    let GatewayParts { log, clock } = parts;
    let pool = config.pool.open()?;
    let redis = RedisLink::start(config.redis.clone(), stop.clone())?;
    let wakeups = Wakeups::new();
    wakeups.listen(&config.redis, &redis, stop.clone())?;
    let verifier = Verifier::new(&config.auth);

    let orders = OrdersParts {
        config: config.orders,
        verifier: verifier.clone(),
        log: log.clone(),
        pool: pool.clone(),
        redis: redis.clone(),
        wakeups,
        clock: clock.clone(),
    };
    let orders = Orders::start(orders, stop);
    let inventory = InventoryParts {
        config: config.inventory,
        verifier: verifier.clone(),
        log: log.clone(),
        pool: pool.clone(),
        redis: redis.clone(),
        clock: clock.clone(),
    };
    let payments = PaymentsParts {
        config: config.payments,
        verifier,
        log: log.clone(),
        orders: orders.clone(),
        redis: redis.clone(),
        clock,
    };
    let watched = Watched { log, pool: pool.clone(), redis, prices: orders.prices().clone() };
    let app = Router::new()
        .merge(orders_api::router(orders))
        .merge(inventory_api::router(Inventory::start(inventory)))
        .merge(payments_api::router(Payments::new(payments)))
        .merge(catalog_api::router(Catalog::start(pool)));
    Ok((layers::around(app), watched))
}
