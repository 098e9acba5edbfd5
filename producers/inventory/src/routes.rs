//! The whole surface of the inventory service, and what its endpoints share.

use crate::{adjust, config::InventoryConfig, levels, read};
use chassis::clock::Clock;
use ingress::{
    auth::INVENTORY_WRITE,
    coalesce::{Bounds, Coalescer},
    downstream::Downstream,
    kept_keys::KeptKeys,
    log::Log,
    redis_link::RedisLink,
    surface::{Rule, Surface},
};
use schemas::ids::ProductId;
use sqlx::PgPool;

/// The routes of the inventory service.
#[must_use]
pub fn surface() -> Surface<Inventory> {
    let writes = Rule::scope(INVENTORY_WRITE);
    Surface::new().post("/api/inventory/adjustments", writes, adjust::adjust, adjust::about()).get(
        "/api/inventory/{productId}",
        Rule::caller(),
        levels::levels,
        levels::about(),
    )
}

/// What the endpoints stand on.
#[derive(Clone)]
pub struct InventoryParts {
    /// Settings.
    pub config: InventoryConfig,
    /// The log.
    pub log: Log,
    /// Postgres's breaker.
    pub postgres: Downstream,
    /// The pool of the role `mambogo_edge`.
    pub pool: PgPool,
    /// Redis.
    pub redis: RedisLink,
    /// The time.
    pub clock: Clock,
}

/// The inventory endpoints. Cheap to clone.
#[derive(Clone)]
pub struct Inventory {
    pub(crate) config: InventoryConfig,
    pub(crate) log: Log,
    pub(crate) levels: Coalescer<ProductId, Option<read::Levels>>,
    pub(crate) keys: KeptKeys,
    pub(crate) clock: Clock,
}

impl Inventory {
    /// Starts the coalesced reads beside the endpoints.
    #[must_use]
    pub fn start(parts: InventoryParts) -> Self {
        let InventoryParts { config, log, postgres, pool, redis, clock } = parts;
        let levels = Coalescer::start("stock", Bounds::default(), move |products: Vec<ProductId>| {
            let (pool, postgres) = (pool.clone(), postgres.clone());
            async move {
                let read = postgres.call(read::levels(&pool, &products)).await;
                read.map_err(|error| error.to_string())
            }
        });
        Self { config, log, levels, keys: KeptKeys::new(redis, "adjustment"), clock }
    }
}
