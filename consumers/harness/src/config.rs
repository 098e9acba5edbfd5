//! Settings of a worker.

use chassis::{
    kafka::Cluster,
    settings::{Environment, Secret, SettingError},
};
use std::time::Duration;

/// What a worker needs to know beside its service.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Where the brokers are, and the prefix of topics and groups.
    pub cluster: Cluster,
    /// Static group membership, where the platform gives a stable name (`KAFKA_GROUP_INSTANCE_ID`).
    pub instance: Option<String>,
    /// The service's database.
    pub database: Secret,
    /// Most records in a batch (`WORKER_BATCH_RECORDS`).
    pub batch_records: usize,
    /// Most bytes in a batch (`WORKER_BATCH_BYTES`).
    pub batch_bytes: usize,
    /// How long a batch that is not full waits for more, from its first record (`WORKER_BATCH_AGE`); zero takes what
    /// is there. Batches grow by themselves while the previous one commits.
    pub batch_age: Duration,
    /// Longest time for a batch (`WORKER_BATCH_TIMEOUT`). The server bounds each statement; this bounds the wait for a
    /// server that says nothing any more: its connection is given up, and the batch tried again on another.
    pub batch_timeout: Duration,
    /// How often due work is looked for (`WORKER_DUE_TICK`).
    pub due_tick: Duration,
    /// Most bytes that may wait in the outboxes of this worker's lanes before it pauses.
    pub outbox_bytes: i64,
    /// Oldest row that may wait there before it pauses.
    pub outbox_age: Duration,
}

impl WorkerConfig {
    /// Reads the settings; `database` is the service's own.
    ///
    /// # Errors
    /// [`SettingError`] names the variable.
    pub fn from_environment(environment: &Environment, database: Secret) -> Result<Self, SettingError> {
        let instance = environment.text("KAFKA_GROUP_INSTANCE_ID");
        Ok(Self {
            cluster: Cluster::from_environment(environment),
            instance,
            database,
            batch_records: environment.parse_or("WORKER_BATCH_RECORDS", "a number of records", 4_000)?,
            batch_bytes: environment.parse_or("WORKER_BATCH_BYTES", "a number of bytes", 8 << 20)?,
            batch_age: environment.duration_or("WORKER_BATCH_AGE", Duration::ZERO)?,
            batch_timeout: environment.duration_or("WORKER_BATCH_TIMEOUT", Duration::from_secs(30))?,
            due_tick: environment.duration_or("WORKER_DUE_TICK", Duration::from_millis(200))?,
            outbox_bytes: environment.parse_or("WORKER_OUTBOX_BYTES", "a number of bytes", 64 << 20)?,
            outbox_age: environment.duration_or("WORKER_OUTBOX_AGE", Duration::from_secs(30))?,
        })
    }
}
