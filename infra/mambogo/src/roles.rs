//! Puts roles together into one process: telemetry, parts, run, exit.

use crate::{
    audit,
    config::{self, ProcessConfig},
};
use chassis::{
    clock::Clock,
    crash, descriptors,
    health::{self, Health},
    pooler,
    settings::Environment,
    signals, telemetry,
    wake::Wake,
};
use clap::ValueEnum;
use gateway::GatewayParts;
use harness::{
    config::{HistoryConfig, WorkerConfig},
    service::Service,
};
use publisher::{Publisher, PublisherConfig};
use schemas::topics::Topic;
use std::{collections::BTreeSet, error::Error, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// How long records that are on their way to Kafka are waited for when the process stops.
const FLUSH: Duration = Duration::from_secs(5);

type Failure = Box<dyn Error + Send + Sync>;
type Part = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Something a process can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Gateway,
    Relay,
    Auditor,
    Worker(WorkerName),
}

/// A consumer of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorkerName {
    Orders,
    Inventory,
    Payments,
    Status,
    Catalog,
    Webhooks,
}

/// Every role there is.
pub(crate) const ALL: [Role; 9] = [
    Role::Relay,
    Role::Worker(WorkerName::Orders),
    Role::Worker(WorkerName::Inventory),
    Role::Worker(WorkerName::Payments),
    Role::Worker(WorkerName::Status),
    Role::Worker(WorkerName::Catalog),
    Role::Worker(WorkerName::Webhooks),
    Role::Auditor,
    Role::Gateway,
];

/// The worker roles of those names; of all, when none is named.
pub(crate) fn workers(names: &[WorkerName]) -> Vec<Role> {
    let names = if names.is_empty() { WorkerName::value_variants() } else { names };
    names.iter().copied().map(Role::Worker).collect()
}

impl Role {
    /// The databases it works on, by the names of their roles there.
    fn databases(self) -> &'static [&'static str] {
        match self {
            Self::Gateway => &["edge", "catalog"],
            Self::Relay => &["relay"],
            Self::Auditor => &["audit"],
            Self::Worker(WorkerName::Orders) => &["orders"],
            Self::Worker(WorkerName::Inventory) => &["inventory"],
            Self::Worker(WorkerName::Payments) => &["payments", "sandbox"],
            Self::Worker(WorkerName::Status) => &[],
            Self::Worker(WorkerName::Catalog) => &["catalog"],
            Self::Worker(WorkerName::Webhooks) => &["webhooks"],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "gateway",
            Self::Relay => "relay",
            Self::Auditor => "auditor",
            Self::Worker(WorkerName::Orders) => "orders",
            Self::Worker(WorkerName::Inventory) => "inventory",
            Self::Worker(WorkerName::Payments) => "payments",
            Self::Worker(WorkerName::Status) => "status",
            Self::Worker(WorkerName::Catalog) => "catalog",
            Self::Worker(WorkerName::Webhooks) => "webhooks",
        })
    }
}

/// Runs the roles until a signal, or until one of them ends by itself: then all stop, and its error is returned.
pub(crate) async fn run(environment: &Environment, roles: &[Role]) -> Result<(), Failure> {
    let process = ProcessConfig::from_environment(environment)?;
    telemetry::start_logs(process.log_format, &process.log_filter);
    crash::arm(environment)?;
    let metrics = telemetry::start_metrics()?;
    let descriptors = descriptors::raise()?;
    check_databases(environment, roles).await?;
    let stop = signals::stop_on_signal()?;
    let health = Health::default();
    let management = listen("MANAGEMENT_ADDR", process.management).await?;
    let assembly =
        Assembly { environment, process: &process, health: &health, wake: Wake::default(), stop: &stop };
    let mut parts = JoinSet::new();
    for role in roles {
        let part = assembly.part(*role).await?;
        let role = *role;
        parts.spawn(async move { (role, part.await) });
    }
    let serve_health = health::serve(management, health.clone(), metrics, CancellationToken::new());
    let management = tokio::spawn(serve_health);
    let names: Vec<String> = roles.iter().map(ToString::to_string).collect();
    tracing::info!(roles = ?names, descriptors, "started");
    let outcome = wait(&mut parts, &stop).await;
    management.abort();
    tracing::info!("stopped");
    outcome
}

/// Fails when a pooler stands before one of them that we cannot work through.
async fn check_databases(environment: &Environment, roles: &[Role]) -> Result<(), Failure> {
    let names: BTreeSet<&str> = roles.iter().flat_map(|role| role.databases()).copied().collect();
    let mut checks = JoinSet::new();
    for name in names {
        let url = config::database(environment, name);
        checks.spawn(async move { (name, pooler::check(url.expose()).await) });
    }
    for (name, checked) in checks.join_all().await {
        checked.map_err(|error| format!("{}_DATABASE_URL: {error}", name.to_uppercase()))?;
    }
    Ok(())
}

async fn wait(
    parts: &mut JoinSet<(Role, Result<(), Failure>)>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let mut outcome = Ok(());
    while let Some(ended) = parts.join_next().await {
        let by_itself = !stop.is_cancelled();
        stop.cancel();
        let failure = match ended {
            Ok((role, Ok(()))) if by_itself => Some(format!("{role} ended by itself").into()),
            Ok((_, Ok(()))) => None,
            Ok((role, Err(error))) => Some(format!("{role}: {error}").into()),
            Err(panic) => Some(format!("a role panicked: {panic}").into()),
        };
        if let Some(failure) = failure {
            tracing::error!(error = %failure, "a role ended; stopping the others");
            outcome = outcome.and(Err(failure));
        }
    }
    outcome
}

/// Listens there; an error names the setting.
pub(crate) async fn listen(key: &'static str, address: std::net::SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}; set {key} to a free address"))
}

struct Assembly<'a> {
    environment: &'a Environment,
    process: &'a ProcessConfig,
    health: &'a Health,
    wake: Wake,
    stop: &'a CancellationToken,
}

impl Assembly<'_> {
    async fn part(&self, role: Role) -> Result<Part, Failure> {
        match role {
            Role::Gateway => self.gateway().await,
            Role::Relay => self.relay(),
            Role::Auditor => {
                let config = audit::settings(self.environment)?;
                let part = auditor::run(config, self.health.part("auditor"), self.stop.clone());
                Ok(Box::pin(async move {
                    part.await;
                    Ok(())
                }))
            }
            Role::Worker(WorkerName::Orders) => {
                let history = HistoryConfig::from_environment(self.environment, &[Topic::OrderCommands])?;
                self.worker(orders_worker::Orders::with_history(history))
            }
            Role::Worker(WorkerName::Inventory) => {
                let history = HistoryConfig::from_environment(self.environment, &[Topic::InventoryCommands])?;
                self.worker(inventory_worker::InventoryService::with_history(history))
            }
            Role::Worker(WorkerName::Payments) => {
                let settings = payments_worker::config::Settings::read(self.environment)?;
                self.worker(settings.service()?)
            }
            Role::Worker(WorkerName::Status) => {
                let config = status_worker::StatusConfig::from_environment(self.environment)?;
                let part = status_worker::run(config, self.health.part("status"), self.stop.clone());
                Ok(Box::pin(async move { Ok(part.await?) }))
            }
            Role::Worker(WorkerName::Catalog) => {
                let config = catalog_worker::CatalogWorkerConfig::from_environment(self.environment)?;
                let part = catalog_worker::run(config, self.health.part("catalog"), self.stop.clone());
                Ok(Box::pin(async move { Ok(part.await?) }))
            }
            Role::Worker(WorkerName::Webhooks) => {
                let config = webhooks_worker::WebhooksConfig::from_environment(self.environment)?;
                let part = webhooks_worker::run(config, self.health.part("webhooks"), self.stop.clone());
                Ok(Box::pin(async move { Ok(part.await?) }))
            }
        }
    }

    fn worker(&self, service: impl Service) -> Result<Part, Failure> {
        let group = service.group();
        let database = config::database(self.environment, group);
        let config = WorkerConfig::from_environment(self.environment, database)?;
        let part =
            harness::run(service, config, self.health.part(group), self.wake.clone(), self.stop.clone());
        Ok(Box::pin(async move { Ok(part.await?) }))
    }

    fn relay(&self) -> Result<Part, Failure> {
        let config = relay::RelayConfig::from_environment(self.environment)?;
        let part = relay::run(config, self.health.part("relay"), self.wake.clone(), self.stop.clone());
        Ok(Box::pin(async move { Ok(part.await?) }))
    }

    async fn gateway(&self) -> Result<Part, Failure> {
        let config = gateway::GatewayConfig::from_environment(self.environment)?;
        let listener = listen("GATEWAY_ADDR", self.process.gateway).await?;
        let publisher = PublisherConfig::from_environment(self.environment, "mambogo-gateway")?;
        let publisher = Arc::new(Publisher::start(publisher)?);
        let parts = GatewayParts { log: publisher.clone(), clock: Clock::steered() };
        let part = gateway::run(listener, config, parts, self.health.part("gateway"), self.stop.clone());
        Ok(Box::pin(async move {
            let served = part.await;
            // what was accepted is acknowledged by now; what is still queued was answered with 503
            publisher.flush(FLUSH).await;
            Ok(served?)
        }))
    }
}
