//! What a group has committed, on the real cluster.
#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use publisher::{Destination, OutboundRecord, Publisher};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
};
use schemas::topics::{STATUS_GROUP, Topic};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_groups_commits_are_told_and_where_there_are_none() {
    let topics = testbed::Topics::create(2).await;
    let publisher = Publisher::start(topics.publisher()).unwrap();
    for _ in 0..3 {
        let record = OutboundRecord {
            topic: Topic::OrderEvents,
            destination: Destination::Partition(1),
            key: b"k".to_vec(),
            payload: b"p".to_vec(),
            headers: Vec::new(),
        };
        publisher.send(&record).unwrap().await.unwrap();
    }
    let ask = async || {
        let mut answer = publisher.committed_offsets(STATUS_GROUP, Topic::OrderEvents, TIMEOUT).await;
        // a group's first coordinator takes a moment to be found
        for _ in 0..10 {
            if answer.is_ok() {
                break;
            }
            answer = publisher.committed_offsets(STATUS_GROUP, Topic::OrderEvents, TIMEOUT).await;
        }
        answer.unwrap()
    };
    assert_eq!(ask().await, [None, None]);

    let (brokers, group) = (testbed::kafka_brokers(), format!("{}{STATUS_GROUP}", topics.prefix));
    let name = Topic::OrderEvents.on_cluster(&topics.prefix);
    let committing = tokio::task::spawn_blocking(move || {
        let mut settings = ClientConfig::new();
        let member: BaseConsumer =
            settings.set("bootstrap.servers", brokers).set("group.id", group).create().unwrap();
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&name, 1, Offset::Offset(2)).unwrap();
        member.commit(&offsets, CommitMode::Sync).unwrap();
    });
    committing.await.unwrap();
    assert_eq!(ask().await, [None, Some(2)]);
    assert_eq!(publisher.end_offsets(Topic::OrderEvents, TIMEOUT).await.unwrap(), [0, 3]);
}
