//! Writes views to Redis: one pipeline a batch, by version, in the script of `schemas::view`.

use crate::{StatusError, batch::Newest, config::StatusConfig};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, Pipeline, RedisError, RedisResult, Script, ServerErrorKind,
    aio::MultiplexedConnection,
};
use schemas::{
    ids::OrderId,
    view::{self, packed},
};
use std::time::Duration;

/// Most orders that one run of the script writes: while it runs, Redis does nothing else.
const AT_ONCE: usize = 100;
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest wait for a pipeline's answers. The thread that polls Kafka waits along, so it stays well below the
/// group's session time-out.
const RESPONSE: Duration = Duration::from_secs(2);

/// What became of a batch's views.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Written: newer than what was there.
    pub(crate) newer: u64,
    /// Left alone: an equal or newer version was there.
    pub(crate) older: u64,
}

/// The view in Redis. A connection that failed is never used again: a half-open one would fail for ever.
pub(crate) struct Views {
    client: Client,
    connection: Option<MultiplexedConnection>,
    script: Script,
    ttl_ms: u64,
}

impl Views {
    /// Connects when first used.
    pub(crate) fn new(config: &StatusConfig) -> Result<Self, StatusError> {
        Ok(Self {
            client: Client::open(config.redis_url.expose()).map_err(StatusError::RedisUrl)?,
            connection: None,
            script: Script::new(packed::WRITE),
            ttl_ms: u64::try_from(config.ttl.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Whether Redis answers.
    pub(crate) async fn ping(&mut self) -> RedisResult<()> {
        let mut connection = self.connection().await?;
        let answer = redis::cmd("PING").query_async(&mut connection).await;
        self.forget_if_failed(answer)
    }

    /// Writes the orders' views. After an error any of them may be written; all of it may be done again.
    pub(crate) async fn write<'a>(
        &mut self,
        orders: impl ExactSizeIterator<Item = (&'a OrderId, &'a Newest)>,
    ) -> RedisResult<Written> {
        if orders.len() == 0 {
            return Ok(Written::default());
        }
        let mut connection = self.connection().await?;
        let pipeline = self.pipeline(&orders.collect::<Vec<_>>());
        let mut answers = run(&pipeline, &mut connection).await;
        if matches!(&answers, Err(error) if is_script_missing(error)) {
            // flushed, or another server: it has to be told the script again
            let loaded = self.script.load_async(&mut connection).await;
            self.forget_if_failed(loaded)?;
            answers = run(&pipeline, &mut connection).await;
        }
        self.forget_if_failed(answers).map(|answers| tally(&answers))
    }

    fn pipeline(&self, orders: &[(&OrderId, &Newest)]) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(orders.len().div_ceil(AT_ONCE));
        for some in orders.chunks(AT_ONCE) {
            pipeline.cmd("EVALSHA").arg(self.script.get_hash()).arg(some.len());
            for (order, _) in some {
                pipeline.arg(view::key(**order));
            }
            pipeline.arg(self.ttl_ms);
            for (_, newest) in some {
                pipeline.arg(&newest.packed);
            }
        }
        pipeline.ignore_errors();
        pipeline
    }

    async fn connection(&mut self) -> RedisResult<MultiplexedConnection> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(RESPONSE));
        let made = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(self.connection.insert(made).clone())
    }

    fn forget_if_failed<T>(&mut self, answer: RedisResult<T>) -> RedisResult<T> {
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }
}

async fn run(pipeline: &Pipeline, connection: &mut MultiplexedConnection) -> RedisResult<Vec<Vec<u8>>> {
    let answers: Vec<RedisResult<Vec<u8>>> = pipeline.query_async(connection).await?;
    answers.into_iter().collect()
}

fn is_script_missing(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

fn tally(answers: &[Vec<u8>]) -> Written {
    let mut written = Written::default();
    for answer in answers.iter().flatten() {
        match answer {
            0 => written.older += 1,
            _ => written.newer += 1,
        }
    }
    written
}
