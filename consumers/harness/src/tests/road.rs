//! The whole machine on real Kafka: joins, leaves, poison, lost connections, positions that cannot be.

use super::toy::{self, Step, Toy, payload};
use crate::{config::WorkerConfig, run};
use chassis::{
    health::Health,
    settings::{Environment, Secret},
    wake::Wake,
};
use publisher::{Destination, OutboundRecord, Publisher};
use schemas::{
    envelope::{Envelope, HEADER},
    ids::MessageId,
    time::Timestamp,
    topics::{self, Topic},
};
use sqlx::{Connection, Row};
use std::{collections::HashMap, time::Duration};
use testbed::{Database, Topics, eventually, eventually_within};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) const PARTITIONS: i32 = 4;

pub(super) struct Road {
    pub(super) database: Database,
    pub(super) topics: Topics,
    pub(super) publisher: Publisher,
}

pub(super) struct Running {
    pub(super) health: Health,
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

impl Road {
    pub(super) async fn build() -> Self {
        let database = toy::database().await;
        let topics = Topics::create(PARTITIONS).await;
        let publisher = Publisher::start(topics.publisher()).unwrap();
        Self { database, topics, publisher }
    }

    pub(super) fn config(&self) -> WorkerConfig {
        let environment = Environment::of([
            ("KAFKA_BROKERS".to_owned(), testbed::kafka_brokers()),
            ("TOPIC_PREFIX".to_owned(), self.topics.prefix.clone()),
            ("WORKER_BATCH_RECORDS".to_owned(), "200".to_owned()),
        ]);
        WorkerConfig::from_environment(&environment, Secret::new(self.database.url("orders"))).unwrap()
    }

    pub(super) fn work(&self, toy: &Toy) -> Running {
        Self::work_with(toy, self.config())
    }

    pub(super) fn work_with(toy: &Toy, config: WorkerConfig) -> Running {
        let (health, stop) = (Health::default(), CancellationToken::new());
        let future = run(toy.clone(), config, health.part("toy"), Wake::default(), stop.clone());
        Running { health, stop, task: tokio::spawn(async move { future.await.unwrap() }) }
    }

    pub(super) async fn send(&self, key: Uuid, step: Step) {
        let message = MessageId(chassis::ids::random());
        let envelope =
            Envelope { message, causation: message, occurred_at: Timestamp(0), deadline: None, source: None };
        let record = OutboundRecord {
            topic: Topic::OrderCommands,
            destination: Destination::ByKey,
            key: topics::key(key).to_vec(),
            payload: payload(step),
            headers: vec![(HEADER.to_owned(), envelope.to_bytes())],
        };
        self.publisher.send(&record).unwrap().await.unwrap();
    }

    pub(super) async fn stands(&self) -> HashMap<Uuid, i64> {
        let mut connection = self.database.connect("orders").await;
        let rows = sqlx::query("SELECT key, n FROM toy").fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| (row.get("key"), row.get("n"))).collect()
    }

    pub(super) async fn parked(&self) -> Vec<(Uuid, String)> {
        let mut connection = self.database.connect("orders").await;
        let rows =
            sqlx::query("SELECT convert_from(key, 'UTF8') AS key, cause FROM parked ORDER BY \"offset\"")
                .fetch_all(&mut connection)
                .await
                .unwrap();
        rows.iter().map(|row| (row.get::<String, _>("key").parse().unwrap(), row.get("cause"))).collect()
    }
}

impl Running {
    pub(super) async fn is_ready(&self) {
        eventually("the worker is ready", async || self.health.is_ready()).await;
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

pub(super) fn keys(count: u128) -> Vec<Uuid> {
    (0..count).map(|i| Uuid::from_u128(i * 7 + 1)).collect()
}

/// Every key's numbers, as committed, are 1, 2, 3, … without gap or repeat.
pub(super) fn assert_each_once_in_order(seen: &[(Uuid, i64)], keys: &[Uuid], last: i64) {
    for key in keys {
        let numbers: Vec<i64> = seen.iter().filter(|(of, _)| of == key).map(|(_, n)| *n).collect();
        assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_join_and_leave_under_load_and_each_record_counts_once_in_order() {
    let road = Road::build().await;
    let toy = Toy::default();
    let first = road.work(&toy);
    first.is_ready().await;
    let keys = keys(40);
    let (mut second, mut third) = (None, None);
    for n in 1..=50 {
        match n {
            10 => second = Some(road.work(&toy)),
            20 => third = Some(road.work(&toy)),
            _ => {}
        }
        for key in &keys {
            road.send(*key, Step::To(n)).await;
        }
        if n == 35 {
            let (second, third) = (second.take().unwrap(), third.take().unwrap());
            second.is_ready().await;
            second.end().await;
            third.end().await;
        }
    }
    eventually("every key stands at 50", async || {
        let stands = road.stands().await;
        keys.iter().all(|key| stands.get(key) == Some(&50))
    })
    .await;
    assert_eq!(road.parked().await, [], "an inversion would be parked");
    first.end().await;
    assert_each_once_in_order(&toy.seen.lock().unwrap(), &keys, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_of_each_kind_delays_its_own_key_only() {
    let road = Road::build().await;
    let keys = keys(6);
    for (key, poison) in keys.iter().zip([Step::Reject, Step::Panic, Step::Unstorable]) {
        road.send(*key, Step::To(1)).await;
        road.send(*key, poison).await;
        road.send(*key, Step::To(2)).await;
    }
    for key in &keys[3..] {
        for n in 1..=100 {
            road.send(*key, Step::To(n)).await;
        }
    }
    let toy = Toy::default();
    let worker = road.work(&toy);
    eventually("the good keys are done and the bad ones parked", async || {
        let stands = road.stands().await;
        keys[3..].iter().all(|key| stands.get(key) == Some(&100))
            && keys[..3].iter().all(|key| stands.get(key) == Some(&1))
            && road.parked().await.len() == 6
    })
    .await;
    let causes = road.parked().await;
    for (key, cause) in keys.iter().zip(["asked", "panic", "database"]) {
        let of_key: Vec<_> =
            causes.iter().filter(|(of, _)| of == key).map(|(_, cause)| cause.as_str()).collect();
        assert_eq!(of_key, [cause, "behind"], "{key}");
    }
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_database_sessions_lose_and_repeat_nothing() {
    let road = Road::build().await;
    let toy = Toy::default();
    let worker = road.work(&toy);
    worker.is_ready().await;
    let keys = keys(20);
    let mut admin = road.database.connect_admin().await;
    for n in 1..=40 {
        for key in &keys {
            road.send(*key, Step::To(n)).await;
        }
        if n % 4 == 0 {
            sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND usename = 'mambogo_orders'",
            )
            .execute(&mut admin)
            .await
            .unwrap();
        }
    }
    eventually("every key stands at 40", async || {
        let stands = road.stands().await;
        keys.iter().all(|key| stands.get(key) == Some(&40))
    })
    .await;
    assert_eq!(road.parked().await, []);
    worker.is_ready().await;
    worker.end().await;
    // what was committed without an answer is not in `seen`; what is there is in order and never twice
    let seen = toy.seen.lock().unwrap();
    for key in &keys {
        let numbers: Vec<i64> = seen.iter().filter(|(of, _)| of == key).map(|(_, n)| *n).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{key}: {numbers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_that_cannot_be_claimed_in_the_callback_are_claimed_later_and_nothing_is_skipped() {
    let road = Road::build().await;
    let toy = Toy::default();
    // the lanes exist and one is locked by a stray session, for longer than the callback waits
    let first = road.work(&toy);
    first.is_ready().await;
    let keys = keys(20);
    for key in &keys {
        road.send(*key, Step::To(1)).await;
    }
    eventually("the first round is done", async || road.stands().await.len() == keys.len()).await;
    first.end().await;
    let mut stray = road.database.connect("orders").await;
    let mut tx = stray.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM lane WHERE partition = 2 FOR UPDATE").execute(&mut *tx).await.unwrap();
    let second = road.work(&toy);
    eventually("the worker says that it waits for its claim", async || {
        second.health.parts().values().any(|state| state.as_ref().is_err_and(|why| why == "claiming lanes"))
    })
    .await;
    for key in &keys {
        road.send(*key, Step::To(2)).await;
    }
    tx.rollback().await.unwrap();
    eventually("every key stands at 2", async || {
        let stands = road.stands().await;
        keys.iter().all(|key| stands.get(key) == Some(&2))
    })
    .await;
    second.is_ready().await;
    second.end().await;
    assert_each_once_in_order(&toy.seen.lock().unwrap(), &keys, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_outside_the_topic_halts_that_lane_loudly_and_the_others_go_on() {
    let road = Road::build().await;
    let toy = Toy::default();
    let first = road.work(&toy);
    first.is_ready().await;
    first.end().await;
    let mut admin = road.database.connect_admin().await;
    sqlx::query("UPDATE orders.lane SET next_offset = 1000 WHERE partition = 1")
        .execute(&mut admin)
        .await
        .unwrap();
    let second = road.work(&toy);
    let keys = keys(20);
    for key in &keys {
        road.send(*key, Step::To(1)).await;
    }
    let flowing = |key: &&Uuid| topics::partition_of(&topics::key(**key), PARTITIONS) != 1;
    eventually_within(Duration::from_secs(40), "the other lanes flow and the halt shows", async || {
        let stands = road.stands().await;
        let halted = second
            .health
            .parts()
            .values()
            .any(|state| state.as_ref().is_err_and(|why| why.contains("partition 1 halted")));
        halted && keys.iter().filter(flowing).all(|key| stands.get(key) == Some(&1))
    })
    .await;
    assert!(keys.iter().any(|key| !flowing(&key)), "the test needs a key on partition 1");
    let stands = road.stands().await;
    assert!(keys.iter().filter(|key| !flowing(key)).all(|key| !stands.contains_key(key)));
    second.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_tells_the_group_how_far_it_is() {
    let road = Road::build().await;
    let toy = Toy::default();
    let worker = road.work(&toy);
    let key = Uuid::from_u128(3);
    for n in 1..=10 {
        road.send(key, Step::To(n)).await;
    }
    eventually("the key stands at 10", async || road.stands().await.get(&key) == Some(&10)).await;
    worker.end().await;
    let partition = topics::partition_of(&topics::key(key), PARTITIONS);
    let (brokers, prefix) = (testbed::kafka_brokers(), road.topics.prefix.clone());
    let committed = tokio::task::spawn_blocking(move || {
        use rdkafka::consumer::{BaseConsumer, Consumer};
        let client: BaseConsumer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", format!("{prefix}orders"))
            .create()
            .unwrap();
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition(&Topic::OrderCommands.on_cluster(&prefix), partition);
        let list = client.committed_offsets(list, Duration::from_secs(10)).unwrap();
        list.elements()[0].offset()
    })
    .await
    .unwrap();
    assert_eq!(committed, rdkafka::Offset::Offset(10));
}
