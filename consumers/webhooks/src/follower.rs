//! The consumer of `order.events`: a plain member of a group. Where it goes on after a restart is what it committed; what it
//! reads twice is taken once.

use crate::{config::WebhooksConfig, metrics};
use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult},
    message::BorrowedMessage,
};
use schemas::topics::{Topic, WEBHOOKS_GROUP};
use std::{
    collections::BTreeMap,
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
        tracing::warn!(%error, reason, "kafka consumer of the webhooks");
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
            // advisory: the next commit covers it, and what is read twice is one row
            ::metrics::counter!(metrics::COMMIT_FAILURES).increment(1);
            tracing::warn!(%error, "a commit was refused");
        }
    }
}

pub(crate) struct Follower {
    consumer: BaseConsumer<Hooks>,
    topic: String,
}

impl Follower {
    /// Makes a consumer and subscribes. Joining goes on while it is polled.
    pub(crate) fn join(config: &WebhooksConfig) -> KafkaResult<Self> {
        let prefix = &config.cluster.prefix;
        let topic = Topic::OrderEvents.on_cluster(prefix);
        let mut client = ClientConfig::new();
        for (name, value) in config.cluster.client_settings() {
            client.set(name, value);
        }
        if let Some(instance) = &config.instance {
            client.set("group.instance.id", format!("{instance}-{WEBHOOKS_GROUP}"));
        }
        let consumer: BaseConsumer<Hooks> = client
            .set("client.id", format!("mambogo-{WEBHOOKS_GROUP}"))
            .set("group.id", format!("{prefix}{WEBHOOKS_GROUP}"))
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "2000")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // an event read again is one row, one left out would never be told
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", "16384")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            // a topic made after the worker was started is found soon
            .set("topic.metadata.refresh.interval.ms", "10000")
            .create_with_context(Hooks::default())?;
        consumer.subscribe(&[&topic])?;
        Ok(Self { consumer, topic })
    }

    /// The next record, error, or nothing for now.
    pub(crate) fn poll(&self, wait: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        self.consumer.poll(wait)
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

    /// Commits the first offsets not yet read, by partition, without waiting; of partitions still assigned, for a late
    /// commit would put their new owner back.
    pub(crate) fn commit(&self, next: &BTreeMap<i32, i64>) {
        let committed = self.consumer.assignment().and_then(|assigned| {
            let mut offsets = TopicPartitionList::new();
            for (partition, offset) in next {
                if assigned.find_partition(&self.topic, *partition).is_some() {
                    offsets.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))?;
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
        let closing = std::thread::Builder::new().name("webhooks-close".to_owned()).spawn(move || {
            drop(self);
            drop(closed);
        });
        if closing.is_err() || waits.recv_timeout(CLOSE) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the consumer did not close in time; the group ends its session in 6 s");
        }
    }
}
