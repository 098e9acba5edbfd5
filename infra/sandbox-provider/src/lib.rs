//! A payment provider to test against: speaks Stripe's API as far as we use it, so that one client serves both.
//!
//! In reading order: what can be asked (`routes`), what an idempotency key does (`keys`), where the money is
//! (`ledger`), what goes wrong (`faults`), and what it tells by itself (`webhooks`). All of it is kept in memory,
//! bounded, and gone with the process. Chance comes from a seed, the key and how often it was called: the same calls meet the
//! same faults, in whatever order they come.

pub mod config;
mod desk;
pub mod faults;
mod form;
mod keys;
mod ledger;
mod objects;
mod routes;
mod webhooks;

pub use config::ProviderConfig;

use chassis::clock::Clock;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves until `stop`.
///
/// # Errors
/// When the listener fails, or webhooks cannot be sent for want of a client.
pub async fn serve(
    listener: TcpListener,
    config: ProviderConfig,
    clock: Clock,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let desk = Arc::new(desk::Desk::new(config, clock, stop.clone()).map_err(std::io::Error::other)?);
    axum::serve(listener, routes::routes(desk)).with_graceful_shutdown(stop.cancelled_owned()).await
}
