//! The third level: Postgres. Reads go to the replica while it is near enough; to the primary when it is away, lags, or
//! has not yet what the caller wrote.

use crate::{metrics, read};
use chassis::postgres;
use ingress::{
    config::PoolConfig,
    downstream::{CallError, Downstream},
};
use sqlx::PgPool;
use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How often the replica is asked how far it is.
const LOOK: Duration = Duration::from_millis(500);
/// Longest wait for an answer to that.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);
/// Longest wait for a query of the replica, before the primary is asked instead.
const REPLICA_PATIENCE: Duration = Duration::from_millis(500);
/// Places of the primary remembered, to tell how old the replica's is.
const MARKS: usize = 1_200;

/// A place in Postgres's log (`pg_lsn`): everything up to it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lsn(u64);

impl FromStr for Lsn {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (high, low) = text.split_once('/').ok_or(())?;
        let part = |text: &str| {
            let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_hex { u32::from_str_radix(text, 16).map_err(|_| ()) } else { Err(()) }
        };
        Ok(Self(u64::from(part(high)?) << 32 | u64::from(part(low)?)))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// A pool for the catalogue's reads, on primary or replica; it connects when first used.
///
/// # Errors
/// When the URL does not read.
pub fn pool(config: &PoolConfig) -> sqlx::Result<PgPool> {
    config.open_with(read::SESSION)
}

/// Primary and replica. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Databases {
    primary: PgPool,
    breaker: Downstream,
    replica: Option<Replica>,
}

#[derive(Clone)]
struct Replica {
    pool: PgPool,
    breaker: Downstream,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    answers: AtomicBool,
    lags: AtomicBool,
}

impl Databases {
    /// Reads on `primary` alone.
    pub(crate) fn one(primary: (PgPool, Downstream)) -> Self {
        Self { primary: primary.0, breaker: primary.1, replica: None }
    }

    /// Reads on `replica` while it is less than `max_lag` behind, watched until `stop`.
    pub(crate) fn two(
        primary: (PgPool, Downstream),
        replica: (PgPool, Downstream),
        max_lag: Duration,
        stop: CancellationToken,
    ) -> Self {
        let replica = Replica { pool: replica.0, breaker: replica.1, state: Arc::default() };
        let (pool, breaker) = primary.clone();
        let watch = Watch { primary: pool, breaker, replica: replica.clone(), marks: VecDeque::new() };
        tokio::spawn(stop.run_until_cancelled_owned(watch.watch(max_lag)));
        Self { replica: Some(replica), ..Self::one(primary) }
    }

    /// What `query` says, of a database that knows everything up to `after`.
    ///
    /// # Errors
    /// [`CallError`] of the primary, which is asked last.
    pub(crate) async fn read<T, R>(
        &self,
        after: Option<Lsn>,
        query: impl Fn(PgPool) -> R,
    ) -> Result<T, CallError>
    where
        T: Send + 'static,
        R: Future<Output = sqlx::Result<T>> + Send + 'static,
    {
        let why = match &self.replica {
            None => "usual",
            Some(replica) => match replica.read(after, &query).await {
                Ok(answer) => {
                    count("replica", "usual");
                    return Ok(answer);
                }
                Err(why) => why,
            },
        };
        let asked = async {
            count("primary", why);
            query(self.primary.clone()).await
        };
        self.breaker.query(asked).await
    }
}

impl Replica {
    /// The answer, or why the primary has to give it.
    async fn read<T, R>(&self, after: Option<Lsn>, query: &impl Fn(PgPool) -> R) -> Result<T, &'static str>
    where
        T: Send + 'static,
        R: Future<Output = sqlx::Result<T>> + Send + 'static,
    {
        if !self.state.answers.load(Ordering::Relaxed) {
            return Err("away");
        }
        if self.state.lags.load(Ordering::Relaxed) {
            return Err("lagging");
        }
        let call = self.breaker.admit().map_err(|_| "away")?;
        let (pool, asked) = (self.pool.clone(), query(self.pool.clone()));
        // in a task of its own: a query is never dropped half-way
        let answer = tokio::spawn(async move {
            // asked first: what it knows then, the query knows too
            if let Some(after) = after
                && read::replayed(&pool).await? < Some(after)
            {
                return Ok(None);
            }
            asked.await.map(Some)
        });
        let Ok(Ok(answer)) = tokio::time::timeout(REPLICA_PATIENCE, answer).await else {
            call.failed();
            self.state.answers.store(false, Ordering::Relaxed);
            return Err("away");
        };
        call.shows(answer.as_ref().err());
        match answer {
            Ok(answer) => answer.ok_or("behind"),
            Err(error) => {
                tracing::warn!(%error, "the replica failed a query; the primary is asked");
                Err("away")
            }
        }
    }
}

fn count(from: &'static str, why: &'static str) {
    ::metrics::counter!(metrics::QUERIES, "from" => from, "why" => why).increment(1);
}

/// Looks again and again how far the replica is.
struct Watch {
    primary: PgPool,
    breaker: Downstream,
    replica: Replica,
    /// Where the primary was, and when; from the first place that the replica has not reached.
    marks: VecDeque<(Lsn, Instant)>,
}

impl Watch {
    async fn watch(mut self, max_lag: Duration) {
        let mut was_fit = false;
        loop {
            let lag = self.look().await;
            let (answers, lags) = (lag.is_ok(), lag.as_ref().is_ok_and(|lag| *lag > max_lag));
            self.replica.state.answers.store(answers, Ordering::Relaxed);
            self.replica.state.lags.store(lags, Ordering::Relaxed);
            let is_fit = answers && !lags;
            if is_fit != was_fit {
                was_fit = is_fit;
                match &lag {
                    Ok(lag) => tracing::info!(lag_ms = lag.as_millis(), is_fit, "the replica answers"),
                    Err(error) => tracing::warn!(%error, "the replica is away; the primary is read"),
                }
            }
            if let Ok(lag) = lag {
                ::metrics::gauge!(metrics::REPLICA_LAG).set(lag.as_secs_f64());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How old the newest state is that the replica shows. A primary that does not answer makes nothing new.
    async fn look(&mut self) -> sqlx::Result<Duration> {
        if let Some(place) = self.position().await
            && self.marks.back().is_none_or(|(newest, _)| place > *newest)
            && self.marks.len() < MARKS
        {
            self.marks.push_back((place, Instant::now()));
        }
        let reached = ask(&self.replica.pool, |pool| async move { read::replayed(&pool).await }).await?;
        while self.marks.front().is_some_and(|(place, _)| reached >= Some(*place)) {
            self.marks.pop_front();
        }
        Ok(self.marks.front().map_or(Duration::ZERO, |(_, at)| at.elapsed()))
    }

    /// Where the primary is. A call like any other to its breaker: while the replica answers nobody else may be asking the
    /// primary, and one that has long been back would be refused to the first who need it.
    async fn position(&self) -> Option<Lsn> {
        let place = ask(&self.primary, |pool| async move { read::position(&pool).await });
        self.breaker.query(place).await.ok().flatten()
    }
}

async fn ask<R>(pool: &PgPool, question: impl Fn(PgPool) -> R) -> sqlx::Result<Option<Lsn>>
where
    R: Future<Output = sqlx::Result<Option<Lsn>>> + Send + 'static,
{
    let asked = tokio::spawn(question(pool.clone()));
    let lost = |_| sqlx::Error::WorkerCrashed;
    postgres::within(LOOK_PATIENCE, async { asked.await.map_err(lost)? }).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::{
        breaker::Position,
        postgres::{PoolLimits, Session, SessionLimits},
    };
    use std::future;

    /// A database that is read as primary and as replica, and their breakers.
    async fn both(database: &testbed::Database, stop: CancellationToken) -> (Databases, [Downstream; 2]) {
        let pool = |max| {
            let limits = PoolLimits { min: 0, max, ..Default::default() };
            let session = SessionLimits::EDGE;
            Session::new(&database.url("edge"), "test", session).unwrap().pool(limits)
        };
        let breakers = ["primary", "replica"].map(|name| Downstream::new(name, Duration::from_secs(3)));
        let [primary, replica] = breakers.clone();
        let databases =
            Databases::two((pool(2), primary), (pool(REPLICAS), replica), Duration::from_secs(60), stop);
        (databases, breakers)
    }

    /// Connections of the pool that stands for the replica, by which a query knows it.
    const REPLICAS: u32 = 3;

    #[tokio::test]
    async fn a_primary_that_is_back_is_taken_back_though_nobody_reads_it() {
        let (database, stop) = (testbed::Database::create().await, CancellationToken::new());
        let (_databases, [primary, _]) = both(&database, stop.child_token()).await;
        while primary.position() != Position::Open {
            if let Ok(call) = primary.admit() {
                call.failed();
            }
        }
        testbed::eventually("it is taken back", async || primary.position() == Position::Closed).await;
        stop.cancel();
    }

    #[tokio::test]
    async fn a_replica_that_is_slow_to_answer_queries_is_left_alone_though_it_answers_looks() {
        let (database, stop) = (testbed::Database::create().await, CancellationToken::new());
        let (databases, [_, replica]) = both(&database, stop.child_token()).await;
        let query = |pool: PgPool| async move {
            if pool.options().get_max_connections() == REPLICAS {
                future::pending().await
            } else {
                Ok("the primary's")
            }
        };
        testbed::eventually("it is left alone", async || {
            assert_eq!(databases.read(None, query).await, Ok("the primary's"));
            replica.position() == Position::Open
        })
        .await;
        stop.cancel();
    }

    #[test]
    fn a_place_reads_as_postgres_writes_it() {
        for text in ["0/0", "0/16B3748", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
        }
        assert!("0/16B3748".parse::<Lsn>() < "1/0".parse::<Lsn>());
        for bad in ["", "/", "1", "1/+2", "1/ 2", "1/123456789", "x/1", "1/1/1"] {
            assert_eq!(bad.parse::<Lsn>(), Err(()), "{bad}");
        }
    }
}
