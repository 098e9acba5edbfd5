//! What a consumer group has committed, asked of its coordinator. The client joins no group and fetches nothing.

use crate::{config::PublisherConfig, context::Asking, error::QueryError};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

type Clients = BTreeMap<&'static str, Arc<BaseConsumer<Asking>>>;

/// One asking client a group; made when first needed.
#[derive(Clone, Default)]
pub(crate) struct Committed {
    clients: Arc<Mutex<Clients>>,
}

impl Committed {
    /// The committed offset of each partition of `topic`, by partition number; `None` where there is none. Blocks up
    /// to `timeout`.
    pub(crate) fn ask(
        &self,
        config: &PublisherConfig,
        group: &'static str,
        topic: &str,
        partitions: i32,
        timeout: Duration,
    ) -> Result<Vec<Option<i64>>, QueryError> {
        let client = self.client(config, group)?;
        // nobody else empties its queue of events, which must not grow
        while client.poll(Duration::ZERO).is_some() {}
        let mut asked = TopicPartitionList::with_capacity(usize::try_from(partitions).unwrap_or(0));
        for partition in 0..partitions {
            asked.add_partition(topic, partition);
        }
        let answer = client.committed_offsets(asked, timeout).map_err(unanswered)?;
        let mut committed = Vec::with_capacity(answer.count());
        for partition in 0..partitions {
            let element = answer
                .find_partition(topic, partition)
                .ok_or_else(|| QueryError::Unanswered(format!("nothing on partition {partition}")))?;
            element.error().map_err(unanswered)?;
            committed.push(match element.offset() {
                Offset::Offset(next) => Some(next),
                _ => None,
            });
        }
        Ok(committed)
    }

    fn client(
        &self,
        config: &PublisherConfig,
        group: &'static str,
    ) -> Result<Arc<BaseConsumer<Asking>>, QueryError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(group) {
            return Ok(client.clone());
        }
        let mut settings = config.client();
        settings
            .set("group.id", format!("{}{group}", config.cluster.prefix))
            .set("enable.auto.commit", "false");
        let made = settings.create_with_context::<_, BaseConsumer<Asking>>(Asking).map_err(unanswered)?;
        let made = Arc::new(made);
        clients.insert(group, made.clone());
        Ok(made)
    }
}

fn unanswered(error: impl std::fmt::Display) -> QueryError {
    QueryError::Unanswered(error.to_string())
}
