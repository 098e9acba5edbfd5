//! A member of the status group: its consumer, how far it committed, and whether it is stuck.

use crate::{config::StatusConfig, metrics};
use chassis::crash::{self, CrashPoint};
use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult},
    message::BorrowedMessage,
};
use schemas::topics::{STATUS_GROUP, Topic};
use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

/// Longest wait for one question to a broker.
const ASK: Duration = Duration::from_secs(1);
/// Longest wait for a consumer to close.
const CLOSE: Duration = Duration::from_secs(10);

/// Hears of rebalances, commits and errors on the thread that polls.
#[derive(Debug, Default)]
struct Hooks {
    assignments: AtomicU64,
}

impl ClientContext for Hooks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!(facility, message, "librdkafka");
            }
            _ => tracing::warn!(facility, message, "librdkafka"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka consumer of the status view");
    }
}

impl ConsumerContext for Hooks {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => {
                self.assignments.fetch_add(1, Ordering::Relaxed);
                tracing::info!(partitions = ?numbers(partitions), "assigned");
            }
            Rebalance::Revoke(partitions) => {
                tracing::info!(partitions = ?numbers(partitions), "revoked");
            }
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance failed"),
        }
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<i32> {
    partitions.elements().iter().map(|element| element.partition()).collect()
}

/// What a look at the log's ends found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// All that there is was read.
    Drained,
    /// There is more than was read.
    Behind,
    /// The brokers did not answer.
    Away(String),
}

/// A member of the group.
pub(crate) struct Member {
    consumer: BaseConsumer<Hooks>,
    topic: String,
}

impl Member {
    /// Makes a consumer and subscribes. Joining goes on while it is polled.
    pub(crate) fn join(config: &StatusConfig) -> KafkaResult<Self> {
        let prefix = &config.cluster.prefix;
        let topic = Topic::OrderEvents.on_cluster(prefix);
        let mut client = ClientConfig::new();
        for (name, value) in config.cluster.client_settings() {
            client.set(name, value);
        }
        if let Some(instance) = &config.instance {
            client.set("group.instance.id", format!("{instance}-{STATUS_GROUP}"));
        }
        let consumer: BaseConsumer<Hooks> = client
            .set("client.id", format!("mambogo-{STATUS_GROUP}"))
            .set("group.id", format!("{prefix}{STATUS_GROUP}"))
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "2000")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // right for a view with versions: an event read again changes nothing, one left out would
            .set("auto.offset.reset", "earliest")
            .set("fetch.queue.backoff.ms", "20")
            .set("queued.max.messages.kbytes", "16384")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            // a topic made after the worker was started is found soon
            .set("topic.metadata.refresh.interval.ms", "10000")
            .create_with_context(Hooks::default())?;
        consumer.subscribe(&[&topic])?;
        Ok(Self { consumer, topic })
    }

    /// The next record, error, or nothing for now (which says nothing about the end).
    pub(crate) fn poll(&self, wait: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        self.consumer.poll(wait)
    }

    /// How many assignments it was given: 0 until it is in the group.
    pub(crate) fn assignments(&self) -> u64 {
        self.consumer.context().assignments.load(Ordering::Relaxed)
    }

    /// Stops fetching what is assigned now.
    pub(crate) fn pause(&self) {
        let paused = self.consumer.assignment().and_then(|assigned| self.consumer.pause(&assigned));
        if let Err(error) = paused {
            tracing::warn!(%error, "could not pause");
        }
    }

    /// Fetches again.
    pub(crate) fn resume(&self) {
        let resumed = self.consumer.assignment().and_then(|assigned| self.consumer.resume(&assigned));
        if let Err(error) = resumed {
            tracing::warn!(%error, "could not resume");
        }
    }

    /// Commits positions, without waiting, for the partitions still assigned: a late commit for another one
    /// would put its new owner back.
    pub(crate) fn commit(&self, next: &BTreeMap<i32, i64>) {
        let committed = self.consumer.assignment().and_then(|assigned| {
            let mut offsets = TopicPartitionList::new();
            for (partition, offset) in next {
                if assigned.find_partition(&self.topic, *partition).is_some() {
                    offsets.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))?;
                }
            }
            if offsets.count() == 0 {
                return Ok(());
            }
            crash::point_of(STATUS_GROUP, CrashPoint::OffsetsBefore);
            let handed = self.consumer.commit(&offsets, CommitMode::Async);
            crash::point_of(STATUS_GROUP, CrashPoint::OffsetsHanded);
            handed
        });
        if let Err(error) = committed {
            ::metrics::counter!(metrics::COMMIT_FAILURES).increment(1);
            tracing::warn!(%error, "could not commit");
        }
    }

    /// Asks the brokers whether there is more than was read.
    pub(crate) fn probe(&self) -> Probe {
        match self.is_behind() {
            Ok(true) => Probe::Behind,
            Ok(false) => Probe::Drained,
            Err(error) => Probe::Away(error.to_string()),
        }
    }

    fn is_behind(&self) -> KafkaResult<bool> {
        let positions = self.consumer.position()?;
        if positions.count() == 0 {
            // nothing assigned: is anybody there at all?
            let metadata = self.consumer.fetch_metadata(Some(&self.topic), ASK)?;
            let error = metadata.topics().iter().find_map(|topic| topic.error());
            return error.map_or(Ok(false), |error| Err(KafkaError::MetadataFetch(error.into())));
        }
        for element in positions.elements() {
            let (low, high) = self.consumer.fetch_watermarks(&self.topic, element.partition(), ASK)?;
            let next = match element.offset() {
                Offset::Offset(offset) => offset,
                // no record yet: it begins at what is committed, else at the earliest there is
                _ => self.committed(element.partition())?.unwrap_or(low),
            };
            if next.max(low) < high {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn committed(&self, partition: i32) -> KafkaResult<Option<i64>> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&self.topic, partition);
        let answer = self.consumer.committed_offsets(asked, ASK)?;
        Ok(answer.find_partition(&self.topic, partition).and_then(|element| match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }))
    }

    /// Leaves the group. Closing can hang in librdkafka, so it is given a thread and a time.
    pub(crate) fn leave(self) {
        let (closed, waits) = mpsc::channel::<()>();
        let closing = std::thread::Builder::new().name("status-close".to_owned()).spawn(move || {
            drop(self);
            drop(closed);
        });
        if closing.is_err() || waits.recv_timeout(CLOSE) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the consumer did not close in time; the group ends its session in 6 s");
        }
    }
}
