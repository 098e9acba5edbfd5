//! Order events → the status view in Redis, by order version, and a push to the gateways that wait.
//!
//! This worker has no lane and no database: a view carries its version, so writing an event twice, or after a newer
//! one, changes nothing. It commits to Kafka after the writes; what it lost or never saw (Redis emptied, a record it
//! could not read) comes back with the order's next event, and until then reads fall through to Postgres.

mod batch;
mod config;
pub mod metrics;
mod views;
mod write;

pub use config::StatusConfig;

use chassis::health::Part;
use follower::{FollowError, Following};
use schemas::topics::{STATUS_GROUP, Topic};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Why the worker ended before it was told to. An outage of Kafka or Redis is none: it waits them out.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// `REDIS_URL` is not a Redis URL.
    #[error("REDIS_URL: {0}")]
    RedisUrl(redis::RedisError),
    /// Nothing could be followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
}

/// Keeps the view up to date until `stop`, then finishes the batch in hand, commits and leaves the group.
/// Call it in a tokio runtime that lives until it returns.
///
/// # Errors
/// [`StatusError`] for settings that can never work, or a fault of ours.
pub async fn run(config: StatusConfig, part: Part, stop: CancellationToken) -> Result<(), StatusError> {
    let writer = write::Writer::new(&config)?;
    let following = Following {
        cluster: config.cluster,
        instance: config.instance,
        group: STATUS_GROUP,
        topics: &[Topic::OrderEvents],
        // clients wait for what it writes
        gathering: Duration::ZERO,
        target: "redis",
        counters: metrics::COUNTERS,
    };
    Ok(follower::run(following, writer, part, stop).await?)
}
