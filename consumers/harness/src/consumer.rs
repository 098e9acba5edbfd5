//! The Kafka side: one thread that polls, claims lanes in the rebalance callback, and fills the inbox.
//!
//! It decides nothing about records. Its owner task tells it where to seek, what to pause and what to commit.

use crate::{config::WorkerConfig, inbox::Inbox, lane::Lane, record::Record, store::LaneSet};
use chassis::{
    crash::{self, CrashPoint},
    postgres::{SessionLimits, connect},
};
use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers},
    types::RDKafkaRespErr,
};
use schemas::{
    envelope::{Envelope, EnvelopeError, HEADER, TRACEPARENT},
    time::Timestamp,
};
use sqlx::PgConnection;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
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
/// How long the thread waits for room in the inbox before it pauses the partitions.
const ROOM_PATIENCE: Duration = Duration::from_millis(200);
/// Most records that are read before their owner is told and commands are obeyed.
const TOGETHER: usize = 500;
const POLL: Duration = Duration::from_millis(50);
const POLL_PAUSED: Duration = Duration::from_millis(10);
/// Longest time for leaving the group.
const CLOSE: Duration = Duration::from_secs(5);
const ASK: Duration = Duration::from_secs(2);

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

/// Polls until [`Command::Stop`], then leaves the group. Runs on a thread of its own.
pub(crate) fn poll(consumer: BaseConsumer<Claims>, commands: &mpsc::Receiver<Command>) {
    let mut thread = Polling { consumer, halted: BTreeSet::new(), paused: false, brokers_down: None };
    let topic = thread.topic().to_owned();
    if let Err(error) = thread.consumer.subscribe(&[&topic]) {
        thread.tell(Event::Brokers(Err(format!("Kafka: subscribing to {topic}: {error}"))));
    }
    loop {
        while let Ok(command) = commands.try_recv() {
            if matches!(command, Command::Stop) {
                leave(thread.consumer);
                return;
            }
            thread.obey(command);
        }
        thread.turn();
    }
}

/// Leaves the group by closing the consumer: whoever unsubscribes first and closes then sends no word of it, and its
/// lanes wait for a session time-out. Closing can hang in librdkafka, so it has a thread and a time.
fn leave(consumer: BaseConsumer<Claims>) {
    let group = consumer.context().set.group;
    let (closed, waits) = mpsc::channel::<()>();
    let closing = std::thread::Builder::new().name(format!("close-{group}")).spawn(move || {
        drop(consumer);
        drop(closed);
    });
    if closing.is_err() || waits.recv_timeout(CLOSE) == Err(mpsc::RecvTimeoutError::Timeout) {
        tracing::warn!(group, "the consumer did not close in time; the group ends its session in 6 s");
    }
}

struct Polling {
    consumer: BaseConsumer<Claims>,
    halted: BTreeSet<i32>,
    paused: bool,
    brokers_down: Option<Instant>,
}

impl Polling {
    fn claims(&self) -> &Claims {
        self.consumer.context()
    }

    fn topic(&self) -> &str {
        &self.claims().topic
    }

    fn tell(&self, event: Event) {
        self.claims().tell(event);
    }

    /// Reads the records that are there, or serves the group for a moment.
    fn turn(&mut self) {
        let has_room =
            self.claims().inbox.wait_for_room(if self.paused { Duration::ZERO } else { ROOM_PATIENCE });
        self.pause(!has_room);
        match self.consumer.poll(if has_room { POLL } else { POLL_PAUSED }) {
            // nothing, or an event was served: not the end of anything
            None => self.look_for_brokers(),
            Some(Ok(message)) => {
                let mut has_room = self.take(&message);
                drop(message);
                // what was fetched with it
                for _ in 1..TOGETHER {
                    if !has_room {
                        break;
                    }
                    match self.consumer.poll(Duration::ZERO) {
                        None => break,
                        Some(Ok(message)) => has_room = self.take(&message),
                        Some(Err(error)) => self.fail(&error),
                    }
                }
                self.claims().inbox.announce();
                if self.brokers_down.take().is_some() {
                    self.tell(Event::Brokers(Ok(())));
                }
            }
            Some(Err(error)) => self.fail(&error),
        }
    }

    /// Says whether there is room for another.
    fn take(&self, message: &BorrowedMessage<'_>) -> bool {
        let claims = self.claims();
        claims.inbox.push(read(message, claims.set.topic))
    }

    fn fail(&mut self, error: &KafkaError) {
        if let KafkaError::MessageConsumptionFatal(_) = error {
            self.tell(Event::Gone(error.to_string()));
            return;
        }
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.tell(Event::OutOfRange);
            }
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure) => {
                self.brokers_down.get_or_insert_with(Instant::now);
                self.tell(Event::Brokers(Err(format!("Kafka: {error}"))));
            }
            _ => tracing::warn!(group = self.claims().set.group, %error, "reading from Kafka"),
        }
    }

    /// After the brokers were lost, asks once a second whether they are back.
    fn look_for_brokers(&mut self) {
        let Some(since) = self.brokers_down else { return };
        if since.elapsed() < Duration::from_secs(1) {
            return;
        }
        let answer = self.consumer.fetch_watermarks(self.topic(), 0, Duration::from_millis(500));
        self.brokers_down = answer.is_err().then(Instant::now);
        if self.brokers_down.is_none() {
            self.tell(Event::Brokers(Ok(())));
        }
    }

    /// Stops or goes on reading everything but what is halted.
    fn pause(&mut self, pause: bool) {
        if pause == self.paused {
            return;
        }
        let Ok(assigned) = self.consumer.assignment() else { return };
        let mut list = TopicPartitionList::new();
        for element in assigned.elements() {
            if !self.halted.contains(&element.partition()) {
                list.add_partition(element.topic(), element.partition());
            }
        }
        let done = if pause { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        match done {
            Ok(()) => self.paused = pause,
            Err(error) => tracing::warn!(group = self.claims().set.group, %error, "pausing or resuming"),
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Seek { partition, offset, ticket } => {
                self.seek(partition, offset);
                self.tell(Event::Sought { partition, ticket });
            }
            Command::Halt { partition } => {
                self.halted.insert(partition);
                let mut list = TopicPartitionList::new();
                list.add_partition(self.topic(), partition);
                let _ = self.consumer.pause(&list);
                self.claims().inbox.forget(partition);
            }
            Command::Commit(offsets) => {
                let mut list = TopicPartitionList::new();
                for (partition, offset) in offsets {
                    let _ = list.add_partition_offset(self.topic(), partition, Offset::Offset(offset));
                }
                crash::point_of(self.claims().set.group, CrashPoint::OffsetsBefore);
                // advisory: lag tools read it, nobody else
                if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
                    tracing::debug!(group = self.claims().set.group, %error, "committing offsets");
                }
                crash::point_of(self.claims().set.group, CrashPoint::OffsetsHanded);
            }
            Command::AskEnds(positions) => {
                let ends = positions.into_iter().filter_map(|(partition, asked_at)| {
                    let (low, high) = self.consumer.fetch_watermarks(self.topic(), partition, ASK).ok()?;
                    Some(Ends { partition, asked_at, low, high })
                });
                self.tell(Event::Ends(ends.collect()));
            }
            Command::Rejoin => {
                self.halted.clear();
                self.paused = false;
                self.consumer.unsubscribe();
                if let Err(error) = self.consumer.subscribe(&[self.topic()]) {
                    tracing::error!(group = self.claims().set.group, %error, "subscribing again");
                }
            }
            Command::Stop => {}
        }
    }

    /// Reads the partition anew from `offset`. Assigned again rather than sought: that also works while it is paused
    /// or not yet fetching, and drops what was fetched before.
    fn seek(&mut self, partition: i32, offset: i64) {
        let topic = self.topic().to_owned();
        let is_ours =
            self.consumer.assignment().is_ok_and(|list| list.find_partition(&topic, partition).is_some());
        if !is_ours {
            return;
        }
        let mut list = TopicPartitionList::new();
        let done = list
            .add_partition_offset(&topic, partition, Offset::Offset(offset))
            .and_then(|()| self.consumer.incremental_unassign(&list))
            .map(|()| self.claims().inbox.forget(partition))
            .and_then(|()| self.consumer.incremental_assign(&list))
            .and_then(
                |()| if self.paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) },
            );
        self.halted.remove(&partition);
        if let Err(error) = done {
            tracing::error!(group = self.claims().set.group, partition, offset, %error, "seeking");
        }
    }
}

fn read(message: &BorrowedMessage<'_>, topic: schemas::topics::Topic) -> Record {
    let header = |name: &str| {
        let headers = message.headers()?;
        headers.iter().find(|header| header.key == name)?.value.map(<[u8]>::to_vec)
    };
    let envelope = header(HEADER);
    Record {
        topic,
        partition: message.partition(),
        offset: message.offset(),
        timestamp: Timestamp(message.timestamp().to_millis().unwrap_or(0)),
        key: message.key().unwrap_or_default().to_vec(),
        envelope: envelope.as_deref().map_or(Err(EnvelopeError::Missing), Envelope::from_bytes),
        header: envelope,
        payload: message.payload().unwrap_or_default().to_vec(),
        traceparent: header(TRACEPARENT),
    }
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
