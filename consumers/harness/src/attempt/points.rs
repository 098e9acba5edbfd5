//! The crash points of the commit that moves the lanes: of any batch, and of those with something in them that is seldom.

use super::Committed;
use chassis::crash::{self, CrashPoint};

impl<T> Committed<T> {
    pub(super) fn before_commit(&self, group: &str) {
        use CrashPoint::{CommitBefore, DueBefore, ParkBefore, RedriveBefore};
        self.pass(group, [CommitBefore, ParkBefore, RedriveBefore, DueBefore]);
    }

    pub(super) fn after_commit(&self, group: &str) {
        use CrashPoint::{CommitAfter, DueAfter, ParkAfter, RedriveAfter};
        self.pass(group, [CommitAfter, ParkAfter, RedriveAfter, DueAfter]);
    }

    fn pass(&self, group: &str, [any, park, redrive, due]: [CrashPoint; 4]) {
        let passed = [
            (any, true),
            (park, !self.judgement.rejected.is_empty()),
            (redrive, self.judgement.concluded.is_some()),
            (due, self.due > 0),
        ];
        for (point, _) in passed.iter().filter(|(_, passes)| *passes) {
            crash::point_of(group, *point);
        }
    }
}
