//! `mambogo audit`: compares all books once, or goes on looking.

use crate::config;
use auditor::{AuditConfig, Auditor, Finding, Scope};
use chassis::{settings::Environment, signals};
use clap::Args;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, interval};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Between two comparisons of all stock while watching.
const STOCK_EVERY: Duration = Duration::from_secs(10);

/// What is compared, and how it is said.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Every order, hold, capture and charge there is
    #[arg(long, conflicts_with = "since")]
    full: bool,
    /// Orders whose deadlines lie ahead, or no further back than this: 10m, 2h
    #[arg(long, value_parser = crate::cli::duration, default_value = "1h")]
    since: Duration,
    /// Go on looking, and print what comes and what goes, until a signal
    #[arg(long)]
    watch: bool,
    /// JSON instead of text; one object a line with --watch
    #[arg(long)]
    json: bool,
}

pub(crate) fn settings(environment: &Environment) -> Outcome<AuditConfig> {
    Ok(AuditConfig::from_environment(environment, &config::database(environment, "audit"))?)
}

/// Fails when a promise is broken, so that a script sees it in the exit code.
pub(crate) async fn run(environment: &Environment, args: AuditArgs) -> Outcome {
    let config = settings(environment)?;
    let tick = config.tick;
    let mut auditor = Auditor::new(config);
    let scope = if args.full { Scope::Everything } else { Scope::Since(args.since) };
    let report = auditor.pass(scope).await?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    if args.watch {
        return watch(auditor, tick, args.json).await;
    }
    if report.has_drift() { Err("the books do not agree; see above".into()) } else { Ok(()) }
}

async fn watch(mut auditor: Auditor, tick: Duration, json: bool) -> Outcome {
    let stop = signals::stop_on_signal()?;
    let by_subject = |findings: Vec<Finding>| -> BTreeMap<_, _> {
        findings.into_iter().map(|finding| ((finding.kind, finding.subject), finding)).collect()
    };
    let mut known = by_subject(auditor.standing());
    let mut stock_compared = Instant::now();
    let mut tick = interval(tick);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        if stock_compared.elapsed() >= STOCK_EVERY {
            auditor.compare_stock().await?;
            stock_compared = Instant::now();
        }
        auditor.tick().await?;
        let standing = by_subject(auditor.standing());
        for (key, finding) in &standing {
            if !known.contains_key(key) {
                print(if finding.kind.is_drift() { "drift" } else { "attention" }, finding, json)?;
            }
        }
        for (_, gone) in known.iter().filter(|(key, _)| !standing.contains_key(key)) {
            print("gone", gone, json)?;
        }
        known = standing;
    }
    Ok(())
}

fn print(event: &str, finding: &Finding, json: bool) -> Outcome {
    if json {
        println!("{}", serde_json::json!({ "event": event, "finding": finding }));
    } else {
        println!("{:<9} {finding}\n          {}", event.to_uppercase(), finding.repair);
    }
    Ok(())
}
