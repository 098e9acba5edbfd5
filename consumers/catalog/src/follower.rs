//! The consumer of both topics: a plain member of a group, which commits what was written.

use crate::{
    config::CatalogWorkerConfig,
    heard::{Positions, Source},
    metrics,
};
use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult},
    message::BorrowedMessage,
};
use schemas::topics::{CATALOG_GROUP, Topic};
use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

/// Longest wait for a consumer to close.
const CLOSE: Duration = Duration::from_secs(10);

/// Hears of rebalances and errors on the thread that polls.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
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
        tracing::warn!(%error, reason, "kafka consumer of the catalogue");
    }
}

impl ConsumerContext for Hooks {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            self.assignments.fetch_add(1, Ordering::Relaxed);
            tracing::info!(partitions = partitions.count(), "assigned");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            // advisory: the next commit covers it, and what is read twice changes nothing
            ::metrics::counter!(metrics::COMMIT_FAILURES).increment(1);
            tracing::warn!(%error, "a commit was refused");
        }
    }
}

pub(crate) struct Follower {
    consumer: BaseConsumer<Hooks>,
    inventory: String,
}

impl Follower {
    /// Makes a consumer and subscribes. Joining goes on while it is polled.
    pub(crate) fn join(config: &CatalogWorkerConfig) -> KafkaResult<Self> {
        let prefix = &config.cluster.prefix;
        let inventory = Topic::InventoryEvents.on_cluster(prefix);
        let mut client = ClientConfig::new();
        for (name, value) in config.cluster.client_settings() {
            client.set(name, value);
        }
        if let Some(instance) = &config.instance {
            client.set("group.instance.id", format!("{instance}-{CATALOG_GROUP}"));
        }
        let consumer: BaseConsumer<Hooks> = client
            .set("client.id", format!("mambogo-{CATALOG_GROUP}"))
            .set("group.id", format!("{prefix}{CATALOG_GROUP}"))
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "2000")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // right for what has versions: an event read again changes nothing, one left out would
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", "16384")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            // a topic made after the worker was started is found soon
            .set("topic.metadata.refresh.interval.ms", "10000")
            .create_with_context(Hooks::default())?;
        consumer.subscribe(&[&inventory, &Topic::CatalogEvents.on_cluster(prefix)])?;
        Ok(Self { consumer, inventory })
    }

    /// The next record, error, or nothing for now.
    pub(crate) fn poll(&self, wait: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        self.consumer.poll(wait)
    }

    pub(crate) fn topic_of(&self, name: &str) -> Source {
        if name == self.inventory { Source::Inventory } else { Source::Catalog }
    }

    /// How many assignments it was given: 0 until it is in the group.
    pub(crate) fn assignments(&self) -> u64 {
        self.consumer.context().assignments.load(Ordering::Relaxed)
    }

    /// Stops fetching what is assigned now, or goes on.
    pub(crate) fn pause(&self, stop: bool) {
        let outcome = self.consumer.assignment().and_then(|assigned| {
            if stop { self.consumer.pause(&assigned) } else { self.consumer.resume(&assigned) }
        });
        if let Err(error) = outcome {
            tracing::warn!(%error, stop, "could not pause or go on");
        }
    }

    /// Commits positions, without waiting, for the partitions still assigned: a late commit for another one would put
    /// its new owner back.
    pub(crate) fn commit(&self, next: &Positions) {
        let committed = self.consumer.assignment().and_then(|assigned| {
            let mut offsets = TopicPartitionList::new();
            for ((topic, partition), offset) in next {
                if assigned.find_partition(topic, *partition).is_some() {
                    offsets.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
                }
            }
            if offsets.count() == 0 { Ok(()) } else { self.consumer.commit(&offsets, CommitMode::Async) }
        });
        if let Err(error) = committed {
            ::metrics::counter!(metrics::COMMIT_FAILURES).increment(1);
            tracing::warn!(%error, "could not commit");
        }
    }

    /// Leaves the group. Closing can hang in librdkafka, so it is given a thread and a time.
    pub(crate) fn leave(self) {
        let (closed, waits) = mpsc::channel::<()>();
        let closing = std::thread::Builder::new().name("catalog-close".to_owned()).spawn(move || {
            drop(self);
            drop(closed);
        });
        if closing.is_err() || waits.recv_timeout(CLOSE) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the consumer did not close in time; the group ends its session in 6 s");
        }
    }
}
