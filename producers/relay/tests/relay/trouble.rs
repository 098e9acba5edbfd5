//! What Kafka can do to a relay: refuse a record, fail one and take the next, stay away, fail for good.

use crate::bed::{Outbox, Running, each_is_taken_once, log, noise};
use publisher::PublisherConfig;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use relay::RelayConfig;
use schemas::topics::Topic;
use std::time::{Duration, Instant};

const TO: Topic = Topic::OrderCommands;

async fn set_largest(topics: &testbed::Topics, topic: Topic, bytes: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", testbed::kafka_brokers()).create().unwrap();
    let name = topic.on_cluster(&topics.prefix);
    let change = AlterConfig::new(ResourceSpecifier::Topic(&name)).set("max.message.bytes", bytes);
    admin.alter_configs(&[change], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
}
#[tokio::test]
async fn a_record_that_the_broker_refuses_halts_its_lane_alone_until_it_is_taken() {
    let (mut outbox, lanes) = Outbox::create(3).await;
    let topics = testbed::Topics::create(1).await;
    set_largest(&topics, TO, "4000").await;
    // all at once, so that the culprit shares its produce batch with the innocent
    for i in 0..40u8 {
        let size = if i == 20 { 6_000 } else { 20 };
        outbox.say(lanes[0], &[(TO, 0, noise(size))]).await;
        outbox.say(lanes[1], &[(TO, 0, noise(20))]).await;
        outbox.say(lanes[2], &[(TO, 0, noise(20)), (Topic::OrderEvents, 0, noise(20))]).await;
    }
    let config = RelayConfig { halt_retry: Duration::from_secs(1), ..outbox.config(topics.publisher()) };
    let relay = Running::start(config);
    relay.not_ready("halted at row 21").await;
    testbed::eventually("only what stands behind the culprit is left", async || {
        outbox.rows_left().await == [(lanes[0], 20)].into()
    })
    .await;
    for lane in &lanes[1..] {
        outbox.say(*lane, &[(TO, 0, noise(20))]).await;
    }
    testbed::eventually("the others flow on", async || outbox.rows_left().await.len() == 1).await;

    set_largest(&topics, TO, "1048588").await;
    outbox.emptied().await;
    relay.ready().await;
    relay.stop().await;
    each_is_taken_once(&outbox, &topics.publisher()).await;
}

#[tokio::test]
async fn what_can_never_be_sent_or_read_halts_its_lane_and_no_other() {
    let (mut outbox, lanes) = Outbox::create(4).await;
    let topics = testbed::Topics::create(1).await;
    outbox.say(lanes[0], &[(TO, 0, noise(20)), (TO, 0, noise(1_100_000)), (TO, 0, noise(20))]).await;
    outbox.write(lanes[1], 99, b"of another release").await;
    outbox.say(lanes[2], &[(TO, 7, noise(20))]).await;
    let relay = Running::start(outbox.config(topics.publisher()));
    relay.not_ready("too large").await;
    relay.not_ready("outbox format 99").await;
    relay.not_ready("no such topic or partition").await;
    for _ in 0..20 {
        outbox.say(lanes[3], &[(TO, 0, noise(20))]).await;
    }
    testbed::eventually("the fourth lane flows", async || {
        outbox.rows_left().await == [(lanes[0], 1), (lanes[1], 1), (lanes[2], 1)].into()
    })
    .await;
    relay.stop().await;
}

/// A cluster that does what it is told to, with one partition of one topic.
fn mock() -> (MockCluster<'static, DefaultProducerContext>, PublisherConfig) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TO.name(), 1, 1).unwrap();
    let publisher = PublisherConfig::new(cluster.bootstrap_servers(), "relay");
    (cluster, publisher)
}

#[tokio::test]
async fn a_record_that_fails_while_later_ones_are_taken_is_sent_again_with_all_behind_it() {
    let (mut outbox, lanes) = Outbox::create(2).await;
    let (cluster, publisher) = mock();
    let failure = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN;
    let fine = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    cluster.request_errors(RDKafkaApiKey::Produce, &[fine, failure, fine, fine, failure]);
    for i in 0..30u8 {
        outbox.say(lanes[usize::from(i % 2)], &[(TO, 0, vec![i]), (TO, 0, vec![i])]).await;
    }
    // one record a request, so that the failed one has others behind it
    let publisher = PublisherConfig { batch_records: 1, ..publisher };
    let relay = Running::start(outbox.config(publisher.clone()));
    outbox.emptied().await;
    relay.stop().await;
    assert!(log(&publisher, TO, 0).await.len() > 60, "some were sent twice");
    each_is_taken_once(&outbox, &publisher).await;
}

#[tokio::test]
async fn a_producer_that_fails_for_good_is_replaced() {
    let (mut outbox, lanes) = Outbox::create(1).await;
    let (cluster, publisher) = mock();
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refusal]);
    for i in 0..10 {
        outbox.say(lanes[0], &[(TO, 0, vec![i])]).await;
    }
    let config = RelayConfig { halt_retry: Duration::from_secs(1), ..outbox.config(publisher.clone()) };
    let relay = Running::start(config);
    outbox.emptied().await;
    relay.stop().await;
    each_is_taken_once(&outbox, &publisher).await;
}

#[tokio::test]
async fn while_kafka_is_away_rows_are_kept_and_a_stop_does_not_hang() {
    let (mut outbox, lanes) = Outbox::create(1).await;
    let (cluster, publisher) = mock();
    cluster.broker_down(1).unwrap();
    outbox.say(lanes[0], &[(TO, 0, vec![1])]).await;
    let config = RelayConfig { stop_deadline: Duration::from_secs(1), ..outbox.config(publisher.clone()) };
    let first = Running::start(config.clone());
    first.not_ready("Kafka").await;
    let begun = Instant::now();
    first.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(outbox.rows_left().await[&lanes[0]], 1);

    let second = Running::start(config);
    second.not_ready("Kafka does not acknowledge").await;
    cluster.broker_up(1).unwrap();
    outbox.emptied().await;
    second.ready().await;
    second.stop().await;
    each_is_taken_once(&outbox, &publisher).await;
}
