//! Where topics end, asked of the brokers: one request a leader, nothing cached.

use crate::{config::PublisherConfig, context::Asking, error::QueryError};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// A client that asks for offsets; made when first needed. It joins no group and fetches nothing.
#[derive(Clone, Default)]
pub(crate) struct Ends {
    client: Arc<OnceLock<BaseConsumer<Asking>>>,
}

impl Ends {
    /// The end offset of each partition of `topic`, by partition number. Blocks up to `timeout`, and asks again within
    /// it: a partition that is new or changes its leader has none to answer for a moment.
    pub(crate) fn ask(
        &self,
        config: &PublisherConfig,
        topic: &str,
        partitions: i32,
        timeout: Duration,
    ) -> Result<Vec<i64>, QueryError> {
        let client = self.client(config)?;
        let begun = Instant::now();
        loop {
            let left = timeout.saturating_sub(begun.elapsed());
            match ask_once(client, topic, partitions, left) {
                Err(QueryError::Unanswered(_)) if begun.elapsed() + PAUSE < timeout => {
                    std::thread::sleep(PAUSE)
                }
                answer => return answer,
            }
        }
    }

    fn client(&self, config: &PublisherConfig) -> Result<&BaseConsumer<Asking>, QueryError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let made =
            config.client().create_with_context::<_, BaseConsumer<Asking>>(Asking).map_err(unanswered)?;
        Ok(self.client.get_or_init(|| made))
    }
}

fn ask_once(
    client: &BaseConsumer<Asking>,
    topic: &str,
    partitions: i32,
    timeout: Duration,
) -> Result<Vec<i64>, QueryError> {
    // nobody else empties its queue of events, which must not grow
    while client.poll(Duration::ZERO).is_some() {}
    let mut asked = TopicPartitionList::with_capacity(usize::try_from(partitions).unwrap_or(0));
    for partition in 0..partitions {
        // the "time" -1 of a ListOffsets request means the end
        asked.add_partition_offset(topic, partition, Offset::End).map_err(unanswered)?;
    }
    let answer = client.offsets_for_times(asked, timeout).map_err(unanswered)?;
    let mut ends = Vec::with_capacity(answer.count());
    for partition in 0..partitions {
        let element = answer
            .find_partition(topic, partition)
            .ok_or_else(|| QueryError::Unanswered(format!("nothing on partition {partition}")))?;
        element.error().map_err(unanswered)?;
        match element.offset() {
            Offset::Offset(end) => ends.push(end),
            other => {
                return Err(QueryError::Unanswered(format!("{other:?} for partition {partition}")));
            }
        }
    }
    Ok(ends)
}

fn unanswered(error: impl std::fmt::Display) -> QueryError {
    QueryError::Unanswered(error.to_string())
}
