//! The whole surface of the inventory service, and what its endpoints share.

use crate::{adjust, config::InventoryConfig, desk::Desk, levels, read, release, reserve};
use chassis::{breaker::Breaker, clock::Clock};
use ingress::{
    auth::{INVENTORY_RESERVE, INVENTORY_WRITE},
    coalesce::{Bounds, Coalescer},
    downstream::Downstream,
    kept_keys::KeptKeys,
    log::Log,
    redis_link::RedisLink,
    surface::{Rule, Surface},
};
use schemas::{ids::ProductId, time::Timestamp};
use sqlx::PgPool;

/// The routes of the inventory service.
#[must_use]
pub fn surface() -> Surface<Inventory> {
    let (writes, reserves) = (Rule::scope(INVENTORY_WRITE), Rule::scope(INVENTORY_RESERVE));
    Surface::new()
        .post("/api/inventory/adjustments", writes, adjust::adjust, adjust::about())
        .post("/api/inventory/reserve", reserves, reserve::reserve, reserve::about())
        .delete("/api/inventory/reserve/{id}", reserves, release::release, release::about())
        .get("/api/inventory/{productId}", Rule::caller(), levels::levels, levels::about())
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
    pub(crate) reserves: KeptKeys,
    pub(crate) desk: Desk,
    pub(crate) clock: Clock,
}

impl Inventory {
    /// Starts the coalesced reads beside the endpoints.
    #[must_use]
    pub fn start(parts: InventoryParts) -> Self {
        let InventoryParts { config, log, postgres, pool, redis, clock } = parts;
        // another seed for each process: they do not probe all at once
        let seed = chassis::ids::random().as_u64_pair().1;
        let breaker = Breaker::new(config.breaker.clone(), seed);
        let desk = Desk::start(log.clone(), pool.clone(), breaker, config.reserve_patience);
        let levels = Coalescer::start("stock", Bounds::default(), move |products: Vec<ProductId>| {
            let (pool, postgres) = (pool.clone(), postgres.clone());
            async move {
                let read = postgres.call(read::levels(&pool, &products)).await;
                read.map_err(|error| error.to_string())
            }
        });
        let (keys, reserves) = (KeptKeys::new(redis.clone(), "adjustment"), KeptKeys::new(redis, "reserve"));
        Self { config, log, levels, keys, reserves, desk, clock }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_millis())
    }
}
