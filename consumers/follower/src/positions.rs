//! How far topics were read: the first offset not yet read, by topic and partition.

use crate::Record;
use schemas::topics::Topic;
use std::collections::BTreeMap;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Positions(BTreeMap<(Topic, i32), i64>);

impl Positions {
    /// That record was read.
    pub(crate) fn pass(&mut self, record: &Record<'_>) {
        self.0.insert((record.topic, record.partition), record.offset + 1);
    }

    /// What was read later stands.
    pub(crate) fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Topic, partition, first offset not yet read.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Topic, i32, i64)> {
        self.0.iter().map(|((topic, partition), next)| (*topic, *partition, *next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::time::Timestamp;

    fn read(records: &[(Topic, i32, i64)]) -> Positions {
        let mut positions = Positions::default();
        for (topic, partition, offset) in records.iter().copied() {
            positions.pass(&Record { topic, partition, offset, logged: Timestamp(0), payload: b"" });
        }
        positions
    }

    #[test]
    fn a_position_is_the_next_offset_of_its_topic_and_partition_and_a_later_one_stands() {
        use Topic::{CatalogEvents, InventoryEvents};
        let mut positions =
            read(&[(InventoryEvents, 0, 10), (InventoryEvents, 0, 12), (CatalogEvents, 0, 3)]);
        positions.extend(read(&[(InventoryEvents, 0, 13), (InventoryEvents, 1, 0)]));
        let found: Vec<_> = positions.iter().collect();
        assert_eq!(found, [(InventoryEvents, 0, 14), (InventoryEvents, 1, 1), (CatalogEvents, 0, 4)]);
        assert!(!positions.is_empty() && Positions::default().is_empty());
    }
}
