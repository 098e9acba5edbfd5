//! What comes of an absence: an hour of orders waits on the log while no worker runs, and a million packed rows wait in an
//! outbox while no relay runs. How long the rest takes to catch up, what it costs, and how much memory it needs.

use super::{
    Failure, name,
    processes::{Processes, Settings, Topology},
    scenarios::{Scale, bulk},
};
use crate::{audit, load, setup};
use auditor::{Auditor, Scope};
use chassis::{clock::Clock, settings::Environment};
use loadtest::{Everything, History, Machine, Others, Pace, Part, Plan, measure};
use schemas::{
    envelope::Envelope,
    ids::MessageId,
    outbox::{self, OutboxRecord},
    time::Timestamp,
    topics::{self, ORDERS_GROUP, Topic},
    view,
};
use serde::Serialize;
use sqlx::PgConnection;
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What it is called on the command line.
pub(crate) const NAME: &str = "backlog";
/// An hour at a hundred orders a second; they outlive it, so that all of the work is done.
const ORDERS: u64 = 360_000;
const SETTINGS: Settings = &[("ORDER_DEADLINE", "24h"), ("SHED", "off"), ("RATE_LIMITS", "off")];
/// At which they are taken in.
const RATE: f64 = 3_000.0;
/// Packed rows of one record each: as small, and so as many, as rows can be.
const ROWS: i64 = 1_000_000;
const ROWS_AT_ONCE: i64 = 10_000;
const LANES: i32 = 4;
/// What a short run is divided by.
const SHORT: i64 = 20;
/// How often it is looked whether all is done, and how memory stands.
const LOOK: Duration = Duration::from_secs(1);
/// Longest that either may take.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// How one of them was caught up with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    what: &'static str,
    count: i64,
    seconds: f64,
    per_second: f64,
    /// CPU of each part for one of them, in microseconds.
    micros: BTreeMap<String, f64>,
    /// The most memory that each part held, in MiB.
    memory: BTreeMap<String, u64>,
    others: Others,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Results {
    at: String,
    machine: Machine,
    rows: Vec<Row>,
}

/// Makes both backlogs, one after the other, measures, prints, and writes `backlog.json`.
pub(crate) async fn run(
    environment: &Environment,
    scale: Scale,
    watch: &[Part],
    results: &Path,
) -> Result<(), Failure> {
    println!("\n{NAME}: what waited while nobody worked");
    let rows = vec![log(environment, scale, watch).await?, rows(environment, scale, watch).await?];
    let at = view::rfc3339(Timestamp(Clock::system().now_millis()));
    std::fs::create_dir_all(results)?;
    let found = Results { at, machine: Machine::read(), rows };
    std::fs::write(results.join("backlog.json"), serde_json::to_vec_pretty(&found)?)?;
    Ok(())
}

/// Orders on the log: taken in while the workers are dead, and settled once they are back.
async fn log(environment: &Environment, scale: Scale, watch: &[Part]) -> Result<Row, Failure> {
    let orders = if scale.short { ORDERS / SHORT.unsigned_abs() } else { ORDERS };
    let mut running = Processes::start(Topology::WorkersApart, SETTINGS).await?;
    // a gateway takes in what it has no row for once it has seen that no key was forgotten
    let plan = Plan { pace: Pace::Rate(200.0), length: Duration::from_secs(20), ..bulk() };
    send(environment, &running, &plan).await?;
    let before = settled(&mut setup::admin(environment).await?).await?;
    let absent = running.kill_last().await?;
    let plan = Plan {
        name: name(),
        pace: Pace::Rate(RATE * scale.rates),
        length: PATIENCE,
        orders: Some(orders),
        on_log: false,
        settle: Duration::ZERO,
        ..bulk()
    };
    let taken = send(environment, &running, &plan).await?;
    println!("  {taken} orders were taken in while no worker ran");
    let (began, all) = (Instant::now(), Everything::read());
    running.start_again(absent).await?;
    let parts: Vec<Part> = running.parts().into_iter().chain(watch.iter().cloned()).collect();
    let mut admin = setup::admin(environment).await?;
    let wanted = before + i64::try_from(taken)?;
    let watched = Watched::begin(&parts, began, all);
    let row = watched
        .until("orders on the log", i64::try_from(taken)?, async || Ok(settled(&mut admin).await? >= wanted));
    let row = row.await?;
    running.stop().await;
    let report = Auditor::new(audit::settings(environment)?).pass(Scope::Everything).await?;
    println!("{}\n  audit: {report}", shown(&row));
    if report.has_drift() || report.open > 0 {
        return Err("the books do not agree after the backlog".into());
    }
    Ok(row)
}

async fn send(environment: &Environment, running: &Processes, plan: &Plan) -> Result<u64, Failure> {
    let target = load::target(environment, running.gateway(), "bench").await?;
    let stop = CancellationToken::new();
    let outcome = measure(plan, target, Vec::new(), History::in_memory(0), stop, |_, _| {}).await?;
    Ok(outcome.report.accepted)
}

async fn settled(admin: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "SELECT count(*) FROM orders.orders WHERE status NOT IN ('PENDING', 'RESERVED', 'WAITING')",
    )
    .fetch_one(admin)
    .await
}

/// Rows in an outbox: written while no relay runs, and gone once one is there.
async fn rows(environment: &Environment, scale: Scale, watch: &[Part]) -> Result<Row, Failure> {
    let count = if scale.short { ROWS / SHORT } else { ROWS };
    let mut admin = setup::admin(environment).await?;
    let lanes = fill(&mut admin, count).await?;
    println!("  {count} rows were written while no relay ran");
    let (began, all) = (Instant::now(), Everything::read());
    let running = Processes::start(Topology::Relay, SETTINGS).await?;
    let parts: Vec<Part> = running.parts().into_iter().chain(watch.iter().cloned()).collect();
    let watched = Watched::begin(&parts, began, all);
    let row = watched.until("rows in an outbox", count, async || {
        let left = "SELECT EXISTS (SELECT FROM orders.outbox WHERE lane = ANY ($1))";
        Ok(!sqlx::query_scalar::<_, bool>(left).bind(&lanes).fetch_one(&mut admin).await?)
    });
    let row = row.await?;
    running.stop().await;
    sqlx::query("DELETE FROM orders.lane WHERE id = ANY ($1)").bind(&lanes).execute(&mut admin).await?;
    println!("{}", shown(&row));
    Ok(row)
}

/// Lanes of nobody, each with its share of `count` rows for a topic that nobody reads. Their ids.
async fn fill(admin: &mut PgConnection, count: i64) -> Result<Vec<Uuid>, Failure> {
    let lanes: Vec<Uuid> = (0..LANES).map(|_| chassis::ids::random()).collect();
    let partitions: Vec<i32> = (0..LANES).collect();
    sqlx::query(
        "INSERT INTO orders.lane (consumer_group, topic, partition, id, partitions, next_offset)
         SELECT 'bench', $1, partition, id, $2, 0 FROM UNNEST($3::int[], $4::uuid[]) AS new (partition, id)",
    )
    .bind(Topic::OrderCommands.name())
    .bind(LANES)
    .bind(&partitions)
    .bind(&lanes)
    .execute(&mut *admin)
    .await?;
    for (partition, lane) in partitions.iter().zip(&lanes) {
        let share = count / i64::from(LANES);
        let mut from = 1;
        while from <= share {
            let numbers: Vec<i64> = (from..=share.min(from + ROWS_AT_ONCE - 1)).collect();
            let records: Vec<Vec<u8>> = numbers.iter().map(|n| packed(*partition, *n)).collect();
            sqlx::query(
                "INSERT INTO orders.outbox (lane, seq, format, records, size)
                 SELECT $1, seq, $2, records, length(records)
                 FROM UNNEST($3::bigint[], $4::bytea[]) AS new (seq, records)",
            )
            .bind(lane)
            .bind(outbox::FORMAT)
            .bind(&numbers)
            .bind(records)
            .execute(&mut *admin)
            .await?;
            from += ROWS_AT_ONCE;
        }
    }
    Ok(lanes)
}

fn packed(partition: i32, n: i64) -> Vec<u8> {
    let (key, message) = (chassis::ids::random(), MessageId(chassis::ids::random()));
    let envelope = Envelope {
        message,
        causation: message,
        occurred_at: Timestamp(Clock::system().now_millis()),
        deadline: None,
        source: None,
    };
    outbox::pack(&[OutboxRecord {
        topic: Topic::dlq_of(ORDERS_GROUP).unwrap_or(Topic::OrdersDlq),
        partition,
        n: n.unsigned_abs(),
        envelope,
        key: topics::key(key).to_vec(),
        payload: vec![0; 160],
        headers: Vec::new(),
    }])
}

/// Parts that are looked at until something is done.
struct Watched<'a> {
    parts: &'a [Part],
    began: Instant,
    all: Everything,
    spent: Vec<f64>,
    memory: Vec<u64>,
}

impl<'a> Watched<'a> {
    /// What began at `began`, before the processes of `parts` were all there.
    fn begin(parts: &'a [Part], began: Instant, all: Everything) -> Self {
        let spent = parts.iter().map(|part| part.usage().cpu_seconds).collect();
        Self { parts, began, all, spent, memory: vec![0; parts.len()] }
    }

    async fn until(
        mut self,
        what: &'static str,
        count: i64,
        mut is_done: impl AsyncFnMut() -> sqlx::Result<bool>,
    ) -> Result<Row, Failure> {
        while !is_done().await? {
            if self.began.elapsed() > PATIENCE {
                return Err(format!("{what}: not done after {PATIENCE:?}").into());
            }
            for (part, most) in self.parts.iter().zip(&mut self.memory) {
                *most = part.usage().memory_bytes.max(*most);
            }
            tokio::time::sleep(LOOK).await;
        }
        let seconds = self.began.elapsed().as_secs_f64();
        let spent: Vec<f64> = self
            .parts
            .iter()
            .zip(&self.spent)
            .map(|(part, before)| part.usage().cpu_seconds - before)
            .collect();
        let others = Everything::read().others(&self.all, self.parts, spent.iter().sum());
        let of_parts = || self.parts.iter().map(|part| part.name.clone());
        Ok(Row {
            what,
            count,
            seconds,
            per_second: count as f64 / seconds,
            micros: of_parts().zip(spent.iter().map(|spent| 1e6 * spent / count as f64)).collect(),
            memory: of_parts().zip(self.memory.iter().map(|bytes| bytes >> 20)).collect(),
            others,
        })
    }
}

fn shown(row: &Row) -> String {
    let parts: Vec<String> = row
        .micros
        .iter()
        .map(|(name, micros)| {
            format!("{name} {micros:.1} µs, {} MiB", row.memory.get(name).copied().unwrap_or_default())
        })
        .collect();
    format!(
        "  {} {}: {:.1} s, {:.0} a second; CPU of each and most memory: {}; others {:.1} CPU s",
        row.count,
        row.what,
        row.seconds,
        row.per_second,
        parts.join(", "),
        row.others.cpu_seconds
    )
}
