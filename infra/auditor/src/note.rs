//! What has passed, pure: a note of all that lanes had sent when something looked wrong, and whether the lanes it was
//! sent to have taken it since. Lanes number what they say to each other, so neither the log nor a clock is asked.
//!
//! All records about an order go to the lanes of one partition number, whatever the service. When those lanes have
//! taken all that had been sent to them at the note, and the order's rows still are what they were before it, then
//! nothing that was on its way would have changed them.

use schemas::{time::Timestamp, topics};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A lane's row, as far as it concerns what passed.
#[derive(Debug, Clone)]
pub(crate) struct LaneRow {
    pub(crate) service: &'static str,
    pub(crate) partition: i32,
    pub(crate) partitions: i32,
    pub(crate) id: Uuid,
    /// Due times up to here have been seen to.
    pub(crate) due_mark: Timestamp,
    /// The last number taken of each source.
    pub(crate) heard: BTreeMap<Uuid, u64>,
    /// The last number given to each lane of a service that reads commands.
    pub(crate) sent: BTreeMap<(&'static str, i32), u64>,
}

/// All lanes at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lanes(pub(crate) Vec<LaneRow>);

/// So many had been sent by a lane to another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    by: Uuid,
    to: (&'static str, i32),
    n: u64,
}

/// What all lanes had sent at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Note(Vec<Sent>);

/// A lane that has not taken what was sent to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Behind {
    pub(crate) service: &'static str,
    pub(crate) partition: i32,
    pub(crate) what: String,
}

impl Lanes {
    pub(crate) fn note(&self) -> Note {
        let of = |lane: &LaneRow| {
            let by = lane.id;
            lane.sent.iter().map(move |(to, n)| Sent { by, to: *to, n: *n }).collect::<Vec<_>>()
        };
        Note(self.0.iter().flat_map(of).collect())
    }

    /// The partition of an order's records.
    pub(crate) fn partition_of(&self, order: Uuid) -> i32 {
        let partitions = self.0.first().map_or(1, |lane| lane.partitions);
        topics::partition_of(&topics::key(order), partitions)
    }

    fn at(&self, (service, partition): (&str, i32)) -> Option<&LaneRow> {
        self.0.iter().find(|lane| lane.service == service && lane.partition == partition)
    }

    fn by_id(&self, id: Uuid) -> Option<&LaneRow> {
        self.0.iter().find(|lane| lane.id == id)
    }

    fn has_taken(&self, sent: &Sent) -> bool {
        // what a lane sent that is there no more (it was made anew) is nobody's to wait for
        let is_gone = self.by_id(sent.by).is_none();
        is_gone
            || self.at(sent.to).and_then(|lane| lane.heard.get(&sent.by)).is_some_and(|last| *last >= sent.n)
    }
}

impl Note {
    /// Whether the lanes of that partition, in every service, have taken all that had been sent to them.
    pub(crate) fn has_passed(&self, partition: i32, lanes: &Lanes) -> bool {
        self.0.iter().filter(|sent| sent.to.1 == partition).all(|sent| lanes.has_taken(sent))
    }

    /// Lanes that have not taken all, without what still lies in the outboxes of `undrained`.
    pub(crate) fn behind(&self, lanes: &Lanes, undrained: &BTreeSet<(&'static str, i32)>) -> Vec<Behind> {
        let mut behind: BTreeMap<(&'static str, i32), Vec<String>> = BTreeMap::new();
        for sent in self.0.iter().filter(|sent| !lanes.has_taken(sent)) {
            let Some(source) = lanes.by_id(sent.by) else { continue };
            if undrained.contains(&(source.service, source.partition)) {
                continue;
            }
            let taken = lanes.at(sent.to).and_then(|lane| lane.heard.get(&sent.by)).copied().unwrap_or(0);
            behind.entry(sent.to).or_default().push(format!(
                "{taken} of {} records of lane {}/{}",
                sent.n, source.service, source.partition
            ));
        }
        behind
            .into_iter()
            .map(|((service, partition), what)| Behind {
                service,
                partition,
                what: format!("has taken {}", what.join(", ")),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(service: &'static str, partition: i32, id: u128) -> LaneRow {
        LaneRow {
            service,
            partition,
            partitions: 4,
            id: Uuid::from_u128(id),
            due_mark: Timestamp(0),
            heard: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }

    fn two() -> Lanes {
        let mut orders = lane("orders", 1, 1);
        orders.sent = BTreeMap::from([(("payments", 1), 7), (("payments", 2), 3)]);
        Lanes(vec![orders, lane("payments", 1, 2), lane("payments", 2, 3)])
    }

    fn take(lanes: &mut Lanes, lane: usize, n: u64) {
        lanes.0[lane].heard.insert(Uuid::from_u128(1), n);
    }

    #[test]
    fn a_note_passes_when_its_partition_has_taken_all_that_was_sent_before_it() {
        let mut lanes = two();
        let note = lanes.note();
        assert!(!note.has_passed(1, &lanes), "never heard of is not taken");
        take(&mut lanes, 1, 6);
        assert!(!note.has_passed(1, &lanes));
        take(&mut lanes, 1, 7);
        assert!(note.has_passed(1, &lanes), "partition 2 is none of its business");
        assert!(!note.has_passed(2, &lanes));
        // more is sent meanwhile: an older note does not wait for it
        lanes.0[0].sent.insert(("payments", 1), 9);
        assert!(note.has_passed(1, &lanes) && !lanes.note().has_passed(1, &lanes));
    }

    #[test]
    fn a_lane_made_anew_is_waited_for_by_nobody() {
        let mut lanes = two();
        let note = lanes.note();
        lanes.0[0].id = Uuid::from_u128(9);
        assert!(note.has_passed(1, &lanes) && note.behind(&lanes, &BTreeSet::new()).is_empty());
    }

    #[test]
    fn who_is_behind_is_named_with_its_numbers_unless_its_source_does_not_send() {
        let mut lanes = two();
        take(&mut lanes, 1, 5);
        take(&mut lanes, 2, 3);
        let note = lanes.note();
        let behind = note.behind(&lanes, &BTreeSet::new());
        let expected = "has taken 5 of 7 records of lane orders/1";
        assert_eq!(behind, [Behind { service: "payments", partition: 1, what: expected.to_owned() }]);
        assert_eq!(note.behind(&lanes, &BTreeSet::from([("orders", 1)])), []);
    }
}
