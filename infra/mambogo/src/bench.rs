//! `mambogo bench`: the table of goals, run scenario by scenario against processes of its own on a stack that stands,
//! each ended by the audit; the result as a table, a file for machines and a page with plots.

mod backlog;
mod catalogue;
mod fill;
mod goals;
mod processes;
mod results;
mod scenarios;
mod stages;

use crate::{
    audit,
    cli::duration,
    config::TopicConfig,
    load::{self, part},
    setup,
};
use auditor::{Auditor, Scope};
use chassis::{settings::Environment, signals};
use clap::Args;
use goals::Judged;
use loadtest::{Follow, History, Outcome, Pace, Part, Plan, Table, Target, Way, measure};
use processes::{Processes, Topology};
use results::{Results, ScenarioResult};
use scenarios::{Scale, Scenario};
use std::{path::PathBuf, time::Duration};
use tokio_util::sync::CancellationToken;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Records of a run's history that are kept: 8 million, 512 MiB at most.
const KEEP: usize = 8_000_000;
/// How long the books may take to agree after the last end was seen.
const AUDIT_PATIENCE: Duration = Duration::from_secs(60);

/// What of the table is run, and how.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Seconds instead of minutes: all of it in under three minutes
    #[arg(long)]
    short: bool,
    /// Only these scenarios; repeat for more
    #[arg(long)]
    only: Vec<String>,
    /// Rates are multiplied by this: a busy machine is measured at lower ones
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Every role in a process of its own, in every scenario: CPU by role
    #[arg(long)]
    apart: bool,
    /// How long the brokers are warmed up; 60s, or 20s with --short
    #[arg(long, value_parser = duration)]
    warm_up: Option<Duration>,
    /// Products that the scenario `catalogue` fills the catalogue up to
    #[arg(long, default_value_t = 1_000_000)]
    products: i64,
    /// A process of the stack whose CPU and memory is measured, as NAME=PID: broker, database, Redis
    #[arg(long, value_parser = part)]
    watch: Vec<Part>,
    /// Folder of the results
    #[arg(long, default_value = "loadtest/results")]
    results: PathBuf,
}

pub(crate) async fn run(environment: &Environment, args: BenchArgs) -> Result<(), Failure> {
    let stop = signals::stop_on_signal()?;
    let scale = Scale { short: args.short, rates: args.scale };
    let chosen: Vec<Scenario> = scenarios::all(scale)
        .into_iter()
        .filter(|s| match args.only.is_empty() {
            true => s.is_usual(),
            false => args.only.iter().any(|o| o == s.name),
        })
        .collect();
    let is_asked_for = |name: &str| args.only.iter().any(|only| only == name);
    let (reads, absences) = (is_asked_for(catalogue::NAME), is_asked_for(backlog::NAME));
    if chosen.is_empty() && !reads && !absences {
        let names = scenarios::names().join(", ");
        return Err(format!(
            "there is no such scenario; there are: {names}, {}, {}",
            catalogue::NAME,
            backlog::NAME
        )
        .into());
    }
    let mut bench = Bench {
        environment,
        warm_up: args.warm_up.unwrap_or(Duration::from_secs(if args.short { 20 } else { 60 })),
        apart: args.apart,
        watch: args.watch,
        stop,
        running: None,
    };
    let mut results = Results::new(environment, scale.short, args.scale).await?;
    println!("{}", results.header());
    for scenario in chosen {
        if bench.stop.is_cancelled() {
            break;
        }
        let result = bench.scenario(&scenario).await?;
        println!("{result}");
        results.add(result);
        results.write(&args.results)?;
    }
    if !results.is_empty() {
        println!("{results}");
    }
    bench.end().await;
    if reads && !bench.stop.is_cancelled() {
        catalogue::run(environment, scale, args.products, &bench.watch, &args.results).await?;
    }
    if absences && !bench.stop.is_cancelled() {
        backlog::run(environment, scale, &bench.watch, &args.results).await?;
    }
    if results.is_clean() {
        Ok(())
    } else {
        Err("a run's history or books show a broken promise; see above".into())
    }
}

struct Bench<'a> {
    environment: &'a Environment,
    warm_up: Duration,
    apart: bool,
    watch: Vec<Part>,
    stop: CancellationToken,
    running: Option<Processes>,
}

impl Bench<'_> {
    async fn scenario(&mut self, scenario: &Scenario) -> Result<ScenarioResult, Failure> {
        println!("\n{}: {}", scenario.name, scenario.title);
        if let Some(orders) = scenario.filled {
            let partitions = TopicConfig::from_environment(self.environment)?.partitions;
            fill::fill(&mut setup::admin(self.environment).await?, orders, partitions).await?;
        }
        let topology = if self.apart { Topology::Apart } else { scenario.topology };
        let gateway = self.up(topology).await?;
        let target = load::target(self.environment, gateway, "bench").await?;
        let before = self.timings().await;
        let (outcome, kills) = self.measured(scenario, target).await?;
        // of a process that was killed its last life alone is known
        let stages = self.timings().await.since(&before).stages();
        let audit = self.audit(scenario.audited()).await?;
        println!("{}", Table(&outcome));
        println!("{}", stages::Stages(&stages));
        let judged: Vec<Judged> = scenario.goals.iter().map(|goal| goal.judge(&outcome, &kills)).collect();
        Ok(ScenarioResult {
            name: scenario.name,
            title: scenario.title,
            topology,
            kills,
            audit,
            judged,
            stages,
            outcome,
        })
    }

    async fn timings(&self) -> stages::Timings {
        match &self.running {
            Some(running) => running.timings().await,
            None => stages::Timings::default(),
        }
    }

    /// Processes in that arrangement, warmed up: those that run already, or new ones.
    async fn up(&mut self, topology: Topology) -> Result<std::net::SocketAddr, Failure> {
        if let Some(running) = self.running.take() {
            if running.topology() == topology {
                let gateway = running.gateway();
                self.running = Some(running);
                return Ok(gateway);
            }
            running.stop().await;
        }
        let processes = Processes::start(topology, &[]).await?;
        let gateway = processes.gateway();
        self.running = Some(processes);
        let target = load::target(self.environment, gateway, "bench").await?;
        println!("  warming up for {} s", self.warm_up.as_secs());
        let plan = warm_up(self.warm_up);
        measure(&plan, target, Vec::new(), History::in_memory(0), self.stop.clone(), |_, _| {}).await?;
        Ok(gateway)
    }

    /// Runs the scenario's load beside its kills. Says at which seconds a worker was killed.
    async fn measured(
        &mut self,
        scenario: &Scenario,
        target: Target,
    ) -> Result<(Outcome, Vec<u64>), Failure> {
        let running = self.running.as_mut().ok_or("nothing runs")?;
        let parts: Vec<Part> = running.parts().into_iter().chain(self.watch.iter().cloned()).collect();
        let plan = &scenario.plan;
        let history = History::in_memory(KEEP);
        let ended = CancellationToken::new();
        let load = async {
            let outcome = measure(plan, target, parts, history, self.stop.clone(), |second, sample| {
                let cores: f64 = sample.cores.iter().sum();
                eprintln!(
                    "  {:>4} s  accepted {:>6}  ended {:>6}  open {:>7}  p99 accepted {:>8.1} ms  end {:>8.1} ms  {cores:.2} cores",
                    second.at,
                    second.accepted,
                    second.ended,
                    second.open,
                    second.submit.p99,
                    second.complete.p99
                );
            });
            let outcome = outcome.await;
            ended.cancel();
            outcome
        };
        let (outcome, kills) =
            tokio::join!(load, running.kill_workers(scenario.kill_every, plan.length, &ended));
        Ok((outcome?, kills?))
    }

    /// Until the books agree, or patience ends: a settle may still be on its way when an order's end was seen. What is
    /// left then, in words.
    async fn audit(&self, scope: Scope) -> Result<Vec<String>, Failure> {
        let give_up = tokio::time::Instant::now() + AUDIT_PATIENCE;
        loop {
            let report = Auditor::new(audit::settings(self.environment)?).pass(scope).await?;
            let is_done = !report.has_drift() && report.open == 0;
            if is_done || tokio::time::Instant::now() > give_up {
                println!("  audit: {report}");
                let open = (report.open > 0).then(|| format!("{} orders are still open", report.open));
                let findings = report.drift.iter().chain(&report.unproved).map(ToString::to_string);
                return Ok(findings.chain(open).collect());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn end(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }
}

/// Small orders in bulk: code, pages and connections are warm afterwards, and a miss in Redis is a proof.
fn warm_up(length: Duration) -> Plan {
    Plan {
        name: name(),
        pace: Pace::Rate(1_000.0),
        length,
        way: Way::Bulk(20),
        follow: Follow::Nothing.always(),
        on_log: true,
        insist: Duration::from_secs(30),
        settle: Duration::from_secs(60),
        ..Plan::default()
    }
}

/// A name that no run had before.
fn name() -> String {
    chassis::ids::random().as_simple().to_string().split_off(20)
}
