//! Names of this crate's metrics, and one source's handles.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Records acknowledged, by source.
pub(crate) const SENT: &str = "mambogo_relay_sent_total";
/// Rows deleted, by source.
pub(crate) const DELETED: &str = "mambogo_relay_deleted_rows_total";
/// From the begin of the transaction that wrote a row to its reading, by source.
pub const WAIT: &str = "mambogo_relay_wait_seconds";
/// Producers given up with all their lanes begun anew, by source.
pub(crate) const RESTARTS: &str = "mambogo_relay_restarts_total";
/// Lanes sent by this relay, by source.
pub(crate) const LANES: &str = "mambogo_relay_lanes";
/// Lanes that stand still because Kafka refuses something of theirs, by source. Alarm above 0.
pub(crate) const HALTED: &str = "mambogo_relay_halted_lanes";
/// Records in flight, by source.
pub(crate) const IN_FLIGHT: &str = "mambogo_relay_in_flight";
/// Failed statements, by source.
pub(crate) const DATABASE_ERRORS: &str = "mambogo_relay_database_errors_total";

/// Handles for one source.
pub(crate) struct Meters {
    pub(crate) sent: Counter,
    pub(crate) deleted: Counter,
    pub(crate) wait: Histogram,
    pub(crate) restarts: Counter,
    pub(crate) lanes: Gauge,
    pub(crate) halted: Gauge,
    pub(crate) in_flight: Gauge,
    pub(crate) database_errors: Counter,
}

impl Meters {
    pub(crate) fn of(source: &str) -> Self {
        let source = source.to_owned();
        Self {
            sent: counter!(SENT, "source" => source.clone()),
            deleted: counter!(DELETED, "source" => source.clone()),
            wait: histogram!(WAIT, "source" => source.clone()),
            restarts: counter!(RESTARTS, "source" => source.clone()),
            lanes: gauge!(LANES, "source" => source.clone()),
            halted: gauge!(HALTED, "source" => source.clone()),
            in_flight: gauge!(IN_FLIGHT, "source" => source.clone()),
            database_errors: counter!(DATABASE_ERRORS, "source" => source),
        }
    }
}

#[cfg(test)]
mod tests {
    /// Dashboards and alarms name these.
    #[test]
    fn the_names_stay_as_they_are() {
        assert_eq!(super::SENT, "mambogo_relay_sent_total");
        assert_eq!(super::DELETED, "mambogo_relay_deleted_rows_total");
        assert_eq!(super::WAIT, "mambogo_relay_wait_seconds");
        assert_eq!(super::RESTARTS, "mambogo_relay_restarts_total");
        assert_eq!(super::LANES, "mambogo_relay_lanes");
        assert_eq!(super::HALTED, "mambogo_relay_halted_lanes");
        assert_eq!(super::IN_FLIGHT, "mambogo_relay_in_flight");
        assert_eq!(super::DATABASE_ERRORS, "mambogo_relay_database_errors_total");
    }
}
