//! The Kafka side: a consumer that claims lanes in the rebalance callback, what its polling thread is told, and what that
//! says. It decides nothing about records: its owner task tells it where to seek, what to pause and what to commit.

mod polling;

pub(crate) use polling::poll;

use crate::{config::WorkerConfig, inbox::Inbox, lane::Lane, store::LaneSet};
use chassis::postgres::{SessionLimits, connect};
use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};
use sqlx::PgConnection;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{runtime::Handle, sync::mpsc::UnboundedSender};

/// What the polling thread tells the owner. Unbounded, but at most a few a rebalance.
#[derive(Debug)]
pub(crate) enum Event {
    /// These lanes were claimed and are being read.
    Assigned(Vec<Lane>),
    /// These partitions are ours but their lanes could not be claimed in time; they are paused.
    Unclaimed(Vec<i32>),
    /// A lane that could not be claimed in time was claimed later.
    Claimed(Lane),
    /// These partitions were taken away.
    Revoked(Vec<i32>),
    /// Where each partition asked for begins and ends.
    Ends(Vec<Ends>),
    /// A position lies outside its partition: the owner is to compare.
    OutOfRange,
    /// The seek of that ticket is done: whatever of the partition comes from now on was read after it.
    Sought { partition: i32, ticket: u64 },
    /// Whether the brokers answer.
    Brokers(Result<(), String>),
    /// The client can never be used again: the group gave its place to another.
    Gone(String),
}

/// Where a partition begins and ends, and where its lane stood when that was asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) partition: i32,
    pub(crate) asked_at: i64,
    pub(crate) low: i64,
    pub(crate) high: i64,
}

impl Ends {
    /// Whether a lane that stands at `next` by now stands outside the partition. The end is compared with where the lane
    /// stood when it was asked: by the time the answer is heard, lane and log may both have moved on.
    pub(crate) fn leaves_out(&self, next: i64) -> bool {
        next < self.low || self.asked_at > self.high
    }
}

/// What the owner tells the polling thread.
#[derive(Debug)]
pub(crate) enum Command {
    /// Read the partition from this offset on, and tell when it is so: [`Event::Sought`] with the same ticket.
    Seek { partition: i32, offset: i64, ticket: u64 },
    /// Stop reading the partition.
    Halt { partition: i32 },
    /// Tell the group how far we are: partition, next offset.
    Commit(Vec<(i32, i64)>),
    /// Ask for [`Event::Ends`] of these partitions: partition, position of its lane.
    AskEnds(Vec<(i32, i64)>),
    /// Leave the group and join again.
    Rejoin,
    /// Leave the group and end.
    Stop,
}

/// How long a claim may take inside the callback, connecting included.
const CLAIM_PATIENCE: Duration = Duration::from_millis(500);

pub(crate) struct Claims {
    pub(crate) set: LaneSet,
    pub(crate) topic: String,
    pub(crate) database: String,
    pub(crate) runtime: Handle,
    pub(crate) events: UnboundedSender<Event>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) connection: Mutex<Option<PgConnection>>,
}

impl ClientContext for Claims {
    fn error(&self, error: KafkaError, reason: &str) {
        let down = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        tracing::warn!(group = self.set.group, %error, reason, "kafka client");
        if down {
            self.tell(Event::Brokers(Err(format!("Kafka: {reason}"))));
        }
    }
}

impl ConsumerContext for Claims {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<i32> = list.elements().iter().map(|element| element.partition()).collect();
        let done = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list, &partitions),
            _ => {
                for partition in &partitions {
                    self.inbox.forget(*partition);
                }
                self.tell(Event::Revoked(partitions));
                consumer.incremental_unassign(list)
            }
        };
        if let Err(error) = done {
            tracing::error!(group = self.set.group, %error, "the group's assignment could not be followed");
        }
    }
}

impl Claims {
    fn tell(&self, event: Event) {
        // the owner is gone only when the process ends
        let _ = self.events.send(event);
    }

    /// Claims the new lanes and begins to read them where the database says.
    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &mut TopicPartitionList,
        partitions: &[i32],
    ) -> Result<(), KafkaError> {
        for partition in partitions {
            self.inbox.forget(*partition);
        }
        let lanes = if partitions.is_empty() { Vec::new() } else { self.claim(partitions) };
        let mut unclaimed = TopicPartitionList::new();
        for partition in partitions {
            let offset = match lanes.iter().find(|lane| lane.partition == *partition) {
                Some(lane) => Offset::Offset(lane.begins_at()),
                None => {
                    unclaimed.add_partition(&self.topic, *partition);
                    Offset::Beginning
                }
            };
            list.set_partition_offset(&self.topic, *partition, offset)?;
        }
        consumer.incremental_assign(list)?;
        if unclaimed.count() > 0 {
            consumer.pause(&unclaimed)?;
            let waiting = unclaimed.elements().iter().map(|element| element.partition()).collect();
            self.tell(Event::Unclaimed(waiting));
        }
        self.tell(Event::Assigned(lanes));
        Ok(())
    }

    /// One claim for all new lanes, on a connection of its own. What fails is claimed later by the owner.
    fn claim(&self, partitions: &[i32]) -> Vec<Lane> {
        let mut kept = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = async {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => connect(&self.database, "mambogo claim", SessionLimits::CLAIM).await?,
            };
            let lanes = self.set.claim(&mut connection, partitions).await?;
            // a connection whose statement failed or was dropped is not used again
            *kept = Some(connection);
            Ok::<_, sqlx::Error>(lanes)
        };
        let claimed = self.runtime.block_on(async { tokio::time::timeout(CLAIM_PATIENCE, claim).await });
        match claimed {
            Ok(Ok(lanes)) => lanes,
            Ok(Err(error)) => {
                tracing::warn!(group = self.set.group, ?partitions, %error, "lanes not claimed yet; trying on");
                Vec::new()
            }
            Err(_) => {
                tracing::warn!(
                    group = self.set.group,
                    ?partitions,
                    "lanes not claimed within 500 ms; trying on"
                );
                Vec::new()
            }
        }
    }
}

/// The consumer of a group on the classic protocol. Positions come from the lanes, never from a reset policy.
pub(crate) fn consumer(config: &WorkerConfig, claims: Claims) -> Result<BaseConsumer<Claims>, KafkaError> {
    let mut client = ClientConfig::new();
    for (name, value) in config.cluster.client_settings() {
        client.set(name, value);
    }
    if let Some(instance) = &config.instance {
        client.set("group.instance.id", format!("{instance}-{}", claims.set.group));
    }
    client
        .set("client.id", format!("mambogo-{}", claims.set.group))
        .set("group.id", format!("{}{}", config.cluster.prefix, claims.set.group))
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "2000")
        .set("max.poll.interval.ms", "60000")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "500")
        .set("fetch.min.bytes", "1")
        .set("fetch.queue.backoff.ms", "20")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.message.max.bytes", "2097152")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "2000")
        .set("topic.metadata.refresh.interval.ms", "30000");
    client.create_with_context(claims)
}

#[cfg(test)]
mod tests {
    use super::Ends;

    #[test]
    fn a_lane_that_moved_on_while_the_end_was_asked_is_not_outside() {
        let ends = |asked_at, low, high| Ends { partition: 0, asked_at, low, high };
        // asked on an empty topic; two records came and were taken before the answer was heard
        assert!(!ends(0, 0, 0).leaves_out(2));
        assert!(!ends(7, 3, 9).leaves_out(7));
        assert!(ends(7, 0, 5).leaves_out(7), "the topic was made anew");
        assert!(ends(7, 8, 9).leaves_out(7), "records expired unread");
        assert!(!ends(7, 8, 9).leaves_out(9), "they were read before they expired");
    }
}
