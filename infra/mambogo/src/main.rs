//! `mambogo`: every role and every tool of the pipeline in one binary. Assembly only.

mod audit;
mod bench;
mod cli;
mod config;
mod dlq;
mod history;
mod lag;
mod lanes;
mod load;
mod orders;
mod provider;
mod roles;
mod seed;
mod setup;
mod sim;
mod tools;

use clap::Parser;
use std::process::ExitCode;

/// A record is a dozen small allocations, made on one thread and freed on another: the C library's allocator took a third
/// of the whole pipeline's time under load (loadtest/README.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match run(cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mambogo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: cli::Command) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    use cli::Command;
    let environment = chassis::settings::Environment::process();
    match command {
        Command::All => roles::run(&environment, &roles::ALL).await?,
        Command::Serve { services } => {
            let chosen = services.map(|services| environment.clone().with("GATEWAY_SERVICES", &services));
            roles::run(chosen.as_ref().unwrap_or(&environment), &[roles::Role::Gateway]).await?;
        }
        Command::Relay => roles::run(&environment, &[roles::Role::Relay]).await?,
        Command::Auditor => roles::run(&environment, &[roles::Role::Auditor]).await?,
        Command::Work { services } => roles::run(&environment, &roles::workers(&services)).await?,
        Command::Provider => provider::run(&environment).await?,
        Command::Migrate => setup::migrate(&environment).await?,
        Command::Topics => setup::topics(&environment).await?,
        Command::Seed { products, seed, stock } => setup::seed(&environment, products, seed, stock).await?,
        Command::Token { user, scope, ttl } => tools::token(&environment, &user, &scope, ttl)?,
        Command::Asyncapi => print!("{}", schemas::asyncapi::document_json()),
        Command::Openapi => print!("{}", gateway::document_json()?),
        Command::Audit(args) => audit::run(&environment, args).await?,
        Command::Orders { command } => orders::run(&environment, command).await?,
        Command::History { command } => history::run(&environment, command).await?,
        Command::Dlq { command } => dlq::run(&environment, command).await?,
        Command::Lanes { command } => lanes::run(&environment, command).await?,
        Command::Lag { json } => tools::lag(&environment, json).await?,
        Command::Sim { exhaustive: true, states, .. } => sim::explore(states)?,
        Command::Sim { seed, histories, orders, faults, plant, .. } => {
            sim::run(seed, histories, orders, faults, plant.as_deref())?;
        }
        Command::Bench(args) => bench::run(&environment, args).await?,
        Command::Load(args) => load::run(&environment, args).await?,
        Command::Replay { topic, since, key } => tools::replay(&environment, &topic, since, key).await?,
    }
    Ok(())
}
