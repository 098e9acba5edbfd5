//! What operators do about orders that need a human: see which, and have what failed for good tried again. Reads the
//! orders service's tables, and sends commands: its lane does the work and writes down who asked and what came of it.

mod read;
mod retry;

use crate::{cli::duration, config};
use chassis::{
    postgres::{self, SessionLimits},
    settings::Environment,
};
use clap::{Args, Subcommand};
use read::Needing;
use schemas::ids::{EffectId, OrderId};
use std::{fmt::Write, time::Duration};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Debug, Subcommand)]
pub(crate) enum OrdersCommand {
    /// Show which orders need a human: an effect of theirs (a refund) failed for good
    NeedsHuman {
        /// JSON lines instead of a table, with every action so far
        #[arg(long)]
        json: bool,
    },
    /// Try again what failed for good of an order, under its own id; the same failure is tried again once
    Retry(Retry),
}

/// What to try again, and who asks.
#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// The order
    pub(crate) order: OrderId,
    /// Only this effect of it
    #[arg(long)]
    pub(crate) effect: Option<EffectId>,
    /// Who asks; written down with the action
    #[arg(long)]
    pub(crate) by: String,
    /// Why; written down with the action
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// How long to wait for what comes of it
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub(crate) wait: Duration,
}

pub(crate) async fn run(environment: &Environment, command: OrdersCommand) -> Outcome {
    let audit = config::database(environment, "audit");
    let mut connection = postgres::connect(audit.expose(), "mambogo-orders", SessionLimits::WORKER).await?;
    match command {
        OrdersCommand::NeedsHuman { json } => {
            let needing = read::needing(&mut connection, None).await?;
            if json {
                needing
                    .iter()
                    .try_for_each(|one| serde_json::to_string(one).map(|line| println!("{line}")))?;
            } else {
                print!("{}", table(&needing));
            }
        }
        OrdersCommand::Retry(retry) => retry::run(environment, &mut connection, retry).await?,
    }
    Ok(())
}

/// One line an effect, columns aligned.
fn table(needing: &[Needing]) -> String {
    let mut text =
        format!("{:<37} {:<37} {:<10} {:<20} {:>5} REASON\n", "ORDER", "EFFECT", "STATUS", "SINCE", "TRIED");
    for one in needing {
        let since = one.since.format("%Y-%m-%dT%H:%M:%SZ");
        // writing to a string does not fail
        let _ = writeln!(
            text,
            "{:<37} {:<37} {:<10} {since:<20} {:>5} {}",
            one.order,
            one.effect,
            one.status,
            one.actions.len(),
            one.reason
        );
    }
    text
}
