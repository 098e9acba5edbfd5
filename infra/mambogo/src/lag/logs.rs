//! What the brokers say: a log's ends, what a group has committed, and how old the first record behind is. Joins no
//! group, commits nothing.

use super::{LagError, Reader, Row, lanes::Lane};
use chassis::kafka::Cluster;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
};
use schemas::time::Timestamp;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Longest wait for one question to a broker.
const ASK: Duration = Duration::from_secs(10);
/// Longest wait for the first records behind.
const LOOK: Duration = Duration::from_secs(3);

/// The rows of one group. Blocks.
pub(super) fn read(
    cluster: &Cluster,
    reader: Reader,
    lanes: &BTreeMap<i32, Lane>,
    now: Timestamp,
) -> Result<Vec<Row>, LagError> {
    let topic = reader.topic.on_cluster(&cluster.prefix);
    let consumer = asking_for(cluster, reader.group).map_err(kafka("making a client"))?;
    let committed = committed(&consumer, &topic)?;
    let mut rows = Vec::new();
    for (partition, committed) in committed {
        let ends = consumer.fetch_watermarks(&topic, partition, ASK);
        let (log_start, log_end) = ends.map_err(kafka("asking for a partition's ends"))?;
        let lane = lanes.get(&partition);
        let position = lane.map(|lane| lane.next_offset).or(committed).unwrap_or(log_start);
        rows.push(Row {
            group: reader.group,
            topic: reader.topic.name(),
            partition,
            log_start,
            log_end,
            lane: lane.map(|lane| lane.next_offset),
            committed,
            behind: (log_end - position).max(0),
            oldest_seconds: (position >= log_end).then_some(0.0),
            waiting: lane.map(|lane| lane.waiting.clone()),
        });
    }
    find_ages(cluster, &topic, &mut rows, now).map_err(kafka("reading the first records behind"))?;
    Ok(rows)
}

fn asking_for(cluster: &Cluster, group: &str) -> KafkaResult<BaseConsumer> {
    let mut client = ClientConfig::new();
    for (name, value) in cluster.client_settings() {
        client.set(name, value);
    }
    client
        .set("client.id", "mambogo-lag")
        .set("group.id", format!("{}{group}", cluster.prefix))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .create()
}

/// What the group has committed, for every partition of the topic.
fn committed(consumer: &BaseConsumer, topic: &str) -> Result<BTreeMap<i32, Option<i64>>, LagError> {
    let metadata =
        consumer.fetch_metadata(Some(topic), ASK).map_err(kafka("asking for a topic's partitions"))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    let mut asked = TopicPartitionList::new();
    for partition in found.into_iter().flat_map(|found| found.partitions()) {
        asked.add_partition(topic, partition.id());
    }
    if asked.count() == 0 {
        return Err(LagError::NoTopic(topic.to_owned()));
    }
    let answer =
        consumer.committed_offsets(asked, ASK).map_err(kafka("asking for a group's committed offsets"))?;
    let offset = |offset| match offset {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    };
    Ok(answer.elements().iter().map(|element| (element.partition(), offset(element.offset()))).collect())
}

/// Reads the first record behind in each partition, all at once, and no others.
fn find_ages(cluster: &Cluster, topic: &str, rows: &mut [Row], now: Timestamp) -> KafkaResult<()> {
    let mut starts = TopicPartitionList::new();
    for row in rows.iter().filter(|row| row.behind > 0) {
        let start = (row.log_end - row.behind).max(row.log_start);
        starts.add_partition_offset(topic, row.partition, Offset::Offset(start))?;
    }
    let mut missing = starts.count();
    if missing == 0 {
        return Ok(());
    }
    // under a name of its own: assigned, it joins nothing
    let consumer = asking_for(cluster, "lag")?;
    consumer.assign(&starts)?;
    let until = Instant::now() + LOOK;
    while missing > 0 {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let Some(Ok(record)) = consumer.poll(left) else { continue };
        let logged = record.timestamp().to_millis().map(Timestamp);
        let of = rows.iter_mut().find(|row| row.partition == record.partition());
        if let Some((row, logged)) = of.zip(logged)
            && row.oldest_seconds.is_none()
        {
            row.oldest_seconds = Some(now.since(logged).as_secs_f64());
            missing -= 1;
        }
        let mut read = TopicPartitionList::new();
        read.add_partition(topic, record.partition());
        consumer.pause(&read)?;
    }
    Ok(())
}

fn kafka(doing: &'static str) -> impl Fn(KafkaError) -> LagError {
    move |source| LagError::Kafka { doing, source }
}
