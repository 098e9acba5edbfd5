//! From the log to the table: gather, write, commit. One thread, which also answers rebalances.

use crate::{WebhooksError, config::WebhooksConfig, follower::Follower, metrics, store::Store, told::Event};
use backon::{BackoffBuilder, ExponentialBuilder};
use chassis::health::Part;
use rdkafka::{
    error::KafkaError,
    message::{BorrowedMessage, Message},
};
use schemas::messages::OrderEvent;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::Notify};
use tokio_util::sync::CancellationToken;

/// Longest wait for a record, and so for noticing a stop.
const POLL: Duration = Duration::from_millis(100);
/// Pause before a new consumer.
const REJOIN: Duration = Duration::from_secs(1);
/// Most records taken in at once.
const MAX_RECORDS: usize = 2_000;

/// Takes in until `stop`, and wakes whoever delivers. A consumer that failed for good is replaced by a new one.
pub(crate) fn take_in(
    config: &WebhooksConfig,
    part: &Part,
    wake: &Notify,
    stop: &CancellationToken,
    runtime: &Handle,
) -> Result<(), WebhooksError> {
    let mut intake = Intake { store: Store::new(config.database_url.clone()), part, wake, stop, runtime };
    while !stop.is_cancelled() {
        let follower = Follower::join(config)?;
        let ended = intake.follow(&follower);
        follower.leave();
        if let Err(error) = ended {
            tracing::error!(%error, "the consumer is given up for a new one");
            part.not_ready(error.to_string());
            let _ = runtime.block_on(async { tokio::time::timeout(REJOIN, stop.cancelled()).await });
        }
    }
    Ok(())
}

/// What was read and is not written yet.
#[derive(Default)]
struct Read {
    events: Vec<(i32, i64, OrderEvent)>,
    /// The first offset not yet read, by partition.
    next: BTreeMap<i32, i64>,
}

struct Intake<'a> {
    store: Store,
    part: &'a Part,
    wake: &'a Notify,
    stop: &'a CancellationToken,
    runtime: &'a Handle,
}

impl Intake<'_> {
    fn follow(&mut self, follower: &Follower) -> Result<(), KafkaError> {
        while !self.stop.is_cancelled() {
            let mut read = Read::default();
            gather(follower, &mut read)?;
            if follower.assignments() > 0 {
                self.part.ready();
            }
            if !read.next.is_empty() && self.write(follower, &mut read)? {
                follower.commit(&read.next);
            }
        }
        Ok(())
    }

    /// Writes all of it, however long Postgres is away: paused, but polled, so that the group keeps its member. False when
    /// told to stop first; then nothing is committed, and the next owner reads it again.
    fn write(&mut self, follower: &Follower, read: &mut Read) -> Result<bool, KafkaError> {
        let mut delays = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(2))
            .with_jitter()
            .without_max_times()
            .build();
        let mut is_paused = false;
        loop {
            match self.try_write(read) {
                Ok(rows) => {
                    ::metrics::counter!(metrics::TAKEN).increment(rows);
                    if rows > 0 {
                        self.wake.notify_one();
                    }
                    if is_paused {
                        follower.pause(false);
                    }
                    return Ok(true);
                }
                Err(error) => {
                    ::metrics::counter!(metrics::FAILURES).increment(1);
                    tracing::warn!(%error, "events for webhooks wait");
                    self.part.not_ready(error.to_string());
                    is_paused = true;
                    self.wait_paused(follower, read, delays.next().unwrap_or(REJOIN))?;
                    if self.stop.is_cancelled() {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Most owners have no endpoint: of their events nothing is written, and nothing made.
    fn try_write(&mut self, read: &Read) -> sqlx::Result<u64> {
        let (store, runtime) = (&mut self.store, self.runtime);
        runtime.block_on(async {
            let owners: BTreeSet<&str> =
                read.events.iter().map(|(_, _, event)| event.order().owner.as_str()).collect();
            let listening =
                if owners.is_empty() { BTreeSet::new() } else { store.listening(&owners).await? };
            let heard = read.events.iter().filter(|(_, _, event)| listening.contains(&event.order().owner));
            let told = heard.filter_map(|(partition, offset, event)| {
                Event::of(event).inspect_err(|error| skip(*partition, *offset, error)).ok()
            });
            let told: Vec<Event> = told.collect();
            if told.is_empty() { Ok(0) } else { store.take(&told).await }
        })
    }

    /// Polls for `delay` with everything paused. A record that was on its way is gathered; what a rebalance brings is
    /// paused as well.
    fn wait_paused(&self, follower: &Follower, read: &mut Read, delay: Duration) -> Result<(), KafkaError> {
        let until = Instant::now() + delay;
        let mut assignments = follower.assignments();
        follower.pause(true);
        while !self.stop.is_cancelled() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            poll(follower, read, left.min(POLL))?;
            if follower.assignments() != assignments {
                assignments = follower.assignments();
                follower.pause(true);
            }
        }
        Ok(())
    }
}

/// Waits a little for a first record, then takes what is there already.
fn gather(follower: &Follower, read: &mut Read) -> Result<(), KafkaError> {
    let mut wait = POLL;
    while read.events.len() < MAX_RECORDS && poll(follower, read, wait)? {
        wait = Duration::ZERO;
    }
    Ok(())
}

/// Whether a record came.
fn poll(follower: &Follower, read: &mut Read, wait: Duration) -> Result<bool, KafkaError> {
    match follower.poll(wait) {
        None => Ok(false),
        Some(Ok(record)) => {
            add(read, &record);
            Ok(true)
        }
        Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => Err(error),
        Some(Err(error)) => {
            // librdkafka mends the rest by itself
            tracing::warn!(%error, "reading order.events for webhooks");
            Ok(false)
        }
    }
}

/// One that cannot be read is passed over: nothing can be parked here.
fn add(read: &mut Read, record: &BorrowedMessage<'_>) {
    let (partition, offset) = (record.partition(), record.offset());
    read.next.insert(partition, offset + 1);
    match OrderEvent::decode(record.payload().unwrap_or_default()) {
        Ok(event) => read.events.push((partition, offset, event)),
        Err(error) => skip(partition, offset, &error),
    }
}

fn skip(partition: i32, offset: i64, error: &dyn std::fmt::Display) {
    ::metrics::counter!(metrics::SKIPPED).increment(1);
    tracing::error!(partition, offset, %error, "an order's event cannot be told: no endpoint hears of it");
}
