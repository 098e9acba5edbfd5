//! How a process connects to Postgres: dedicated connections for workers, a pool for the edge.

use crate::clock::Clock;
use sqlx::{
    Connection, PgConnection, PgPool, Postgres,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow},
    query::Query,
};
use std::{
    future::Future,
    io,
    str::FromStr,
    time::{Duration, Instant},
};

/// Longest time for a connection to be made, its greeting included.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a pool's idle connection is believed to answer.
const BELIEVED: Duration = Duration::from_secs(1);

/// Longest time for [`read`] to get a connection, and then for its rows: more than a statement of the edge may run.
const READ: Duration = Duration::from_secs(3);

/// Session limits of a worker's connection. A frozen owner must not hold locks longer than its group waits for it.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Longest idle time inside a transaction before the server ends it.
    pub idle_in_transaction: Duration,
    /// Longest run of one statement.
    pub statement: Duration,
    /// Longest wait for one lock.
    pub lock: Duration,
}

impl SessionLimits {
    /// A worker's batches: below the consumer group's session time-out of 6 s.
    pub const WORKER: Self = Self {
        idle_in_transaction: Duration::from_secs(5),
        statement: Duration::from_secs(5),
        lock: Duration::from_secs(1),
    };
    /// A claim inside a rebalance callback, which must return within half a second.
    pub const CLAIM: Self = Self {
        idle_in_transaction: Duration::from_secs(1),
        statement: Duration::from_millis(500),
        lock: Duration::from_millis(400),
    };
    /// Reads at the edge.
    pub const EDGE: Self = Self {
        idle_in_transaction: Duration::from_secs(5),
        statement: Duration::from_secs(2),
        lock: Duration::from_secs(1),
    };
}

/// How to connect, and what each new session is told before its first statement. It is told by statements, not by start
/// options: a pooler refuses those, or drops them without a word.
#[derive(Debug, Clone)]
pub struct Session {
    options: PgConnectOptions,
    settings: Vec<(&'static str, String)>,
}

impl Session {
    /// Sessions of `url` with those limits, TCP keepalive of 5 s, custom plans (tables start empty, so a generic plan
    /// cached early would be a bad one), no compiled plans, and the application's name.
    ///
    /// # Errors
    /// When the URL does not read.
    pub fn new(url: &str, application: &str, limits: SessionLimits) -> sqlx::Result<Self> {
        let millis = |duration: Duration| duration.as_millis().to_string();
        let settings = vec![
            ("idle_in_transaction_session_timeout", millis(limits.idle_in_transaction)),
            ("statement_timeout", millis(limits.statement)),
            ("lock_timeout", millis(limits.lock)),
            ("tcp_keepalives_idle", "5".to_owned()),
            ("tcp_keepalives_interval", "5".to_owned()),
            ("tcp_keepalives_count", "3".to_owned()),
            ("plan_cache_mode", "force_custom_plan".to_owned()),
            // compiling a plan costs 20 ms and more, and our statements run for less; a planner that is told to avoid a
            // kind of scan prices the rest so high that it would compile each one
            ("jit", "off".to_owned()),
            ("timezone", "UTC".to_owned()),
        ];
        Ok(Self { options: PgConnectOptions::from_str(url)?.application_name(application), settings })
    }

    /// The same, told that as well.
    #[must_use]
    pub fn with(mut self, settings: &[(&'static str, &str)]) -> Self {
        self.settings.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        self
    }

    /// One dedicated connection, made within 5 s.
    ///
    /// # Errors
    /// When the server cannot be reached, says nothing, or refuses.
    pub async fn connect(&self) -> sqlx::Result<PgConnection> {
        within(CONNECT, async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            self.tell(&mut connection).await?;
            Ok(connection)
        })
        .await
    }

    /// A pool of such sessions that connects when first used, for single statements. A connection that was idle for a second
    /// is asked whether it still answers before it is lent; asking each time would cost a busy pool a second round trip.
    ///
    /// `Pool::begin` is banned by `clippy.toml`: a future dropped inside it leaves its connection in an open transaction
    /// and hands it to the next user (transact-rs/sqlx#4393). Who must begin on a pool does it in a task of its own.
    #[must_use]
    pub fn pool(self, limits: PoolLimits) -> PgPool {
        let options = self.options.clone();
        PgPoolOptions::new()
            .max_connections(limits.max)
            .min_connections(limits.min)
            .acquire_timeout(limits.acquire)
            .idle_timeout(limits.idle)
            .max_lifetime(limits.lifetime)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > BELIEVED {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .after_connect(move |connection, _| {
                let session = self.clone();
                Box::pin(async move { within(CONNECT, session.tell(connection)).await })
            })
            .connect_lazy_with(options)
    }

    async fn tell(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let (names, values): (Vec<&str>, Vec<&str>) =
            self.settings.iter().map(|(name, value)| (*name, value.as_str())).unzip();
        let told =
            "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS told(name, value)";
        sqlx::query(told).bind(names).bind(values).execute(connection).await.map(drop)
    }
}

/// One dedicated connection, made within 5 s.
///
/// # Errors
/// When the URL does not read; as of [`Session::connect`].
pub async fn connect(url: &str, application: &str, limits: SessionLimits) -> sqlx::Result<PgConnection> {
    Session::new(url, application, limits)?.connect().await
}

/// What `work` comes to, or an error of the connection when no answer came within `limit`. The server's own limits end
/// what it still works on; this ends the waiting for a server that is frozen or has gone without a word. The
/// connection must not be used again afterwards.
///
/// # Errors
/// What `work` says; [`io::ErrorKind::TimedOut`].
pub async fn within<T>(limit: Duration, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(silent(limit)))
}

/// The error of a server that said nothing for `limit`.
#[must_use]
pub fn silent(limit: Duration) -> sqlx::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} ms", limit.as_millis())).into()
}

/// The rows of one statement, over a connection of `pool`. A connection that says nothing is given up, not given back:
/// nothing at this end would notice, and the pool would hand it out, or wait for it, until TCP gives up.
///
/// # Errors
/// What the server says; [`io::ErrorKind::TimedOut`] when no connection is free, or no answer comes, within 3 s.
pub async fn read(pool: &PgPool, query: Query<'_, Postgres, PgArguments>) -> sqlx::Result<Vec<PgRow>> {
    let mut connection = within(READ, pool.acquire()).await?;
    let rows = within(READ, query.fetch_all(&mut *connection)).await;
    if rows.is_err() {
        drop(connection.detach());
    }
    rows
}

/// Asks the server over `pool` what time it is, and steers `clock` by its answer.
///
/// # Errors
/// As of [`read`].
pub async fn tell_time(pool: &PgPool, clock: &Clock) -> sqlx::Result<()> {
    let mut connection = within(READ, pool.acquire()).await?;
    let asked = Instant::now();
    let time = sqlx::query_scalar("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint");
    match within(READ, time.fetch_one(&mut *connection)).await {
        Ok(millis) => {
            clock.steer(millis, asked.elapsed());
            Ok(())
        }
        Err(error) => {
            drop(connection.detach());
            Err(error)
        }
    }
}

/// Sizes and times of a pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolLimits {
    /// Most connections.
    pub max: u32,
    /// Connections kept open when idle.
    pub min: u32,
    /// Longest wait for a connection.
    pub acquire: Duration,
    /// A connection idle for this long is closed.
    pub idle: Duration,
    /// A connection older than this is closed.
    pub lifetime: Duration,
}

impl Default for PoolLimits {
    /// 20 connections, 5 kept, 30 s to get one, closed after 10 min idle or 30 min of life.
    fn default() -> Self {
        Self {
            max: 20,
            min: 5,
            acquire: Duration::from_secs(30),
            idle: Duration::from_secs(600),
            lifetime: Duration::from_secs(1_800),
        }
    }
}
