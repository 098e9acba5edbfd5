//! The whole surface of the catalogue, and what its endpoints share.

use crate::{
    categories, change,
    config::CatalogConfig,
    create,
    databases::{self, Databases},
    hearing,
    level2::Level2,
    list,
    metrics::Levels,
    placed::{ByPlace, Placed},
    product::{self, Product},
    products::Products,
    read::{self, Category},
    shelf::Shelf,
    store::Writer,
    wanted::Wanted,
};
use chassis::clock::Clock;
use ingress::{
    auth::CATALOG_WRITE,
    coalesce::{Bounds, Coalescer},
    downstream::Downstream,
    log::Log,
    redis_link::{RedisConfig, RedisLink},
    surface::{Rule, Surface},
};
use schemas::ids::ProductId;
use sqlx::PgPool;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The routes of the catalogue.
#[must_use]
pub fn surface() -> Surface<Catalog> {
    Surface::new()
        .get("/api/products", Rule::public(), list::list, list::about())
        .get("/api/products/{id}", Rule::public(), product::product, product::about())
        .put("/api/products/{id}", Rule::scope(CATALOG_WRITE), create::create, create::about())
        .patch("/api/products/{id}", Rule::scope(CATALOG_WRITE), change::change, change::about())
        .get("/api/categories", Rule::public(), categories::categories, categories::about())
}

/// What the catalogue stands on.
pub struct CatalogParts {
    /// Its settings.
    pub config: CatalogConfig,
    /// The primary, as [`crate::pool`] opens it.
    pub pool: PgPool,
    /// The breaker around the primary's reads.
    pub primary: Downstream,
    /// The breaker around the replica's, where there is one.
    pub replica: Downstream,
    /// Redis.
    pub redis: RedisLink,
    /// The same again, for the channel on which changes are heard.
    pub redis_config: RedisConfig,
    /// The log, for its number of partitions.
    pub log: Log,
    /// The time.
    pub clock: Clock,
}

/// Why the catalogue could not start.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// `REDIS_URL` does not read.
    #[error("REDIS_URL does not read: {0}")]
    Redis(#[from] redis::RedisError),
    /// A database's URL does not read.
    #[error("CATALOG_REPLICA_URL or CATALOG_DATABASE_URL does not read: {0}")]
    Postgres(#[from] sqlx::Error),
}

/// The catalogue endpoints. Cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    pub(crate) pages: ByPlace<Wanted, Vec<Product>>,
    pub(crate) products: Products,
    pub(crate) categories: Coalescer<(), Arc<Vec<Category>>>,
    pub(crate) writer: Option<Writer>,
}

impl Catalog {
    /// Starts what runs beside the endpoints; it ends with `stop`. Nothing needs to be there yet.
    ///
    /// # Errors
    /// [`CatalogError`] for a URL that does not read.
    pub fn start(parts: CatalogParts, stop: CancellationToken) -> Result<Self, CatalogError> {
        let CatalogParts { config, pool, primary, replica: of_replica, redis, redis_config, log, clock } =
            parts;
        let shelf = Arc::new(Shelf::new());
        hearing::listen(shelf.clone(), &redis_config, &redis, clock.clone(), stop.clone())?;
        let primary = (pool, primary);
        let databases = match &config.replica {
            Some(replica) => {
                let replica = (databases::pool(replica)?, of_replica);
                Databases::two(primary, replica, config.max_lag, stop)
            }
            None => Databases::one(primary),
        };
        let writer = config.writer.map(|writer| writer.open()).transpose()?;
        Ok(Self {
            pages: ByPlace::start(["catalog_pages", "catalog_pages_after"], |name| {
                read_pages(name, databases.clone())
            }),
            products: Products {
                shelf,
                level2: Level2::new(redis),
                database: ByPlace::start(["catalog_products", "catalog_products_after"], |name| {
                    read_products(name, databases.clone())
                }),
                clock: clock.clone(),
                counts: Levels::new(),
            },
            categories: read_categories(databases),
            writer: writer.map(|pool| Writer { pool, log, clock }),
        })
    }
}

fn read_products(name: &'static str, databases: Databases) -> Coalescer<Placed<ProductId>, Option<Product>> {
    Coalescer::start(name, Bounds::default(), move |asked: Vec<Placed<ProductId>>| {
        let databases = databases.clone();
        async move {
            let ids: Arc<[Uuid]> = asked.iter().map(|(id, _)| id.0).collect();
            let after = asked.iter().filter_map(|(_, after)| *after).max();
            let read = databases.read(after, |pool| {
                let ids = ids.clone();
                async move { read::products(&pool, &ids).await }
            });
            read.await.map_err(|error| error.to_string())
        }
    })
}

fn read_categories(databases: Databases) -> Coalescer<(), Arc<Vec<Category>>> {
    Coalescer::start("catalog_categories", Bounds::default(), move |asked: Vec<()>| {
        let databases = databases.clone();
        async move {
            let read = databases.read(None, |pool| async move { read::categories(&pool).await });
            let all = Arc::new(read.await.map_err(|error| error.to_string())?);
            Ok(vec![all; asked.len()])
        }
    })
}

fn read_pages(name: &'static str, databases: Databases) -> Coalescer<Placed<Wanted>, Vec<Product>> {
    // each page is a query of its own; what is shared is the bound on how many run
    let bounds = Bounds { batch: 1, concurrent: 8, queue: 1_000, ..Bounds::default() };
    Coalescer::start(name, bounds, move |asked: Vec<Placed<Wanted>>| {
        let databases = databases.clone();
        async move {
            let mut pages = Vec::with_capacity(asked.len());
            for (wanted, after) in asked {
                let wanted = Arc::new(wanted);
                let read = databases.read(after, |pool| {
                    let wanted = wanted.clone();
                    async move { read::page(&pool, &wanted).await }
                });
                pages.push(read.await.map_err(|error| error.to_string())?);
            }
            Ok(pages)
        }
    })
}
