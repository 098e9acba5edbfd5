//! Puts the services together on what they stand on.

use crate::{
    config::GatewayConfig,
    documents::{self, Texts},
    readiness::Watched,
};
use axum::Router;
use cart_api::{CartLink, CartParts, Carts};
use catalog_api::Catalog;
use chassis::clock::Clock;
use ingress::{
    auth::{KeysError, Verifier},
    guard::Guard,
    layers,
    limit::Limiter,
    log::Log,
    redis_link::RedisLink,
    shed::Shedder,
    surface::{Declared, Surface},
    wakeups::Wakeups,
};
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
    /// `REDIS_URL`, `CART_REDIS_URL` or `CART_REDIS_CLUSTER_URLS` does not read.
    #[error("REDIS_URL, or where carts are kept, does not read: {0}")]
    Redis(#[from] redis::RedisError),
    /// `JWKS_URL` is none that keys may come from.
    #[error("{0}")]
    Keys(#[from] KeysError),
    /// `EDGE_DATABASE_URL` does not read.
    #[error("EDGE_DATABASE_URL does not read: {0}")]
    Postgres(#[from] sqlx::Error),
    /// The API's own document cannot be written.
    #[error("the OpenAPI document cannot be written: {0}")]
    Document(#[from] serde_json::Error),
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

/// Every route of the public port, with its rule.
#[must_use]
pub fn declared() -> Vec<Declared> {
    let all = [
        orders_api::surface().declared().to_vec(),
        inventory_api::surface().declared().to_vec(),
        payments_api::surface().declared().to_vec(),
        cart_api::surface().declared().to_vec(),
        catalog_api::surface().declared().to_vec(),
        documents::surface().declared().to_vec(),
    ];
    all.concat()
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
    let verifier = Verifier::start(&config.auth, stop.clone())?;

    let limiter = config.limits.map(|limits| Limiter::start(limits, redis.clone()));
    let shedder = config.shedding.map(|shedding| Shedder::new(shedding, log.clone()));
    if let Some(shedder) = shedder.clone() {
        tokio::spawn(stop.clone().run_until_cancelled_owned(shedder.watch()));
    }
    let guard = Guard::new(verifier).with_limits(limiter).with_shedding(shedder);

    let orders = OrdersParts {
        config: config.orders,
        log: log.clone(),
        pool: pool.clone(),
        redis: redis.clone(),
        wakeups,
        clock: clock.clone(),
    };
    let orders = Orders::start(orders, stop.clone());
    let inventory = InventoryParts {
        config: config.inventory,
        log: log.clone(),
        pool: pool.clone(),
        redis: redis.clone(),
        clock: clock.clone(),
    };
    let cart = CartParts {
        link: CartLink::start(&config.cart, redis.clone(), stop)?,
        config: config.cart,
        clock: clock.clone(),
        orders: orders.clone(),
    };
    let payments = PaymentsParts {
        config: config.payments,
        log: log.clone(),
        orders: orders.clone(),
        redis: redis.clone(),
        clock,
    };
    let watched = Watched { log, pool: pool.clone(), redis, prices: orders.prices().clone() };
    let surface = Surface::new()
        .merge(orders_api::surface().with_state(orders))
        .merge(inventory_api::surface().with_state(Inventory::start(inventory)))
        .merge(payments_api::surface().with_state(Payments::new(payments)))
        .merge(cart_api::surface().with_state(Carts::new(cart)))
        .merge(catalog_api::surface().with_state(Catalog::start(pool)))
        .merge(documents::surface().with_state(Texts::make()?));
    Ok((layers::around(surface.guarded(guard)), watched))
}
