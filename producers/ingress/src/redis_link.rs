//! The edge's one connection to Redis: multiplexed, reconnecting by itself, failing fast while it is away.
//!
//! Why not redis-rs's `ConnectionManager`: it reconnects silently. What the edge believes of Redis holds for one
//! server process (its run id is read at every connect and goes into every claim): a server that was restarted with
//! an old snapshot must not pass for the one that heard yesterday's claims. So whoever sends a command must know
//! which server it goes to, and a connection is one server's for its whole life.
//!
//! A server that was silent for long (frozen, or behind a network that was) ends a life, too, even if it answers in the
//! end: other gateways gave it up meanwhile and went on without it, so what it remembers is not all there is.

#[cfg(test)]
mod tests;

use crate::metrics;
use arc_swap::{ArcSwap, ArcSwapOption};
use backon::{BackoffBuilder, ExponentialBuilder};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, Script,
    ServerErrorKind, aio::MultiplexedConnection,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

/// How the link is kept.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://host:port/db`; may hold a password.
    pub url: chassis::settings::Secret,
    /// Longest wait for one answer.
    pub response_timeout: Duration,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
}

impl RedisConfig {
    /// The longest silence after which an answer is believed: shorter than the wait after which anybody gives Redis up,
    /// by what clocks and networks may add.
    fn longest_silence(&self) -> Duration {
        self.response_timeout * 3 / 4
    }
}

/// Redis is away, or did not answer in time. Nothing is known about the command: it may have run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Redis is away")]
pub struct RedisAway;

/// One life of the connection: one server process.
pub struct Life {
    /// The server's run id: drawn anew at each start of the server.
    pub run_id: String,
    /// Whether the server keeps what it was given (`noeviction`, or no memory limit). If not, nothing that is missing
    /// there proves anything.
    pub keeps: bool,
    /// Grows with every connect of this link.
    pub generation: u64,
    connection: MultiplexedConnection,
    silence: Silence,
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Life({} of {})", self.generation, self.run_id)
    }
}

/// Watches for silence: time in which the server answered nothing.
///
/// An answer was given after its command was sent. So what lies between the sending of the newest command that was
/// answered, and the arrival of the next answer, may all have been silence.
struct Silence {
    born: Instant,
    /// When the newest of the answered commands was sent: microseconds after `born`.
    heard: AtomicU64,
    longest: Duration,
}

impl Silence {
    fn new(born: Instant, longest: Duration) -> Self {
        Self { born, heard: AtomicU64::new(0), longest }
    }

    /// An answer arrived at `now` to a command sent at `sent`. Says whether it may be believed.
    fn ends(&self, sent: Instant, now: Instant) -> bool {
        let after = |at: Instant| u64::try_from((at - self.born).as_micros()).unwrap_or(u64::MAX);
        let heard = self.heard.fetch_max(after(sent), Ordering::AcqRel);
        after(now).saturating_sub(heard) <= u64::try_from(self.longest.as_micros()).unwrap_or(u64::MAX)
    }
}

struct Shared {
    life: ArcSwapOption<Life>,
    /// Since when there is none.
    away_since: ArcSwap<Instant>,
    lost: watch::Sender<u64>,
    connected: watch::Sender<u64>,
}

/// The link. Cheap to clone.
#[derive(Clone)]
pub struct RedisLink {
    shared: Arc<Shared>,
}

impl RedisLink {
    /// Opens the link and keeps it until `stop`. Redis need not be there yet.
    ///
    /// # Errors
    /// When the URL does not read.
    pub fn start(config: RedisConfig, stop: CancellationToken) -> Result<Self, RedisError> {
        let client = Client::open(config.url.expose())?;
        let link = Self {
            shared: Arc::new(Shared {
                life: ArcSwapOption::empty(),
                away_since: ArcSwap::from_pointee(Instant::now()),
                lost: watch::Sender::new(0),
                connected: watch::Sender::new(0),
            }),
        };
        let keeper = Keeper { client, config, shared: link.shared.clone() };
        tokio::spawn(async move { stop.run_until_cancelled(keeper.keep()).await });
        Ok(link)
    }

    /// The current life of the connection.
    ///
    /// # Errors
    /// [`RedisAway`], at once.
    pub fn life(&self) -> Result<Arc<Life>, RedisAway> {
        self.shared.life.load_full().ok_or(RedisAway)
    }

    /// The current life, or the next one if it begins before Redis has been away for `grace`. `failed` is the generation
    /// of a life that did not do: it is over, even where that is not known everywhere yet. 0: none did.
    pub async fn life_within(&self, grace: Duration, failed: u64) -> Option<Arc<Life>> {
        let mut connects = self.connects();
        let began = Instant::now();
        loop {
            match self.life() {
                Ok(life) if life.generation > failed => return Some(life),
                current => {
                    let since = if current.is_ok() { began } else { **self.shared.away_since.load() };
                    tokio::time::timeout_at(since + grace, connects.changed()).await.ok()?.ok()?;
                }
            }
        }
    }

    /// Tells each connect by its generation.
    #[must_use]
    pub fn connects(&self) -> watch::Receiver<u64> {
        self.shared.connected.subscribe()
    }

    /// Sends `commands` to the server of `life`. A time-out is tried once more on the same connection, so every
    /// command given here must bear being run twice; a second failure gives the connection up.
    ///
    /// # Errors
    /// [`RedisAway`].
    pub async fn query<T: FromRedisValue>(&self, life: &Life, commands: &Pipeline) -> Result<T, RedisAway> {
        let sent = Instant::now();
        let mut connection = life.connection.clone();
        let mut outcome = commands.query_async(&mut connection).await;
        if outcome.as_ref().is_err_and(RedisError::is_timeout) {
            outcome = commands.query_async(&mut connection).await;
        }
        self.answered(life, sent, outcome)
    }

    /// As [`RedisLink::query`], for one script, which is loaded where the server does not know it.
    ///
    /// # Errors
    /// [`RedisAway`].
    pub async fn run<T: FromRedisValue>(
        &self,
        life: &Life,
        invocation: &redis::ScriptInvocation<'_>,
    ) -> Result<T, RedisAway> {
        let sent = Instant::now();
        let mut connection = life.connection.clone();
        let mut outcome = invocation.invoke_async(&mut connection).await;
        if outcome.as_ref().is_err_and(RedisError::is_timeout) {
            outcome = invocation.invoke_async(&mut connection).await;
        }
        self.answered(life, sent, outcome)
    }

    /// As [`RedisLink::run`], for many runs of one script in one round trip. One answer a run, in their order; when one
    /// run fails, all count as failed.
    ///
    /// # Errors
    /// [`RedisAway`].
    pub async fn run_all<T: FromRedisValue>(
        &self,
        life: &Life,
        runs: &ScriptRuns<'_>,
    ) -> Result<Vec<T>, RedisAway> {
        let sent = Instant::now();
        let mut connection = life.connection.clone();
        let mut outcome = runs.send(&mut connection).await;
        if outcome.as_ref().is_err_and(|error| error.kind() == NO_SCRIPT) {
            outcome = match runs.script.load_async(&mut connection).await {
                Ok(_) => runs.send(&mut connection).await,
                Err(error) => Err(error),
            };
        }
        if outcome.as_ref().is_err_and(RedisError::is_timeout) {
            outcome = runs.send(&mut connection).await;
        }
        self.answered(life, sent, outcome)
    }

    fn answered<T>(&self, life: &Life, sent: Instant, outcome: RedisResult<T>) -> Result<T, RedisAway> {
        let answer = outcome.map_err(|error| self.give_up(life, &error))?;
        if life.silence.ends(sent, Instant::now()) {
            Ok(answer)
        } else {
            Err(self.give_up(life, &"it was silent for too long"))
        }
    }

    fn give_up(&self, life: &Life, why: &dyn std::fmt::Display) -> RedisAway {
        let is_current =
            self.shared.life.load().as_ref().is_some_and(|now| now.generation == life.generation);
        if is_current {
            tracing::warn!(%why, generation = life.generation, "Redis failed a command: connecting anew");
            self.shared.lost.send_replace(life.generation);
        }
        RedisAway
    }
}

/// The server does not know the script: it was restarted or flushed.
/// Longest pause between two tries to connect.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
const NO_SCRIPT: ErrorKind = ErrorKind::Server(ServerErrorKind::NoScript);

/// Runs of one script, gathered for one round trip.
pub struct ScriptRuns<'a> {
    script: &'a Script,
    pipeline: Pipeline,
}

impl<'a> ScriptRuns<'a> {
    /// No run yet, and room for `most`.
    #[must_use]
    pub fn new(script: &'a Script, most: usize) -> Self {
        let mut pipeline = Pipeline::with_capacity(most);
        pipeline.ignore_errors();
        Self { script, pipeline }
    }

    /// One run more, on `keys`; its arguments are added to what this returns.
    pub fn add<K: AsRef<str>>(&mut self, keys: &[K]) -> &mut Pipeline {
        let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
        self.pipeline.cmd("EVALSHA").arg(self.script.get_hash()).arg(keys.len()).arg(keys)
    }

    async fn send<T: FromRedisValue>(&self, connection: &mut MultiplexedConnection) -> RedisResult<Vec<T>> {
        let answers: Vec<RedisResult<T>> = self.pipeline.query_async(connection).await?;
        answers.into_iter().collect()
    }
}

struct Keeper {
    client: Client,
    config: RedisConfig,
    shared: Arc<Shared>,
}

impl Keeper {
    async fn keep(self) {
        let mut generation = 0;
        loop {
            metrics::gauge(metrics::REDIS_UP, 0.0);
            generation += 1;
            let life = Arc::new(self.connect(generation).await);
            if !life.keeps {
                tracing::error!(
                    "Redis evicts keys: set maxmemory-policy noeviction, or no answer rests on it"
                );
            }
            tracing::info!(run_id = life.run_id, generation, "Redis is connected");
            self.shared.life.store(Some(life.clone()));
            self.shared.connected.send_replace(generation);
            metrics::gauge(metrics::REDIS_UP, 1.0);
            self.until_lost(&life).await;
            self.shared.away_since.store(Arc::new(Instant::now()));
            self.shared.life.store(None);
            ::metrics::counter!(metrics::REDIS_LOST).increment(1);
        }
    }

    async fn connect(&self, generation: u64) -> Life {
        let backoff = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(10))
            .with_max_delay(LONGEST_PAUSE)
            .without_max_times();
        let mut delays = backoff.build();
        loop {
            match self.try_connect(generation).await {
                Ok(life) => return life,
                Err(error) => tracing::debug!(%error, "Redis does not answer"),
            }
            tokio::time::sleep(delays.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }

    async fn try_connect(&self, generation: u64) -> Result<Life, RedisError> {
        // both are set: a response time-out alone would stand in for the other
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.config.connect_timeout))
            .set_response_timeout(Some(self.config.response_timeout));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let silence = Silence::new(Instant::now(), self.config.longest_silence());
        let (server, memory): (String, String) = redis::pipe()
            .cmd("INFO")
            .arg("server")
            .cmd("INFO")
            .arg("memory")
            .query_async(&mut connection)
            .await?;
        let run_id = field(&server, "run_id").ok_or((ErrorKind::Client, "INFO server has no run_id"))?;
        let keeps = field(&memory, "maxmemory") == Some("0")
            || field(&memory, "maxmemory_policy") == Some("noeviction");
        Ok(Life { run_id: run_id.to_owned(), keeps, generation, connection, silence })
    }

    /// Returns when a command failed, or when the server does not answer a ping, or does so after a long silence.
    async fn until_lost(&self, life: &Life) {
        let mut lost = self.shared.lost.subscribe();
        tokio::select! {
            // a failed command is known at once
            _ = lost.wait_for(|generation| *generation == life.generation) => {}
            // an idle link would notice nothing
            () = until_silent(life, self.config.longest_silence() / 3) => {}
        }
    }
}

/// Pings often enough that no pause between two pings looks like silence.
async fn until_silent(life: &Life, pause: Duration) {
    let mut connection = life.connection.clone();
    loop {
        tokio::time::sleep(pause).await;
        let sent = Instant::now();
        let pong: Result<String, RedisError> = redis::cmd("PING").query_async(&mut connection).await;
        if let Err(error) = pong {
            tracing::warn!(%error, "Redis does not answer a ping: connecting anew");
            return;
        }
        if !life.silence.ends(sent, Instant::now()) {
            tracing::warn!("Redis was silent for too long: connecting anew");
            return;
        }
    }
}

/// A field of an `INFO` text.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
