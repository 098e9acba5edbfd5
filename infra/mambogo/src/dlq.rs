//! What operators do about parked records: look, redrive, discard. Reads the services' tables, and sends commands: the
//! lanes do the work and write down what came of it.

mod act;
mod edit;
mod history;
mod read;
mod show;

use crate::{cli::duration, config};
use chassis::{
    postgres::{self, SessionLimits},
    settings::Environment,
};
use clap::{Args, Subcommand};
use std::{path::PathBuf, time::Duration};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Show what is parked, by service, cause and key
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// Show one record, decoded, with why it is parked
    Show {
        /// orders, inventory or payments
        service: String,
        /// Its partition
        partition: i32,
        /// Its offset
        offset: i64,
    },
    /// Run parked records again, in place and in order; what waits behind them runs too
    Redrive {
        #[command(flatten)]
        act: Act,
        /// Run what this file holds instead of the one record selected: the output of `dlq show`, its `value` changed
        #[arg(long, value_name = "FILE")]
        edit: Option<PathBuf>,
    },
    /// Give parked records up; what waits behind them runs
    Discard(Act),
    /// Show what was done about parked records: who, when, what, and what came of it
    History {
        #[command(flatten)]
        of: history::Of,
    },
}

/// Which parked records.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Filter {
    /// Of this service: orders, inventory, payments
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// Of this cause, e.g. decode; without it all but those that only wait behind another
    #[arg(long)]
    pub(crate) cause: Option<String>,
    /// Of this key: an order id, a product id
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// In this partition
    #[arg(long)]
    pub(crate) partition: Option<i32>,
    /// At this offset of the partition
    #[arg(long, requires = "partition", requires = "service")]
    pub(crate) offset: Option<i64>,
    /// Parked in this time before now: 10m, 2h
    #[arg(long, value_parser = duration)]
    pub(crate) since: Option<Duration>,
    /// Of this message, e.g. CapturePayment
    #[arg(long)]
    pub(crate) step: Option<String>,
}

/// What to do to them.
#[derive(Debug, Args)]
pub(crate) struct Act {
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Who asks; written down with the action
    #[arg(long)]
    pub(crate) by: String,
    /// Why; written down with the action
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go on only if the selection is this one: the hash that a dry run printed
    #[arg(long)]
    pub(crate) selection: Option<String>,
    /// Most keys a second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rate: u32,
    /// How long to wait for what came of each step
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub(crate) wait: Duration,
}

pub(crate) async fn run(environment: &Environment, command: DlqCommand) -> Outcome {
    let audit = config::database(environment, "audit");
    let mut connection = postgres::connect(audit.expose(), "mambogo-dlq", SessionLimits::WORKER).await?;
    match command {
        DlqCommand::List { filter } => {
            print!("{}", show::table(&read::groups(&mut connection, &filter).await?));
        }
        DlqCommand::Show { service, partition, offset } => {
            let record = read::one(&mut connection, &service, partition, offset).await?;
            println!("{}", show::record(&record)?);
        }
        DlqCommand::Redrive { act, edit } => {
            let edit = edit.map(|file| edit::read(&file)).transpose()?;
            act::run(environment, &mut connection, act::What::Redrive(edit), act).await?;
        }
        DlqCommand::Discard(act) => act::run(environment, &mut connection, act::What::Discard, act).await?,
        DlqCommand::History { of } => {
            let actions = history::actions(&mut connection, &of).await?;
            print!("{}", history::text(&actions, of.json)?);
        }
    }
    Ok(())
}
