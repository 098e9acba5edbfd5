//! `inventory.events` and `catalog.events` → the stock that the catalogue shows, the products in Redis, and a word to
//! every gateway that holds one.
//!
//! This worker has no lane: everything it writes carries a version and is written by comparison, so what is read twice
//! changes nothing. It commits to Kafka when all of it is written. Stock is gathered for a while first, for a product
//! that sells well changes many times a second, and nobody reads each of them.

mod config;
mod follower;
mod heard;
mod metrics;
mod shelves;
mod store;
mod worker;

pub use config::CatalogWorkerConfig;

use chassis::health::Part;
use tokio_util::sync::CancellationToken;

/// Why the worker ended before it was told to. An outage of Kafka, Postgres or Redis is none: it waits them out.
#[derive(Debug, thiserror::Error)]
pub enum CatalogWorkerError {
    /// `REDIS_URL` is not a Redis URL.
    #[error("REDIS_URL: {0}")]
    RedisUrl(#[from] redis::RedisError),
    /// A consumer could not be made.
    #[error("kafka consumer: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// Its thread could not be started.
    #[error("starting the catalogue's thread: {0}")]
    Thread(#[from] std::io::Error),
    /// Its thread panicked: a fault of ours.
    #[error("the catalogue's thread panicked")]
    Panicked,
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
    let stop = stop.child_token();
    // whoever drops this future stops the thread, too
    let _stop_with_us = stop.clone().drop_guard();
    let runtime = tokio::runtime::Handle::current();
    let (done, ended) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("catalog".to_owned()).spawn(move || {
        // nobody listens only when `run` was dropped
        let _ = done.send(worker::work(&config, &part, &stop, &runtime));
    })?;
    ended.await.unwrap_or(Err(CatalogWorkerError::Panicked))
}
