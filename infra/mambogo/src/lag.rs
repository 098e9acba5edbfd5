//! How far each consumer group is behind, partition by partition: by its lanes, by what it committed to Kafka, and
//! in time; and what waits in its outboxes and among its parked records.

mod lanes;
mod logs;
mod print;

pub(crate) use print::table;

use chassis::{
    clock::Clock,
    kafka::Cluster,
    postgres::{self, SessionLimits},
    settings::Secret,
};
use schemas::{
    time::Timestamp,
    topics::{self, Topic},
};
use serde::Serialize;
use sqlx::PgConnection;

/// A consumer group, what it reads, and where its lanes are.
#[derive(Debug, Clone, Copy)]
struct Reader {
    group: &'static str,
    topic: Topic,
    /// The Postgres schema of its lanes; none for a group without lanes, whose position is Kafka's.
    schema: Option<&'static str>,
}

const READERS: [Reader; 5] = [
    Reader { group: topics::ORDERS_GROUP, topic: Topic::OrderCommands, schema: Some("orders") },
    Reader { group: topics::INVENTORY_GROUP, topic: Topic::InventoryCommands, schema: Some("inventory") },
    Reader { group: topics::PAYMENTS_GROUP, topic: Topic::PaymentCommands, schema: Some("payments") },
    Reader { group: topics::STATUS_GROUP, topic: Topic::OrderEvents, schema: None },
    Reader { group: topics::WEBHOOKS_GROUP, topic: Topic::OrderEvents, schema: None },
];

/// One group's place in one partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    /// The consumer group, without prefix.
    pub(crate) group: &'static str,
    /// The topic, without prefix.
    pub(crate) topic: &'static str,
    /// The partition.
    pub(crate) partition: i32,
    /// The first offset in the log.
    pub(crate) log_start: i64,
    /// The offset that the next record will get.
    pub(crate) log_end: i64,
    /// The lane's position: the first offset not applied. None for a group without lanes, or a lane not made yet.
    pub(crate) lane: Option<i64>,
    /// What the group has committed to Kafka; it follows the lane.
    pub(crate) committed: Option<i64>,
    /// Records behind: by the lane where there is one, else by what is committed, else all there are.
    pub(crate) behind: i64,
    /// Age of the oldest record not applied, in seconds; 0 when there is none, none when it did not come in time.
    pub(crate) oldest_seconds: Option<f64>,
    /// What the lane has waiting besides; none for a group without lanes.
    pub(crate) waiting: Option<Waiting>,
}

/// What a lane has waiting.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Waiting {
    /// Packed rows in its outbox.
    pub(crate) outbox_rows: i64,
    /// Their bytes.
    pub(crate) outbox_bytes: i64,
    /// Age of the oldest of them in seconds, by the database's clock; 0 when there is none.
    pub(crate) outbox_seconds: f64,
    /// Records set aside.
    pub(crate) parked: i64,
}

/// Why the lag could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LagError {
    /// The brokers did not answer, or refused.
    #[error("{doing}: {source}")]
    Kafka {
        /// What was asked of them.
        doing: &'static str,
        /// What they said.
        source: rdkafka::error::KafkaError,
    },
    /// There is no such topic on the cluster.
    #[error("there is no topic {0}; is TOPIC_PREFIX right?")]
    NoTopic(String),
    /// The database did not answer, or refused.
    #[error("reading lanes: {0}")]
    Database(#[from] sqlx::Error),
    /// The thread that asks the brokers ended: a fault of ours.
    #[error("asking the brokers: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// Reads every group's lag now, by group and partition. `audit` is the URL of a role that may read all schemas.
///
/// # Errors
/// [`LagError`].
pub(crate) async fn read(cluster: &Cluster, audit: &Secret) -> Result<Vec<Row>, LagError> {
    let mut connection = postgres::connect(audit.expose(), "mambogo-lag", SessionLimits::WORKER).await?;
    read_at(cluster, &mut connection, Timestamp(Clock::system().now_millis())).await
}

/// The same with `now` to count ages from. Lanes are read before the log's ends, so a moving system never shows
/// less than it has.
async fn read_at(cluster: &Cluster, audit: &mut PgConnection, now: Timestamp) -> Result<Vec<Row>, LagError> {
    let mut rows = Vec::new();
    for reader in READERS {
        let lanes = lanes::read(audit, reader).await?;
        let cluster = cluster.clone();
        let of_reader =
            tokio::task::spawn_blocking(move || logs::read(&cluster, reader, &lanes, now)).await??;
        rows.extend(of_reader);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests;
