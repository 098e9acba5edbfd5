//! What a caller hears when Kafka is away, slow or hostile. A librdkafka mock cluster plays the hostile one.

#![allow(clippy::unwrap_used, reason = "a test has nobody else to tell")]

use publisher::{Destination, OutboundRecord, PublishError, Publisher, PublisherConfig};
use rdkafka::{
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use schemas::topics::Topic;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);

/// Nothing listens there.
fn away() -> PublisherConfig {
    PublisherConfig::new("127.0.0.1:1", "publisher-test")
}

fn record() -> OutboundRecord {
    OutboundRecord {
        topic: Topic::OrderCommands,
        destination: Destination::ByKey,
        key: b"key".to_vec(),
        payload: b"payload".to_vec(),
        headers: Vec::new(),
    }
}

#[tokio::test]
async fn a_full_queue_says_so_at_once() {
    let publisher = Publisher::start(PublisherConfig { queue_messages: 10, ..away() }).unwrap();
    let pending: Vec<_> = (0..10).map(|_| publisher.send(&record()).unwrap()).collect();
    let begun = Instant::now();
    assert_eq!(publisher.send(&record()).unwrap_err(), PublishError::QueueFull);
    assert!(begun.elapsed() < Duration::from_millis(100));
    assert_eq!(publisher.queued(), 10);
    drop(pending);
}

#[tokio::test]
async fn a_broker_that_stays_away_leaves_the_outcome_unknown_within_the_time_out() {
    let config = PublisherConfig { delivery_timeout: Some(Duration::from_millis(300)), ..away() };
    let publisher = Publisher::start(config).unwrap();
    let pending = publisher.send(&record()).unwrap();
    let outcome = tokio::time::timeout(SOON, pending).await.unwrap();
    assert!(matches!(outcome, Err(PublishError::Unknown(_))), "{outcome:?}");
    assert!(publisher.end_offsets(Topic::OrderCommands, Duration::from_millis(300)).await.is_err());
}

#[tokio::test]
async fn without_a_time_out_a_record_waits_until_it_is_purged() {
    let publisher = Publisher::start(PublisherConfig { delivery_timeout: None, ..away() }).unwrap();
    let (reports, mut heard) = tokio::sync::mpsc::unbounded_channel();
    publisher.send_tagged(&record(), 7, &reports).unwrap();
    assert!(!publisher.flush(Duration::from_millis(300)).await);
    assert!(heard.try_recv().is_err());
    publisher.purge();
    let report = tokio::time::timeout(SOON, heard.recv()).await.unwrap().unwrap();
    assert_eq!(report.tag, 7);
    assert!(matches!(report.outcome, Err(PublishError::Unknown(_))), "{report:?}");
}

#[tokio::test]
async fn a_publisher_that_goes_away_leaves_nobody_waiting() {
    let publisher = Publisher::start(PublisherConfig { delivery_timeout: None, ..away() }).unwrap();
    let pending = publisher.send(&record()).unwrap();
    drop(publisher);
    let outcome = tokio::time::timeout(SOON, pending).await.unwrap();
    assert!(matches!(outcome, Err(PublishError::Unknown(_))), "{outcome:?}");

    let publisher = Publisher::start(PublisherConfig { delivery_timeout: None, ..away() }).unwrap();
    let pending = publisher.send(&record()).unwrap();
    assert!(!publisher.shutdown(Duration::from_millis(100)).await);
    assert!(tokio::time::timeout(SOON, pending).await.unwrap().is_err());
}

/// A mock cluster that lets no producer in, once for each of `times`.
fn hostile(times: usize) -> MockCluster<'static, rdkafka::producer::DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(Topic::OrderCommands.name(), 1, 1).unwrap();
    let refusals = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED; times];
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &refusals);
    cluster
}

#[tokio::test]
async fn a_fatal_error_is_healed_by_a_new_producer() {
    let cluster = hostile(1);
    let publisher = Publisher::start(PublisherConfig::new(cluster.bootstrap_servers(), "t")).unwrap();
    testbed::eventually("the first producer fails", async || publisher.has_failed()).await;
    let delivered = tokio::time::timeout(SOON, publisher.send(&record()).unwrap()).await.unwrap();
    assert!(delivered.is_ok(), "{delivered:?}");
    assert!(!publisher.has_failed());
}

#[tokio::test]
async fn without_healing_a_failed_producer_takes_nothing_more() {
    let cluster = hostile(1);
    let config = PublisherConfig::new(cluster.bootstrap_servers(), "t");
    let publisher = Publisher::start(PublisherConfig { heal: false, ..config }).unwrap();
    testbed::eventually("the producer fails", async || publisher.has_failed()).await;
    assert!(matches!(publisher.send(&record()), Err(PublishError::Fatal(_))));
}
