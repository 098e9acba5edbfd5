//! Asking the inventory worker and waiting for its word: a time limit, a bounded number of tries, and a circuit breaker, so
//! that a service which is away costs its callers little and is left alone until it is back.

use crate::{
    metrics,
    read::{self, Hold, HoldState},
};
use chassis::breaker::{Admission, Breaker, Position};
use ingress::{
    coalesce::{Bounds, Coalescer},
    log::{Command, Log, SendError},
};
use schemas::ids::OrderId;
use sqlx::PgPool;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How often a verdict is looked for.
const POLL: Duration = Duration::from_millis(20);
/// How often a command is handed over before it is given up. It is one command, however often it arrives.
const TRIES: u32 = 3;
/// The wait after the first try; twice as long after each.
const PAUSE: Duration = Duration::from_millis(50);

/// What is known of a reserve when the waiting ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// The worker has decided.
    Decided(Hold),
    /// It has taken the reserve in and waits for units to come back.
    Waiting,
    /// Nothing is known: it may be decided later.
    Silence,
    /// It was never asked.
    NotAsked,
}

/// The way to the inventory worker. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Desk {
    log: Log,
    holds: Coalescer<OrderId, Option<Hold>>,
    breaker: Arc<Mutex<Breaker>>,
    began: Instant,
    patience: Duration,
}

impl Desk {
    pub(crate) fn start(log: Log, pool: PgPool, breaker: Breaker, patience: Duration) -> Self {
        let holds = Coalescer::start("holds", Bounds::default(), move |orders: Vec<OrderId>| {
            let pool = pool.clone();
            async move { read::holds(&pool, &orders).await.map_err(|error| error.to_string()) }
        });
        metrics::breaker_stands(breaker.position());
        Self { log, holds, breaker: Arc::new(Mutex::new(breaker)), began: Instant::now(), patience }
    }

    /// Sends `command` about `order` and waits for the worker's word, within the time limit.
    pub(crate) async fn ask(&self, order: OrderId, command: Command) -> Word {
        let ticket = match self.with_breaker(Breaker::admit) {
            Admission::Call(ticket) => ticket,
            Admission::Wait(_) => return Word::NotAsked,
        };
        let word = self.ask_admitted(order, command).await;
        let worked = matches!(word, Word::Decided(_) | Word::Waiting);
        self.with_breaker(|breaker, now| breaker.answered(&ticket, worked, now));
        word
    }

    async fn ask_admitted(&self, order: OrderId, command: Command) -> Word {
        let deadline = Instant::now() + self.patience;
        match tokio::time::timeout_at(deadline, self.send(command)).await {
            Ok(Err(SendError::NotSent(why))) => {
                tracing::warn!(%order, why, "a reserve was not handed over to Kafka");
                return Word::NotAsked;
            }
            Ok(Err(SendError::Unknown(why))) => {
                tracing::warn!(%order, why, "a reserve's hand-over is unknown");
                return Word::Silence;
            }
            Err(_) => return Word::Silence,
            Ok(Ok(())) => {}
        }
        self.word(order, deadline, |state| state != HoldState::Waiting).await
    }

    /// Hands `command` over; tried again where that failed, also where it may have arrived.
    pub(crate) async fn send(&self, command: Command) -> Result<(), SendError> {
        let mut pause = PAUSE;
        let mut may_have_arrived = None;
        for attempt in 1.. {
            match self.log.send(command.clone()).await {
                Ok(_) => return Ok(()),
                Err(SendError::Unknown(why)) => may_have_arrived = Some(why),
                Err(SendError::NotSent(why)) if attempt >= TRIES => {
                    return Err(may_have_arrived.map_or(SendError::NotSent(why), SendError::Unknown));
                }
                Err(SendError::NotSent(_)) => {}
            }
            if attempt >= TRIES {
                break;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(SendError::Unknown(may_have_arrived.unwrap_or_default()))
    }

    /// What the worker says of `order` by `deadline`, once that `is_enough`.
    async fn word(&self, order: OrderId, deadline: Instant, is_enough: fn(HoldState) -> bool) -> Word {
        let mut last = Word::Silence;
        loop {
            match tokio::time::timeout_at(deadline, self.holds.ask(order)).await {
                Ok(Ok(Some(hold))) if is_enough(hold.state) => return Word::Decided(hold),
                Ok(Ok(Some(_))) => last = Word::Waiting,
                // not there yet, or the database is away for a moment
                Ok(Ok(None) | Err(_)) => {}
                Err(_) => return last,
            }
            if Instant::now() + POLL > deadline {
                return last;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether the reserve is over, which somebody has asked for.
    pub(crate) async fn is_over(&self, order: OrderId) -> bool {
        matches!(self.word(order, Instant::now() + self.patience, HoldState::is_over).await, Word::Decided(_))
    }

    /// What stands there now; `None` also where that cannot be read.
    pub(crate) async fn look(&self, order: OrderId) -> Option<Hold> {
        self.holds.ask(order).await.ok().flatten()
    }

    fn with_breaker<T>(&self, act: impl FnOnce(&mut Breaker, Duration) -> T) -> T {
        let now = self.began.elapsed();
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.position();
        let result = act(&mut breaker, now);
        let after = breaker.position();
        if before != after {
            metrics::breaker_stands(after);
            match after {
                Position::Open => {
                    tracing::warn!("reserves get no answer: inventory is left alone for a while")
                }
                Position::HalfOpen => tracing::info!("inventory is tried again with a few reserves"),
                Position::Closed => tracing::info!("reserves are answered again"),
            }
        }
        result
    }
}
