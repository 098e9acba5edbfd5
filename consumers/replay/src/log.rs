//! Reads the selected partitions from where they begin to where they ended at the start. Assigned by hand: no
//! group, no commits.

use crate::{
    ReplayError,
    config::ReplayConfig,
    line::{DeadLetter, Record},
    merge::Merge,
};
use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers, Message},
};
use schemas::{
    envelope::{Envelope, EnvelopeError, HEADER, TRACEPARENT},
    time::Timestamp,
    topics::{self, Topic},
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Longest wait for one question to a broker.
const ASK: Duration = Duration::from_secs(10);
/// Longest wait for a record, and so for noticing a stop.
const POLL: Duration = Duration::from_millis(100);
/// How long records may be there and not come.
const PATIENCE: Duration = Duration::from_secs(30);

struct Hooks;

impl ClientContext for Hooks {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka consumer of a replay");
    }
}

impl ConsumerContext for Hooks {}

/// One partition and how far it is read.
#[derive(Debug)]
struct Source {
    topic: Topic,
    name: String,
    partition: i32,
    next: i64,
    /// The first offset that is not read: the log's end at the start.
    end: i64,
    is_paused: bool,
}

impl Source {
    fn is_done(&self) -> bool {
        self.next >= self.end
    }
}

/// The selected partitions. Our topics have no gaps (no transactions, no compaction), so a partition is read when
/// the record before its end is.
pub(crate) struct Log {
    consumer: BaseConsumer<Hooks>,
    sources: Vec<Source>,
    /// Number of a source by topic and partition.
    numbers: HashMap<String, HashMap<i32, usize>>,
    /// Waited for a record, in one go.
    waited: Duration,
}

impl Log {
    /// Finds where to begin, freezes where to end.
    pub(crate) fn open(config: &ReplayConfig) -> Result<Self, ReplayError> {
        let prefix = &config.cluster.prefix;
        let mut client = ClientConfig::new();
        for (name, value) in config.cluster.client_settings() {
            client.set(name, value);
        }
        let consumer: BaseConsumer<Hooks> = client
            .set("client.id", "mambogo-replay")
            // librdkafka assigns to nobody without a name; this one joins nothing and commits nothing
            .set("group.id", format!("{prefix}replay"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // a start that retention took away meanwhile is said, not jumped over
            .set("auto.offset.reset", "error")
            .set("fetch.queue.backoff.ms", "20")
            .set("queued.max.messages.kbytes", "16384")
            .create_with_context(Hooks)
            .map_err(asking("making a consumer"))?;
        let mut sources = Vec::new();
        for topic in &config.topics {
            let name = topic.on_cluster(prefix);
            for partition in partitions_of(&consumer, &name, config.key_bytes().as_deref())? {
                let ends = consumer.fetch_watermarks(&name, partition, ASK);
                let (next, end) = ends.map_err(asking("asking for a partition's ends"))?;
                let name = name.clone();
                sources.push(Source { topic: *topic, name, partition, next, end, is_paused: false });
            }
        }
        let mut numbers: HashMap<String, HashMap<i32, usize>> = HashMap::new();
        for (number, source) in sources.iter().enumerate() {
            numbers.entry(source.name.clone()).or_default().insert(source.partition, number);
        }
        let mut log = Self { consumer, sources, numbers, waited: Duration::ZERO };
        if let Some(from) = config.from() {
            log.begin_at(from).map_err(asking("asking where a time is"))?;
        }
        Ok(log)
    }

    /// How many partitions there are to read.
    pub(crate) fn partitions(&self) -> usize {
        self.sources.len()
    }

    /// Moves each start to the first record at or after that time.
    fn begin_at(&mut self, from: Timestamp) -> KafkaResult<()> {
        let asked = self.list(|_| Offset::Offset(from.0))?;
        let answer = self.consumer.offsets_for_times(asked, ASK)?;
        for source in &mut self.sources {
            let found = answer.find_partition(&source.name, source.partition);
            match found.map(|element| element.offset()) {
                Some(Offset::Offset(offset)) => source.next = source.next.max(offset),
                _ => source.next = source.end,
            }
        }
        Ok(())
    }

    /// Begins to fetch; a partition with nothing to read is finished at once.
    pub(crate) fn start(&mut self, merge: &mut Merge) -> Result<(), ReplayError> {
        for (number, source) in self.sources.iter().enumerate() {
            if source.is_done() {
                merge.finish(number);
            }
        }
        let assigned = self
            .list(|source| if source.is_done() { Offset::Invalid } else { Offset::Offset(source.next) })
            .and_then(|assignment| self.consumer.assign(&assignment));
        assigned.map_err(asking("assigning"))
    }

    /// All sources at the offset that `at` gives each; those it gives none are left out.
    fn list(&self, at: impl Fn(&Source) -> Offset) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for source in &self.sources {
            match at(source) {
                Offset::Invalid => {}
                offset => list.add_partition_offset(&source.name, source.partition, offset)?,
            }
        }
        Ok(list)
    }

    /// Reads one record, or waits a moment. What is of `key` (of any, without one) goes to `merge`.
    pub(crate) fn read(&mut self, merge: &mut Merge, key: Option<&[u8]>) -> Result<(), ReplayError> {
        let began = Instant::now();
        match self.consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                self.waited = Duration::ZERO;
                let of_topic = self.numbers.get(message.topic());
                let number = of_topic.and_then(|numbers| numbers.get(&message.partition()).copied());
                if let Some((number, source)) = number.and_then(|n| Some((n, self.sources.get_mut(n)?))) {
                    if source.take(&message) && key.is_none_or(|key| message.key() == Some(key)) {
                        merge.push(number, record_of(source.topic, &message));
                    }
                    drop(message);
                    self.settle(number, merge)?;
                }
                return Ok(());
            }
            // librdkafka goes on trying by itself; our patience ends it
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve,
            ))) => {}
            Some(Err(error)) => return Err(asking("reading")(error)),
        }
        self.waited += began.elapsed();
        if self.waited > PATIENCE {
            return Err(ReplayError::Stuck(PATIENCE.as_secs()));
        }
        Ok(())
    }

    /// After a record of it: a partition that is read, or full, is fetched no more.
    fn settle(&mut self, number: usize, merge: &mut Merge) -> Result<(), ReplayError> {
        let Some(source) = self.sources.get_mut(number) else { return Ok(()) };
        if source.is_done() {
            merge.finish(number);
        }
        if source.is_paused || !(source.is_done() || merge.is_full(number)) {
            return Ok(());
        }
        source.is_paused = true;
        self.consumer.pause(&one(source)).map_err(asking("pausing a partition"))
    }

    /// After a record was given out: a partition that was full is fetched again once it has room.
    pub(crate) fn make_room(&mut self, number: usize, merge: &Merge) -> Result<(), ReplayError> {
        let Some(source) = self.sources.get_mut(number) else { return Ok(()) };
        if !source.is_paused || source.is_done() || !merge.has_room(number) {
            return Ok(());
        }
        source.is_paused = false;
        self.consumer.resume(&one(source)).map_err(asking("resuming a partition"))
    }
}

impl Source {
    /// Whether that record is wanted: neither past the frozen end nor one that came already (librdkafka may repeat
    /// some after a pause).
    fn take(&mut self, message: &BorrowedMessage<'_>) -> bool {
        let offset = message.offset();
        if offset < self.next {
            return false;
        }
        self.next = offset + 1;
        offset < self.end
    }
}

fn one(source: &Source) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(&source.name, source.partition);
    list
}

fn asking(doing: &'static str) -> impl Fn(KafkaError) -> ReplayError {
    move |source| ReplayError::Kafka { doing, source }
}

/// The partitions of a topic: all of them, or the one of a key.
fn partitions_of(
    consumer: &BaseConsumer<Hooks>,
    name: &str,
    key: Option<&[u8]>,
) -> Result<Vec<i32>, ReplayError> {
    let metadata =
        consumer.fetch_metadata(Some(name), ASK).map_err(asking("asking for a topic's partitions"))?;
    let found = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
    let count = found.map_or(0, |topic| topic.partitions().len());
    match (i32::try_from(count), key) {
        (Ok(count @ 1..), Some(key)) => Ok(vec![topics::partition_of(key, count)]),
        (Ok(count @ 1..), None) => Ok((0..count).collect()),
        _ => Err(ReplayError::NoTopic(name.to_owned())),
    }
}

fn record_of(topic: Topic, message: &BorrowedMessage<'_>) -> Record {
    let mut envelope = Err(EnvelopeError::Missing);
    let (mut dead_letter, mut traceparent) = (DeadLetter::default(), None);
    for header in message.headers().iter().flat_map(|headers| headers.iter()) {
        let value = header.value.unwrap_or_default();
        if header.key == HEADER {
            envelope = Envelope::from_bytes(value);
        }
        if header.key == TRACEPARENT {
            traceparent = Some(value.to_vec());
        }
        dead_letter.hear(header.key, value);
    }
    Record {
        topic,
        partition: message.partition(),
        offset: message.offset(),
        timestamp: Timestamp(message.timestamp().to_millis().unwrap_or(0)),
        key: message.key().map(<[u8]>::to_vec),
        envelope,
        traceparent,
        dead_letter: (dead_letter != DeadLetter::default()).then_some(dead_letter),
        payload: message.payload().map(<[u8]>::to_vec),
    }
}
