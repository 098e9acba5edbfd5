//! Writes changes to Redis, by version, and tells the gateways. A gateway hears of a change when Redis has it.

use crate::{CatalogWorkerError, config::CatalogWorkerConfig};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, Pipeline, RedisError, RedisResult, Script, ServerErrorKind,
    aio::MultiplexedConnection,
};
use schemas::shelf::{self, CHANNEL, Change};
use std::time::Duration;

/// Longest wait for a connection, and for a pipeline's answers: the thread that polls Kafka waits along.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most changes in one pipeline, and in one message.
const SET: usize = 500;
/// Products that one run of the script takes: while it runs, Redis does nothing else.
const AT_ONCE: usize = 100;
/// How long a product is kept, as its readers keep it.
const LIFE: Duration = Duration::from_secs(30 * 60);
/// How long stock is kept of a product that nobody has read. Half of it is longer than any read that began before takes,
/// and than a replica that is read may lag.
const MARK: Duration = Duration::from_secs(120);

/// Why changes were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("Postgres: {0}")]
    Postgres(#[from] sqlx::Error),
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
}

/// Redis. A connection that failed is never used again: a half-open one would fail for ever.
pub(crate) struct Shelves {
    client: Client,
    connection: Option<MultiplexedConnection>,
    merge: Script,
}

impl Shelves {
    /// Connects when first used.
    pub(crate) fn new(config: &CatalogWorkerConfig) -> Result<Self, CatalogWorkerError> {
        let client = Client::open(config.redis_url.expose())?;
        Ok(Self { client, connection: None, merge: Script::new(shelf::MERGE) })
    }

    /// Writes and tells all changes. After an error any of them may be written; all of it may be done again.
    pub(crate) async fn write<'a>(
        &mut self,
        changes: impl Iterator<Item = &'a Change>,
    ) -> Result<(), WriteError> {
        let changes: Vec<&Change> = changes.collect();
        for set in changes.chunks(SET) {
            let mut connection = self.connection().await?;
            // given back when all went well
            let kept = self.connection.take();
            let merges = self.merges(set)?;
            let mut answers = merges.query_async::<Vec<RedisResult<redis::Value>>>(&mut connection).await?;
            if answers.iter().any(is_script_missing) {
                // flushed, or another server: it has to be told the script again
                self.merge.load_async(&mut connection).await?;
                answers = merges.query_async(&mut connection).await?;
            }
            if let Some(error) = answers.into_iter().find_map(Result::err) {
                return Err(error.into());
            }
            let told = serde_json::to_string(set).map_err(|error| unwritable(&error))?;
            let () = redis::cmd("PUBLISH").arg(CHANNEL).arg(told).query_async(&mut connection).await?;
            self.connection = kept;
        }
        Ok(())
    }

    fn merges(&self, set: &[&Change]) -> RedisResult<Pipeline> {
        let mut pipeline = Pipeline::with_capacity(set.len().div_ceil(AT_ONCE));
        for some in set.chunks(AT_ONCE) {
            let keys: Vec<String> = some.iter().map(|change| shelf::key(change.id)).collect();
            // nothing is to be told of what stands then
            let run = pipeline.cmd("EVALSHA").arg(self.merge.get_hash()).arg(keys.len()).arg(keys).arg("");
            for change in some {
                match &change.facts {
                    Some(facts) => {
                        let json = serde_json::to_string(facts).map_err(|error| unwritable(&error))?;
                        run.arg(facts.version).arg(json);
                    }
                    None => {
                        run.arg("").arg("");
                    }
                }
                match change.stock {
                    Some(stock) => run.arg(stock.version).arg(stock.available),
                    None => run.arg("").arg(""),
                };
                let life = if change.facts.is_some() { LIFE } else { MARK };
                run.arg(u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
            }
        }
        pipeline.ignore_errors();
        Ok(pipeline)
    }

    async fn connection(&mut self) -> RedisResult<MultiplexedConnection> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let made = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(self.connection.insert(made).clone())
    }
}

fn unwritable(error: &serde_json::Error) -> RedisError {
    (ErrorKind::Client, "a change that is no JSON", error.to_string()).into()
}

fn is_script_missing(answer: &RedisResult<redis::Value>) -> bool {
    matches!(answer, Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
}
