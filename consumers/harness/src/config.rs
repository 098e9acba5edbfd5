//! Settings of a worker.

use chassis::{
    kafka::Cluster,
    settings::{Environment, Secret, SettingError},
};
use schemas::{time::Timestamp, topics::Topic};
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
    /// How long after a batch of several records the next one waits for more, if it is not full (`WORKER_BATCH_PAUSE`).
    /// Batches grow by themselves while the previous one commits; this makes small ones fewer. Who comes alone, or
    /// later, waits for nothing.
    pub batch_pause: Duration,
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
            batch_pause: environment.duration_or("WORKER_BATCH_PAUSE", Duration::from_millis(12))?,
            batch_timeout: environment.duration_or("WORKER_BATCH_TIMEOUT", Duration::from_secs(30))?,
            due_tick: environment.duration_or("WORKER_DUE_TICK", Duration::from_millis(200))?,
            outbox_bytes: environment.parse_or("WORKER_OUTBOX_BYTES", "a number of bytes", 64 << 20)?,
            outbox_age: environment.duration_or("WORKER_OUTBOX_AGE", Duration::from_secs(30))?,
        })
    }
}

/// When rows leave, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryConfig {
    /// Age at which a settled row leaves (`HISTORY_AFTER`); zero: never.
    pub after: Duration,
    /// Most rows that one lane looks at in one transaction (`HISTORY_ROWS`).
    pub rows: u32,
}

impl Default for HistoryConfig {
    /// Rows never leave.
    fn default() -> Self {
        Self { after: Duration::ZERO, rows: 500 }
    }
}

impl HistoryConfig {
    /// Reads the settings. A row must not leave while a record of `inputs` may still name it.
    ///
    /// # Errors
    /// [`SettingError`] names the variable.
    pub fn from_environment(environment: &Environment, inputs: &[Topic]) -> Result<Self, SettingError> {
        const AFTER: &str = "HISTORY_AFTER";
        const EXPECTED: &str =
            "longer than the topics of commands keep their records (more than 7 days), or 0s for never";
        let after = environment.duration_or(AFTER, Duration::from_secs(14 * 24 * 60 * 60))?;
        let kept = inputs.iter().map(|topic| topic.retention()).max().unwrap_or_default();
        if !after.is_zero() && after <= kept {
            let value = environment.text_or(AFTER, "");
            return Err(SettingError::Invalid { key: AFTER, value, expected: EXPECTED });
        }
        let rows = environment.parse_or("HISTORY_ROWS", "a number of rows", Self::default().rows)?;
        Ok(Self { after, rows })
    }

    /// Rows at their end by then may leave; none while rows never do.
    #[must_use]
    pub fn cutoff(&self, now: Timestamp) -> Option<Timestamp> {
        let after = i64::try_from(self.after.as_millis()).ok().filter(|after| *after > 0)?;
        (self.rows > 0).then_some(Timestamp(now.0.saturating_sub(after)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<HistoryConfig, SettingError> {
        let environment = Environment::of(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        HistoryConfig::from_environment(&environment, &[Topic::OrderCommands])
    }

    #[test]
    fn no_row_leaves_while_a_record_may_name_it() {
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(read(&[]).unwrap().after, 14 * day);
        assert_eq!(read(&[("HISTORY_AFTER", "169h")]).unwrap().after, 7 * day + Duration::from_secs(3_600));
        let error = read(&[("HISTORY_AFTER", "168h")]).unwrap_err().to_string();
        assert!(error.contains("HISTORY_AFTER") && error.contains("7 days"), "{error}");
        assert_eq!(read(&[("HISTORY_AFTER", "0s")]).unwrap().cutoff(Timestamp(9)), None);
        let config = HistoryConfig { after: Duration::from_millis(40), rows: 1 };
        assert_eq!(config.cutoff(Timestamp(100)), Some(Timestamp(60)));
    }
}
