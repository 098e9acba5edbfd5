//! What reads of the catalogue cost with a million products: one product at each level of its caches, a thousand readers
//! of one that nobody holds, lists, searches. The response cache is off, so that each answer is looked for; which level
//! gave it, and how often Postgres was asked, is read from the gateway's counters.

mod shop;

use super::{
    Failure,
    processes::{Processes, Settings, Topology},
    scenarios::Scale,
};
use crate::{config, load};
use catalog_api::metrics;
use chassis::{
    clock::Clock,
    postgres::{self, SessionLimits},
    settings::Environment,
};
use loadtest::{Asking, Client, Everything, GENERATOR, Machine, Others, Pace, Part, Reads};
use schemas::{time::Timestamp, view};
use serde::Serialize;
use shop::Shop;
use std::{collections::BTreeMap, path::Path, time::Duration};

/// What it is called on the command line.
pub(crate) const NAME: &str = "catalogue";
/// What a client may wait for a list or a search at a thousand a second, in milliseconds.
const GOAL_P99: f64 = 10.0;
const SETTINGS: Settings = &[("RESPONSE_CACHE", "off"), ("RATE_LIMITS", "off")];
/// Clients of the runs that show how many reads there can be.
const CLIENTS: usize = 32;
const CONNECTIONS: usize = 256;
/// Readers of one product at once.
const RUSH: usize = 1_000;
/// Rushes that are measured, each for another product.
const RUSHES: u64 = 3;
/// Longest that a kind of read is warmed up.
const WARM_UP: Duration = Duration::from_secs(15);

/// What is asked, one kind after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// 500 products, held by the process after the first time.
    L1,
    /// 20,000 products in turn: the process holds 1,000, Redis all.
    L2,
    /// Products that nobody asked for before.
    L3,
    /// One such product by many at once, then the next.
    Rush,
    List,
    Search,
}

const KINDS: [(&str, Kind); 6] = [
    ("L1", Kind::L1),
    ("L2", Kind::L2),
    ("L3", Kind::L3),
    ("rush", Kind::Rush),
    ("list", Kind::List),
    ("search", Kind::Search),
];

/// One row.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: &'static str,
    pace: Pace,
    per_second: f64,
    reads: Reads,
    /// CPU of each part for a read, in microseconds.
    micros: BTreeMap<String, f64>,
    /// Share of single reads that each level answered.
    levels: BTreeMap<&'static str, f64>,
    /// Queries of the catalogue that Postgres was asked.
    queries: f64,
    others: Others,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Results {
    at: String,
    machine: Machine,
    products: i64,
    rows: Vec<Row>,
    /// How Postgres reads some of the pages, by their paths.
    plans: BTreeMap<String, String>,
}

/// Fills the shop, measures, prints, and writes `catalogue.json`.
pub(crate) async fn run(
    environment: &Environment,
    scale: Scale,
    products: i64,
    watch: &[Part],
    results: &Path,
) -> Result<(), Failure> {
    let url = config::database(environment, "admin");
    // filling takes longer than any statement of a service may
    let long = SessionLimits { statement: Duration::from_secs(1_800), ..SessionLimits::WORKER };
    let mut admin = postgres::connect(url.expose(), "mambogo-bench", long).await?;
    let products = shop::fill(&mut admin, products).await?;
    let shop = Shop::read(&mut admin).await?;
    let plans = plans(environment, &shop).await?;
    let mut stage = Stage::start(environment, shop, scale, watch).await?;
    println!("\n{NAME}: {products} products, one after the other each kind of read");
    println!("{}", header());
    let mut rows = Vec::new();
    for (name, kind) in KINDS {
        rows.extend(stage.kind(name, kind).await?);
    }
    stage.running.stop().await;
    for (path, plan) in &plans {
        println!("\n  {path}\n{plan}");
    }
    let at = view::rfc3339(Timestamp(Clock::system().now_millis()));
    let found = Results { at, machine: Machine::read(), products, rows, plans };
    std::fs::create_dir_all(results)?;
    std::fs::write(results.join("catalogue.json"), serde_json::to_vec_pretty(&found)?)?;
    println!("\n{}", verdict(&found.rows));
    Ok(())
}

/// How Postgres reads the first few kinds of lists and searches.
async fn plans(environment: &Environment, shop: &Shop) -> Result<BTreeMap<String, String>, Failure> {
    let pool = catalog_api::pool(&ingress::config::pool(environment)?)?;
    let mut plans = BTreeMap::new();
    for path in (0..3).flat_map(|number| [shop.list(number), shop.search(3 * number)]) {
        let plan = catalog_api::plan(&pool, &path).await?;
        plans.insert(path, plan);
    }
    pool.close().await;
    Ok(plans)
}

/// The gateway, and what it is asked for.
struct Stage {
    shop: Shop,
    running: Processes,
    token: String,
    parts: Vec<Part>,
    scale: Scale,
}

impl Stage {
    async fn start(
        environment: &Environment,
        shop: Shop,
        scale: Scale,
        watch: &[Part],
    ) -> Result<Self, Failure> {
        let running = Processes::start(Topology::Gateway, SETTINGS).await?;
        let token = load::target(environment, running.gateway(), "bench").await?.token;
        let mut parts: Vec<Part> = running.parts().into_iter().chain(watch.iter().cloned()).collect();
        parts.push(Part::alone(GENERATOR, std::process::id()));
        Ok(Self { shop, running, token, parts, scale })
    }

    async fn kind(&mut self, name: &'static str, kind: Kind) -> Result<Vec<Row>, Failure> {
        let connections = if kind == Kind::Rush { RUSH } else { CONNECTIONS };
        let client = Client::new(self.running.gateway(), &self.token, connections, Duration::from_secs(10))
            .ok_or("the token is no header")?;
        let shop = self.shop.clone();
        let asking = Asking::new(client, move |number| path(&shop, kind, number))?;
        // until what is asked stands where it is to be found, and code and connections are warm
        let (clients, reads) = match kind {
            Kind::L2 => (CLIENTS, self.shop.held().1 as u64),
            Kind::Rush => (RUSH, RUSH as u64),
            // each connection plans each kind of page once
            Kind::List | Kind::Search => (CLIENTS, 20_000),
            Kind::L1 | Kind::L3 => (CLIENTS, 2_000),
        };
        asking.ask(Pace::Clients(clients), WARM_UP, reads).await;
        let length = Duration::from_secs(if self.scale.short { 5 } else { 10 });
        let runs: Vec<(Pace, u64)> = match kind {
            Kind::Rush => (1..=RUSHES).map(|rush| (Pace::Clients(RUSH), (rush + 1) * RUSH as u64)).collect(),
            _ => {
                [Pace::Rate(1_000.0 * self.scale.rates), Pace::Clients(CLIENTS)].map(|p| (p, u64::MAX)).into()
            }
        };
        let mut rows = Vec::new();
        for (pace, most) in runs {
            let before = Before::look(&self.running, &self.parts).await?;
            let reads = asking.ask(pace, length, most).await;
            let row = before.row(&self.running, &self.parts, name, pace, reads).await?;
            println!("{}", shown(&row));
            rows.push(row);
        }
        Ok(rows)
    }
}

fn path(shop: &Shop, kind: Kind, number: u64) -> String {
    match kind {
        Kind::L1 => shop.of_process(number),
        Kind::L2 => shop.of_redis(number),
        Kind::L3 => shop.cold(number),
        Kind::Rush => shop.rushed(number / RUSH as u64),
        Kind::List => shop.list(number),
        Kind::Search => shop.search(number),
    }
}

/// Counters when a row began.
struct Before {
    spent: Vec<f64>,
    all: Everything,
    metrics: String,
}

impl Before {
    async fn look(running: &Processes, parts: &[Part]) -> Result<Self, Failure> {
        Ok(Self { spent: spent(parts), all: Everything::read(), metrics: running.metrics().await? })
    }

    async fn row(
        self,
        running: &Processes,
        parts: &[Part],
        name: &'static str,
        pace: Pace,
        reads: Reads,
    ) -> Result<Row, Failure> {
        let per_second = reads.per_second();
        let count = (per_second * reads.seconds).max(1.0);
        let seconds: Vec<f64> =
            spent(parts).iter().zip(&self.spent).map(|(now, before)| now - before).collect();
        let others = Everything::read().others(&self.all, parts, seconds.iter().sum());
        let micros = parts
            .iter()
            .zip(&seconds)
            .map(|(part, spent)| (part.name.clone(), 1e6 * spent / count))
            .collect();
        let now = running.metrics().await?;
        let gained = |series: &str| counted(&now, series) - counted(&self.metrics, series);
        let hits = |level| gained(&format!("{}{{level=\"{level}\",result=\"hit\"}}", metrics::CACHE));
        let levels = ["l1", "l2", "l3", "shared"].map(|level| (level, hits(level) / count)).into();
        let queries = gained(metrics::QUERIES);
        Ok(Row { name, pace, per_second, reads, micros, levels, queries, others })
    }
}

fn spent(parts: &[Part]) -> Vec<f64> {
    parts.iter().map(|part| part.usage().cpu_seconds).collect()
}

/// What a counter says in the metrics' text, over all series that begin so.
fn counted(text: &str, series: &str) -> f64 {
    let values =
        text.lines().filter(|line| line.starts_with(series)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<f64>().ok()).sum()
}

fn verdict(rows: &[Row]) -> String {
    let late: Vec<&str> = rows.iter().filter(|row| is_late(row)).map(|row| row.name).collect();
    let pages = if late.is_empty() { "reached".to_owned() } else { format!("missed by {}", late.join(", ")) };
    let mut rushes = rows.iter().filter(|row| row.name == "rush");
    let is_one = |row: &Row| row.queries <= 1.0 && row.reads.answers.get(&200) == Some(&(RUSH as u64));
    let once = if rushes.all(is_one) { "reached" } else { "missed" };
    format!(
        "  p99 of lists and searches below {GOAL_P99} ms at their rate: {pages}\n  one query for {RUSH} readers of a product that nobody holds: {once}"
    )
}

fn is_late(row: &Row) -> bool {
    let is_page = matches!(row.name, "list" | "search");
    is_page && matches!(row.pace, Pace::Rate(_)) && row.reads.latency.p99 > GOAL_P99
}

fn header() -> String {
    format!(
        "  {:<8} {:<12} {:>8} {:>8} {:>8} {:>8} {:>8}  CPU µs a read, where it was found, what else ran",
        "", "pace", "reads/s", "p50 ms", "p99 ms", "max ms", "queries"
    )
}

fn shown(row: &Row) -> String {
    let pace = match row.pace {
        Pace::Rate(rate) => format!("{rate:.0}/s"),
        Pace::Clients(clients) => format!("{clients} clients"),
    };
    let latency = &row.reads.latency;
    let micros: Vec<String> = row.micros.iter().map(|(name, micros)| format!("{name} {micros:.0}")).collect();
    let levels = row.levels.iter().filter(|(_, share)| **share > 0.005);
    let levels: Vec<String> =
        levels.map(|(level, share)| format!("{level} {:.0} %", 100.0 * share)).collect();
    let wrong: Vec<String> = row
        .reads
        .answers
        .iter()
        .filter(|(status, _)| **status != 200)
        .map(|(status, count)| format!("; {count} answers {status}"))
        .collect();
    format!(
        "  {:<8} {pace:<12} {:>8.0} {:>8.2} {:>8.2} {:>8.2} {:>8.0}  {}; {}; others {:.1} CPU s{}",
        row.name,
        row.per_second,
        latency.p50,
        latency.p99,
        latency.max,
        row.queries,
        micros.join(", "),
        levels.join(", "),
        row.others.cpu_seconds,
        wrong.concat()
    )
}
