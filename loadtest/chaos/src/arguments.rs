//! What can be asked for on the command line.

use clap::{Parser, Subcommand};
use std::{path::PathBuf, time::Duration};

/// Breaks a private instance of the whole system on purpose, under load, and checks what has to hold all the same.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// The checkout: its infra/local starts the instance, its .local/chaos holds it
    #[arg(long, default_value = ".")]
    pub(crate) root: PathBuf,
    /// The program under test
    #[arg(long, default_value = "target/release/mambogo")]
    pub(crate) bin: PathBuf,
    /// Everything random follows from it; drawn and printed when it is not given
    #[arg(long)]
    pub(crate) seed: Option<u32>,
    /// Orders begun a second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub(crate) rate: u32,
    /// Where the table goes as JSON; beside the instance's logs when it is not given
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Leave the instance as it is at the end, to look at it (infra/local/stack reset chaos takes it away)
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Command {
    /// One fault after another, each with the checks behind it
    Faults {
        /// Nine faults that the seed draws, and the brokers away for 20 s instead of 60: about five minutes
        #[arg(long)]
        short: bool,
        /// How often each fault comes
        #[arg(long, default_value_t = 2)]
        rounds: u32,
        /// Only the faults whose name holds one of these words
        #[arg(long)]
        only: Vec<String>,
    },
    /// Steady load for some minutes, with a fault each minute: memory stays flat, nothing is left behind
    Soak {
        /// How long
        #[arg(long, default_value_t = 20)]
        minutes: u32,
    },
}

impl Arguments {
    /// The run ends with a failure after this time, whatever it is doing.
    pub(crate) fn watchdog(&self) -> Duration {
        const MINUTE: u64 = 60;
        Duration::from_secs(match &self.command {
            Command::Faults { short: true, .. } => 30 * MINUTE,
            Command::Faults { rounds, .. } => (15 + 15 * u64::from(*rounds)) * MINUTE,
            Command::Soak { minutes } => (10 + 2 * u64::from(*minutes)) * MINUTE,
        })
    }
}
