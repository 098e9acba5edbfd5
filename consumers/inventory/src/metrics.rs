//! What inventory counts. Names are an interface: a test pins them.

use metrics::{counter, gauge, histogram};
use std::time::Duration;

/// Histogram, seconds: from the order's acceptance to the answer, waiting included. Label `outcome`.
pub const RESERVATION_SECONDS: &str = "mambogo_inventory_reservation_seconds";
/// Counter: reserves by `outcome`: `granted`, `rejected`, `waiting`. A reserve that waited is counted twice.
pub const RESERVATIONS: &str = "mambogo_inventory_reservations_total";
/// Counter: holds and waits that ended, by `outcome`: `sold`, `released`.
pub const SETTLEMENTS: &str = "mambogo_inventory_settlements_total";
/// Counter: adjustments by `outcome`: `applied`, `insufficient`, `unknown_product`, `out_of_range`.
pub const ADJUSTMENTS: &str = "mambogo_inventory_adjustments_total";
/// Counter: units that adjustments added.
pub const RESTOCKED_UNITS: &str = "mambogo_inventory_restocked_units_total";
/// Counter: walks that a self-sent command went on with.
pub const WALKS: &str = "mambogo_inventory_walks_total";
/// Gauge: lines waiting in all queues, the same from every worker; stops at [`MOST_WAITERS_COUNTED`].
pub const WAITERS: &str = "mambogo_inventory_waiters";
/// Histogram: products changed by a batch.
pub const BATCH_PRODUCTS: &str = "mambogo_inventory_batch_products_records";
/// Counter: holds moved to the history.
pub const MOVED: &str = "mambogo_inventory_holds_moved_total";

/// Counting more waiters than this would cost more than it tells.
pub const MOST_WAITERS_COUNTED: i64 = 10_000;

/// What a batch did, counted once it is committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    granted: Vec<Duration>,
    rejected: Vec<Duration>,
    waiting: u64,
    sold: u64,
    released: u64,
    walks: u64,
    adjustments: Vec<&'static str>,
    restocked_units: u64,
    products: u32,
}

impl Tally {
    pub(crate) fn granted(&mut self, after: Duration) {
        self.granted.push(after);
    }

    pub(crate) fn rejected(&mut self, after: Duration) {
        self.rejected.push(after);
    }

    pub(crate) fn waits(&mut self) {
        self.waiting += 1;
    }

    pub(crate) fn sold(&mut self) {
        self.sold += 1;
    }

    pub(crate) fn released(&mut self) {
        self.released += 1;
    }

    pub(crate) fn walked(&mut self) {
        self.walks += 1;
    }

    pub(crate) fn adjusted(&mut self, delta: i64, outcome: &'static str) {
        self.adjustments.push(outcome);
        if outcome == "applied" {
            let units = u64::try_from(delta).unwrap_or(0);
            self.restocked_units = self.restocked_units.saturating_add(units);
        }
    }

    pub(crate) fn products(&mut self, changed: usize) {
        self.products = u32::try_from(changed).unwrap_or(u32::MAX);
    }

    /// Hands the counts to the recorder.
    pub(crate) fn count(&self) {
        for (outcome, times) in [("granted", &self.granted), ("rejected", &self.rejected)] {
            counter!(RESERVATIONS, "outcome" => outcome)
                .increment(u64::try_from(times.len()).unwrap_or(u64::MAX));
            let seconds = histogram!(RESERVATION_SECONDS, "outcome" => outcome);
            times.iter().for_each(|time| seconds.record(time.as_secs_f64()));
        }
        counter!(RESERVATIONS, "outcome" => "waiting").increment(self.waiting);
        counter!(SETTLEMENTS, "outcome" => "sold").increment(self.sold);
        counter!(SETTLEMENTS, "outcome" => "released").increment(self.released);
        counter!(WALKS).increment(self.walks);
        for outcome in &self.adjustments {
            counter!(ADJUSTMENTS, "outcome" => *outcome).increment(1);
        }
        counter!(RESTOCKED_UNITS).increment(self.restocked_units);
        histogram!(BATCH_PRODUCTS).record(f64::from(self.products));
    }
}

/// Counts holds that a lane's transaction moves to the history.
pub(crate) fn moved(holds: i64) {
    counter!(MOVED).increment(u64::try_from(holds).unwrap_or(0));
}

/// Says how many lines wait.
pub(crate) fn waiters(lines: i64) {
    let lines = u32::try_from(lines.clamp(0, MOST_WAITERS_COUNTED)).unwrap_or(u32::MAX);
    gauge!(WAITERS).set(f64::from(lines));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_pinned() {
        assert_eq!(
            [
                RESERVATION_SECONDS,
                RESERVATIONS,
                SETTLEMENTS,
                ADJUSTMENTS,
                RESTOCKED_UNITS,
                WALKS,
                WAITERS,
                BATCH_PRODUCTS,
                MOVED,
            ],
            [
                "mambogo_inventory_reservation_seconds",
                "mambogo_inventory_reservations_total",
                "mambogo_inventory_settlements_total",
                "mambogo_inventory_adjustments_total",
                "mambogo_inventory_restocked_units_total",
                "mambogo_inventory_walks_total",
                "mambogo_inventory_waiters",
                "mambogo_inventory_batch_products_records",
                "mambogo_inventory_holds_moved_total",
            ]
        );
    }
}
