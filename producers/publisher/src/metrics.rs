//! Names of this crate's metrics, and the handles that count.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use schemas::topics::Topic;
use std::sync::Arc;

/// Records acknowledged, by client and topic.
pub(crate) const DELIVERED: &str = "mambogo_publisher_delivered_total";
/// Records that were not sent or not acknowledged, by client and kind (`queue_full`, `unknown`, `refused`, `fatal`).
pub(crate) const ERRORS: &str = "mambogo_publisher_errors_total";
/// Records handed over and not yet reported on, by client.
pub(crate) const QUEUED: &str = "mambogo_publisher_queued";
/// From hand-over to acknowledgement, by client.
pub const ACK_TIME: &str = "mambogo_publisher_ack_seconds";
/// Producers that took the place of one with a fatal error, by client.
pub(crate) const REBUILDS: &str = "mambogo_publisher_rebuilds_total";

/// Handles for one client, looked up once.
#[derive(Clone)]
pub(crate) struct Meters {
    delivered: Arc<[(Topic, Counter)]>,
    client: String,
    pub(crate) queued: Gauge,
    pub(crate) ack_time: Histogram,
    pub(crate) rebuilds: Counter,
}

impl Meters {
    pub(crate) fn of(client: &str) -> Self {
        let client = client.to_owned();
        let delivered = Topic::ALL
            .into_iter()
            .map(|topic| (topic, counter!(DELIVERED, "client" => client.clone(), "topic" => topic.name())))
            .collect();
        Self {
            delivered,
            queued: gauge!(QUEUED, "client" => client.clone()),
            ack_time: histogram!(ACK_TIME, "client" => client.clone()),
            rebuilds: counter!(REBUILDS, "client" => client.clone()),
            client,
        }
    }

    pub(crate) fn delivered(&self, topic: Topic) {
        if let Some((_, counter)) = self.delivered.iter().find(|(of, _)| *of == topic) {
            counter.increment(1);
        }
    }

    pub(crate) fn failed(&self, kind: &'static str) {
        counter!(ERRORS, "client" => self.client.clone(), "kind" => kind).increment(1);
    }
}

#[cfg(test)]
mod tests {
    /// Dashboards and alarms name these.
    #[test]
    fn the_names_stay_as_they_are() {
        assert_eq!(super::DELIVERED, "mambogo_publisher_delivered_total");
        assert_eq!(super::ERRORS, "mambogo_publisher_errors_total");
        assert_eq!(super::QUEUED, "mambogo_publisher_queued");
        assert_eq!(super::ACK_TIME, "mambogo_publisher_ack_seconds");
        assert_eq!(super::REBUILDS, "mambogo_publisher_rebuilds_total");
    }
}
