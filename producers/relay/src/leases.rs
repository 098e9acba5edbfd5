//! How relays share lanes: each takes the share that all of them compute for it from the same list of members.

use schemas::ids::LaneId;
use std::collections::BTreeSet;
use uuid::Uuid;

/// The lanes of a source, and those that this relay sends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Shares {
    pub(crate) all: BTreeSet<LaneId>,
    pub(crate) held: BTreeSet<LaneId>,
}

/// The lanes that `me` should send. Over all `members` the shares differ by one at most; each lane is in one.
/// `source` turns the round, so that the odd lanes of several sources do not all fall to the same member.
pub(crate) fn share(
    source: &str,
    me: Uuid,
    members: &BTreeSet<Uuid>,
    lanes: &BTreeSet<LaneId>,
) -> BTreeSet<LaneId> {
    let Some(mine) = members.iter().position(|member| *member == me) else { return BTreeSet::new() };
    let start: usize = source.bytes().map(usize::from).sum();
    let is_mine = |(index, _): &(usize, &LaneId)| (start + index) % members.len() == mine;
    lanes.iter().enumerate().filter(is_mine).map(|(_, lane)| *lane).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_lane_is_in_one_share_and_shares_are_even(
            members in proptest::collection::btree_set(any::<u128>(), 1..6),
            lanes in proptest::collection::btree_set(any::<u128>(), 0..20),
        ) {
            let members: BTreeSet<Uuid> = members.into_iter().map(Uuid::from_u128).collect();
            let lanes: BTreeSet<LaneId> = lanes.into_iter().map(|id| LaneId(Uuid::from_u128(id))).collect();
            let shares: Vec<_> = members.iter().map(|me| share("orders", *me, &members, &lanes)).collect();
            let union: BTreeSet<LaneId> = shares.iter().flatten().copied().collect();
            prop_assert_eq!(&union, &lanes);
            prop_assert_eq!(shares.iter().map(BTreeSet::len).sum::<usize>(), lanes.len());
            let sizes = shares.iter().map(BTreeSet::len);
            prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }

    #[test]
    fn who_is_no_member_has_no_share() {
        let lanes = BTreeSet::from([LaneId(Uuid::nil())]);
        assert!(share("orders", Uuid::max(), &BTreeSet::from([Uuid::nil()]), &lanes).is_empty());
    }
}
