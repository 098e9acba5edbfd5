//! Puts the services together on what they stand on.

use crate::{
    config::GatewayConfig,
    documents::{self, Texts},
    outside,
    readiness::Watched,
    services::{Service, Services},
};
use axum::Router;
use cart_api::{CartLink, CartParts, Carts};
use catalog_api::{Catalog, CatalogError, CatalogParts};
use chassis::clock::Clock;
use ingress::{
    auth::{KeysError, Verifier},
    background::Background,
    downstream::{self, Downstream},
    guard::Guard,
    layers,
    limit::Limiter,
    log::Log,
    log_breaker::LogBreaker,
    redis_link::RedisLink,
    response_cache::ResponseCache,
    shed::Shedder,
    surface::{Declared, Surface},
    wakeups::Wakeups,
};
use inventory_api::{Inventory, InventoryParts};
use orders_api::{Orders, OrdersParts};
use payments_api::{Payments, PaymentsParts};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use webhooks_api::{Webhooks, WebhooksParts};

/// Longest wait for an answer about offsets: beyond the client's own.
const KAFKA_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for a read: beyond the server's own limit, for one that says nothing at all.
const POSTGRES_LIMIT: Duration = Duration::from_millis(2_500);

/// What is the same for everybody, and asked for again and again. A single product has caches of its own.
const KEPT_FOR_ALL: &[&str] = &["/api/products", "/api/categories"];

/// What the process gives to the gateway.
#[derive(Clone)]
pub struct GatewayParts {
    /// The log: a started [`publisher::Publisher`] in an `Arc`.
    pub log: Log,
    /// The time; a steered clock goes by the database's.
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
    /// An address of the catalogue does not read.
    #[error("{0}")]
    Catalog(#[from] CatalogError),
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
        webhooks_api::surface().declared().to_vec(),
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
    let (kafka, postgres) =
        (Downstream::new("kafka", KAFKA_LIMIT), Downstream::new("postgres", POSTGRES_LIMIT));
    // of their own: what the catalogue's searches suffer is not what stock levels do, or orders
    let orders_postgres = Downstream::new("orders-postgres", POSTGRES_LIMIT);
    let (primary, replica) = (
        Downstream::new("catalog-primary", POSTGRES_LIMIT),
        Downstream::new("catalog-replica", POSTGRES_LIMIT),
    );
    let log: Log = Arc::new(LogBreaker::new(log, kafka.clone()));
    let pool = config.pool.open()?;
    let redis = RedisLink::start(config.redis.clone(), stop.clone())?;
    let wakeups = Wakeups::new();
    wakeups.listen(&config.redis, &redis, stop.clone())?;
    let verifier = Verifier::start(&config.auth, stop.clone())?.by(clock.clone());

    let of_limits =
        Downstream::new("redis", config.limits.as_ref().map_or(Duration::ZERO, |limits| limits.patience));
    let limiter = config.limits.map(|limits| Limiter::start(limits, redis.clone(), of_limits.clone()));
    let shedder = config.shedding.map(|shedding| Shedder::new(shedding, log.clone()));
    if let Some(shedder) = shedder.clone() {
        tokio::spawn(stop.clone().run_until_cancelled_owned(shedder.watch()));
    }
    let guard = Guard::new(verifier).with_limits(limiter).with_shedding(shedder);

    let orders = OrdersParts {
        config: config.orders,
        log: log.clone(),
        pool: pool.clone(),
        postgres: orders_postgres.clone(),
        redis: redis.clone(),
        wakeups,
        clock: clock.clone(),
    };
    let orders = Orders::start(orders, stop.clone());
    let inventory = InventoryParts {
        config: config.inventory,
        postgres: postgres.clone(),
        log: log.clone(),
        pool: pool.clone(),
        redis: redis.clone(),
        clock: clock.clone(),
    };
    let cart = CartParts {
        link: CartLink::start(&config.cart, redis.clone(), stop.clone())?,
        config: config.cart,
        clock: clock.clone(),
        orders: orders.clone(),
    };
    let catalog = CatalogParts {
        config: config.catalog,
        pool: catalog_api::pool(&config.pool)?,
        primary: primary.clone(),
        replica: replica.clone(),
        redis: redis.clone(),
        redis_config: config.redis,
        log: log.clone(),
        clock: clock.clone(),
    };
    let payments = PaymentsParts {
        config: config.payments,
        log: log.clone(),
        orders: orders.clone(),
        redis: redis.clone(),
        clock: clock.clone(),
    };
    let webhooks = WebhooksParts { config: config.webhooks, postgres: postgres.clone(), pool: pool.clone() };
    let watched = Watched { log, pool, redis, prices: orders.prices().clone(), clock: clock.clone() };
    let mut surface = composed(
        &config.services,
        [
            (Service::Orders, orders_api::surface().with_state(orders)),
            (Service::Inventory, inventory_api::surface().with_state(Inventory::start(inventory))),
            (Service::Payments, payments_api::surface().with_state(Payments::new(payments))),
            (Service::Cart, cart_api::surface().with_state(Carts::new(cart))),
            (Service::Catalog, catalog_api::surface().with_state(Catalog::start(catalog, stop)?)),
            (Service::Webhooks, webhooks_api::surface().with_state(Webhooks::new(webhooks))),
        ],
    )
    .merge(documents::surface().with_state(Texts::make()?));
    if let Some(cache) = config.response_cache {
        let background = Background::start("edge", config.background);
        let cache = ResponseCache::new(cache, KEPT_FOR_ALL, background, clock.clone());
        surface = surface.around(|routes| cache.around(routes));
    }
    let downstreams = [of_limits, kafka, postgres, orders_postgres, primary, replica];
    let app = downstream::told(surface.guarded(guard), downstreams.into());
    Ok((layers::around(outside::dressed(app, &config.origins)), watched))
}

/// The surfaces of the services that are wanted here.
fn composed(wanted: &Services, all: [(Service, Surface); 6]) -> Surface {
    let chosen = all.into_iter().filter(|(service, _)| wanted.has(*service));
    chosen.fold(Surface::new(), |surface, (_, one)| surface.merge(one))
}
