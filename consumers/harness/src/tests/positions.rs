//! Where reading goes on, whatever Kafka believes: offsets committed by others, records that expired, a topic made anew,
//! offsets that no record has.

use super::{
    road::{PARTITIONS, Road, Running, assert_each_once_in_order, keys},
    toy::{Step, Toy, payload},
};
use publisher::Publisher;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, Producer, ThreadedProducer},
};
use schemas::{
    envelope::{Envelope, HEADER},
    ids::MessageId,
    time::Timestamp,
    topics::{self, Topic},
};
use std::time::Duration;
use testbed::{eventually, eventually_within};
use uuid::Uuid;

const ASK: Duration = Duration::from_secs(15);

fn client() -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", testbed::kafka_brokers());
    client
}

fn topic(road: &Road) -> String {
    Topic::OrderCommands.on_cluster(&road.topics.prefix)
}

async fn all_stand_at(road: &Road, keys: &[Uuid], n: i64) {
    eventually_within(Duration::from_secs(60), "every key is done", async || {
        let stands = road.stands().await;
        keys.iter().all(|key| stands.get(key) == Some(&n))
    })
    .await;
}

async fn halts(worker: &Running, partition: i32) {
    let what = format!("partition {partition} halted");
    eventually_within(Duration::from_secs(40), &what, async || {
        worker.health.parts().values().any(|state| state.as_ref().is_err_and(|why| why.contains(&what)))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_group_has_committed_in_kafka_is_never_believed() {
    let road = Road::build().await;
    let toy = Toy::default();
    let keys = keys(20);
    let first = road.work(&toy);
    for key in &keys {
        road.send(*key, Step::To(1)).await;
    }
    all_stand_at(&road, &keys, 1).await;
    first.end().await;
    for key in &keys {
        road.send(*key, Step::To(2)).await;
    }
    // somebody sets half of the offsets to the beginning and the others beyond what was read
    let (group, name) = (format!("{}orders", road.topics.prefix), topic(&road));
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = client().set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let (_, end) = consumer.fetch_watermarks(&name, partition, ASK).unwrap();
            let offset = if partition % 2 == 0 { 0 } else { end };
            list.add_partition_offset(&name, partition, Offset::Offset(offset)).unwrap();
        }
        // a group with members would take commits of nobody else
        consumer.commit(&list, CommitMode::Sync).unwrap();
    })
    .await
    .unwrap();
    let second = road.work(&toy);
    all_stand_at(&road, &keys, 2).await;
    second.end().await;
    assert_eq!(road.parked().await, []);
    assert_each_once_in_order(&toy.seen.lock().unwrap(), &keys, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_expired_unread_halt_their_lane_and_are_not_skipped() {
    let road = Road::build().await;
    let toy = Toy::default();
    let first = road.work(&toy);
    first.is_ready().await;
    first.end().await;
    let keys = keys(20);
    for key in &keys {
        road.send(*key, Step::To(1)).await;
    }
    let lost = topics::partition_of(&topics::key(keys[0]), PARTITIONS);
    let admin: AdminClient<DefaultClientContext> = client().create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic(&road), lost, Offset::Offset(1)).unwrap();
    admin.delete_records(&list, &AdminOptions::new().operation_timeout(Some(ASK))).await.unwrap();
    let second = road.work(&toy);
    halts(&second, lost).await;
    let elsewhere = |key: &&Uuid| topics::partition_of(&topics::key(**key), PARTITIONS) != lost;
    eventually("the other lanes flow", async || {
        let stands = road.stands().await;
        keys.iter().filter(elsewhere).all(|key| stands.get(key) == Some(&1))
    })
    .await;
    let stands = road.stands().await;
    assert!(keys.iter().filter(|key| !elsewhere(key)).all(|key| !stands.contains_key(key)));
    second.end().await;
}

/// Deletes the topic and makes it again, empty: it is another one, and so is whoever writes to it.
async fn make_anew(road: &mut Road) {
    road.topics.delete(Topic::OrderCommands).await;
    publisher::topics::ensure(&road.topics.publisher(), PARTITIONS, 1).await.unwrap();
    road.publisher = Publisher::start(road.topics.publisher()).unwrap();
}

/// A worker that is started now halts, and says that the topic is another.
async fn halts_as_recreated(road: &Road, toy: &Toy) {
    let worker = road.work(toy);
    eventually_within(Duration::from_secs(40), "a lane has halted", async || {
        let parts = worker.health.parts();
        parts.values().any(|state| state.as_ref().is_err_and(|why| why.contains("the topic was recreated")))
    })
    .await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_halts_its_lanes() {
    let mut road = Road::build().await;
    let toy = Toy::default();
    let keys = keys(20);
    let worker = road.work(&toy);
    for key in &keys {
        road.send(*key, Step::To(1)).await;
    }
    all_stand_at(&road, &keys, 1).await;
    worker.end().await;
    make_anew(&mut road).await;
    halts_as_recreated(&road, &toy).await;
    assert_each_once_in_order(&toy.seen.lock().unwrap(), &keys, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_and_has_grown_beyond_the_positions_halts_its_lanes_too() {
    let mut road = Road::build().await;
    let toy = Toy::default();
    let keys = keys(20);
    let worker = road.work(&toy);
    for key in &keys {
        road.send(*key, Step::To(1)).await;
    }
    all_stand_at(&road, &keys, 1).await;
    worker.end().await;
    make_anew(&mut road).await;
    for n in 2..=3 {
        for key in &keys {
            road.send(*key, Step::To(n)).await;
        }
    }
    halts_as_recreated(&road, &toy).await;
    assert_each_once_in_order(&toy.seen.lock().unwrap(), &keys, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_whose_last_record_has_expired_reads_on_from_its_position() {
    let road = Road::build().await;
    let toy = Toy::default();
    let keys = keys(20);
    let first = road.work(&toy);
    for key in &keys {
        road.send(*key, Step::To(1)).await;
    }
    all_stand_at(&road, &keys, 1).await;
    first.end().await;
    let admin: AdminClient<DefaultClientContext> = client().create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&topic(&road), partition, Offset::End).unwrap();
    }
    admin.delete_records(&list, &AdminOptions::new().operation_timeout(Some(ASK))).await.unwrap();
    let second = road.work(&toy);
    for key in &keys {
        road.send(*key, Step::To(2)).await;
    }
    all_stand_at(&road, &keys, 2).await;
    second.is_ready().await;
    second.end().await;
    assert_each_once_in_order(&toy.seen.lock().unwrap(), &keys, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_no_record_has_are_passed_over() {
    let road = Road::build().await;
    let toy = Toy::default();
    let worker = road.work(&toy);
    worker.is_ready().await;
    let keys = keys(20);
    let (name, of) = (topic(&road), keys.clone());
    tokio::task::spawn_blocking(move || {
        // a foreign program writes in transactions: each end of one takes an offset, and what it gave up is never seen
        let producer: ThreadedProducer<_> =
            client().set("transactional.id", format!("{name}-test")).create().unwrap();
        producer.init_transactions(ASK).unwrap();
        let write = |n: i64| {
            producer.begin_transaction().unwrap();
            for key in &of {
                let message = MessageId(chassis::ids::random());
                let envelope = Envelope {
                    message,
                    causation: message,
                    occurred_at: Timestamp(0),
                    deadline: None,
                    source: None,
                };
                let (bytes, text, key) = (envelope.to_bytes(), payload(Step::To(n)), topics::key(*key));
                let headers = OwnedHeaders::new().insert(Header { key: HEADER, value: Some(&bytes) });
                let record = BaseRecord::to(&name)
                    .partition(topics::partition_of(&key, PARTITIONS))
                    .key(&key[..])
                    .payload(&text)
                    .headers(headers);
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
            producer.flush(ASK).unwrap();
        };
        for n in 1..=3 {
            write(n);
            producer.commit_transaction(ASK).unwrap();
            write(1_000);
            producer.abort_transaction(ASK).unwrap();
        }
    })
    .await
    .unwrap();
    all_stand_at(&road, &keys, 3).await;
    assert_eq!(road.parked().await, []);
    worker.is_ready().await;
    worker.end().await;
    assert_each_once_in_order(&toy.seen.lock().unwrap(), &keys, 3);
}
