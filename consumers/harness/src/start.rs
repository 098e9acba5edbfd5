//! Before a worker joins its group: the topic is there, the lanes are there, and they were made for it.

use crate::{config::WorkerConfig, store::LaneSet, worker::WorkerError};
use chassis::{
    health::Part,
    kafka::Cluster,
    postgres::{SessionLimits, connect},
};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use sqlx::PgConnection;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const ASK: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(1);

/// Waits until Kafka and Postgres answer, and makes the lanes that are missing. Returns the partition count and a
/// connection, or nothing when stopped first.
pub(crate) async fn prepare(
    config: &WorkerConfig,
    set: LaneSet,
    part: &Part,
    stop: &CancellationToken,
) -> Result<Option<(i32, PgConnection)>, WorkerError> {
    let topic = set.topic.on_cluster(&config.cluster.prefix);
    loop {
        match try_once(config, set, &topic).await {
            Ok(ready) => return ready.map(Some),
            Err(why) => {
                tracing::warn!(group = set.group, why, "not able to start yet; trying again");
                part.not_ready(why);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// The outer error is worth another try, the inner one is not.
async fn try_once(
    config: &WorkerConfig,
    set: LaneSet,
    topic: &str,
) -> Result<Result<(i32, PgConnection), WorkerError>, String> {
    let earliest = first_offsets(&config.cluster, topic).await?;
    let Some(earliest) = earliest else {
        return Ok(Err(WorkerError::NoTopic { topic: topic.to_owned() }));
    };
    let away = |error: sqlx::Error| format!("Postgres: {error}");
    let name = format!("mambogo {}", set.group);
    let mut connection =
        connect(config.database.expose(), &name, SessionLimits::WORKER).await.map_err(away)?;
    let found = i32::try_from(earliest.len()).unwrap_or(i32::MAX);
    let counts = set.partition_counts(&mut connection).await.map_err(away)?;
    if let Some(expected) = counts.into_iter().find(|count| *count != found) {
        let error =
            WorkerError::PartitionCount { topic: topic.to_owned(), group: set.group, expected, found };
        return Ok(Err(error));
    }
    let ids: Vec<_> = earliest.iter().map(|_| chassis::ids::random()).collect();
    set.create_missing(&mut connection, &earliest, &ids).await.map_err(away)?;
    Ok(Ok((found, connection)))
}

/// The first offset of each partition of `topic`, as the cluster names it; nothing when it is not there.
///
/// # Errors
/// In words, when the brokers do not answer.
pub async fn first_offsets(cluster: &Cluster, topic: &str) -> Result<Option<Vec<i64>>, String> {
    let mut client = ClientConfig::new();
    for (name, value) in cluster.client_settings() {
        client.set(name, value);
    }
    let topic = topic.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = client.create()?;
        let metadata = client.fetch_metadata(Some(&topic), ASK)?;
        let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        let partitions = (0..).take(count);
        let earliest = partitions.map(|partition| Ok(client.fetch_watermarks(&topic, partition, ASK)?.0));
        let earliest = earliest.collect::<Result<Vec<i64>, KafkaError>>()?;
        Ok::<_, KafkaError>((!earliest.is_empty()).then_some(earliest))
    });
    let brokers = &cluster.brokers;
    asked.await.map_err(|error| error.to_string())?.map_err(|error| {
        format!(
            "Kafka does not answer at {brokers}: {error}; start the brokers, or name others in KAFKA_BROKERS"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn brokers_that_do_not_answer_are_named_with_what_to_do() {
        // nothing listens on port 1
        let cluster = Cluster::plain("127.0.0.1:1", "");
        let error = first_offsets(&cluster, "order.commands").await.unwrap_err();
        assert!(error.contains("127.0.0.1:1") && error.contains("KAFKA_BROKERS"), "{error}");
    }
}
