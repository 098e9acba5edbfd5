//! Sees orders end on the log itself: a plain consumer of `order.events`, outside every group. So 10,000 ends a second
//! are watched without a single status read. Only the schema's id and the key are looked at; its cost counts as the
//! generator's own.

use chassis::kafka::Cluster;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Message,
};
use schemas::{messages::OrderStatus, topics::Topic, wire};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Longest wait for one question to a broker.
const ASK: Duration = Duration::from_secs(10);
/// Longest wait for a record, and so for noticing a stop.
const POLL: Duration = Duration::from_millis(100);

/// A consumer that stands at the log's end.
pub(crate) struct Ends {
    consumer: BaseConsumer,
}

impl Ends {
    /// Stands at the end of every partition, as it is now.
    pub(crate) fn open(cluster: &Cluster) -> Result<Self, KafkaError> {
        let mut client = ClientConfig::new();
        for (name, value) in cluster.client_settings() {
            client.set(name, value);
        }
        let consumer: BaseConsumer = client
            .set("client.id", "mambogo-load")
            .set("group.id", format!("{}load", cluster.prefix))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // few large answers: what is measured comes a few milliseconds late, and costs the broker little
            .set("fetch.wait.max.ms", "20")
            .set("fetch.min.bytes", "16384")
            .create()?;
        let topic = Topic::OrderEvents.on_cluster(&cluster.prefix);
        let metadata = consumer.fetch_metadata(Some(&topic), ASK)?;
        let mut list = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            let (_, end) = consumer.fetch_watermarks(&topic, partition.id(), ASK)?;
            list.add_partition_offset(&topic, partition.id(), Offset::Offset(end))?;
        }
        consumer.assign(&list)?;
        Ok(Self { consumer })
    }

    /// Tells each end, on this thread, until `stop`. What the broker cannot answer is tried again by librdkafka.
    pub(crate) fn follow(&self, stop: &CancellationToken, mut ended: impl FnMut(Uuid, OrderStatus, Instant)) {
        while !stop.is_cancelled() {
            let Some(Ok(record)) = self.consumer.poll(POLL) else { continue };
            let status = record.payload().and_then(end_of);
            if let Some((status, id)) =
                status.zip(record.key().and_then(|key| Uuid::try_parse_ascii(key).ok()))
            {
                ended(id, status, Instant::now());
            }
        }
    }
}

/// The end that a public event stands for; the others say that an order goes on.
fn end_of(payload: &[u8]) -> Option<OrderStatus> {
    match wire::open(payload).ok()?.0.record {
        "OrderConfirmed" => Some(OrderStatus::Confirmed),
        "OrderRejected" => Some(OrderStatus::Rejected),
        "OrderCancelled" => Some(OrderStatus::Cancelled),
        "OrderExpired" => Some(OrderStatus::Expired),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::catalogue;

    #[test]
    fn the_ends_are_the_terminal_events_of_the_catalogue() {
        let of = |record: &str| {
            let entry = catalogue::ENTRIES.iter().find(|entry| entry.record == record).unwrap();
            end_of(&[&[0], &entry.id.0.to_be_bytes()[..], b"body"].concat())
        };
        assert_eq!(of("OrderConfirmed"), Some(OrderStatus::Confirmed));
        assert_eq!(of("OrderRejected"), Some(OrderStatus::Rejected));
        assert_eq!(of("OrderCancelled"), Some(OrderStatus::Cancelled));
        assert_eq!(of("OrderExpired"), Some(OrderStatus::Expired));
        assert_eq!(of("OrderAccepted"), None);
        assert_eq!(of("OrderAmended"), None);
        assert_eq!(end_of(b"x"), None);
    }
}
