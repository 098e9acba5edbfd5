//! Order events → the status view in Redis, by order version, and a push to the gateways that wait.
//!
//! This worker has no lane and no database: a view carries its version, so writing an event twice, or after a newer
//! one, changes nothing. It commits to Kafka after the writes; what it lost or never saw (Redis emptied, a record it
//! could not read) comes back with the order's next event, and until then reads fall through to Postgres.

mod batch;
mod config;
mod member;
pub mod metrics;
mod readiness;
mod views;
mod worker;

pub use config::StatusConfig;

use chassis::health::Part;
use tokio_util::sync::CancellationToken;

/// Why the worker ended before it was told to. An outage of Kafka or Redis is none: it waits them out.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// `REDIS_URL` is not a Redis URL.
    #[error("REDIS_URL: {0}")]
    RedisUrl(redis::RedisError),
    /// A consumer could not be made.
    #[error("kafka consumer: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// Its thread could not be started.
    #[error("starting the status thread: {0}")]
    Thread(#[from] std::io::Error),
    /// Its thread panicked: a fault of ours.
    #[error("the status thread panicked")]
    Panicked,
}

/// Keeps the view up to date until `stop`, then finishes the batch in hand, commits and leaves the group.
/// Call it in a tokio runtime that lives until it returns.
///
/// # Errors
/// [`StatusError`] for settings that can never work, or a fault of ours.
pub async fn run(config: StatusConfig, part: Part, stop: CancellationToken) -> Result<(), StatusError> {
    let stop = stop.child_token();
    // whoever drops this future stops the thread, too
    let _stop_with_us = stop.clone().drop_guard();
    let runtime = tokio::runtime::Handle::current();
    let (done, ended) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("status".to_owned()).spawn(move || {
        // nobody listens only when `run` was dropped
        let _ = done.send(worker::work(&config, part, &stop, &runtime));
    })?;
    ended.await.unwrap_or(Err(StatusError::Panicked))
}
