//! The sandbox provider as a process of its own.

use crate::{config::ProcessConfig, roles::listen};
use chassis::{clock::Clock, settings::Environment, signals, telemetry};
use sandbox_provider::ProviderConfig;
use std::error::Error;

/// Serves until a signal.
pub(crate) async fn run(environment: &Environment) -> Result<(), Box<dyn Error + Send + Sync>> {
    let process = ProcessConfig::from_environment(environment)?;
    telemetry::start_logs(process.log_format, &process.log_filter);
    let config = ProviderConfig::from_environment(environment)?;
    let stop = signals::stop_on_signal()?;
    let listener = listen("SANDBOX_PROVIDER_ADDR", config.address).await?;
    tracing::info!(address = %config.address, seed = config.seed, webhooks = config.webhook_url, "the sandbox provider listens");
    sandbox_provider::serve(listener, config, Clock::system(), stop).await?;
    Ok(())
}
