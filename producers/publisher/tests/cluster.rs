//! Against the real test cluster: what is acknowledged is there, and topics are made as they should be.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test has nobody else to tell")]

use publisher::{
    Destination, OutboundRecord, PublishError, Publisher, PublisherConfig, QueryError, Refusal,
    topics::{self, TopicsError},
};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
};
use schemas::topics::{Topic, partition_of};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

fn config(topics: &testbed::Topics) -> PublisherConfig {
    PublisherConfig::new(testbed::kafka_brokers(), "publisher-test").with_prefix(&topics.prefix)
}

fn record(topic: Topic, key: &str) -> OutboundRecord {
    OutboundRecord {
        topic,
        destination: Destination::ByKey,
        key: key.as_bytes().to_vec(),
        payload: format!("payload of {key}").into_bytes(),
        headers: vec![("mb".to_owned(), vec![1, 2, 3]), ("other".to_owned(), key.as_bytes().to_vec())],
    }
}

#[tokio::test]
async fn a_delivered_record_is_on_the_partition_of_its_key_with_its_headers() {
    let topics = testbed::Topics::create(4).await;
    let publisher = Publisher::start(config(&topics)).unwrap();
    assert_eq!(publisher.partitions(Topic::OrderCommands, SOON).await, Ok(4));
    assert_eq!(publisher.end_offsets(Topic::OrderCommands, SOON).await, Ok(vec![0; 4]));

    let keys: Vec<String> = (0..40).map(|i| format!("key-{i}")).collect();
    let pending: Vec<_> =
        keys.iter().map(|key| publisher.send(&record(Topic::OrderCommands, key)).unwrap()).collect();
    let mut ends = vec![0; 4];
    for (key, pending) in keys.iter().zip(pending) {
        let delivered = pending.await.unwrap();
        assert_eq!(delivered.partition, partition_of(key.as_bytes(), 4), "{key}");
        let end = &mut ends[usize::try_from(delivered.partition).unwrap()];
        assert_eq!(delivered.offset, *end, "{key}: a partition keeps the order of sends");
        *end += 1;
    }
    assert_eq!(publisher.end_offsets(Topic::OrderCommands, SOON).await, Ok(ends));
    assert_eq!(publisher.queued(), 0);

    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", testbed::kafka_brokers())
        .set("group.id", &topics.prefix)
        .create()
        .unwrap();
    let mut from = TopicPartitionList::new();
    let partition = partition_of(b"key-0", 4);
    from.add_partition_offset(&Topic::OrderCommands.on_cluster(&topics.prefix), partition, Offset::Beginning)
        .unwrap();
    consumer.assign(&from).unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let message = consumer.poll(SOON).unwrap().unwrap();
        let headers: Vec<(String, Vec<u8>)> = message
            .headers()
            .unwrap()
            .iter()
            .map(|header| (header.key.to_owned(), header.value.unwrap().to_vec()))
            .collect();
        (message.key().unwrap().to_vec(), message.payload().unwrap().to_vec(), headers)
    });
    let (key, payload, headers) = read.await.unwrap();
    let expected = keys.iter().find(|key| partition_of(key.as_bytes(), 4) == partition).unwrap();
    let expected = record(Topic::OrderCommands, expected);
    assert_eq!((key, payload, headers), (expected.key, expected.payload, expected.headers));
}

#[tokio::test]
async fn what_can_never_be_sent_is_refused() {
    let topics = testbed::Topics::create(2).await;
    let publisher = Publisher::start(config(&topics)).unwrap();
    assert_eq!(publisher.partitions(Topic::OrderCommands, SOON).await, Ok(2));

    let beyond =
        OutboundRecord { destination: Destination::Partition(7), ..record(Topic::OrderCommands, "k") };
    let outcome = match publisher.send(&beyond) {
        Ok(pending) => pending.await,
        Err(error) => Err(error),
    };
    assert!(matches!(outcome, Err(PublishError::Refused { cause: Refusal::NoSuchTopic, .. })), "{outcome:?}");

    let large = OutboundRecord { payload: vec![7; 2_000_000], ..record(Topic::OrderCommands, "k") };
    let refused = publisher.send(&large).unwrap_err();
    assert!(matches!(refused, PublishError::Refused { cause: Refusal::TooLarge, .. }), "{refused}");

    let nowhere = PublisherConfig::new(testbed::kafka_brokers(), "publisher-test").with_prefix("nowhere.");
    let nowhere = Publisher::start(nowhere).unwrap();
    let missing = nowhere.partitions(Topic::OrderCommands, SOON).await;
    assert_eq!(missing, Err(QueryError::NoSuchTopic("nowhere.order.commands".to_owned())));
}

#[tokio::test]
async fn topics_are_made_once_and_keep_their_partition_count() {
    let topics = testbed::Topics::create(3).await;
    let config = config(&topics);
    let again = topics::ensure(&config, 3, 1).await.unwrap();
    assert!(again.made.is_empty(), "{again:?}");
    assert_eq!(again.present.len(), Topic::ALL.len());

    let refused = topics::ensure(&config, 5, 1).await.unwrap_err();
    assert!(matches!(refused, TopicsError::PartitionCount { actual: 3, wanted: 5, .. }), "{refused}");
    assert!(refused.to_string().contains("KAFKA_PARTITIONS=3"), "{refused}");

    for found in topics::describe(&config).await.unwrap() {
        assert_eq!((found.partitions, found.replication), (3, 1), "{}", found.name);
    }
    topics::delete(&config, &Topic::ALL).await.unwrap();
}
