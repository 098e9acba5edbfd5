//! The status worker against a real Kafka and a Redis of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use chassis::{health::Health, kafka::Cluster, settings::Secret};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{FutureProducer, FutureRecord},
};
use schemas::{
    ids::OrderId,
    messages::{
        BodyHash, Message, OrderAccepted, OrderConfirmed, OrderReserved, OrderState, OrderStatus,
        TimelineEntry,
    },
    money::Currency,
    time::Timestamp,
    topics::{self, STATUS_GROUP, Topic},
    view::{
        self,
        packed::{self, ClaimState, Packed},
    },
    wire,
};
use status_worker::{StatusConfig, StatusError};
use std::time::Duration;
use testbed::{Redis, Topics, eventually};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const TTL: Duration = Duration::from_secs(600);

/// One topic, one Redis, and what is asked of them.
struct Bench {
    topics: Topics,
    redis: Redis,
    producer: FutureProducer,
}

impl Bench {
    async fn with_partitions(partitions: i32) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", testbed::kafka_brokers())
            .set("linger.ms", "0")
            // a batch that is tried again lands before the ones behind it
            .set("enable.idempotence", "true")
            .create()
            .unwrap();
        Self { topics: Topics::create(partitions).await, redis: Redis::start().await, producer }
    }

    fn work(&self) -> Work {
        let config = StatusConfig {
            cluster: Cluster::plain(testbed::kafka_brokers(), self.topics.prefix.clone()),
            instance: None,
            redis_url: Secret::new(self.redis.url()),
            ttl: TTL,
        };
        let (health, stop) = (Health::default(), CancellationToken::new());
        let ended = tokio::spawn(status_worker::run(config, health.part("status"), stop.clone()));
        Work { health, stop, ended }
    }

    async fn publish<M: Message>(&self, order: OrderId, event: &M) {
        self.publish_bytes(order, &wire::encode(event).unwrap()).await;
    }

    async fn publish_bytes(&self, order: OrderId, payload: &[u8]) {
        let key = topics::key(order.0);
        let topic = self.topic();
        let record = FutureRecord::to(&topic)
            .key(&key[..])
            .payload(payload)
            .partition(topics::partition_of(&key, self.topics.partitions));
        self.producer.send(record, Duration::from_secs(10)).await.unwrap();
    }

    fn topic(&self) -> String {
        Topic::OrderEvents.on_cluster(&self.topics.prefix)
    }

    async fn redis(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.redis.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// What stands for the order; nothing, too, while Redis does not answer.
    async fn held(&self, order: OrderId) -> Vec<u8> {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return Vec::new() };
        redis::cmd("GET").arg(view::key(order)).query_async(&mut connection).await.unwrap_or_default()
    }

    /// The order as its view tells it.
    async fn view(&self, order: OrderId) -> Option<OrderState> {
        let held = self.held(order).await;
        let (_, payload) = Packed::read(&held)?.view?;
        Some(packed::order_of(payload).unwrap())
    }

    async fn until(&self, order: OrderId, status: &str) {
        eventually(&format!("{order} is {status}"), async || {
            self.view(order).await.is_some_and(|view| view.status.as_str() == status)
        })
        .await;
    }

    /// What the group has committed and what the log holds, over all partitions.
    fn committed_and_end(&self) -> (i64, i64) {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", testbed::kafka_brokers())
            .set("group.id", format!("{}{STATUS_GROUP}", self.topics.prefix))
            .create()
            .unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(&self.topic(), 0, self.topics.partitions - 1);
        let committed = consumer.committed_offsets(asked, Duration::from_secs(5)).unwrap();
        let committed = committed.elements().into_iter().map(|e| match e.offset() {
            Offset::Offset(offset) => offset,
            _ => 0,
        });
        let ends = (0..self.topics.partitions)
            .map(|p| consumer.fetch_watermarks(&self.topic(), p, Duration::from_secs(5)).unwrap().1);
        (committed.sum(), ends.sum())
    }

    async fn until_all_committed(&self) {
        eventually("everything is committed", async || {
            let (committed, end) = self.committed_and_end();
            committed == end
        })
        .await;
    }
}

struct Work {
    health: Health,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), StatusError>>,
}

impl Work {
    async fn until_ready(&self) {
        eventually("the worker is ready", async || self.health.is_ready()).await;
    }

    async fn until_not_ready(&self) {
        eventually("the worker is not ready", async || !self.health.is_ready()).await;
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(15), self.ended).await.unwrap().unwrap().unwrap();
    }
}

fn order(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(n << 64))
}

fn state(id: OrderId, version: i64, status: OrderStatus) -> OrderState {
    OrderState {
        order_id: id,
        owner: "issuer\nuser".to_owned(),
        body_hash: BodyHash([7; 32]),
        version,
        status,
        reason: None,
        currency: Currency::USD,
        total: 2_598,
        refunded: 0,
        lines: Vec::new(),
        shipping_address: "1 Harbour Road".to_owned(),
        payment_method: "CREDIT_CARD".to_owned(),
        accepted_at: Timestamp(1_700_000_000_000),
        deadline: Timestamp(1_700_000_900_000),
        updated_at: Timestamp(1_700_000_000_000 + version),
        timeline: vec![TimelineEntry {
            at: Timestamp(1_700_000_000_000),
            event: "ACCEPTED".to_owned(),
            detail: None,
        }],
    }
}

fn accepted(id: OrderId) -> OrderAccepted {
    OrderAccepted { order: state(id, 1, OrderStatus::Pending) }
}

fn reserved(id: OrderId) -> OrderReserved {
    OrderReserved { order: state(id, 2, OrderStatus::Reserved) }
}

fn confirmed(id: OrderId) -> OrderConfirmed {
    OrderConfirmed { order: state(id, 3, OrderStatus::Confirmed) }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_become_the_view_and_an_older_one_never_overwrites_a_newer() {
    let bench = Bench::with_partitions(4).await;
    let work = bench.work();
    work.until_ready().await;
    let late = order(1);
    bench.publish(late, &confirmed(late)).await;
    bench.until(late, "CONFIRMED").await;
    // the older event comes by itself, in a batch of its own, and once more after another key's
    bench.publish(late, &accepted(late)).await;
    bench.until_all_committed().await;
    bench.publish(late, &reserved(late)).await;
    for n in 2..40 {
        bench.publish(order(n), &accepted(order(n))).await;
        bench.publish(order(n), &reserved(order(n))).await;
    }
    for n in 2..40 {
        bench.until(order(n), "RESERVED").await;
    }
    bench.until_all_committed().await;

    assert_eq!(bench.view(late).await, Some(confirmed(late).order));
    let held = bench.held(late).await;
    let held = Packed::read(&held).unwrap();
    assert_eq!((held.claim, held.body_hash), (ClaimState::Answered, Some(BodyHash([7; 32]))));
    assert_eq!(held.view.map(|(version, _)| version), Some(3));
    let mut redis = bench.redis().await;
    let ttl: i64 = redis::cmd("PTTL").arg(view::key(late)).query_async(&mut redis).await.unwrap();
    assert!((1..=600_000).contains(&ttl), "{ttl}");
    work.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_waits_is_told() {
    let bench = Bench::with_partitions(1).await;
    let id = order(1);
    let mut redis = bench.redis().await;
    let mut waited_for = packed::claimed(BodyHash([7; 32]), [1; 16], None);
    waited_for.splice(..0, [b'n'].into_iter().chain([0; 8]));
    waited_for[65..].copy_from_slice(&9_u16.to_be_bytes());
    waited_for.extend_from_slice(b"gw-1,gw-2");
    let _: String =
        redis::cmd("SET").arg(view::key(id)).arg(waited_for).query_async(&mut redis).await.unwrap();
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let mut listener =
        tokio::net::TcpStream::connect(bench.redis.url()[8..].trim_end_matches("/0")).await.unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let channel = view::channel("gw-2");
        listener.write_all(format!("SUBSCRIBE {channel}\r\n").as_bytes()).await.unwrap();
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = listener.read(&mut bytes).await {
            heard.send(String::from_utf8_lossy(&bytes[..read]).into_owned()).unwrap();
        }
    });
    assert!(hears.recv().await.unwrap().contains("subscribe"));
    let work = bench.work();
    bench.publish(id, &confirmed(id)).await;
    let message = tokio::time::timeout(Duration::from_secs(30), hears.recv()).await.unwrap().unwrap();
    assert!(message.contains(&id.to_string()), "{message}");
    let held = bench.held(id).await;
    assert_eq!(Packed::read(&held).unwrap().waiters, b"gw-1,gw-2", "they are told of the next change, too");
    bench.until(id, "CONFIRMED").await;
    work.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_away_is_waited_for_and_redis_emptied_changes_nothing() {
    let mut bench = Bench::with_partitions(2).await;
    let work = bench.work();
    bench.publish(order(1), &accepted(order(1))).await;
    bench.until(order(1), "PENDING").await;
    bench.until_all_committed().await;

    bench.redis.stop();
    for n in 1..30 {
        bench.publish(order(n), &reserved(order(n))).await;
    }
    work.until_not_ready().await;
    let (committed, _) = bench.committed_and_end();
    assert_eq!(committed, 1, "nothing is committed that is not written");
    bench.redis.restart().await;
    for n in 1..30 {
        bench.until(order(n), "RESERVED").await;
    }
    work.until_ready().await;

    bench.redis.flush().await;
    assert_eq!(bench.redis.command("SCRIPT FLUSH").await, "+OK");
    bench.publish(order(2), &confirmed(order(2))).await;
    bench.until(order(2), "CONFIRMED").await;
    bench.until_all_committed().await;
    work.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_does_not_answer_is_given_up_and_tried_again() {
    let bench = Bench::with_partitions(1).await;
    let work = bench.work();
    work.until_ready().await;
    assert_eq!(bench.redis.command("CLIENT PAUSE 4000 ALL").await, "+OK");
    bench.publish(order(1), &accepted(order(1))).await;
    work.until_not_ready().await;
    bench.until(order(1), "PENDING").await;
    work.until_ready().await;
    bench.until_all_committed().await;
    work.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_passed_over_and_what_is_no_view_overwritten() {
    let bench = Bench::with_partitions(1).await;
    let (taken, broken, good) = (order(1), order(2), order(3));
    assert_eq!(bench.redis.command(&format!("RPUSH {} x", view::key(taken))).await, ":1");
    assert_eq!(bench.redis.command(&format!("SET {} x", view::key(broken))).await, "+OK");
    for payload in [&b""[..], b"not avro", &[0, 0, 0, 0x27, 0x0f, 1, 2, 3]] {
        bench.publish_bytes(good, payload).await;
    }
    for order in [taken, broken, good] {
        bench.publish(order, &accepted(order)).await;
    }
    let work = bench.work();
    for order in [taken, broken, good] {
        bench.until(order, "PENDING").await;
    }
    bench.until_all_committed().await;
    work.until_ready().await;
    work.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_where_it_was_left_and_from_one_worker_to_another() {
    let bench = Bench::with_partitions(1).await;
    let first = bench.work();
    bench.publish(order(1), &accepted(order(1))).await;
    bench.until(order(1), "PENDING").await;
    first.stop().await;
    let (committed, end) = bench.committed_and_end();
    assert_eq!((committed, end), (1, 1), "the last batch is committed before the group is left");

    bench.redis.flush().await;
    bench.publish(order(2), &accepted(order(2))).await;
    let (second, third) = (bench.work(), bench.work());
    bench.until(order(2), "PENDING").await;
    assert_eq!(bench.view(order(1)).await, None, "what was committed is not read again");
    // one of the two has no partition, and is ready all the same
    second.until_ready().await;
    third.until_ready().await;
    second.stop().await;
    bench.publish(order(3), &accepted(order(3))).await;
    bench.until(order(3), "PENDING").await;
    third.stop().await;
}
