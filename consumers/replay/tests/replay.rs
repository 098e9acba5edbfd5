//! A replay against a real Kafka.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use chassis::kafka::Cluster;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use replay::{ReplayConfig, ReplayError, Report, topics_by_name};
use schemas::{
    envelope::{Envelope, HEADER, Source},
    ids::{EffectId, LaneId, MessageId, OrderId},
    messages::{
        CapturePayment, CaptureSettled, Message, PaymentCaptured, ReserveStock, StockReserved, VoidCapture,
    },
    money::Currency,
    time::Timestamp,
    topics::{self, Topic},
    wire,
};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};
use testbed::Topics;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const NOW: i64 = 1_700_000_000_000;

struct Bench {
    topics: Topics,
    producer: FutureProducer,
}

impl Bench {
    async fn with_partitions(partitions: i32) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", testbed::kafka_brokers())
            .set("linger.ms", "5")
            // a batch that is tried again lands before the ones behind it
            .set("enable.idempotence", "true")
            .create()
            .unwrap();
        Self { topics: Topics::create(partitions).await, producer }
    }

    /// One record with that timestamp in the log; `n` makes its message id.
    async fn publish<M: Message>(&self, order: OrderId, n: u64, at: i64, message: &M) {
        let payload = wire::encode(message).unwrap();
        self.publish_bytes(M::TOPIC, order, n, at, &payload).await;
    }

    async fn publish_bytes(&self, topic: Topic, order: OrderId, n: u64, at: i64, payload: &[u8]) {
        let key = topics::key(order.0);
        let envelope = Envelope {
            message: MessageId(Uuid::from_u64_pair(0, n)),
            causation: MessageId(Uuid::from_u64_pair(0, n - 1)),
            occurred_at: Timestamp(at - 1),
            deadline: None,
            source: Some(Source { lane: LaneId(Uuid::from_u128(77)), n, floor: n - 1 }),
        };
        let header = envelope.to_bytes();
        let topic = topic.on_cluster(&self.topics.prefix);
        let record = FutureRecord::to(&topic)
            .key(&key[..])
            .payload(payload)
            .timestamp(at)
            .headers(OwnedHeaders::new().insert(Header { key: HEADER, value: Some(&header) }))
            .partition(topics::partition_of(&key, self.topics.partitions));
        self.producer.send(record, Duration::from_secs(30)).await.unwrap();
    }

    fn config(&self, names: &[&str]) -> ReplayConfig {
        ReplayConfig {
            cluster: Cluster::plain(testbed::kafka_brokers(), self.topics.prefix.clone()),
            topics: topics_by_name(names.iter().copied()).unwrap(),
            since: None,
            now: Timestamp(NOW),
            key: None,
        }
    }
}

/// Runs a replay on a thread that may block.
async fn replay(config: ReplayConfig) -> (Result<Report, ReplayError>, Vec<Value>) {
    tokio::task::spawn_blocking(move || {
        let mut out = Vec::new();
        let report = replay::run(&config, &mut out, &CancellationToken::new());
        let lines = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        (report, lines.map(|line| serde_json::from_slice(line).unwrap()).collect())
    })
    .await
    .unwrap()
}

fn order(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(n << 64))
}

async fn publish_a_trace(bench: &Bench, id: OrderId, first: u64) {
    let capture = EffectId(Uuid::from_u128(5));
    let at = |n: u64| NOW + i64::try_from(n).unwrap() * 10;
    let deadline = Timestamp(NOW + 900_000);
    let reserve = ReserveStock { order_id: id, accepted_at: Timestamp(NOW), deadline, lines: Vec::new() };
    bench.publish(id, first, at(first), &reserve).await;
    bench.publish(id, first + 1, at(first + 1), &StockReserved { order_id: id }).await;
    let payment = CapturePayment {
        order_id: id,
        capture_id: capture,
        amount: 100,
        currency: Currency::USD,
        payment_method: "CREDIT_CARD".to_owned(),
        deadline,
    };
    bench.publish(id, first + 2, at(first + 2), &payment).await;
    let settled = CaptureSettled {
        order_id: id,
        capture_id: capture,
        outcome: "CAPTURED".to_owned(),
        amount: 100,
        currency: Currency::USD,
        provider_reference: None,
        reason: None,
        settled_at: Timestamp(NOW),
    };
    bench.publish(id, first + 3, at(first + 3), &settled).await;
    let captured = PaymentCaptured { order_id: id, capture_id: capture, amount: 100 };
    bench.publish(id, first + 4, at(first + 4), &captured).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_prints_one_orders_whole_trace_in_order() {
    let bench = Bench::with_partitions(4).await;
    for n in 1..20 {
        publish_a_trace(&bench, order(u128::from(n)), n).await;
    }
    let id = order(7).to_string();
    let (report, lines) =
        replay(ReplayConfig { key: Some(id.to_uppercase()), ..bench.config(&["all"]) }).await;
    assert_eq!(report.unwrap(), Report { records: 5, unreadable: 0 });
    let told: Vec<_> = lines.iter().map(|line| line["schema"]["record"].as_str().unwrap()).collect();
    assert_eq!(
        told,
        ["ReserveStock", "StockReserved", "CapturePayment", "CaptureSettled", "PaymentCaptured"]
    );
    for (line, n) in lines.iter().zip(7u64..) {
        assert_eq!(line["key"], id);
        assert_eq!(line["correlationId"], id);
        assert_eq!(line["value"]["orderId"], id);
        assert_eq!(line["messageId"], Uuid::from_u64_pair(0, n).to_string());
        assert_eq!(line["causationId"], Uuid::from_u64_pair(0, n - 1).to_string());
        assert_eq!(line["source"]["n"], n);
    }
    assert_eq!(lines[0]["value"]["acceptedAt"], "2023-11-14T22:13:20.000Z");
}

/// Many more records than wait at once, with partitions that lie far apart in time: each is held up and let go
/// again, and nothing is lost, repeated or out of place.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_of_many_records_has_each_once_and_stays_in_order() {
    const EACH: u64 = 3_000;
    let bench = Bench::with_partitions(3).await;
    let mut of_partition = BTreeMap::new();
    for n in 1.. {
        let key = topics::key(order(n).0);
        of_partition.entry(topics::partition_of(&key, 3)).or_insert(order(n));
        if of_partition.len() == 3 {
            break;
        }
    }
    // partition 0 lies wholly before 1; 2 lies among both
    let at = |partition: i32, n: u64| {
        let n = i64::try_from(n).unwrap();
        NOW + match partition {
            0 => n,
            1 => 10_000 + n,
            _ => n * 5,
        }
    };
    let sends = of_partition.iter().flat_map(|(partition, id)| {
        let bench = &bench;
        (1..=EACH).map(move |n| async move {
            bench.publish(*id, n, at(*partition, n), &StockReserved { order_id: *id }).await;
        })
    });
    // in flight together, handed over in order
    futures_util::future::join_all(sends).await;

    let (report, lines) = replay(bench.config(&["order.commands"])).await;
    assert_eq!(report.unwrap().records, 3 * EACH);
    let mut next = BTreeMap::from([(0, 0), (1, 0), (2, 0)]);
    let mut last = String::new();
    for line in &lines {
        let expected = next.get_mut(&line["partition"].as_i64().unwrap()).unwrap();
        assert_eq!(line["offset"], *expected);
        *expected += 1;
        let timestamp = line["timestamp"].as_str().unwrap().to_owned();
        assert!(last <= timestamp, "{last} before {timestamp}");
        last = timestamp;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_begins_at_a_time_ends_where_the_log_ended_and_commits_nothing() {
    let bench = Bench::with_partitions(2).await;
    let id = order(1);
    for n in 1..=10 {
        let at = NOW - 10_000 + i64::try_from(n).unwrap() * 1_000;
        bench.publish(id, n, at, &StockReserved { order_id: id }).await;
    }
    let since = Some(Duration::from_millis(3_500));
    let (report, lines) = replay(ReplayConfig { since, ..bench.config(&["order.commands"]) }).await;
    assert_eq!(report.unwrap().records, 4);
    assert_eq!(lines[0]["offset"], 6);
    let since = Some(Duration::ZERO);
    let at = Timestamp(NOW + 1);
    let (report, _) = replay(ReplayConfig { since, now: at, ..bench.config(&["order.commands"]) }).await;
    assert_eq!(report.unwrap().records, 0, "nothing is that new");

    // a log that grows as it is read has an end all the same
    let (going, config) = (CancellationToken::new(), bench.config(&["order.commands"]));
    let stop = going.clone();
    let writing = tokio::spawn(async move {
        for n in 11.. {
            if stop.is_cancelled() {
                return bench;
            }
            bench.publish(id, n, NOW, &StockReserved { order_id: id }).await;
        }
        bench
    });
    let (report, _) = tokio::time::timeout(Duration::from_secs(30), replay(config)).await.unwrap();
    assert!(report.unwrap().records >= 10);
    going.cancel();
    let bench = writing.await.unwrap();

    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", testbed::kafka_brokers())
        .set("group.id", format!("{}replay", bench.topics.prefix))
        .create()
        .unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(&Topic::OrderCommands.on_cluster(&bench.topics.prefix), 0, 1);
    let committed = consumer.committed_offsets(asked, Duration::from_secs(5)).unwrap();
    assert!(committed.elements().iter().all(|element| element.offset() == Offset::Invalid));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_printed_and_counted() {
    let bench = Bench::with_partitions(1).await;
    let id = order(1);
    bench.publish_bytes(Topic::PaymentCommands, id, 1, NOW, b"\x01garbage").await;
    let void = VoidCapture { order_id: id, capture_id: EffectId(Uuid::nil()) };
    bench.publish(id, 2, NOW, &void).await;
    let (report, lines) = replay(bench.config(&["payment.commands"])).await;
    assert_eq!(report.unwrap(), Report { records: 2, unreadable: 1 });
    assert_eq!(lines[0]["payload"], "0167617262616765");
    assert!(lines[0]["error"].as_str().unwrap().contains("byte 1"), "{}", lines[0]);
    assert_eq!(lines[1]["schema"]["record"], "VoidCapture");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_named_and_a_stop_ends_it() {
    let bench = Bench::with_partitions(1).await;
    let config = ReplayConfig {
        cluster: Cluster::plain(testbed::kafka_brokers(), "nowhere."),
        ..bench.config(&["order.events"])
    };
    let (report, _) = replay(config).await;
    assert!(matches!(report, Err(ReplayError::NoTopic(name)) if name == "nowhere.order.events"));
    let config = bench.config(&["all"]);
    let stopped = tokio::task::spawn_blocking(move || {
        let stop = CancellationToken::new();
        stop.cancel();
        replay::run(&config, &mut Vec::new(), &stop)
    });
    assert_eq!(stopped.await.unwrap().unwrap(), Report::default());
}
