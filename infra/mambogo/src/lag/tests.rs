//! The lag of real groups: lanes in Postgres, logs and commits in Kafka.

use super::{LagError, Waiting, read_at};
use chassis::kafka::Cluster;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    producer::{FutureProducer, FutureRecord},
};
use schemas::{time::Timestamp, topics::Topic};
use sqlx::PgConnection;
use std::time::Duration;
use testbed::{Database, Topics};
use uuid::Uuid;

const NOW: i64 = 1_700_000_000_000;

/// Ten records in partition 1, a second apart, the last one at NOW.
async fn publish_ten(topics: &Topics, topic: Topic) {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", testbed::kafka_brokers()).create().unwrap();
    let name = topic.on_cluster(&topics.prefix);
    for n in 1..=10 {
        let record =
            FutureRecord::to(&name).key("k").payload("x").partition(1).timestamp(NOW - (10 - n) * 1_000);
        producer.send(record, Duration::from_secs(10)).await.unwrap();
    }
}

fn commit(topics: &Topics, group: &str, topic: Topic, offset: i64) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", testbed::kafka_brokers())
        .set("group.id", format!("{}{group}", topics.prefix))
        .create()
        .unwrap();
    let mut offsets = TopicPartitionList::new();
    let name = topic.on_cluster(&topics.prefix);
    offsets.add_partition_offset(&name, 1, Offset::Offset(offset)).unwrap();
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
}

async fn make_lane(database: &Database) {
    let mut orders = database.connect("orders").await;
    let lane = Uuid::from_u128(7);
    sqlx::query(
        "INSERT INTO lane (consumer_group, topic, partition, id, partitions, next_offset)
         VALUES ('orders', 'order.commands', 1, $1, 2, 6)",
    )
    .bind(lane)
    .execute(&mut orders)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO outbox (lane, seq, format, records, size)
         VALUES ($1, 1, 1, '', 100), ($1, 2, 1, '', 23)",
    )
    .bind(lane)
    .execute(&mut orders)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO parked (topic, partition, \"offset\", key, logged_at, record, cause, detail)
         VALUES ('order.commands', 1, 4, '', now(), '', 'decode', 'bad')",
    )
    .execute(&mut orders)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_behind_by_its_lane_and_the_view_by_its_commits() {
    let (database, topics) = (Database::create().await, Topics::create(2).await);
    publish_ten(&topics, Topic::OrderCommands).await;
    publish_ten(&topics, Topic::OrderEvents).await;
    make_lane(&database).await;
    commit(&topics, "orders", Topic::OrderCommands, 3);
    commit(&topics, "status", Topic::OrderEvents, 10);
    let cluster = Cluster::plain(testbed::kafka_brokers(), topics.prefix.clone());
    let mut audit: PgConnection = database.connect("audit").await;
    let rows = read_at(&cluster, &mut audit, Timestamp(NOW)).await.unwrap();
    assert_eq!(rows.len(), 10, "five groups, two partitions");

    let of = |group, partition| rows.iter().find(|r| r.group == group && r.partition == partition).unwrap();
    let orders = of("orders", 1);
    assert_eq!((orders.log_start, orders.log_end), (0, 10));
    assert_eq!((orders.lane, orders.committed, orders.behind), (Some(6), Some(3), 4));
    // the lane's next record is the seventh: three seconds before the last
    assert_eq!(orders.oldest_seconds, Some(3.0));
    let Some(Waiting { outbox_rows: 2, outbox_bytes: 123, outbox_seconds, parked: 1 }) = orders.waiting
    else {
        panic!("{orders:?}");
    };
    assert!((0.0..60.0).contains(&outbox_seconds));

    let view = of("status", 1);
    assert_eq!((view.lane, view.committed, view.behind), (None, Some(10), 0));
    assert_eq!((view.oldest_seconds, view.waiting.as_ref()), (Some(0.0), None));
    let idle = of("payments", 0);
    assert_eq!((idle.lane, idle.committed, idle.behind), (None, None, 0));

    let nowhere = Cluster::plain(testbed::kafka_brokers(), "nowhere.");
    let error = read_at(&nowhere, &mut audit, Timestamp(NOW)).await.unwrap_err();
    assert!(matches!(error, LagError::NoTopic(name) if name == "nowhere.order.commands"));
}
