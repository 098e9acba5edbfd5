//! The thread that polls: fills the inbox, serves the group, and obeys.

use super::{Claims, Command, Ends, Event};
use crate::record::Record;
use chassis::crash::{self, CrashPoint};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers},
};
use schemas::{
    envelope::{Envelope, EnvelopeError, HEADER, TRACEPARENT},
    time::Timestamp,
    topics::Topic,
};
use std::{
    collections::BTreeSet,
    sync::mpsc,
    time::{Duration, Instant},
};

/// How long the thread waits for room in the inbox before it pauses the partitions.
const ROOM_PATIENCE: Duration = Duration::from_millis(200);
/// Most records that are read before their owner is told and commands are obeyed.
const TOGETHER: usize = 500;
const POLL: Duration = Duration::from_millis(50);
const POLL_PAUSED: Duration = Duration::from_millis(10);
/// Longest time for leaving the group.
const CLOSE: Duration = Duration::from_secs(5);
const ASK: Duration = Duration::from_secs(2);

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

fn read(message: &BorrowedMessage<'_>, topic: Topic) -> Record {
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
