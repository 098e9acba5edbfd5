//! Sends what is due: bounded in all, and for each endpoint. Endpoints that failed last get one call each, and half of all
//! calls together, so that those that hang or fail, however many there are, delay only themselves.

use crate::{
    WebhooksError,
    config::WebhooksConfig,
    metrics,
    outside::{Letter, Outside, Reply},
    retry,
    store::{self, Due, Failure, Standing},
};
use chassis::clock::Clock;
use schemas::{time::Timestamp, topics::Topic, webhook_signature};
use sqlx::PgPool;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How often due deliveries are looked for when nothing wakes us.
const TICK: Duration = Duration::from_millis(500);
/// How often all that waits is counted.
const SWEEP: Duration = Duration::from_secs(30);
/// A lease outlasts its call by this much: time to note what came of it.
const LEASE_MARGIN: Duration = Duration::from_secs(20);
/// How long calls that are under way are waited for when the process stops. Others are made again once their lease is over.
const GRACE: Duration = Duration::from_secs(5);

/// Sends deliveries.
pub(crate) struct Deliverer {
    sender: Arc<Sender>,
    wake: Arc<Notify>,
    all: Arc<Semaphore>,
    in_trouble: Arc<Semaphore>,
    swept: Option<Instant>,
}

struct Sender {
    config: WebhooksConfig,
    pool: PgPool,
    outside: Outside,
    clock: Clock,
}

impl Deliverer {
    pub(crate) fn new(config: &WebhooksConfig, wake: Arc<Notify>) -> Result<Self, WebhooksError> {
        let sender = Sender {
            pool: config.pool()?,
            outside: Outside::new(config)?,
            clock: Clock::system(),
            config: config.clone(),
        };
        let all = config.in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let half = all.div_ceil(2);
        let (all, in_trouble) = (Arc::new(Semaphore::new(all)), Arc::new(Semaphore::new(half)));
        Ok(Self { sender: Arc::new(sender), wake, all, in_trouble, swept: None })
    }

    /// Delivers until `stop`.
    pub(crate) async fn deliver(mut self, stop: CancellationToken) {
        let mut calls = JoinSet::new();
        while !stop.is_cancelled() {
            let well = self.start(Standing::Well, &mut calls).await;
            let in_trouble = self.start(Standing::InTrouble, &mut calls).await;
            ::metrics::gauge!(metrics::UNDER_WAY).set(calls.len() as f64);
            self.sweep().await;
            if well + in_trouble == 0 {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.wake.notified() => {}
                    Some(_) = calls.join_next() => {}
                    () = tokio::time::sleep(TICK) => {}
                }
            }
            // one that panicked is made again once its lease is over
            while calls.try_join_next().is_some() {}
        }
        let ended = async { while calls.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, ended).await;
    }

    /// Claims what there is room for, and sends it: how many that were.
    async fn start(&self, standing: Standing, calls: &mut JoinSet<()>) -> usize {
        let room = match standing {
            Standing::Well => self.all.available_permits(),
            Standing::InTrouble => self.in_trouble.available_permits().min(self.all.available_permits()),
        };
        if room == 0 {
            return 0;
        }
        let due = self.sender.clone().claim(standing, room).await;
        let started = due.len();
        for due in due {
            let Some(permits) = self.permits(standing) else { continue };
            let sender = self.sender.clone();
            calls.spawn(async move {
                sender.attempt(due).await;
                drop(permits);
            });
        }
        started
    }

    fn permits(&self, standing: Standing) -> Option<Vec<OwnedSemaphorePermit>> {
        let mut permits = vec![self.all.clone().try_acquire_owned().ok()?];
        if standing == Standing::InTrouble {
            permits.push(self.in_trouble.clone().try_acquire_owned().ok()?);
        }
        Some(permits)
    }

    /// From time to time: counts what waits, disables endpoints that too much waits for, and forgets orders of old.
    async fn sweep(&mut self) {
        if self.swept.is_some_and(|swept| swept.elapsed() < SWEEP) {
            return;
        }
        self.swept = Some(Instant::now());
        match store::disable_overfull(&self.sender.pool, self.sender.config.backlog).await {
            Ok((waiting, disabled)) => {
                ::metrics::gauge!(metrics::WAITING).set(waiting as f64);
                ::metrics::counter!(metrics::DISABLED).increment(disabled.unsigned_abs());
            }
            Err(error) => tracing::warn!(%error, "webhooks that wait cannot be counted"),
        }
        let kept = Topic::OrderEvents.retention().saturating_mul(2);
        if let Err(error) = store::forget(&self.sender.pool, kept).await {
            tracing::warn!(%error, "orders of old cannot be forgotten");
        }
    }
}

impl Sender {
    async fn claim(self: Arc<Self>, standing: Standing, room: usize) -> Vec<Due> {
        let each = match standing {
            Standing::Well => i64::try_from(self.config.in_flight_each.max(1)).unwrap_or(i64::MAX),
            Standing::InTrouble => 1,
        };
        let lease = self.config.timeout.saturating_add(LEASE_MARGIN);
        let room = i64::try_from(room).unwrap_or(i64::MAX);
        store::claim(&self.pool, standing, each, room, lease).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "webhooks that are due cannot be read");
            Vec::new()
        })
    }

    async fn attempt(&self, due: Due) {
        let at = Timestamp(self.clock.now_millis());
        let letter = Letter {
            url: &due.url,
            event: due.event,
            signature: webhook_signature::sign_by_all(&due.secrets(), at, due.body.as_bytes()),
            body: due.body.clone(),
        };
        let began = Instant::now();
        let reply = self.outside.send(letter).await;
        ::metrics::counter!(metrics::ATTEMPTS, "outcome" => reply.label()).increment(1);
        ::metrics::histogram!(metrics::ATTEMPT).record(began.elapsed());
        let noted = match reply {
            Reply::Heard => store::heard(&self.pool, &due).await,
            _ => self.failed(&due, &reply).await,
        };
        if let Err(error) = noted {
            // it is sent again once its lease is over, under the same id
            tracing::warn!(%error, event = %due.event, "what came of a webhook could not be noted");
        }
    }

    async fn failed(&self, due: &Due, reply: &Reply) -> sqlx::Result<()> {
        let (config, why) = (&self.config, reply.why());
        let attempts = due.attempts.saturating_add(1);
        let pause = retry::pause(config.retry_first, config.retry_longest, due.event, attempts);
        let failure = Failure { why: &why, pause, disable_after: config.disable_after };
        tracing::debug!(endpoint = %due.endpoint, event = %due.event, attempts, why, "a webhook was not heard");
        if store::failed(&self.pool, due, failure).await? {
            ::metrics::counter!(metrics::DISABLED).increment(1);
            tracing::warn!(endpoint = %due.endpoint, event = %due.event, attempts, why, "a webhook's endpoint is disabled");
        }
        Ok(())
    }
}
