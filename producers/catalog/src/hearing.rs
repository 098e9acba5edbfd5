//! Hears of changes from the catalogue's worker, by Redis's channel. A channel keeps nothing: what this process holds is
//! believed only while it listens.

use crate::shelf::Shelf;
use chassis::clock::Clock;
use futures_util::StreamExt;
use ingress::redis_link::{RedisConfig, RedisLink};
use redis::{Client, ErrorKind, RedisError, RedisResult};
use schemas::{
    shelf::{CHANNEL, Change},
    time::Timestamp,
};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often a silent channel is asked whether it still is one.
const PING: Duration = Duration::from_secs(1);

/// Listens until `stop`, again after each loss.
///
/// # Errors
/// When the URL does not read.
pub(crate) fn listen(
    shelf: Arc<Shelf>,
    config: &RedisConfig,
    link: &RedisLink,
    clock: Clock,
    stop: CancellationToken,
) -> RedisResult<()> {
    let client = Client::open(config.url.expose())?;
    let (timeout, mut connects) = (config.connect_timeout, link.connects());
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        loop {
            if let Err(error) = hear(&shelf, &client, timeout, &clock).await {
                tracing::debug!(%error, "the channel of the catalogue's changes broke");
            }
            shelf.hears(false);
            // the link knows when the server is back; the time is for a channel that broke alone
            let _ = tokio::time::timeout(Duration::from_secs(1), connects.changed()).await;
        }
    }));
    Ok(())
}

async fn hear(shelf: &Shelf, client: &Client, timeout: Duration, clock: &Clock) -> RedisResult<()> {
    let late = |_| RedisError::from((ErrorKind::Io, "the channel did not answer"));
    let opened = tokio::time::timeout(timeout, client.get_async_pubsub()).await.map_err(late)??;
    let (mut sink, mut messages) = opened.split();
    tokio::time::timeout(timeout, sink.subscribe(CHANNEL)).await.map_err(late)??;
    shelf.hears(true);
    let mut ping = tokio::time::interval(PING);
    loop {
        tokio::select! {
            message = messages.next() => {
                let Some(message) = message else { return Ok(()) };
                let changes = serde_json::from_slice::<Vec<Change>>(message.get_payload_bytes());
                let Ok(changes) = changes else {
                    // of another release: what it meant is not known, so nothing held is
                    shelf.hears(false);
                    shelf.hears(true);
                    continue;
                };
                let now = Timestamp(clock.now_millis());
                changes.into_iter().for_each(|change| shelf.hear(change, now));
            }
            _ = ping.tick() => {
                let _: redis::Value = tokio::time::timeout(timeout, sink.ping()).await.map_err(late)??;
            }
        }
    }
}
