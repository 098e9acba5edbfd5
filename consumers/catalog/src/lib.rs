//! `inventory.events` and `catalog.events` → the stock that the catalogue shows, the products in Redis, and a word to
//! every gateway that holds one.
//!
//! This worker has no lane: everything it writes carries a version and is written by comparison, so what is read twice
//! changes nothing. It commits to Kafka when all of it is written. Stock is gathered for a while first, for a product
//! that sells well changes many times a second, and nobody reads each of them.

mod config;
mod heard;
mod metrics;
mod shelves;
mod store;
mod write;

pub use config::CatalogWorkerConfig;

use chassis::health::Part;
use follower::{FollowError, Following};
use schemas::topics::{CATALOG_GROUP, Topic};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long brokers gather what is heard: levels of stock wait for much longer before they are written, and a change of the
/// catalogue is not late by a twentieth of a second.
const GATHER: Duration = Duration::from_millis(50);

/// Why the worker ended before it was told to. An outage of Kafka, Postgres or Redis is none: it waits them out.
#[derive(Debug, thiserror::Error)]
pub enum CatalogWorkerError {
    /// `REDIS_URL` is not a Redis URL.
    #[error("REDIS_URL: {0}")]
    RedisUrl(#[from] redis::RedisError),
    /// Nothing could be followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
}

/// Follows the topics until `stop`. What is in hand then is left uncommitted, and read again by the next.
/// Call it in a tokio runtime that lives until it returns.
///
/// # Errors
/// [`CatalogWorkerError`] for settings that can never work, or a fault of ours.
pub async fn run(
    config: CatalogWorkerConfig,
    part: Part,
    stop: CancellationToken,
) -> Result<(), CatalogWorkerError> {
    let writer = write::Writer::new(&config)?;
    let following = Following {
        cluster: config.cluster,
        instance: config.instance,
        group: CATALOG_GROUP,
        topics: &[Topic::InventoryEvents, Topic::CatalogEvents],
        gathering: GATHER,
        target: "postgres and redis",
        counters: metrics::COUNTERS,
    };
    Ok(follower::run(following, writer, part, stop).await?)
}
