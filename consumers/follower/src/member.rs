//! A member of the group: its consumer, how far it committed, and whether it is stuck.

use crate::{Counters, Following, Record, positions::Positions};
use chassis::crash::{self, CrashPoint};
use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult},
    message::BorrowedMessage,
};
use schemas::{time::Timestamp, topics::Topic};
use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

/// Longest wait for one question to a broker.
const ASK: Duration = Duration::from_secs(1);
/// Bytes that a broker that gathers hands out before its time is over.
const GATHERED: &str = "262144";
/// Longest wait for a consumer to close.
const CLOSE: Duration = Duration::from_secs(10);

/// Hears of rebalances, commits and errors on the thread that polls.
#[derive(Debug)]
struct Hooks {
    group: &'static str,
    commit_failures: &'static str,
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
        tracing::warn!(group = self.group, %error, reason, "kafka consumer");
    }
}

impl ConsumerContext for Hooks {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let group = self.group;
        match rebalance {
            Rebalance::Assign(partitions) => {
                self.assignments.fetch_add(1, Ordering::Relaxed);
                tracing::info!(group, partitions = ?named(partitions), "assigned");
            }
            Rebalance::Revoke(partitions) => {
                tracing::info!(group, partitions = ?named(partitions), "revoked");
            }
            Rebalance::Error(error) => tracing::warn!(group, %error, "rebalance failed"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            // advisory: the next commit covers it, and what is read twice changes nothing
            ::metrics::counter!(self.commit_failures).increment(1);
            tracing::warn!(group = self.group, %error, "a commit was refused");
        }
    }
}

fn named(partitions: &TopicPartitionList) -> Vec<String> {
    let elements = partitions.elements();
    elements.iter().map(|element| format!("{}/{}", element.topic(), element.partition())).collect()
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
    group: &'static str,
    counters: Counters,
    /// Each with its name on the cluster.
    topics: Vec<(Topic, String)>,
}

impl Member {
    /// Makes a consumer and subscribes. Joining goes on while it is polled.
    pub(crate) fn join(following: &Following) -> KafkaResult<Self> {
        let Following { cluster, instance, group, topics, gathering, counters, .. } = following;
        let topics: Vec<(Topic, String)> =
            topics.iter().map(|topic| (*topic, topic.on_cluster(&cluster.prefix))).collect();
        let mut client = ClientConfig::new();
        for (name, value) in cluster.client_settings() {
            client.set(name, value);
        }
        if let Some(instance) = instance {
            client.set("group.instance.id", format!("{instance}-{group}"));
        }
        if !gathering.is_zero() {
            client
                .set("fetch.min.bytes", GATHERED)
                .set("fetch.wait.max.ms", gathering.as_millis().to_string());
        }
        let hooks =
            Hooks { group, commit_failures: counters.commit_failures, assignments: AtomicU64::new(0) };
        let consumer: BaseConsumer<Hooks> = client
            .set("client.id", format!("mambogo-{group}"))
            .set("group.id", format!("{}{group}", cluster.prefix))
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "2000")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // a record read again changes nothing, one left out would never be written
            .set("auto.offset.reset", "earliest")
            .set("fetch.queue.backoff.ms", "20")
            .set("queued.max.messages.kbytes", "16384")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            // a topic made after the follower was started is found soon
            .set("topic.metadata.refresh.interval.ms", "10000")
            .create_with_context(hooks)?;
        let names: Vec<&str> = topics.iter().map(|(_, name)| name.as_str()).collect();
        consumer.subscribe(&names)?;
        Ok(Self { consumer, group, counters: *counters, topics })
    }

    /// The next record, error, or nothing for now (which says nothing about the end).
    pub(crate) fn poll(&self, wait: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        self.consumer.poll(wait)
    }

    /// The record as an effect knows it. None of a topic that was not subscribed to.
    pub(crate) fn record<'a>(&self, message: &'a BorrowedMessage<'_>) -> Option<Record<'a>> {
        let (topic, _) = self.topics.iter().find(|(_, name)| name == message.topic())?;
        Some(Record {
            topic: *topic,
            partition: message.partition(),
            offset: message.offset(),
            logged: Timestamp(message.timestamp().to_millis().unwrap_or(0)),
            payload: message.payload().unwrap_or_default(),
        })
    }

    /// How many assignments it was given: 0 until it is in the group.
    pub(crate) fn assignments(&self) -> u64 {
        self.consumer.context().assignments.load(Ordering::Relaxed)
    }

    /// Stops fetching what is assigned now.
    pub(crate) fn pause(&self) {
        let paused = self.consumer.assignment().and_then(|assigned| self.consumer.pause(&assigned));
        if let Err(error) = paused {
            tracing::warn!(group = self.group, %error, "could not pause");
        }
    }

    /// Fetches again.
    pub(crate) fn resume(&self) {
        let resumed = self.consumer.assignment().and_then(|assigned| self.consumer.resume(&assigned));
        if let Err(error) = resumed {
            tracing::warn!(group = self.group, %error, "could not resume");
        }
    }

    /// Commits positions, without waiting, for the partitions still assigned: a late commit for another one would put its
    /// new owner back.
    pub(crate) fn commit_positions(&self, next: &Positions) {
        let committed = self.consumer.assignment().and_then(|assigned| {
            let mut offsets = TopicPartitionList::new();
            for (topic, partition, offset) in next.iter() {
                let Some(topic) = self.name(topic) else { continue };
                if assigned.find_partition(topic, partition).is_some() {
                    offsets.add_partition_offset(topic, partition, Offset::Offset(offset))?;
                }
            }
            if offsets.count() == 0 {
                return Ok(());
            }
            crash::point_of(self.group, CrashPoint::OffsetsBefore);
            let handed = self.consumer.commit(&offsets, CommitMode::Async);
            crash::point_of(self.group, CrashPoint::OffsetsHanded);
            handed
        });
        if let Err(error) = committed {
            ::metrics::counter!(self.counters.commit_failures).increment(1);
            tracing::warn!(group = self.group, %error, "could not commit");
        }
    }

    fn name(&self, topic: Topic) -> Option<&str> {
        self.topics.iter().find(|(known, _)| *known == topic).map(|(_, name)| name.as_str())
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
            return self.is_anybody_there().map(|()| false);
        }
        for element in positions.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let (low, high) = self.consumer.fetch_watermarks(topic, partition, ASK)?;
            let next = match element.offset() {
                Offset::Offset(offset) => offset,
                // no record yet: it begins at what is committed, else at the earliest there is
                _ => self.committed(topic, partition)?.unwrap_or(low),
            };
            if next.max(low) < high {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asked while nothing is assigned.
    fn is_anybody_there(&self) -> KafkaResult<()> {
        for (_, name) in &self.topics {
            let metadata = self.consumer.fetch_metadata(Some(name), ASK)?;
            if let Some(error) = metadata.topics().iter().find_map(|topic| topic.error()) {
                return Err(KafkaError::MetadataFetch(error.into()));
            }
        }
        Ok(())
    }

    fn committed(&self, topic: &str, partition: i32) -> KafkaResult<Option<i64>> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, partition);
        let answer = self.consumer.committed_offsets(asked, ASK)?;
        Ok(answer.find_partition(topic, partition).and_then(|element| match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }))
    }

    /// Leaves the group. Closing can hang in librdkafka, so it is given a thread and a time.
    pub(crate) fn leave(self) {
        let group = self.group;
        let (closed, waits) = mpsc::channel::<()>();
        let closing = std::thread::Builder::new().name(format!("{group}-close")).spawn(move || {
            drop(self);
            drop(closed);
        });
        if closing.is_err() || waits.recv_timeout(CLOSE) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!(group, "the consumer did not close in time; the group ends its session in 6 s");
        }
    }
}
