//! Makes the topics of the pipeline, and checks those that are there.

use crate::{config::PublisherConfig, context::Asking};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    error::KafkaError,
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};
use schemas::topics::Topic;
use std::{collections::BTreeMap, time::Duration};

const TIMEOUT: Duration = Duration::from_secs(15);

/// A topic as the cluster has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Which one.
    pub topic: Topic,
    /// Its name on the cluster, prefix included.
    pub name: String,
    /// Its partitions; 0 when it is not there.
    pub partitions: i32,
    /// Copies of its first partition; 0 when it is not there.
    pub replication: i32,
}

/// What [`ensure`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ensured {
    /// Topics made now, by their name on the cluster.
    pub made: Vec<String>,
    /// Topics that were there, with the partition count asked for.
    pub present: Vec<String>,
}

/// Why topics could not be made or described.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// A partition count is fixed for a topic's life: keys would change their partition.
    #[error(
        "topic {name} has {actual} partitions, not {wanted}: a partition count is fixed for a topic's life. Set \
         KAFKA_PARTITIONS={actual}, or drain it and make it anew"
    )]
    PartitionCount {
        /// The topic, prefix included.
        name: String,
        /// What it has.
        actual: i32,
        /// What was asked for.
        wanted: i32,
    },
    /// The cluster refused to make one.
    #[error("topic {name} cannot be made: {reason}")]
    Refused {
        /// The topic, prefix included.
        name: String,
        /// What the cluster said.
        reason: RDKafkaErrorCode,
    },
    /// Not there in time after it was made.
    #[error("topic {0} was made and has not appeared yet")]
    NotYet(String),
    /// The cluster did not answer, or refused the question.
    #[error("Kafka did not answer: {0}")]
    Kafka(#[from] KafkaError),
}

/// Makes every topic of the pipeline that is not there, with `partitions` each and `replication` copies of each
/// partition, and waits until all can be seen. Runs again without effect.
///
/// # Errors
/// [`TopicsError::PartitionCount`] when one is there with another count; nothing was made then.
pub async fn ensure(
    config: &PublisherConfig,
    partitions: i32,
    replication: i32,
) -> Result<Ensured, TopicsError> {
    let admin = admin(config)?;
    let mut missing = Vec::new();
    let mut ensured = Ensured::default();
    for found in described(&admin, config).await? {
        match found.partitions {
            0 => missing.push(found.topic),
            actual if actual != partitions => {
                return Err(TopicsError::PartitionCount { name: found.name, actual, wanted: partitions });
            }
            _ => ensured.present.push(found.name),
        }
    }
    if missing.is_empty() {
        return Ok(ensured);
    }
    make(&admin, config, &missing, partitions, replication).await?;
    ensured.made = missing.iter().map(|topic| topic.on_cluster(&config.cluster.prefix)).collect();
    appeared(&admin, config, partitions).await?;
    Ok(ensured)
}

/// Every topic of the pipeline as the cluster has it.
///
/// # Errors
/// [`TopicsError::Kafka`] when the cluster does not answer.
pub async fn describe(config: &PublisherConfig) -> Result<Vec<TopicDescription>, TopicsError> {
    described(&admin(config)?, config).await
}

/// Deletes those of `topics` under `config`'s prefix that are there (tests clean up after themselves).
///
/// # Errors
/// [`TopicsError::Refused`] for an empty prefix and when the cluster refuses.
pub async fn delete(config: &PublisherConfig, topics: &[Topic]) -> Result<(), TopicsError> {
    let refused = |name: String, reason| TopicsError::Refused { name, reason };
    if config.cluster.prefix.is_empty() {
        return Err(refused("(no prefix)".to_owned(), RDKafkaErrorCode::PolicyViolation));
    }
    let names: Vec<String> = topics.iter().map(|topic| topic.on_cluster(&config.cluster.prefix)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for result in admin(config)?.delete_topics(&names, &options()).await? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((name, reason)) => return Err(refused(name, reason)),
        }
    }
    Ok(())
}

type Admin = std::sync::Arc<AdminClient<Asking>>;

fn admin(config: &PublisherConfig) -> Result<Admin, TopicsError> {
    Ok(std::sync::Arc::new(config.client().create_with_context::<_, AdminClient<Asking>>(Asking)?))
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

async fn make(
    admin: &Admin,
    config: &PublisherConfig,
    topics: &[Topic],
    partitions: i32,
    replication: i32,
) -> Result<(), TopicsError> {
    // two of three copies must have a record before it counts as acknowledged
    let min_insync = if replication >= 3 { "2" } else { "1" };
    let named: Vec<(String, String)> = topics
        .iter()
        .map(|topic| (topic.on_cluster(&config.cluster.prefix), topic.retention().as_millis().to_string()))
        .collect();
    let wanted: Vec<NewTopic<'_>> = named
        .iter()
        .map(|(name, retention)| {
            NewTopic::new(name, partitions, TopicReplication::Fixed(replication))
                .set("retention.ms", retention)
                .set("min.insync.replicas", min_insync)
                .set("cleanup.policy", "delete")
                .set("compression.type", "producer")
        })
        .collect();
    for result in admin.create_topics(&wanted, &options()).await? {
        match result {
            // somebody else was faster: its partition count is checked below
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, reason)) => return Err(TopicsError::Refused { name, reason }),
        }
    }
    Ok(())
}

/// Waits until every topic is there, each partition with a leader.
async fn appeared(admin: &Admin, config: &PublisherConfig, partitions: i32) -> Result<(), TopicsError> {
    let mut pauses = [20, 50, 100, 200, 400, 800, 1_600, 3_200].into_iter().map(Duration::from_millis);
    loop {
        let mut late = None;
        for found in described(admin, config).await? {
            match found.partitions {
                0 => late = Some(found.name),
                actual if actual == partitions => {}
                actual => {
                    return Err(TopicsError::PartitionCount { name: found.name, actual, wanted: partitions });
                }
            }
        }
        match (late, pauses.next()) {
            (None, _) => return Ok(()),
            (Some(_), Some(pause)) => tokio::time::sleep(pause).await,
            (Some(name), None) => return Err(TopicsError::NotYet(name)),
        }
    }
}

async fn described(admin: &Admin, config: &PublisherConfig) -> Result<Vec<TopicDescription>, TopicsError> {
    let asking = admin.clone();
    let metadata = tokio::task::spawn_blocking(move || asking.inner().fetch_metadata(None, TIMEOUT))
        .await
        .map_err(|_| KafkaError::Canceled)??;
    let on_cluster: BTreeMap<&str, (i32, i32)> = metadata
        .topics()
        .iter()
        .filter(|topic| topic.error().is_none())
        // a partition without a leader cannot be written yet: the topic counts as not there
        .filter(|topic| topic.partitions().iter().all(|p| p.leader() >= 0 && seen(p.error())))
        .map(|topic| {
            let copies = topic.partitions().first().map_or(0, |p| p.replicas().len());
            let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
            (topic.name(), (count(topic.partitions().len()), count(copies)))
        })
        .collect();
    let of = |topic: Topic| {
        let name = topic.on_cluster(&config.cluster.prefix);
        let (partitions, replication) = on_cluster.get(name.as_str()).copied().unwrap_or((0, 0));
        TopicDescription { topic, name, partitions, replication }
    };
    Ok(Topic::ALL.into_iter().map(of).collect())
}

/// A partition that lacks a copy can be written all the same.
fn seen(error: Option<RDKafkaRespErr>) -> bool {
    matches!(error, None | Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE))
}
