//! Breaks a private instance of the whole system on purpose, under load, and checks what has to hold all the same.
//!
//! The runner owns all that it breaks: an instance of its own (`infra/local/stack up chaos`), processes of the program
//! under test, known by pid and birth. Whatever happens to the runner, they are taken away.

mod arguments;
mod buyer;
mod check;
mod client;
mod crew;
mod fault;
mod instance;
mod lines;
mod load;
mod log;
mod memory;
mod metrics;
mod order;
mod provider;
mod pulse;
mod run;
mod running;
mod soak;
mod store;
mod table;
mod trail;
mod verdict;
mod volume;

use arguments::{Arguments, Command};
use clap::Parser;
use std::{
    error::Error,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Whatever keeps a run from its result.
type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| chassis::ids::random().as_fields().0);
    println!("seed {seed}");
    let (begun, root, keep) = (Instant::now(), arguments.root.clone(), arguments.keep);
    let outcome = bounded(arguments, seed, begun).await;
    let taken_away = if keep { Ok(()) } else { take_away(&root) };
    match outcome.and_then(|code| taken_away.map(|()| code)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("chaos: {error} (seed {seed})");
            ExitCode::FAILURE
        }
    }
}

/// Runs it in a task of its own, so that a panic, a signal or the watchdog end it and the rest is still done.
async fn bounded(arguments: Arguments, seed: u32, begun: Instant) -> Result<ExitCode, Failure> {
    let (stop, watchdog) = (chassis::signals::stop_on_signal()?, arguments.watchdog());
    let mut run = tokio::spawn(run(arguments, seed, begun));
    tokio::select! {
        outcome = &mut run => return outcome.map_err(|panic| format!("the runner itself failed: {panic}"))?,
        () = stop.cancelled() => {}
        () = tokio::time::sleep(watchdog) => eprintln!("chaos: not done after {watchdog:?}"),
    }
    run.abort();
    let _ = run.await;
    Err("ended before its time, without a result".into())
}

async fn run(arguments: Arguments, seed: u32, begun: Instant) -> Result<ExitCode, Failure> {
    let (text, json, violations) = match &arguments.command {
        Command::Faults { .. } => {
            let table = run::faults(&arguments, seed).await?;
            (table.print(begun.elapsed()), serde_json::to_vec_pretty(&table)?, table.violations())
        }
        Command::Soak { minutes } => {
            let soak = soak::soak(&arguments, seed, Duration::from_secs(60 * u64::from(*minutes))).await?;
            (soak.print(), serde_json::to_vec_pretty(&soak)?, soak.violations())
        }
    };
    print!("{text}");
    let file = arguments.json.unwrap_or_else(|| arguments.root.join(format!(".local/chaos-{seed}.json")));
    std::fs::write(&file, json).map_err(|e| format!("{}: {e}", file.display()))?;
    println!("as JSON: {}; logs: {}", file.display(), arguments.root.join(".local/chaos-logs").display());
    Ok(if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn take_away(root: &Path) -> Result<(), Failure> {
    instance::Instance::of(root)?.take_away()
}
