//! Whether the public port can do its job: Kafka answers, Postgres answers, the prices are known. Redis away is
//! degraded, not unready: orders are still taken, and still one a key.
//!
//! Each look at Postgres asks for its time as well, and steers the gateway's clock by it: a deadline is counted by the
//! clock that will judge it. So a machine whose clock is wrong serves as well as any other, and only says so.

use crate::metrics;
use ::metrics::gauge;
use chassis::{clock::Clock, health::Part, postgres};
use ingress::{log::Log, redis_link::RedisLink};
use orders_api::PriceBook;
use sqlx::PgPool;
use std::time::Duration;

/// Time between two looks while all is well, and while something is away.
const WELL: Duration = Duration::from_secs(5);
const AWAY: Duration = Duration::from_millis(250);
/// Longest wait for Postgres's answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// From here on, in milliseconds, the machine's clock is said to be wrong.
const WRONG: i64 = 2_000;

/// What is watched.
pub(crate) struct Watched {
    pub(crate) log: Log,
    pub(crate) pool: PgPool,
    pub(crate) redis: RedisLink,
    pub(crate) prices: PriceBook,
    pub(crate) clock: Clock,
}

/// Looks again and again, and says so in `health`.
pub(crate) async fn watch(watched: Watched, health: Part) {
    let mut was_right = true;
    loop {
        let problem = watched.look().await;
        was_right = watched.compare_clocks(was_right);
        match &problem {
            None => health.ready(),
            Some(why) => health.not_ready(why),
        }
        tokio::time::sleep(if problem.is_none() { WELL } else { AWAY }).await;
    }
}

impl Watched {
    /// What is away, if anything that is needed is.
    async fn look(&self) -> Option<String> {
        let (kafka, postgres) = tokio::join!(self.log.check(), self.postgres());
        let kafka = kafka.map_err(|error| format!("Kafka: {error}"));
        let postgres = postgres.map_err(|why| format!("Postgres: {why}"));
        let prices =
            if self.prices.is_open() { Ok(()) } else { Err("the price book is not loaded".to_owned()) };
        up("redis", self.redis.life().is_ok());
        up("kafka", kafka.is_ok());
        up("postgres", postgres.is_ok());
        up("prices", prices.is_ok());
        let away: Vec<String> = [kafka, postgres, prices].into_iter().filter_map(Result::err).collect();
        (!away.is_empty()).then(|| away.join("; "))
    }

    async fn postgres(&self) -> Result<(), String> {
        // in a task of its own: a query is never dropped half-way
        let pool = self.pool.clone();
        let clock = self.clock.clone();
        let asked = tokio::spawn(async move { postgres::tell_time(&pool, &clock).await });
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => answer.map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    /// Whether the machine's clock is right; said when that is no longer what it was.
    fn compare_clocks(&self, was_right: bool) -> bool {
        let ahead_ms = Clock::system().now_millis().saturating_sub(self.clock.now_millis());
        let is_right = ahead_ms.abs() < WRONG;
        gauge!(metrics::CLOCK_OFFSET).set(ahead_ms as f64 / 1_000.0);
        match (was_right, is_right) {
            (true, false) => tracing::warn!(
                ahead_ms,
                "this machine's clock is not the database's; the gateway goes by the database's: set right whichever is \
                 wrong (NTP)"
            ),
            (false, true) => tracing::info!(ahead_ms, "this machine's clock is right again"),
            _ => {}
        }
        is_right
    }
}

fn up(part: &'static str, is_up: bool) {
    gauge!(metrics::PARTS, "part" => part).set(f64::from(u8::from(is_up)));
}
