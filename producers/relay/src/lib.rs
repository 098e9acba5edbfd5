//! Outbox rows to Kafka: in sequence, without a hole, deleted once acknowledged.
//!
//! The truth stays in Postgres: whatever fails here, a lane begins anew at its first row not deleted, and consumers
//! drop what they have seen. [`plan`] decides what is sent and deleted; the rest of the crate does what it says.

pub mod config;
pub mod plan;

mod bell;
mod covers;
mod desk;
mod halts;
mod leases;
mod listen;
pub mod metrics;
mod pause;
mod readiness;
mod sending;
mod source;
mod store;

pub use config::{RelayConfig, SourceConfig};

use bell::Bell;
use chassis::{health::Part, wake::Wake};
use covers::Covers;
use readiness::Readiness;
use source::SourceRelay;
use std::sync::Arc;
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Why a relay could not start.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The settings name no source.
    #[error("RELAY_SOURCES names no schema")]
    NoSource,
    /// librdkafka refuses the settings.
    #[error("the relay's producer: {0}")]
    Publisher(#[from] publisher::PublishError),
    /// A database URL that does not read.
    #[error("the database of source {schema}: {error}")]
    Database {
        /// The source's schema.
        schema: String,
        /// What is wrong.
        error: sqlx::Error,
    },
}

/// Sends every source's outbox until `stop`; then sends what is in flight, deletes what is acknowledged, and gives
/// its lanes back. Each source has a loop, a producer and connections of its own, so that one in trouble holds up
/// no other.
///
/// # Errors
/// [`RelayError`] for settings it cannot start with. Whatever fails later is waited for; `part` says so.
pub async fn run(
    config: RelayConfig,
    part: Part,
    wake: Wake,
    stop: CancellationToken,
) -> Result<(), RelayError> {
    if config.sources.is_empty() {
        return Err(RelayError::NoSource);
    }
    let readiness = Readiness::new(part, config.sources.iter().map(|source| source.schema.clone()));
    let config = Arc::new(config);
    let covers = Covers::new(wake.clone(), config.sources.len());
    let mut loops = JoinSet::new();
    let mut bells = Vec::new();
    for (index, of) in config.sources.iter().enumerate() {
        let notify = Arc::new(Notify::new());
        bells.push(Bell { url: of.url.clone(), schema: of.schema.clone(), notify: notify.clone() });
        let relay = SourceRelay::start(&config, of, readiness.of(&of.schema), covers.of(index), notify)?;
        loops.spawn(relay.run(stop.clone()));
    }
    let mut ears = listen::spawn(&bells, &stop);
    ears.spawn(pass_on(wake, bells, stop));
    while loops.join_next().await.is_some() {}
    ears.shutdown().await;
    Ok(())
}

/// Rings for the workers that share the process.
async fn pass_on(wake: Wake, bells: Vec<Bell>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            grown = wake.wait() => grown.into_iter().for_each(|schema| bell::ring(&bells, schema)),
        }
    }
}
