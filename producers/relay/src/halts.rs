//! Lanes that stand still because Kafka refuses something of theirs, and when each is tried again.

use crate::plan::Halt;
use schemas::ids::LaneId;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// The longest wait for a new try.
const LONGEST: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct Halts {
    first_wait: Duration,
    lanes: BTreeMap<LaneId, Halted>,
}

#[derive(Debug)]
struct Halted {
    seq: i64,
    reason: String,
    wait: Duration,
    /// `None`: it is being tried.
    until: Option<Instant>,
}

impl Halts {
    pub(crate) fn new(first_wait: Duration) -> Self {
        Self { first_wait, lanes: BTreeMap::new() }
    }

    /// Notes that a lane has halted. At the same row as before it waits twice as long.
    pub(crate) fn note(&mut self, halt: Halt, now: Instant) {
        let before = self.lanes.get(&halt.lane).filter(|before| before.seq == halt.seq);
        let wait = before.map_or(self.first_wait, |before| (before.wait * 2).min(LONGEST));
        let Halt { lane, seq, reason } = halt;
        self.lanes.insert(lane, Halted { seq, reason, wait, until: Some(now + wait) });
    }

    /// Lanes that stand still.
    pub(crate) fn standing(&self) -> impl Iterator<Item = LaneId> {
        self.lanes.iter().filter(|(_, halted)| halted.until.is_some()).map(|(lane, _)| *lane)
    }

    /// Lanes whose wait is over.
    pub(crate) fn due(&self, now: Instant) -> Vec<LaneId> {
        let over = |halted: &Halted| halted.until.is_some_and(|until| until <= now);
        self.lanes.iter().filter(|(_, halted)| over(halted)).map(|(lane, _)| *lane).collect()
    }

    /// A lane is being tried again.
    pub(crate) fn tried(&mut self, lane: LaneId) {
        if let Some(halted) = self.lanes.get_mut(&lane) {
            halted.until = None;
        }
    }

    /// Forgets lanes that got past the row they stood at, and those that somebody else sends now.
    pub(crate) fn forget(&mut self, is_past: impl Fn(LaneId, i64) -> bool) {
        self.lanes.retain(|lane, halted| halted.until.is_some() || !is_past(*lane, halted.seq));
    }

    /// Keeps only these lanes.
    pub(crate) fn keep(&mut self, lanes: &std::collections::BTreeSet<LaneId>) {
        self.lanes.retain(|lane, _| lanes.contains(lane));
    }

    /// What stands still and why, for people.
    pub(crate) fn describe(&self) -> Option<String> {
        let standing = self.lanes.iter().filter(|(_, halted)| halted.until.is_some());
        let lines: Vec<String> =
            standing.map(|(lane, h)| format!("lane {lane} halted at row {}: {}", h.seq, h.reason)).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn each_try_at_the_same_row_waits_longer_and_success_is_forgotten() {
        let lane = LaneId(Uuid::nil());
        let halt = |seq| Halt { lane, seq, reason: "too large".to_owned() };
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut halts = Halts::new(second);
        halts.note(halt(3), start);
        assert!(halts.standing().eq([lane]) && halts.due(start).is_empty());
        assert!(halts.describe().unwrap().contains("row 3: too large"));
        assert_eq!(halts.due(start + second), [lane]);
        halts.tried(lane);
        assert!(halts.standing().next().is_none() && halts.describe().is_none());
        halts.note(halt(3), start);
        assert!(halts.due(start + second).is_empty());
        assert_eq!(halts.due(start + 2 * second), [lane]);
        halts.tried(lane);
        halts.forget(|_, seq| seq == 3);
        halts.note(halt(4), start);
        assert_eq!(halts.due(start + second), [lane]);
    }
}
