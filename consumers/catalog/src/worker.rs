//! The loop: gather, write, commit. One thread, which also answers rebalances.

use crate::{
    CatalogWorkerError,
    config::CatalogWorkerConfig,
    follower::Follower,
    heard::Heard,
    metrics,
    shelves::{Shelves, WriteError},
    store::Store,
};
use backon::{BackoffBuilder, ExponentialBuilder};
use chassis::health::Part;
use rdkafka::{
    error::KafkaError,
    message::{BorrowedMessage, Message},
};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Longest wait for a record, and so for noticing a stop.
const POLL: Duration = Duration::from_millis(100);
/// Pause before a new consumer.
const REJOIN: Duration = Duration::from_secs(1);

/// Works until `stop`. A consumer that failed for good is replaced by a new one.
pub(crate) fn work(
    config: &CatalogWorkerConfig,
    part: &Part,
    stop: &CancellationToken,
    runtime: &Handle,
) -> Result<(), CatalogWorkerError> {
    let mut worker = Worker {
        shelves: Shelves::new(config)?,
        store: Store::new(config.database_url.clone()),
        window: config.window,
        part,
        stop,
        runtime,
    };
    while !stop.is_cancelled() {
        let follower = Follower::join(config)?;
        let ended = worker.follow(&follower);
        follower.leave();
        if let Err(error) = ended {
            tracing::error!(%error, "the consumer is given up for a new one");
            part.not_ready(error.to_string());
            let _ = runtime.block_on(async { tokio::time::timeout(REJOIN, stop.cancelled()).await });
        }
    }
    Ok(())
}

struct Worker<'a> {
    shelves: Shelves,
    store: Store,
    window: Duration,
    part: &'a Part,
    stop: &'a CancellationToken,
    runtime: &'a Handle,
}

impl Worker<'_> {
    fn follow(&mut self, follower: &Follower) -> Result<(), KafkaError> {
        let mut heard = Heard::default();
        while !self.stop.is_cancelled() {
            gather(follower, &mut heard)?;
            if follower.assignments() > 0 {
                self.part.ready();
            }
            if heard.is_due(Instant::now(), self.window) && self.write(follower, &mut heard)? {
                follower.commit(heard.next());
                heard = Heard::default();
            }
        }
        Ok(())
    }

    /// Writes all of it, however long Postgres or Redis is away: paused, but polled, so that the group keeps its
    /// member. False when told to stop first; then nothing is committed, and the next owner reads it again.
    fn write(&mut self, follower: &Follower, heard: &mut Heard) -> Result<bool, KafkaError> {
        let mut delays = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(2))
            .with_jitter()
            .without_max_times()
            .build();
        let mut is_paused = false;
        loop {
            let began = Instant::now();
            match self.try_write(heard) {
                Ok(()) => {
                    ::metrics::counter!(metrics::RECORDS).increment(heard.records());
                    ::metrics::histogram!(metrics::BATCH).record(heard.changes().len() as f64);
                    ::metrics::histogram!(metrics::WRITE).record(began.elapsed());
                    if is_paused {
                        follower.pause(false);
                    }
                    return Ok(true);
                }
                Err(error) => {
                    ::metrics::counter!(metrics::FAILURES).increment(1);
                    tracing::warn!(%error, "the catalogue's changes wait");
                    self.part.not_ready(error.to_string());
                    is_paused = true;
                    self.wait_paused(follower, heard, delays.next().unwrap_or(REJOIN))?;
                    if self.stop.is_cancelled() {
                        return Ok(false);
                    }
                }
            }
        }
    }

    fn try_write(&mut self, heard: &Heard) -> Result<(), WriteError> {
        let runtime = self.runtime;
        runtime.block_on(async {
            self.store.write(heard.changes()).await?;
            self.shelves.write(heard.changes()).await
        })
    }

    /// Polls for `delay` with everything paused. A record that was on its way is gathered; what a rebalance brings is
    /// paused as well.
    fn wait_paused(&self, follower: &Follower, heard: &mut Heard, delay: Duration) -> Result<(), KafkaError> {
        let until = Instant::now() + delay;
        let mut assignments = follower.assignments();
        follower.pause(true);
        while !self.stop.is_cancelled() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            poll(follower, heard, left.min(POLL))?;
            if follower.assignments() != assignments {
                assignments = follower.assignments();
                follower.pause(true);
            }
        }
        Ok(())
    }
}

/// Waits a little for a first record, then takes what is there already.
fn gather(follower: &Follower, heard: &mut Heard) -> Result<(), KafkaError> {
    let mut wait = POLL;
    while !heard.is_full() && poll(follower, heard, wait)? {
        wait = Duration::ZERO;
    }
    Ok(())
}

/// Whether a record came.
fn poll(follower: &Follower, heard: &mut Heard, wait: Duration) -> Result<bool, KafkaError> {
    match follower.poll(wait) {
        None => Ok(false),
        Some(Ok(record)) => {
            add(follower, heard, &record);
            Ok(true)
        }
        Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => Err(error),
        Some(Err(error)) => {
            // librdkafka mends the rest by itself
            tracing::warn!(%error, "reading the catalogue's topics");
            Ok(false)
        }
    }
}

fn add(follower: &Follower, heard: &mut Heard, record: &BorrowedMessage<'_>) {
    let from = follower.topic_of(record.topic());
    if let Err(error) = heard.add(from, record, Instant::now()) {
        ::metrics::counter!(metrics::SKIPPED).increment(1);
        let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
        tracing::warn!(topic, partition, offset, %error, "a record that cannot be read; skipped");
    }
}
