//! Whether the public port can do its job: Kafka answers, Postgres answers, the prices are known. Redis away is
//! degraded, not unready: orders are still taken, and still one a key.

use crate::metrics;
use chassis::{health::Part, postgres};
use ingress::{log::Log, redis_link::RedisLink};
use orders_api::PriceBook;
use sqlx::PgPool;
use std::time::Duration;

/// Time between two looks while all is well, and while something is away.
const WELL: Duration = Duration::from_secs(5);
const AWAY: Duration = Duration::from_millis(250);
/// Longest wait for Postgres's answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is watched.
pub(crate) struct Watched {
    pub(crate) log: Log,
    pub(crate) pool: PgPool,
    pub(crate) redis: RedisLink,
    pub(crate) prices: PriceBook,
}

/// Looks again and again, and says so in `health`.
pub(crate) async fn watch(watched: Watched, health: Part) {
    loop {
        let problem = watched.look().await;
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
        let asked = tokio::spawn(async move { postgres::ping(&pool).await });
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => answer.map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    }
}

fn up(part: &'static str, is_up: bool) {
    ::metrics::gauge!(metrics::PARTS, "part" => part).set(f64::from(u8::from(is_up)));
}
