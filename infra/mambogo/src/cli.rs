//! What can be typed.

use crate::{
    audit::AuditArgs, bench::BenchArgs, dlq::DlqCommand, history::HistoryCommand, lanes::LanesCommand,
    load::LoadArgs, orders::OrdersCommand, roles::WorkerName,
};
use clap::{Parser, Subcommand};
use std::time::Duration;

/// An event-driven order pipeline on Apache Kafka. Settings come from the environment; `.env.example` lists them.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every role in this process: gateway, relay, and all workers
    All,
    /// Run the gateway: the public HTTP port
    Serve {
        /// Only these services (orders, inventory, payments, cart, catalog, webhooks), with commas between (`GATEWAY_SERVICES`)
        #[arg(long)]
        services: Option<String>,
    },
    /// Run workers; all of them, or those named
    Work {
        /// Which services
        #[arg(value_enum)]
        services: Vec<WorkerName>,
    },
    /// Run the relay: outbox rows to Kafka
    Relay,
    /// Run the auditor: compares the books of all services, all the time
    Auditor,
    /// Run the sandbox provider: Stripe's API with faults that are set while it runs (`STRIPE_BASE_URL=http://127.0.0.1:8090`)
    Provider,
    /// Create or update roles, schemas and tables (`ADMIN_DATABASE_URL`)
    Migrate,
    /// Create the topics (`KAFKA_PARTITIONS`, `KAFKA_REPLICATION`); refuses to change a partition count
    Topics,
    /// Fill the catalogue with generated products and their stock; a second run changes nothing
    Seed {
        /// How many products
        #[arg(long, default_value_t = 10_000)]
        products: u32,
        /// Another seed gives other names, prices and stock
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// So many units of each product in stock, instead of some of each
        #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
        stock: Option<i64>,
    },
    /// Print a bearer token for the local stack
    Token {
        /// Who the token is for
        #[arg(long)]
        user: String,
        /// What it allows beyond the user's own orders, e.g. inventory:write; repeat for more
        #[arg(long)]
        scope: Vec<String>,
        /// How long it is good for: 30m, 24h, 7d
        #[arg(long, value_parser = duration, default_value = "24h")]
        ttl: Duration,
    },
    /// Print the OpenAPI document of the gateway (`producers/gateway/openapi.json`)
    Openapi,
    /// Print the AsyncAPI document of the topics (`schemas/asyncapi.json`)
    Asyncapi,
    /// Show how far each consumer group is, by partition
    Lag {
        /// One JSON array instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Compare the books of all services: stock, money, what is stuck; exit code 1 when a promise is broken
    Audit(AuditArgs),
    /// See to orders that need a human: an effect of theirs failed for good
    Orders {
        #[command(subcommand)]
        command: OrdersCommand,
    },
    /// See to the history that settled orders move to: its months, and their leaving
    History {
        #[command(subcommand)]
        command: HistoryCommand,
    },
    /// See to records that are parked: rejected ones, and those that wait behind them
    Dlq {
        #[command(subcommand)]
        command: DlqCommand,
    },
    /// See to lanes whose database has lost commits (`infra/runbooks/failover.md`)
    Lanes {
        #[command(subcommand)]
        command: LanesCommand,
    },
    /// Run histories of all services in memory, with faults; prints the shortest script of one that breaks an invariant
    Sim {
        /// The first history's seed; the next one has the next. Drawn and printed when it is not given
        #[arg(long)]
        seed: Option<u64>,
        /// How many histories
        #[arg(long, default_value_t = 10_000)]
        histories: u64,
        /// Orders of each history
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=30))]
        orders: u8,
        /// What may go wrong: all, none, or any of crashes, zombies, relays, provider, poison, with commas between
        #[arg(long, default_value = "all")]
        faults: simulator::Faults,
        /// Plant a bug into what is modelled and see that it is found: fence, dedupe, floor, late-capture, waiter,
        /// redrive-order, seek, edge-trust; or `all` that random histories find, one after the other
        #[arg(long, conflicts_with = "exhaustive")]
        plant: Option<String>,
        /// Explore two orders and two products to the end instead: every order of steps, one or two faults anywhere
        #[arg(long)]
        exhaustive: bool,
        /// With --exhaustive: most states of one setup
        #[arg(long, default_value_t = 10_000_000)]
        states: u64,
    },
    /// Put load on a running system (`GATEWAY_ADDR`), measure what its clients see, and check what they were promised
    Load(LoadArgs),
    /// Measure the table of goals on a stack that stands (`make bench`): starts the roles itself
    Bench(BenchArgs),
    /// Print records as JSON lines, oldest first, outside every worker's group
    Replay {
        /// A topic such as order.events; repeat for more; `all` is every topic an order passes through
        #[arg(long, required = true)]
        topic: Vec<String>,
        /// Only what the log took in this time before now: 10m, 2h
        #[arg(long, value_parser = duration)]
        since: Option<Duration>,
        /// Only records of this key: an order id, a product id
        #[arg(long)]
        key: Option<String>,
    },
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    chassis::settings::parse_duration(text)
        .ok_or_else(|| format!("{text:?} is not a duration such as 250ms, 4s, 15m, 24h or 7d"))
}
