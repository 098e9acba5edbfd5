//! Writes views to Redis: one pipeline a batch, by version, in the script of `schemas::view`.

use crate::{StatusError, config::StatusConfig};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, Pipeline, RedisError, RedisResult, Script, ServerErrorKind,
    aio::MultiplexedConnection,
};
use schemas::{ids::OrderId, messages::OrderState, view};
use std::time::Duration;

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
    /// Refused by Redis for what their own key holds.
    pub(crate) refused: Vec<(OrderId, RedisError)>,
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
            script: Script::new(view::WRITE_VIEW),
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
        orders: impl ExactSizeIterator<Item = &'a OrderState>,
    ) -> RedisResult<Written> {
        if orders.len() == 0 {
            return Ok(Written::default());
        }
        let mut connection = self.connection().await?;
        let (ids, pipeline) = self.pipeline(orders)?;
        let mut answers = run(&pipeline, &mut connection).await;
        if matches!(&answers, Ok(answers) if answers.iter().any(is_script_missing)) {
            // flushed, or another server: it has to be told the script again
            let loaded = self.script.load_async(&mut connection).await;
            self.forget_if_failed(loaded)?;
            answers = run(&pipeline, &mut connection).await;
        }
        let answers = self.forget_if_failed(answers)?;
        tally(&ids, answers)
    }

    fn pipeline<'a>(
        &self,
        orders: impl ExactSizeIterator<Item = &'a OrderState>,
    ) -> RedisResult<(Vec<OrderId>, Pipeline)> {
        let mut pipeline = Pipeline::with_capacity(orders.len());
        let mut ids = Vec::with_capacity(orders.len());
        for order in orders {
            let json = view::public_json(order)
                .map_err(|error| (ErrorKind::Client, "a view that is no JSON", error.to_string()))?;
            pipeline
                .cmd("EVALSHA")
                .arg(self.script.get_hash())
                .arg(1)
                .arg(view::key(order.order_id))
                .arg(order.version)
                .arg(&order.owner)
                .arg(order.body_hash.to_string())
                .arg(order.status.as_str())
                .arg(json)
                .arg(self.ttl_ms)
                .arg(order.order_id.to_string());
            ids.push(order.order_id);
        }
        pipeline.ignore_errors();
        Ok((ids, pipeline))
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

async fn run(
    pipeline: &Pipeline,
    connection: &mut MultiplexedConnection,
) -> RedisResult<Vec<RedisResult<u8>>> {
    pipeline.query_async(connection).await
}

fn is_script_missing(answer: &RedisResult<u8>) -> bool {
    matches!(answer, Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
}

/// Tells what one key refuses (it holds something else: skipped) from what Redis refuses (out of memory, loading,
/// a replica: the whole batch is written again).
fn tally(ids: &[OrderId], answers: Vec<RedisResult<u8>>) -> RedisResult<Written> {
    let mut written = Written::default();
    for (id, answer) in ids.iter().zip(answers) {
        match answer {
            Ok(0) => written.older += 1,
            Ok(_) => written.newer += 1,
            Err(error) if matches!(error.code(), Some("WRONGTYPE" | "ERR")) => {
                written.refused.push((*id, error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
