//! `order.events` → the https endpoints that clients have registered for their own orders.
//!
//! Two halves with a table between them. `intake` writes a row for each endpoint of an order's owner, once a version.
//! `deliver` sends what is due: signed, each order's events in order, again with growing pauses until the endpoint says
//! 2xx, at least once and under one id. No event is left out: one that is not taken for long disables its endpoint, and
//! says so to its owner. `outside` is the one way out, and checks where it leads.

mod config;
mod deliver;
mod intake;
mod metrics;
mod outside;
mod retry;
mod store;
mod told;

pub use config::WebhooksConfig;

use chassis::health::Part;
use follower::{FollowError, Following};
use schemas::topics::{Topic, WEBHOOKS_GROUP};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Why the worker ended before it was told to. An outage of Kafka or Postgres is none: it waits them out.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksError {
    /// The database's URL does not read.
    #[error("WEBHOOKS_DATABASE_URL: {0}")]
    Database(#[from] sqlx::Error),
    /// Nothing could be followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// No HTTP client could be made.
    #[error("the way out: {0}")]
    Client(#[from] reqwest::Error),
    /// The half that delivers panicked: a fault of ours.
    #[error("the webhooks' deliveries panicked")]
    Panicked,
}

/// Takes in and delivers until `stop`; calls that are under way then are waited for a while.
/// Call it in a tokio runtime that lives until it returns.
///
/// # Errors
/// [`WebhooksError`] for settings that can never work, or a fault of ours.
pub async fn run(config: WebhooksConfig, part: Part, stop: CancellationToken) -> Result<(), WebhooksError> {
    let stop = stop.child_token();
    // whoever drops this future stops both halves
    let stop_with_us = stop.clone().drop_guard();
    let wake = Arc::new(Notify::new());
    let deliverer = deliver::Deliverer::new(&config, wake.clone())?;
    let delivering = tokio::spawn(deliverer.deliver(stop.clone()));
    let intake = intake::Intake::new(config.database_url, wake);
    let following = Following {
        cluster: config.cluster,
        instance: config.instance,
        group: WEBHOOKS_GROUP,
        topics: &[Topic::OrderEvents],
        gathering: intake::GATHER,
        target: "postgres",
        counters: metrics::COUNTERS,
    };
    let outcome = follower::run(following, intake, part, stop).await;
    drop(stop_with_us);
    delivering.await.map_err(|_| WebhooksError::Panicked)?;
    Ok(outcome?)
}
