//! Reads that change nothing: paths asked by a schedule, or by clients that wait for their answers.

use crate::{client::Client, plan::Pace, report::Quantiles, run::PlanError};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Most reads under way at once; a schedule that gets further ahead waits, and its lateness shows.
const MOST_UNDER_WAY: usize = 50_000;
/// Longest latency that is told apart, in microseconds.
const LONGEST: u64 = 60_000_000;

/// What clients saw of many reads.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reads {
    /// From the first read to the last answer, in seconds.
    pub seconds: f64,
    /// Answers by HTTP status; 0 stands for none.
    pub answers: BTreeMap<u16, u64>,
    /// From the intended read to its answer.
    pub latency: Quantiles,
}

impl Reads {
    /// Reads that were answered as they should be, a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of reads are far below 2^52")]
    pub fn per_second(&self) -> f64 {
        self.answers.get(&200).map_or(0.0, |reads| *reads as f64 / self.seconds.max(0.001))
    }
}

/// What is asked: `path` says it for each number, from 0.
pub struct Asking<P> {
    client: Client,
    path: P,
    next: AtomicU64,
    seen: Mutex<(BTreeMap<u16, u64>, Histogram<u64>)>,
}

impl<P: Fn(u64) -> String + Send + Sync + 'static> Asking<P> {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// [`PlanError::Measuring`].
    pub fn new(client: Client, path: P) -> Result<Arc<Self>, PlanError> {
        let histogram =
            Histogram::new_with_max(LONGEST, 3).map_err(|error| PlanError::Measuring(error.to_string()))?;
        let seen = Mutex::new((BTreeMap::new(), histogram));
        Ok(Arc::new(Self { client, path, next: AtomicU64::new(0), seen }))
    }

    /// Asks for `length`, or until so many were asked in all, and tells of these. The numbers go on where the last ones ended.
    pub async fn ask(self: &Arc<Self>, pace: Pace, length: Duration, most: u64) -> Reads {
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.0.clear();
            seen.1.reset();
        }
        let began = Instant::now();
        match pace {
            Pace::Rate(rate) => self.by_schedule(rate, began, length, most).await,
            Pace::Clients(clients) => self.by_clients(clients, began, length, most).await,
        }
        let seconds = began.elapsed().as_secs_f64();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Reads { seconds, answers: seen.0.clone(), latency: Quantiles::of(&seen.1) }
    }

    async fn by_schedule(self: &Arc<Self>, rate: f64, began: Instant, length: Duration, most: u64) {
        let mut tasks = JoinSet::new();
        for due in 0_u32.. {
            let due = Duration::from_secs_f64(f64::from(due) / rate);
            if due >= length || self.next.load(Ordering::Relaxed) >= most {
                break;
            }
            let intended = began + due;
            tokio::time::sleep_until(intended.into()).await;
            let (asking, number) = (self.clone(), self.next.fetch_add(1, Ordering::Relaxed));
            tasks.spawn(async move { asking.one(number, intended).await });
            while tasks.len() > MOST_UNDER_WAY && tasks.join_next().await.is_some() {}
            while tasks.try_join_next().is_some() {}
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn by_clients(self: &Arc<Self>, clients: usize, began: Instant, length: Duration, most: u64) {
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let asking = self.clone();
            tasks.spawn(async move {
                while began.elapsed() < length {
                    // no number is left out: the next run goes on with it
                    let more = |next: u64| (next < most).then_some(next + 1);
                    let next = asking.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
                    let Ok(number) = next else { break };
                    asking.one(number, Instant::now()).await;
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn one(&self, number: u64, intended: Instant) {
        let status = self.client.get(&(self.path)(number)).await;
        let micros = u64::try_from(intended.elapsed().as_micros()).unwrap_or(LONGEST);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen.0.entry(status).or_default() += 1;
        seen.1.saturating_record(micros);
    }
}
