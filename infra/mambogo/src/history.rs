//! `mambogo history`: the months that settled orders, holds and captures have moved to, and their leaving. As the
//! administrator, for a month leaves by DROP.

mod read;

use crate::{config, setup};
use chassis::settings::{Environment, SettingError};
use clap::Subcommand;
use read::Month;
use sqlx::PgConnection;
use std::time::Duration;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A DROP waits for readers, and whoever comes later waits for it: it gives up soon, and tries again.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);
/// The fewest months that are kept: a provider may tell of a payment for months, and a capture nobody knows is undone.
const FEWEST: u32 = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Show the months there are, and those that have left
    List,
    /// Make this month's and the next one's partitions (workers make what they need themselves)
    Make,
    /// Drop what is older than the months kept (`HISTORY_KEEP`). Keys stay: a repeat is still answered, or refused
    Drop {
        /// So many months before this one are kept, instead of `HISTORY_KEEP`
        #[arg(long)]
        keep: Option<u32>,
        /// Only say what would be dropped
        #[arg(long)]
        dry_run: bool,
    },
}

pub(crate) async fn run(environment: &Environment, command: HistoryCommand) -> Result<(), Failure> {
    let mut admin = setup::admin(environment).await?;
    match command {
        HistoryCommand::List => {
            println!("{:<10} {:<8} {:>12} {:>10}  state", "service", "month", "rows, about", "MiB");
            for month in read::months(&mut admin).await? {
                println!("{month}");
            }
        }
        HistoryCommand::Make => {
            read::make(&mut admin).await?;
            println!("this month and the next are there");
        }
        HistoryCommand::Drop { keep, dry_run } => {
            let keep = at_least(keep.map_or_else(|| config::history_keep(environment), Ok)?)?;
            let leaving = leaving(&mut admin, keep).await?;
            for month in &leaving {
                if !dry_run {
                    drop_month(&mut admin, month).await?;
                }
                println!("{month}{}", if dry_run { " (would be dropped)" } else { " (dropped)" });
            }
            println!("{} months of {keep} kept and the present one", leaving.len());
        }
    }
    Ok(())
}

fn at_least(keep: u32) -> Result<u32, SettingError> {
    if keep >= FEWEST {
        return Ok(keep);
    }
    Err(SettingError::Invalid { key: "HISTORY_KEEP", value: keep.to_string(), expected: "3 months or more" })
}

/// An order leaves a month before what others have of it, so that whoever finds an order finds its hold and captures,
/// whatever lay at the turn of a month.
async fn leaving(admin: &mut PgConnection, keep: u32) -> sqlx::Result<Vec<Month>> {
    let mut leaving = Vec::new();
    for month in read::months(admin).await? {
        let kept = if month.service == "orders" { keep } else { keep.saturating_add(1) };
        if !month.has_left && month.age > i64::from(kept) {
            leaving.push(month);
        }
    }
    Ok(leaving)
}

async fn drop_month(admin: &mut PgConnection, month: &Month) -> Result<(), Failure> {
    let mut tries = 0;
    while let Err(error) = read::drop_month(admin, month).await {
        tries += 1;
        let is_busy = error.as_database_error().and_then(|it| it.code()).is_some_and(|code| code == "55P03");
        if !is_busy || tries >= TRIES {
            return Err(format!("{} {}: {error}", month.service, month.name).into());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
