//! The lane protocol, pure: what a record's offset and number mean for a lane, and how what a lane says is numbered.
//!
//! Positions come from the database; numbers from the source lanes. The same code runs in the worker and can run in
//! a simulator: no I/O, no clock.

pub use crate::last_read::LastRead;
use schemas::{envelope::Source, ids::LaneId, time::Timestamp, topics::Topic};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

/// What a lane knows of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Heard {
    /// Its numbers are taken in sequence.
    #[serde(rename_all = "camelCase")]
    Sequence {
        /// The last number taken.
        last: u64,
        /// Set while a number between `last` and a refused one is missing.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        hole: Option<Hole>,
    },
    /// It was never heard before, and lower numbers than the lowest shown may still come.
    #[serde(rename_all = "camelCase")]
    Unproved {
        /// The lowest number it has shown.
        lowest: u64,
        /// Where the first record that was refused lies.
        offset: i64,
    },
}

impl Heard {
    /// What is known of a source once it has ended at that number: nothing beyond it is waited for.
    #[must_use]
    pub fn until(self, end: u64) -> Option<Self> {
        match self {
            Self::Sequence { last, hole } => {
                let hole = hole.map(|hole| Hole { highest: hole.highest.min(end), ..hole });
                Some(Self::Sequence { last, hole: hole.filter(|hole| hole.highest > last) })
            }
            Self::Unproved { lowest, .. } => (lowest <= end).then_some(self),
        }
    }
}

/// A missing number: the relay goes back and sends again, so what fills it lies further on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hole {
    /// Offset of the first record refused because of it.
    pub first_refused: i64,
    /// The highest number refused; once it is taken the hole is closed.
    pub highest: u64,
}

/// What to do with a record, by its offset and source alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// Decide it.
    Take,
    /// It lies below the position: applied before. Drop it.
    Below,
    /// A re-send of a number already taken, or one beyond the end of a source that was renewed. The position moves past
    /// it.
    Repeat,
    /// A number before it is missing. The position moves past it; it will be sent again.
    Hole,
    /// Offsets are missing before it: seek back to the position once, and believe the jump if it is still there.
    Gap,
    /// The source has proved that nothing below its lowest number will come: the position is put back to where its
    /// first refused record lies, and reading goes on from there.
    Reread,
}

/// A worker's place in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// This life of the lane.
    pub id: LaneId,
    /// Its partition of the service's input topic.
    pub partition: i32,
    /// The fence this owner claimed.
    pub epoch: i64,
    /// The first offset not yet applied.
    pub next_offset: i64,
    /// The last record that was read; none before the first, or when it has expired.
    pub last_read: Option<LastRead>,
    /// The last packed row written.
    pub outbox_seq: i64,
    /// All due times up to here have been seen to.
    pub due_mark: Timestamp,
    /// What is known of each source.
    pub heard: BTreeMap<LaneId, Heard>,
    /// Sources that were renewed: the last number that counts, of each as it was. What it had said beyond that is of a
    /// history that its database has lost.
    pub ended: Arc<BTreeMap<LaneId, u64>>,
    /// The last number given, per destination.
    pub sent: BTreeMap<Destination, u64>,
    /// Keys with parked records: later ones are parked behind them.
    pub parked: Arc<HashSet<Vec<u8>>>,
    /// The position from which a gap was looked at again: the next jump from it is believed.
    pub gap_checked: Option<i64>,
}

/// A partition of a topic that a lane sends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: i32,
}

impl Lane {
    /// Where reading begins after a claim: at the last record read, which is to be what it was.
    #[must_use]
    pub fn begins_at(&self) -> i64 {
        self.last_read.map_or(self.next_offset, |last| last.offset.min(self.next_offset))
    }

    /// Judges the next record read from the lane's partition, and moves the lane over it where it is passed.
    pub fn intake(&mut self, offset: i64, source: Option<Source>) -> Intake {
        if offset < self.next_offset {
            return Intake::Below;
        }
        if offset > self.next_offset && self.gap_checked != Some(self.next_offset) {
            self.gap_checked = Some(self.next_offset);
            return Intake::Gap;
        }
        self.gap_checked = None;
        self.next_offset = offset + 1;
        match source {
            None => Intake::Take,
            Some(source) => self.hear(offset, source),
        }
    }

    fn hear(&mut self, offset: i64, source: Source) -> Intake {
        let Source { lane, n, floor } = source;
        if self.ended.get(&lane).is_some_and(|end| n > *end) {
            return Intake::Repeat;
        }
        // every number below n was acknowledged in order before this record was sent
        let nothing_below_is_missing = floor + 1 >= n;
        let (heard, intake) = match self.heard.get(&lane).copied() {
            Some(Heard::Sequence { last, hole }) if n <= last => {
                (Heard::Sequence { last, hole }, Intake::Repeat)
            }
            Some(Heard::Sequence { last, hole }) if n == last + 1 => {
                let hole = hole.filter(|hole| hole.highest > n);
                (Heard::Sequence { last: n, hole }, Intake::Take)
            }
            Some(Heard::Sequence { last, hole }) => {
                let hole = hole.unwrap_or(Hole { first_refused: offset, highest: n });
                let hole = Hole { highest: hole.highest.max(n), ..hole };
                (Heard::Sequence { last, hole: Some(hole) }, Intake::Hole)
            }
            Some(Heard::Unproved { lowest, offset: first }) if n >= lowest => {
                if floor + 1 >= lowest {
                    // what lay between was refused; it is read again
                    self.next_offset = first;
                    (Heard::Sequence { last: lowest - 1, hole: None }, Intake::Reread)
                } else {
                    (Heard::Unproved { lowest, offset: first }, Intake::Hole)
                }
            }
            Some(Heard::Unproved { offset: first, .. }) if nothing_below_is_missing => {
                // its successors were refused before it and may never come again: they are read again after it
                self.next_offset = first;
                (Heard::Sequence { last: n, hole: None }, Intake::Take)
            }
            _ if nothing_below_is_missing => (Heard::Sequence { last: n, hole: None }, Intake::Take),
            Some(Heard::Unproved { offset: first, .. }) => {
                (Heard::Unproved { lowest: n, offset: first }, Intake::Hole)
            }
            _ => (Heard::Unproved { lowest: n, offset }, Intake::Hole),
        };
        self.heard.insert(lane, heard);
        intake
    }

    /// Whether a number is missing from some source.
    #[must_use]
    pub fn has_hole(&self) -> bool {
        self.heard
            .values()
            .any(|heard| matches!(heard, Heard::Unproved { .. } | Heard::Sequence { hole: Some(_), .. }))
    }

    /// The next number for a record to `destination`.
    pub fn number(&mut self, destination: Destination) -> u64 {
        let last = self.sent.entry(destination).or_insert(0);
        *last += 1;
        *last
    }

    /// The next packed row's place in the lane's sequence.
    pub fn next_seq(&mut self) -> i64 {
        self.outbox_seq += 1;
        self.outbox_seq
    }

    /// Parks a key: its later records go behind it.
    pub fn park(&mut self, key: &[u8]) {
        if !self.parked.contains(key) {
            Arc::make_mut(&mut self.parked).insert(key.to_vec());
        }
    }

    /// Nothing of a key is parked any more: its later records flow.
    pub fn unpark(&mut self, key: &[u8]) {
        if self.parked.contains(key) {
            Arc::make_mut(&mut self.parked).remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn lane() -> Lane {
        Lane {
            id: LaneId(Uuid::from_u128(1)),
            partition: 0,
            epoch: 1,
            next_offset: 0,
            last_read: None,
            outbox_seq: 0,
            due_mark: Timestamp(0),
            heard: BTreeMap::new(),
            ended: Arc::default(),
            sent: BTreeMap::new(),
            parked: Arc::default(),
            gap_checked: None,
        }
    }

    fn from(n: u64, floor: u64) -> Option<Source> {
        Some(Source { lane: LaneId(Uuid::from_u128(9)), n, floor })
    }

    #[test]
    fn a_record_below_the_position_is_dropped() {
        let mut lane = Lane { next_offset: 5, ..lane() };
        assert_eq!(lane.intake(4, None), Intake::Below);
        assert_eq!(lane.next_offset, 5);
    }

    #[test]
    fn a_jump_is_believed_only_when_it_is_still_there_after_one_look_back() {
        let mut lane = lane();
        assert_eq!(lane.intake(3, None), Intake::Gap);
        assert_eq!(lane.next_offset, 0);
        assert_eq!(lane.intake(3, None), Intake::Take);
        assert_eq!(lane.next_offset, 4);
        assert_eq!(lane.intake(6, None), Intake::Gap, "each jump is looked at");
    }

    #[test]
    fn only_the_next_number_is_taken() {
        let mut lane = lane();
        assert_eq!(lane.intake(0, from(1, 0)), Intake::Take);
        assert_eq!(lane.intake(1, from(1, 0)), Intake::Repeat);
        assert_eq!(lane.intake(2, from(3, 1)), Intake::Hole);
        assert!(lane.has_hole());
        assert_eq!(lane.intake(3, from(4, 1)), Intake::Hole);
        assert_eq!(lane.intake(4, from(2, 1)), Intake::Take);
        assert_eq!(lane.intake(5, from(3, 1)), Intake::Take);
        assert!(lane.has_hole(), "4 was refused too");
        assert_eq!(lane.intake(6, from(4, 1)), Intake::Take);
        assert!(!lane.has_hole());
    }

    #[test]
    fn a_source_heard_late_begins_where_nothing_below_is_missing() {
        let mut lane = lane();
        assert_eq!(lane.intake(0, from(7, 6)), Intake::Take);
        assert_eq!(lane.intake(1, from(8, 6)), Intake::Take);
    }

    #[test]
    fn a_source_heard_late_waits_until_its_lowest_number_is_proved_and_reads_again_from_there() {
        let mut lane = lane();
        assert_eq!(lane.intake(0, from(7, 4)), Intake::Hole);
        assert_eq!(lane.intake(1, from(8, 4)), Intake::Hole);
        assert_eq!(lane.intake(2, from(6, 4)), Intake::Hole, "6 is the lowest now, 5 is not proved");
        assert_eq!(lane.intake(3, from(7, 4)), Intake::Hole);
        assert_eq!(lane.intake(4, from(8, 5)), Intake::Reread);
        assert_eq!(lane.next_offset, 0);
        assert_eq!(lane.intake(0, from(7, 4)), Intake::Hole);
        assert_eq!(lane.intake(1, from(8, 4)), Intake::Hole);
        assert_eq!(lane.intake(2, from(6, 4)), Intake::Take);
        assert_eq!(lane.intake(3, from(7, 4)), Intake::Take);
        assert_eq!(lane.intake(4, from(8, 5)), Intake::Take);
    }

    #[test]
    fn a_number_that_comes_after_its_refused_successors_is_taken_and_they_are_read_again() {
        let mut lane = lane();
        // the first copy of 1 has expired; 2 was sent behind it, and 1 once more behind 2
        assert_eq!(lane.intake(0, from(2, 0)), Intake::Hole);
        assert_eq!(lane.intake(1, from(1, 0)), Intake::Take);
        assert_eq!(lane.next_offset, 0);
        assert_eq!(lane.intake(0, from(2, 0)), Intake::Take);
        assert_eq!(lane.intake(1, from(1, 0)), Intake::Repeat);
        assert_eq!(lane.intake(2, from(3, 2)), Intake::Take);
    }

    #[test]
    fn of_a_source_that_was_renewed_nothing_counts_beyond_its_end() {
        let ended = Arc::new([(LaneId(Uuid::from_u128(9)), 2)].into());
        let mut lane = Lane { ended, ..lane() };
        assert_eq!(lane.intake(0, from(1, 0)), Intake::Take);
        assert_eq!(lane.intake(1, from(3, 1)), Intake::Repeat, "its database does not know of it");
        assert!(!lane.has_hole(), "nothing is waited for");
        assert_eq!(lane.intake(2, from(2, 1)), Intake::Take);
        assert_eq!(lane.intake(3, from(3, 2)), Intake::Repeat);
        assert_eq!(lane.next_offset, 4);
    }

    #[test]
    fn beyond_the_end_of_a_source_nothing_is_waited_for() {
        let hole = |highest| Some(Hole { first_refused: 7, highest });
        let heard = Heard::Sequence { last: 3, hole: hole(9) };
        assert_eq!(heard.until(5), Some(Heard::Sequence { last: 3, hole: hole(5) }));
        assert_eq!(heard.until(3), Some(Heard::Sequence { last: 3, hole: None }));
        let heard = Heard::Unproved { lowest: 4, offset: 7 };
        assert_eq!((heard.until(4), heard.until(3)), (Some(heard), None));
    }

    proptest! {
        /// A relay that goes back again and again: each number is taken once, in order, and none is left out.
        #[test]
        fn every_number_is_taken_once_in_order(restarts in proptest::collection::vec((1u64..30, 1u64..30), 1..12)) {
            let mut lane = lane();
            let mut log = Vec::new();
            let mut floor = 0;
            for (back_to, up_to) in restarts {
                // nothing up to the floor is sent again by a relay that deletes what is acknowledged; a second
                // relay may do so all the same
                for n in back_to..=up_to.max(back_to) {
                    log.push((n, floor.min(n - 1)));
                }
                if back_to <= floor + 1 { floor = floor.max(up_to); }
            }
            for n in 1..=31 { log.push((n, 0)); }
            let mut taken = Vec::new();
            let mut offset = 0;
            while let Some((n, floor)) = log.get(usize::try_from(offset).unwrap()) {
                match lane.intake(offset, from(*n, *floor)) {
                    Intake::Take => taken.push(*n),
                    // the position was put back: what lies between is read again
                    Intake::Reread | Intake::Gap => { offset = lane.next_offset; continue; }
                    _ => {}
                }
                offset += 1;
            }
            prop_assert!(taken.windows(2).all(|pair| pair[1] == pair[0] + 1), "{taken:?}");
            prop_assert_eq!(taken.last(), Some(&31));
            prop_assert_eq!(taken.first(), Some(&1));
        }

        #[test]
        fn what_is_stored_is_read_back(last in any::<u64>(), offset in 0..i64::MAX, some in any::<bool>()) {
            let hole = some.then_some(Hole { first_refused: offset, highest: last });
            for heard in [Heard::Sequence { last, hole }, Heard::Unproved { lowest: last, offset }] {
                let text = serde_json::to_string(&heard).unwrap();
                prop_assert_eq!(serde_json::from_str::<Heard>(&text).unwrap(), heard);
            }
        }
    }
}
