//! The one public port: composes the services' routers, watches what they stand on, and serves.

mod documents;
mod outside;
mod page;
mod parts;
mod readiness;
mod services;

pub mod config;
pub mod metrics;

pub use config::GatewayConfig;
pub use documents::{document, document_json};
pub use outside::Origins;
pub use parts::{GatewayParts, StartError, declared, router};
pub use services::{Service, Services};

use chassis::health::Part;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves the public port on `listener` until `stop`; then lets open requests end. `health` is this role's part.
///
/// The caller keeps the publisher and shuts it down afterwards.
///
/// # Errors
/// [`StartError`] when a setting does not read. What is merely away (Kafka, Postgres, Redis) is waited for, and said
/// in `health`.
pub async fn run(
    listener: TcpListener,
    config: GatewayConfig,
    parts: GatewayParts,
    health: Part,
    stop: CancellationToken,
) -> Result<(), StartError> {
    // what runs beside the endpoints goes on until the last request has ended
    let served = CancellationToken::new();
    let _served = served.clone().drop_guard();
    let limits = config.serve;
    let (app, watched) = parts::start(config, parts, served.clone())?;
    tokio::spawn(served.run_until_cancelled_owned(readiness::watch(watched, health.clone())));
    ingress::serve::serve(listener, app, limits, stop).await;
    health.not_ready("stopped");
    Ok(())
}
