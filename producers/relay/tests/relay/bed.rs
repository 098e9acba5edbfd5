//! What the tests against the real stack share: lanes and rows as a worker writes them, relays to start and to kill,
//! and the log as a worker reads it.

use crate::rule;
use chassis::{health::Health, settings::Secret, wake::Wake};
use publisher::PublisherConfig;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
};
use relay::{RelayConfig, SourceConfig};
use schemas::{
    envelope::{self, Envelope, Source},
    ids::{LaneId, MessageId},
    outbox::{self, OutboxRecord},
    time::Timestamp,
    topics::Topic,
};
use sqlx::{PgConnection, Row};
use std::{collections::BTreeMap, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A worker's side: one schema of a database of the test's own.
pub(crate) struct Outbox {
    pub(crate) database: testbed::Database,
    connection: PgConnection,
    sequences: BTreeMap<LaneId, i64>,
    numbers: BTreeMap<(LaneId, Topic, i32), u64>,
}

impl Outbox {
    /// With these lanes of the orders service.
    pub(crate) async fn create(lanes: i32) -> (Self, Vec<LaneId>) {
        let database = testbed::Database::create().await;
        let connection = database.connect("orders").await;
        let mut outbox = Self { database, connection, sequences: BTreeMap::new(), numbers: BTreeMap::new() };
        let mut ids = Vec::new();
        for partition in 0..lanes {
            let id = chassis::ids::random();
            sqlx::query(
                "INSERT INTO lane (consumer_group, topic, partition, id, partitions, next_offset)
                 VALUES ('orders', 'order.commands', $1, $2, $3, 0)",
            )
            .bind(partition)
            .bind(id)
            .bind(lanes)
            .execute(&mut outbox.connection)
            .await
            .unwrap();
            ids.push(LaneId(id));
        }
        (outbox, ids)
    }

    /// One row of `lane`: a record for each payload, numbered as a worker numbers them.
    pub(crate) async fn say(&mut self, lane: LaneId, records: &[(Topic, i32, Vec<u8>)]) {
        let records: Vec<OutboxRecord> = records
            .iter()
            .map(|(topic, partition, payload)| {
                let n = self.numbers.entry((lane, *topic, *partition)).or_insert(0);
                *n += 1;
                record(*topic, *partition, *n, payload)
            })
            .collect();
        self.write(lane, outbox::FORMAT, &outbox::pack(&records)).await;
    }

    /// One row with these bytes.
    pub(crate) async fn write(&mut self, lane: LaneId, format: i16, packed: &[u8]) {
        let seq = self.sequences.entry(lane).or_insert(0);
        *seq += 1;
        sqlx::query("INSERT INTO outbox (lane, seq, format, records, size) VALUES ($1, $2, $3, $4, $5)")
            .bind(lane.0)
            .bind(*seq)
            .bind(format)
            .bind(packed)
            .bind(i32::try_from(packed.len()).unwrap())
            .execute(&mut self.connection)
            .await
            .unwrap();
    }

    /// Rows of each lane not deleted yet; lanes without any are absent.
    pub(crate) async fn rows_left(&mut self) -> BTreeMap<LaneId, i64> {
        let rows = sqlx::query("SELECT lane, count(*) AS n FROM outbox GROUP BY lane")
            .fetch_all(&mut self.connection)
            .await
            .unwrap();
        rows.iter().map(|row| (LaneId(row.get("lane")), row.get("n"))).collect()
    }

    /// Waits until every row is deleted.
    pub(crate) async fn emptied(&mut self) {
        testbed::eventually("the outbox is empty", async || self.rows_left().await.is_empty()).await;
    }

    /// Lanes leased to each holder.
    pub(crate) async fn leases(&mut self) -> Vec<i64> {
        let rows = sqlx::query(
            "SELECT count(*) AS n FROM relay_lease WHERE lane <> holder AND expires_at > clock_timestamp()
             GROUP BY holder ORDER BY holder",
        )
        .fetch_all(&mut self.connection)
        .await
        .unwrap();
        rows.iter().map(|row| row.get("n")).collect()
    }

    /// How many numbers were given to each lane and partition.
    pub(crate) fn numbers(&self) -> &BTreeMap<(LaneId, Topic, i32), u64> {
        &self.numbers
    }

    /// Settings of a relay for this outbox.
    pub(crate) fn config(&self, publisher: PublisherConfig) -> RelayConfig {
        let url = Secret::new(self.database.url("relay"));
        RelayConfig::new(publisher, vec![SourceConfig { url, schema: "orders".to_owned() }])
    }
}

fn record(topic: Topic, partition: i32, n: u64, payload: &[u8]) -> OutboxRecord {
    OutboxRecord {
        topic,
        partition,
        n,
        envelope: Envelope {
            message: MessageId(Uuid::from_u128(u128::from(n))),
            causation: MessageId(Uuid::from_u128(7)),
            occurred_at: Timestamp(1_700_000_000_000),
            deadline: None,
            source: None,
        },
        key: format!("key-{n}").into_bytes(),
        payload: payload.to_vec(),
        headers: vec![("mb-cause".to_owned(), b"test".to_vec())],
    }
}

/// Bytes that do not compress.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    (0..length.div_ceil(16)).flat_map(|_| *chassis::ids::random().as_bytes()).take(length).collect()
}

/// A relay at work.
pub(crate) struct Running {
    pub(crate) health: Health,
    pub(crate) wake: Wake,
    stop: CancellationToken,
    task: JoinHandle<Result<(), relay::RelayError>>,
}

impl Running {
    pub(crate) fn start(config: RelayConfig) -> Self {
        let (health, wake, stop) = (Health::default(), Wake::default(), CancellationToken::new());
        let part = health.part("relay");
        let task = tokio::spawn(relay::run(config, part, wake.clone(), stop.clone()));
        Self { health, wake, stop, task }
    }

    /// Ends it as a stop signal does.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.task).await.unwrap().unwrap().unwrap();
    }

    /// Ends it at once, wherever it is.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err());
    }

    pub(crate) async fn ready(&self) {
        testbed::eventually("the relay is ready", async || self.health.is_ready()).await;
    }

    /// Waits until it says that it is not ready because of `reason`.
    pub(crate) async fn not_ready(&self, reason: &str) {
        testbed::eventually(reason, async || {
            self.health.parts()["relay"].as_ref().is_err_and(|why| why.contains(reason))
        })
        .await;
    }
}

/// A record as a worker reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) envelope: Envelope,
    pub(crate) source: Source,
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) headers: Vec<String>,
}

/// Everything on a partition, in order.
pub(crate) async fn log(publisher: &PublisherConfig, topic: Topic, partition: i32) -> Vec<Logged> {
    let name = topic.on_cluster(&publisher.cluster.prefix);
    let brokers = publisher.cluster.brokers.clone();
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "relay-test")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let (_, end) = consumer.fetch_watermarks(&name, partition, Duration::from_secs(10)).unwrap();
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&name, partition, Offset::Beginning).unwrap();
        consumer.assign(&from).unwrap();
        let mut records = Vec::new();
        while i64::try_from(records.len()).unwrap() < end {
            let message = consumer.poll(Duration::from_secs(10)).expect("a record in time").unwrap();
            records.push(logged(&message));
        }
        records
    })
    .await
    .unwrap()
}

fn logged(message: &impl Message) -> Logged {
    let headers: Vec<_> = message.headers().unwrap().iter().collect();
    assert_eq!(headers[0].key, envelope::HEADER);
    let envelope = Envelope::from_bytes(headers[0].value.unwrap()).unwrap();
    Logged {
        envelope,
        source: envelope.source.unwrap(),
        key: message.key().unwrap().to_vec(),
        payload: message.payload().unwrap().to_vec(),
        headers: headers.iter().map(|header| header.key.to_owned()).collect(),
    }
}

/// What every worker takes of what `outbox` said: each record once, in order.
pub(crate) async fn each_is_taken_once(outbox: &Outbox, publisher: &PublisherConfig) {
    for ((lane, topic, partition), said) in outbox.numbers() {
        let sources: Vec<_> = log(publisher, *topic, *partition).await.iter().map(|r| r.source).collect();
        let taken = &rule::read(&sources)[lane];
        assert_eq!((taken.first, taken.count), (1, *said), "{lane} {topic}/{partition}");
    }
}
