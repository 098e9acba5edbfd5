//! When a row may leave its table for the history, and how far each lane has looked for such rows. Knows rows by a time
//! and an id; which row is settled, and where it goes, is the service's business.
//!
//! A lane walks its rows from the oldest to the youngest that may go, a bounded number in each transaction that sees to
//! due work. What does not fit (not settled, or changed of late) is passed over, and met again on the next walk.

use crate::config::HistoryConfig;
use schemas::time::Timestamp;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use uuid::Uuid;

/// Between the beginnings of two walks: what was passed over waits that long.
const WALK_EVERY: Duration = Duration::from_secs(60 * 60);

/// A row's place in a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The time that rows are walked by. It never changes.
    pub at: Timestamp,
    /// The row.
    pub id: Uuid,
}

impl Place {
    /// Before every row.
    pub const BEGIN: Self = Self { at: Timestamp(0), id: Uuid::nil() };
}

#[derive(Debug, Clone, Copy)]
struct Walk {
    begun: Instant,
    place: Place,
}

/// Where the walks stand. Only in memory: a restart begins anew, and so does whoever takes a lane over.
#[derive(Debug, Default)]
pub struct Walks {
    config: HistoryConfig,
    lanes: Mutex<BTreeMap<i32, Walk>>,
}

impl Walks {
    /// Walks that have not begun.
    #[must_use]
    pub fn new(config: HistoryConfig) -> Self {
        Self { config, lanes: Mutex::default() }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> HistoryConfig {
        self.config
    }

    /// Where a lane's walk goes on. Once an hour it begins anew, for what was passed over.
    #[must_use]
    pub fn place(&self, partition: i32) -> Place {
        self.place_at(partition, Instant::now())
    }

    fn place_at(&self, partition: i32, now: Instant) -> Place {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let walk = lanes.entry(partition).or_insert(Walk { begun: now, place: Place::BEGIN });
        if now.duration_since(walk.begun) >= WALK_EVERY {
            *walk = Walk { begun: now, place: Place::BEGIN };
        }
        walk.place
    }

    /// A lane has looked at everything up to `place`. If its transaction does not commit, those rows wait for the next
    /// walk.
    pub fn looked(&self, partition: i32, place: Place) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(walk) = lanes.get_mut(&partition) {
            walk.place = walk.place.max(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_goes_on_and_begins_anew_after_an_hour() {
        let (walks, begun) = (Walks::new(HistoryConfig::default()), Instant::now());
        let place = |at| Place { at: Timestamp(at), id: Uuid::nil() };
        assert_eq!(walks.place_at(3, begun), Place::BEGIN);
        walks.looked(3, place(50));
        walks.looked(3, place(40));
        assert_eq!(walks.place_at(3, begun + WALK_EVERY / 2), place(50), "it never goes back");
        assert_eq!(walks.place_at(4, begun), Place::BEGIN);
        assert_eq!(walks.place_at(3, begun + WALK_EVERY), Place::BEGIN);
    }
}
