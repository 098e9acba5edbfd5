//! From a suspicion to a drift, pure: what looks wrong is looked at again once all that was on its way has passed, and
//! is a drift when twice nothing has changed.

use crate::{
    case::Case,
    finding::{Finding, Kind},
    note::{Lanes, Note},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;
use uuid::Uuid;

/// So often a case has to be found unchanged, each time with a note passed.
const ROUNDS: u8 = 2;
/// Between two looks at a suspect, and at what is known to be wrong.
const AGAIN: Duration = Duration::from_secs(1);
const KNOWN_AGAIN: Duration = Duration::from_secs(10);
/// Most orders watched at once; more are left to later passes, and counted.
pub(crate) const MOST: usize = 10_000;

/// An order that something is said of, or that is not settled yet.
struct Watched {
    case: Case,
    found: Vec<Finding>,
    note: Arc<Note>,
    unchanged: u8,
    next_look: Instant,
}

/// Orders to look at again.
#[derive(Default)]
pub(crate) struct Suspects {
    watched: BTreeMap<Uuid, Watched>,
    /// Suspects that found no room.
    pub(crate) crowded_out: u64,
}

impl Watched {
    fn is_proved(&self) -> bool {
        self.unchanged >= ROUNDS
    }

    fn waits_for_proof(&self) -> bool {
        !self.is_proved() && self.found.iter().any(|finding| finding.kind.is_drift())
    }
}

impl Suspects {
    /// Takes in what was seen of an order, and what is wrong with it. `note` was made after it was seen. Only a look that
    /// was [`Self::due`] can prove anything: before any other, what was on its way need not have passed.
    pub(crate) fn hear(
        &mut self,
        case: Case,
        found: Vec<Finding>,
        note: &Arc<Note>,
        now: Instant,
        was_due: bool,
    ) {
        let known = self.watched.get(&case.id);
        let is_same = known.is_some_and(|known| known.case == case && kinds(&known.found) == kinds(&found));
        if is_same && !was_due {
            return;
        }
        let is_known = known.is_some();
        if found.is_empty() && case.is_settled() {
            self.watched.remove(&case.id);
            return;
        }
        // those with nothing wrong leave room for those with
        let most = if found.is_empty() { MOST / 2 } else { MOST };
        if !is_known && self.watched.len() >= most {
            self.crowded_out += u64::from(!found.is_empty());
            return;
        }
        let unchanged = match self.watched.get(&case.id) {
            // by kinds, for figures of time may differ
            Some(before) if is_same => before.unchanged.saturating_add(1),
            Some(before) if before.is_proved() && kinds(&found).is_subset(&kinds(&before.found)) => {
                before.unchanged
            }
            _ => 0,
        };
        let again = if unchanged >= ROUNDS || found.is_empty() { KNOWN_AGAIN } else { AGAIN };
        let watched = Watched { found, note: Arc::clone(note), unchanged, next_look: now + again, case };
        self.watched.insert(watched.case.id, watched);
    }

    /// Orders to look at now: their time has come, and all that was on its way at the last look has passed.
    pub(crate) fn due(&self, lanes: &Lanes, now: Instant, most: usize) -> Vec<Uuid> {
        let is_due = |(id, watched): &(&Uuid, &Watched)| {
            watched.next_look <= now && watched.note.has_passed(lanes.partition_of(**id), lanes)
        };
        self.watched.iter().filter(is_due).map(|(id, _)| *id).take(most).collect()
    }

    /// Whether any is to be looked at, should what was on its way have passed.
    pub(crate) fn any_due(&self, now: Instant) -> bool {
        self.watched.values().any(|watched| watched.next_look <= now)
    }

    /// Captures that a case was put together from: those an order does not name itself have to be asked for.
    pub(crate) fn captures_of(&self, id: Uuid) -> Vec<Uuid> {
        let of = |watched: &Watched| watched.case.captures.iter().map(|capture| capture.id).collect();
        self.watched.get(&id).map(of).unwrap_or_default()
    }

    /// What is proved, and what needs no proof.
    pub(crate) fn findings(&self) -> impl Iterator<Item = &Finding> {
        let all = self.watched.values();
        all.flat_map(|watched| {
            let said = watched.found.iter();
            said.filter(|finding| watched.is_proved() || !finding.kind.is_drift())
        })
    }

    /// What looks wrong and is not proved.
    pub(crate) fn unproved(&self) -> impl Iterator<Item = &Finding> {
        let open = self.watched.values().filter(|watched| watched.waits_for_proof());
        open.flat_map(|watched| watched.found.iter().filter(|finding| finding.kind.is_drift()))
    }

    /// Orders that are not settled, with nothing wrong so far.
    pub(crate) fn open(&self) -> usize {
        self.watched.values().filter(|watched| watched.found.is_empty()).count()
    }
}

fn kinds(found: &[Finding]) -> BTreeSet<Kind> {
    found.iter().map(|finding| finding.kind).collect()
}

#[cfg(test)]
mod tests;
