//! Drives the proofs: asks what they want to know, a few times a second, until they are made.

use crate::{
    metrics,
    positions::Positions,
    proof::{Ask, AskView, ClaimProof, Mark, Memory, ViewAnswer, ViewProof},
    read,
};
use ingress::log::Log;
use schemas::topics::{STATUS_GROUP, Topic};
use sqlx::PgPool;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Time between two questions of one proof.
const TICK: Duration = Duration::from_millis(50);
/// Within so long after Redis is back, every gateway that can reach it does: several times the longest pause between two
/// tries (`ingress::redis_link`).
const REST: Duration = Duration::from_secs(3);
/// Until somebody calls.
const IDLE: Duration = Duration::from_secs(3_600);

/// Both proofs, shared by requests (which see marks) and the task that asks.
#[derive(Clone)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
}

struct Shared {
    claims: Mutex<ClaimProof>,
    views: Mutex<ViewProof>,
    changed: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    pub(crate) fn new(lease: Duration) -> Self {
        let (claims, views) = (Mutex::new(ClaimProof::new(lease)), Mutex::new(ViewProof::new(REST)));
        Self { shared: Arc::new(Shared { claims, views, changed: Notify::new() }) }
    }

    /// Asks until `stop`. A question under way at the stop is asked to its end: it may be a query.
    pub(crate) fn start(&self, log: Log, pool: PgPool, positions: Positions, stop: CancellationToken) {
        let asker = Asker { shared: self.shared.clone(), log, pool, positions };
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                let pause = asker.step().await;
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(pause) => {}
                    () = asker.shared.changed.notified() => {}
                }
            }
        });
    }

    /// The mark whose misses are proofs in `partition`.
    pub(crate) fn proved_mark(&self, partition: i32) -> Option<Mark> {
        lock(&self.shared.claims).proved_mark(partition)
    }

    /// A claim read `mark`, `age` old. Says whether misses under it are proofs in `partition`.
    pub(crate) fn claimed(&self, mark: &Mark, age: Duration, partition: i32) -> bool {
        let mut claims = lock(&self.shared.claims);
        if claims.mark() != Some(mark) {
            claims.seen(mark, age, Instant::now());
            self.shared.changed.notify_one();
        }
        claims.is_proved(mark, partition)
    }

    /// A view was read from `memory`. Says whether it needs no second look.
    pub(crate) fn looked(&self, memory: &Memory) -> bool {
        let mut views = lock(&self.shared.views);
        if views.seen(memory, Instant::now()) {
            self.shared.changed.notify_one();
        }
        views.is_proved(memory)
    }
}

struct Asker {
    shared: Arc<Shared>,
    log: Log,
    pool: PgPool,
    positions: Positions,
}

impl Asker {
    /// Asks one question of each proof. Returns how long to wait for the next.
    async fn step(&self) -> Duration {
        let claims = self.about_claims().await;
        let views = self.about_views().await;
        claims.min(views)
    }

    async fn about_claims(&self) -> Duration {
        let now = Instant::now();
        let (ask, mark) = {
            let claims = lock(&self.shared.claims);
            (claims.ask(now), claims.mark().cloned())
        };
        let Some(mark) = mark else { return IDLE };
        match ask {
            Ask::NotBefore(ripe) => {
                set(metrics::CLAIMS_PROVED, false);
                return ripe.saturating_duration_since(now);
            }
            Ask::Nothing => {
                set(metrics::CLAIMS_PROVED, true);
                return IDLE;
            }
            Ask::Ends => match self.positions.ends().await {
                Ok(ends) => lock(&self.shared.claims).ends(&mark, now, ends.to_vec()),
                Err(error) => tracing::debug!(%error, "claims are not proved yet"),
            },
            Ask::Lanes => match self.positions.lanes().await {
                Ok(lanes) => lock(&self.shared.claims).lanes(&lanes),
                Err(error) => tracing::debug!(%error, "claims are not proved yet"),
            },
        }
        TICK
    }

    async fn about_views(&self) -> Duration {
        let now = Instant::now();
        let (memory, ask) = lock(&self.shared.views).ask(now);
        let Some(memory) = memory else { return IDLE };
        set(metrics::VIEWS_PROVED, ask == AskView::Nothing);
        match ask {
            AskView::Nothing => return IDLE,
            AskView::NotBefore(ripe) => return ripe.saturating_duration_since(now),
            _ => {}
        }
        match self.ask_view(ask).await {
            Ok(answer) => lock(&self.shared.views).told(&memory, answer),
            Err(error) => tracing::debug!(error, "views are not proved yet"),
        }
        TICK
    }

    async fn ask_view(&self, ask: AskView) -> Result<ViewAnswer, String> {
        Ok(match ask {
            AskView::Outboxes | AskView::Nothing | AskView::NotBefore(_) => {
                ViewAnswer::Outboxes(read::outboxes(&self.pool).await.map_err(text)?)
            }
            AskView::Drained(rows) => {
                ViewAnswer::Drained(read::are_drained(&self.pool, &rows).await.map_err(text)?)
            }
            AskView::Ends => ViewAnswer::Ends(self.log.ends(Topic::OrderEvents).await.map_err(text)?),
            AskView::Committed => ViewAnswer::Committed(
                self.log.committed(STATUS_GROUP, Topic::OrderEvents).await.map_err(text)?,
            ),
        })
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn set(name: &'static str, proved: bool) {
    ::metrics::gauge!(name).set(f64::from(u8::from(proved)));
}
