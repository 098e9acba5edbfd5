//! What a worker takes from one partition: of each source lane, last + 1 and nothing else.

use schemas::{envelope::Source, ids::LaneId};
use std::collections::{BTreeMap, BTreeSet};

/// Where reading of a source began, and the numbers taken from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The first number.
    pub(crate) first: u64,
    /// Place in the log of the record whose floor let the reading begin.
    pub(crate) begun_at: usize,
    /// How many were taken: `first`, `first + 1`, …
    pub(crate) count: u64,
}

/// Reads a partition's records in log order. A source without an entry never showed a floor to begin at.
pub(crate) fn read(log: &[Source]) -> BTreeMap<LaneId, Taken> {
    let lanes: BTreeSet<LaneId> = log.iter().map(|source| source.lane).collect();
    lanes.into_iter().filter_map(|lane| Some((lane, read_one(log, lane)?))).collect()
}

fn read_one(log: &[Source], lane: LaneId) -> Option<Taken> {
    let mut lowest: Option<(u64, usize)> = None;
    for (at, source) in log.iter().enumerate().filter(|(_, source)| source.lane == lane) {
        if lowest.is_none_or(|(n, _)| source.n < n) {
            lowest = Some((source.n, at));
        }
        let (first, back_to) = lowest?;
        if source.floor + 1 >= first {
            // the position is put back to where that number stands
            let mut last = first - 1;
            for again in log.iter().skip(back_to).filter(|again| again.lane == lane) {
                if again.n == last + 1 {
                    last += 1;
                }
            }
            return Some(Taken { first, begun_at: at, count: last + 1 - first });
        }
    }
    None
}
