//! The producer: hand a record over, hear what became of it.

use crate::{
    committed::Committed,
    config::PublisherConfig,
    context::{Receipt, Waiter},
    ends::Ends,
    error::{PublishError, QueryError},
    generation::Generation,
    metrics::Meters,
};
use arc_swap::ArcSwap;
use schemas::topics::Topic;
use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Poll, ready},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

/// At least this long between two replacements of a failed producer.
const HEAL_PAUSE: Duration = Duration::from_secs(1);

/// A record on its way to Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundRecord {
    /// Where to.
    pub topic: Topic,
    /// Which partition.
    pub destination: Destination,
    /// The record's key.
    pub key: Vec<u8>,
    /// The payload, in the wire format.
    pub payload: Vec<u8>,
    /// Headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Which partition a record goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The one its key belongs to ([`schemas::topics::partition_of`]).
    ByKey,
    /// This one.
    Partition(i32),
}

/// Where a record stands on its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The partition.
    pub partition: i32,
    /// The offset. Negative when the broker knew the record but no longer its place.
    pub offset: i64,
}

/// What became of a record sent with [`Publisher::send_tagged`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The tag it was sent with.
    pub tag: u64,
    /// Where it stands, or what is known.
    pub outcome: Result<Delivered, PublishError>,
}

/// Where reports of tagged records go.
pub type Reports = mpsc::UnboundedSender<Report>;

/// A record handed over; resolves when its outcome is known. Dropping it does not take the record back.
#[derive(Debug)]
#[must_use = "a record is safe only once this says so"]
pub struct Pending(oneshot::Receiver<Result<Delivered, PublishError>>);

impl Future for Pending {
    type Output = Result<Delivered, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(outcome.unwrap_or_else(|_| {
            Err(PublishError::Unknown("the producer went away before it reported".to_owned()))
        }))
    }
}

/// The producer. Cheap to clone; all clones share one queue. The last one dropped gives up what is still queued;
/// [`Publisher::shutdown`] sends it first.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    config: PublisherConfig,
    meters: Meters,
    names: Vec<(Topic, String)>,
    current: ArcSwap<Generation>,
    healing: Mutex<Option<Instant>>,
    counts: Mutex<BTreeMap<Topic, i32>>,
    ends: Ends,
    committed: Committed,
}

impl Publisher {
    /// Starts a producer. Kafka need not be there yet.
    ///
    /// # Errors
    /// [`PublishError::Fatal`] when librdkafka refuses the settings.
    pub fn start(config: PublisherConfig) -> Result<Self, PublishError> {
        let meters = Meters::of(&config.client_id);
        let first = Generation::start(&config, &meters)?;
        let names = Topic::ALL.into_iter().map(|topic| (topic, topic.on_cluster(&config.cluster.prefix)));
        Ok(Self {
            shared: Arc::new(Shared {
                names: names.collect(),
                meters,
                current: ArcSwap::from_pointee(first),
                healing: Mutex::new(None),
                counts: Mutex::default(),
                ends: Ends::default(),
                committed: Committed::default(),
                config,
            }),
        })
    }

    /// Hands a record over and returns at once; the outcome comes with the [`Pending`].
    ///
    /// # Errors
    /// [`PublishError::QueueFull`], [`PublishError::Fatal`] or [`PublishError::Refused`]: then the record was not
    /// handed over.
    pub fn send(&self, record: &OutboundRecord) -> Result<Pending, PublishError> {
        let (waiter, pending) = oneshot::channel();
        self.hand_over(record, Waiter::One(waiter))?;
        Ok(Pending(pending))
    }

    /// As [`Publisher::send`], for who follows many records: the outcome comes as a [`Report`] with `tag`.
    ///
    /// # Errors
    /// As [`Publisher::send`]; then no report comes.
    pub fn send_tagged(
        &self,
        record: &OutboundRecord,
        tag: u64,
        reports: &Reports,
    ) -> Result<(), PublishError> {
        self.hand_over(record, Waiter::Many { reports: reports.clone(), tag })
    }

    /// The topic's partition count. Asked once: it is fixed for a topic's life.
    ///
    /// # Errors
    /// [`QueryError`], within `timeout`.
    pub async fn partitions(&self, topic: Topic, timeout: Duration) -> Result<i32, QueryError> {
        let known = self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner).get(&topic).copied();
        match known {
            Some(count) => Ok(count),
            None => self.ask_partitions(topic, timeout).await,
        }
    }

    /// Asks the cluster for the topic's partition count: also a proof that it can be reached.
    ///
    /// # Errors
    /// [`QueryError`], within `timeout`.
    pub async fn ask_partitions(&self, topic: Topic, timeout: Duration) -> Result<i32, QueryError> {
        let (generation, name) = (self.shared.current.load_full(), self.name(topic).to_owned());
        let count = blocking(move || generation.partitions(&name, timeout)).await?;
        self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner).insert(topic, count);
        Ok(count)
    }

    /// Where each partition of `topic` ends (the offset of its next record), by partition number, as the brokers
    /// say now. One request a leader; callers that come together should share one.
    ///
    /// # Errors
    /// [`QueryError`], within about `timeout`.
    pub async fn end_offsets(&self, topic: Topic, timeout: Duration) -> Result<Vec<i64>, QueryError> {
        let partitions = self.partitions(topic, timeout).await?;
        let (ends, config) = (self.shared.ends.clone(), self.shared.config.clone());
        let name = self.name(topic).to_owned();
        blocking(move || ends.ask(&config, &name, partitions, timeout)).await
    }

    /// What consumer group `group` (without prefix) has committed in each partition of `topic`, by partition number;
    /// `None` where it has committed nothing.
    ///
    /// # Errors
    /// [`QueryError`], within about `timeout`.
    pub async fn committed_offsets(
        &self,
        group: &'static str,
        topic: Topic,
        timeout: Duration,
    ) -> Result<Vec<Option<i64>>, QueryError> {
        let partitions = self.partitions(topic, timeout).await?;
        let (committed, config) = (self.shared.committed.clone(), self.shared.config.clone());
        let name = self.name(topic).to_owned();
        blocking(move || committed.ask(&config, group, &name, partitions, timeout)).await
    }

    /// Records handed over and not yet reported on.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.current.load().queued()
    }

    /// Whether the producer has a fatal error. With [`PublisherConfig::heal`] the next send replaces it.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.shared.current.load().has_failed()
    }

    /// Waits until everything handed over is reported on. Says whether that was done within `deadline`.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let generation = self.shared.current.load_full();
        blocking(move || Ok(generation.flush(deadline))).await.unwrap_or(false)
    }

    /// Gives up all that is queued or in flight: it is reported as [`PublishError::Unknown`].
    pub fn purge(&self) {
        self.shared.current.load().purge();
    }

    /// Sends what is queued, up to `deadline`, and gives up the rest. Says whether all was sent.
    pub async fn shutdown(self, deadline: Duration) -> bool {
        let sent = self.flush(deadline).await;
        self.purge();
        sent
    }

    fn name(&self, topic: Topic) -> &str {
        self.shared.names.iter().find(|(of, _)| *of == topic).map_or("", |(_, name)| name)
    }

    fn hand_over(&self, record: &OutboundRecord, waiter: Waiter) -> Result<(), PublishError> {
        let name = self.name(record.topic);
        let receipt = Receipt { topic: record.topic, waiter, handed_over: Instant::now() };
        let sent = self.usable().and_then(|generation| generation.send(name, record, receipt));
        match &sent {
            Ok(()) => self.shared.meters.queued.increment(1.0),
            Err(error) => self.shared.meters.failed(error.kind()),
        }
        sent
    }

    /// The current producer, or a new one in the place of one that has failed.
    fn usable(&self) -> Result<Arc<Generation>, PublishError> {
        let current = self.shared.current.load_full();
        if !current.has_failed() {
            return Ok(current);
        }
        let failed = || PublishError::Fatal(current.failure());
        if !self.shared.config.heal {
            return Err(failed());
        }
        let mut last = self.shared.healing.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.shared.current.load_full();
        if !newest.has_failed() {
            return Ok(newest);
        }
        if last.is_some_and(|at| at.elapsed() < HEAL_PAUSE) {
            return Err(failed());
        }
        *last = Some(Instant::now());
        let next = Arc::new(Generation::start(&self.shared.config, &self.shared.meters)?);
        tracing::warn!(client = %self.shared.config.client_id, failure = current.failure(), "producer replaced");
        self.shared.meters.rebuilds.increment(1);
        self.shared.current.store(next.clone());
        Ok(next)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, QueryError> + Send + 'static,
) -> Result<T, QueryError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(QueryError::Unanswered(error.to_string())))
}
