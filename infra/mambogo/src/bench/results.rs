//! What a benchmark found: for people as a table, for machines as `latest.json`, and as a page with plots.

use super::{Failure, goals::Judged, processes::Topology, stages::Stage};
use crate::config;
use chassis::{
    clock::Clock,
    postgres::{self, SessionLimits},
    settings::Environment,
};
use loadtest::{Machine, Outcome, page};
use schemas::{time::Timestamp, view};
use serde::Serialize;
use sqlx::PgConnection;
use std::{collections::BTreeMap, fmt, path::Path};

/// One scenario's result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScenarioResult {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) topology: Topology,
    /// Seconds at which a worker was killed.
    pub(crate) kills: Vec<u64>,
    /// What the books say against it; nothing is good news.
    pub(crate) audit: Vec<String>,
    pub(crate) judged: Vec<Judged>,
    /// Where an order's time went, in the order of its road.
    pub(crate) stages: Vec<Stage>,
    pub(crate) outcome: Outcome,
}

/// All of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Results {
    at: String,
    short: bool,
    rates_scaled_by: f64,
    machine: Machine,
    /// What decides how durable an answer is.
    durability: BTreeMap<&'static str, String>,
    scenarios: Vec<ScenarioResult>,
}

impl Results {
    pub(crate) async fn new(environment: &Environment, short: bool, scale: f64) -> Result<Self, Failure> {
        let audit = config::database(environment, "audit");
        let mut connection =
            postgres::connect(audit.expose(), "mambogo-bench", SessionLimits::WORKER).await?;
        let topics = config::TopicConfig::from_environment(environment)?;
        let durability = BTreeMap::from([
            ("kafka", format!("acks=all, {} copies, acknowledged before its disk", topics.replication)),
            ("kafka partitions", topics.partitions.to_string()),
            ("postgres fsync", show(&mut connection, "fsync").await?),
            ("postgres synchronous_commit", show(&mut connection, "synchronous_commit").await?),
            ("postgres full_page_writes", show(&mut connection, "full_page_writes").await?),
        ]);
        Ok(Self {
            at: view::rfc3339(Timestamp(Clock::system().now_millis())),
            short,
            rates_scaled_by: scale,
            machine: Machine::read(),
            durability,
            scenarios: Vec::new(),
        })
    }

    pub(crate) fn add(&mut self, result: ScenarioResult) {
        self.scenarios.push(result);
    }

    /// Whether nothing was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.scenarios.is_empty()
    }

    /// Whether no promise was broken; goals may be missed.
    pub(crate) fn is_clean(&self) -> bool {
        self.scenarios.iter().all(|result| result.audit.is_empty() && result.outcome.verdict.is_clean())
    }

    /// Where and how it is measured.
    pub(crate) fn header(&self) -> String {
        let Machine { processor, cores, kernel, .. } = &self.machine;
        let settings: Vec<String> =
            self.durability.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        format!("{processor}, {cores} cores, Linux {kernel}\n{}", settings.join("; "))
    }

    /// Writes `latest.json` and `latest.html`.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Failure> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("latest.json"), serde_json::to_vec_pretty(self)?)?;
        let named: Vec<(String, &Outcome)> = self
            .scenarios
            .iter()
            .map(|result| (format!("{}: {}", result.name, result.title), &result.outcome))
            .collect();
        std::fs::write(folder.join("latest.html"), page("Mambogo, measured", &named))?;
        Ok(())
    }
}

/// A setting of the server; `name` is one of ours.
async fn show(connection: &mut PgConnection, name: &'static str) -> sqlx::Result<String> {
    sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(connection).await
}

impl fmt::Display for ScenarioResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for judged in &self.judged {
            writeln!(f, "  {:<8} {judged}", self.name)?;
        }
        let is_clean = self.audit.is_empty() && self.outcome.verdict.is_clean();
        write!(f, "  {:<8} audit and history: {}", self.name, if is_clean { "clean" } else { "NOT CLEAN" })?;
        for finding in &self.audit {
            write!(f, "\n    {finding}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n  {:<8} {:<26} {:>9} {:>11} {:>8} {:>8}",
            "", "", "goal", "measured", "floor", "ratio"
        )?;
        for result in &self.scenarios {
            writeln!(f, "{result}")?;
        }
        let others: f64 = self.scenarios.iter().map(|result| result.outcome.others.cpu_seconds).sum();
        write!(
            f,
            "  other programs took {others:.0} CPU seconds meanwhile; goals hold for an otherwise idle machine"
        )
    }
}
