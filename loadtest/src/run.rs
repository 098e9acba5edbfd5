//! Runs a plan: begins orders when they are due, waits for the last ones, gathers what was measured.

use crate::{
    client::Client,
    draw::Shop,
    ends::Ends,
    history::History,
    life::{Lives, finish},
    plan::{Pace, Plan, Way},
    report::{Report, Second},
};
use chassis::kafka::Cluster;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Most orders that are under way at once; a schedule that gets further ahead waits, and its lateness shows.
const MOST_UNDER_WAY: u32 = 200_000;

/// Whom a run addresses, and what it may order.
#[derive(Debug, Clone)]
pub struct Target {
    /// The gateway.
    pub gateway: SocketAddr,
    /// The buyer's bearer token, good for the whole run.
    pub token: String,
    /// Where order events are read, for a plan that sees ends there.
    pub events: Option<Cluster>,
    /// Products that are sold there; the first is the hot one, and the first of a zipf spread.
    pub products: Vec<Uuid>,
}

/// Why a run did not begin, or what it found cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is nothing to order.
    #[error("the plan needs at least one product, one line an order and one payment method")]
    NothingToOrder,
    /// The token has characters that no header takes.
    #[error("the token cannot stand in a header")]
    BadToken,
    /// A rate that is no rate, a call without orders.
    #[error("the plan's {0} must be above zero")]
    Zero(&'static str),
    /// Order events cannot be read.
    #[error("order events cannot be followed: {0}")]
    Log(String),
    /// The history's file could not be written.
    #[error("the history could not be written: {0}")]
    History(String),
    /// The histograms could not be made.
    #[error("measuring: {0}")]
    Measuring(String),
}

/// Runs `plan` against `target`. What clients do and hear goes into `history`; `on_second` hears of every second.
/// `stop` ends the sending early; acknowledged orders are still waited for.
///
/// # Errors
/// [`PlanError`], before anything is sent.
pub async fn run(
    plan: &Plan,
    target: Target,
    history: Arc<History>,
    stop: CancellationToken,
    mut on_second: impl FnMut(&Second) + Send,
) -> Result<Report, PlanError> {
    let Target { gateway, token, events, products } = target;
    let shop = Shop::new(plan, products).ok_or(PlanError::NothingToOrder)?;
    let client = Client::new(gateway, &token, plan.connections, plan.patience).ok_or(PlanError::BadToken)?;
    check_paces(plan)?;
    let lives = Lives::new(plan.clone(), shop, client, history)
        .map_err(|error| PlanError::Measuring(error.to_string()))?;
    let lives = Arc::new(lives);
    let watching = watch_log(&lives, events)?;
    let work = async {
        let begun = match plan.pace {
            Pace::Rate(rate) => by_schedule(&lives, rate, &stop).await,
            Pace::Clients(clients) => by_clients(&lives, clients, &stop).await,
        };
        let sending = lives.began.elapsed();
        lives.settle().await;
        (begun, sending)
    };
    tokio::pin!(work);
    let mut ticks = tokio::time::interval_at(lives.began.into(), Duration::from_secs(1));
    ticks.tick().await;
    let (begun, sending) = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = ticks.tick() => on_second(&lives.tick(0)),
        }
    };
    lives.tick(1);
    if let Some(watching) = watching {
        watching.end().await;
    }
    let measured = lives.tally.measurements();
    Ok(Report {
        plan: plan.clone(),
        begun,
        sending_seconds: sending.as_secs_f64(),
        seconds: lives.began.elapsed().as_secs_f64(),
        calls: lives.calls(),
        accepted: measured.accepted,
        ends: measured.ends,
        answers: measured.answers,
        submit: measured.submit,
        complete: measured.complete,
        read: measured.read,
        late: measured.late,
        series: measured.series,
    })
}

/// The thread that watches the log.
struct Watching {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Watching {
    async fn end(self) {
        self.stop.cancel();
        // a thread that panicked has said so
        let _ = self.thread.await;
    }
}

fn watch_log(lives: &Arc<Lives>, events: Option<Cluster>) -> Result<Option<Watching>, PlanError> {
    if !lives.plan.on_log {
        return Ok(None);
    }
    let cluster = events.ok_or_else(|| PlanError::Log("no brokers were given".to_owned()))?;
    let ends = Ends::open(&cluster).map_err(|error| PlanError::Log(error.to_string()))?;
    let stop = CancellationToken::new();
    let (lives, until) = (lives.clone(), stop.clone());
    let thread = tokio::task::spawn_blocking(move || {
        ends.follow(&until, |id, end, at| lives.ended_on_log(id, end, at));
    });
    Ok(Some(Watching { stop, thread }))
}

fn check_paces(plan: &Plan) -> Result<(), PlanError> {
    match plan.pace {
        Pace::Rate(rate) if !(rate > 0.0 && rate.is_finite()) => return Err(PlanError::Zero("rate")),
        Pace::Clients(0) => return Err(PlanError::Zero("number of clients")),
        _ => {}
    }
    if plan.way == Way::Bulk(0) { Err(PlanError::Zero("orders a call")) } else { Ok(()) }
}

/// Orders of one call.
fn call_size(plan: &Plan) -> u32 {
    match plan.way {
        Way::Single => 1,
        Way::Bulk(orders) => orders.into(),
    }
}

fn most(plan: &Plan) -> u32 {
    plan.orders.map_or(u32::MAX, |orders| u32::try_from(orders).unwrap_or(u32::MAX))
}

async fn by_schedule(lives: &Arc<Lives>, rate: f64, stop: &CancellationToken) -> u64 {
    let (plan, size) = (&lives.plan, call_size(&lives.plan));
    let under_way = Arc::new(Semaphore::new(MOST_UNDER_WAY as usize));
    let mut tasks = JoinSet::new();
    let mut next = 0_u32;
    while next < most(plan) && !stop.is_cancelled() {
        let due = Duration::from_secs_f64(f64::from(next) / rate);
        if due >= plan.length {
            break;
        }
        let intended = lives.began + due;
        if Instant::now() < intended {
            let wait = tokio::time::sleep_until(intended.into());
            if stop.run_until_cancelled(wait).await.is_none() {
                break;
            }
        }
        let numbers = next..next.saturating_add(size).min(most(plan));
        let Ok(places) = under_way.clone().acquire_many_owned(numbers.end - numbers.start).await else {
            break;
        };
        next = numbers.end;
        let lives = lives.clone();
        tasks.spawn(async move {
            lives.live(numbers, intended).await;
            drop(places);
        });
        while tasks.try_join_next().is_some() {}
    }
    if most(plan) == 0 {
        // nothing to send, and the time to see what that costs
        stop.run_until_cancelled(tokio::time::sleep(plan.length)).await;
    }
    finish(tasks).await;
    next.into()
}

async fn by_clients(lives: &Arc<Lives>, clients: usize, stop: &CancellationToken) -> u64 {
    let size = call_size(&lives.plan);
    let next = Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (lives, next, stop) = (lives.clone(), next.clone(), stop.clone());
        tasks.spawn(async move {
            while lives.began.elapsed() < lives.plan.length && !stop.is_cancelled() {
                let first = next.fetch_add(size, Ordering::Relaxed);
                if first >= most(&lives.plan) {
                    break;
                }
                lives.live(first..first.saturating_add(size).min(most(&lives.plan)), Instant::now()).await;
            }
        });
    }
    finish(tasks).await;
    next.load(Ordering::Relaxed).min(most(&lives.plan)).into()
}
