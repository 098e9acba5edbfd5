//! Checks a history against what the edge promises. Pure: records in, verdict out.
//!
//! Two things happened one after the other only if the first one's answer came before the second was sent; what
//! overlaps may have happened in either order, and is never held against the system.

use crate::history::{Record, What};
use schemas::messages::OrderStatus;
use serde::Serialize;
use std::{collections::BTreeMap, fmt};
use uuid::Uuid;

/// What was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// One key was answered with two order ids.
    OneOrderAKey,
    /// Two bodies were accepted under one key.
    OneBodyAKey,
    /// A submit that had been accepted was refused when it was repeated.
    RepeatRefused,
    /// An accepted order was read as not there, or as something that it cannot be refused for.
    AcceptedIsThere,
    /// An accepted order was not seen at an end.
    AcceptedSettles,
    /// A read said a lower version than one that had been read before.
    NeverBackwards,
    /// An order had two ends.
    TerminalIsTerminal,
    /// One version of an order was read with two statuses.
    OneStatusAVersion,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::OneOrderAKey,
        Self::OneBodyAKey,
        Self::RepeatRefused,
        Self::AcceptedIsThere,
        Self::AcceptedSettles,
        Self::NeverBackwards,
        Self::TerminalIsTerminal,
        Self::OneStatusAVersion,
    ];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneOrderAKey => "one order a key",
            Self::OneBodyAKey => "one body a key",
            Self::RepeatRefused => "a repeat is not refused",
            Self::AcceptedIsThere => "what was accepted is there",
            Self::AcceptedSettles => "what was accepted reaches an end",
            Self::NeverBackwards => "a status never goes backwards",
            Self::TerminalIsTerminal => "an end is an end",
            Self::OneStatusAVersion => "one status a version",
        })
    }
}

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// The order's number in the run.
    pub order: u32,
    /// Its id, where one is known.
    pub id: Option<Uuid>,
    /// What was seen.
    pub seen: String,
}

/// What a history shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Orders submitted.
    pub orders: u64,
    /// Of these accepted (202).
    pub accepted: u64,
    /// Of the accepted, those seen at an end.
    pub settled: u64,
    /// Orders of which nobody knows: no submit was accepted, and one of them had no answer, or 503.
    pub unknown: u64,
    /// Records looked at.
    pub records: u64,
    /// How often each rule was broken; rules that held are there with 0.
    pub broken: BTreeMap<Rule, u64>,
    /// The first of each rule, at most 20 of each.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.broken.values().all(|count| *count == 0)
    }

    fn add(&mut self, rule: Rule, order: u32, id: Option<Uuid>, seen: String) {
        let count = self.broken.entry(rule).or_default();
        *count += 1;
        if *count <= 20 {
            self.violations.push(Violation { rule, order, id, seen });
        }
    }
}

/// Checks `records`, in whatever order they are. With `settles`, every accepted order has to be seen at an end.
#[must_use]
pub fn check(mut records: Vec<Record>, settles: bool) -> Verdict {
    let broken = Rule::ALL.into_iter().map(|rule| (rule, 0)).collect();
    let mut verdict = Verdict { records: records.len() as u64, broken, ..Verdict::default() };
    records.sort_by_key(|record| (record.order, record.done()));
    for of_order in records.chunk_by(|a, b| a.order == b.order) {
        judge(of_order, settles, &mut verdict);
    }
    verdict
}

/// One order's records, by the time of their answers.
fn judge(records: &[Record], settles: bool, verdict: &mut Verdict) {
    let Some(order) = records.first().map(|first| first.order) else { return };
    let accepted: Vec<&Record> =
        records.iter().filter(|record| record.what == What::Submit && record.answer == 202).collect();
    let id = accepted.iter().find_map(|record| record.id);
    let end = records.iter().filter_map(|record| record.status).find(|status| status.is_terminal());
    verdict.orders += 1;
    if let Some(first) = accepted.first() {
        verdict.accepted += 1;
        verdict.settled += u64::from(end.is_some());
        answers(&accepted, id, verdict);
        afterwards(records, first, id, verdict);
        if settles && end.is_none() {
            let seen = format!("accepted at {} µs, and no end was seen", first.done());
            verdict.add(Rule::AcceptedSettles, order, id, seen);
        }
    } else if records.iter().any(|record| record.what == What::Submit && matches!(record.answer, 0 | 503)) {
        verdict.unknown += 1;
    }
    statuses(records, id, verdict);
    backwards(records, id, verdict);
}

/// All that was accepted under a key is one order, of one body.
fn answers(accepted: &[&Record], id: Option<Uuid>, verdict: &mut Verdict) {
    let Some((first, rest)) = accepted.split_first() else { return };
    for other in rest {
        if other.id != first.id {
            let seen = format!("two answers, two orders: {:?} and {:?}", first.id, other.id);
            verdict.add(Rule::OneOrderAKey, first.order, id, seen);
        }
        if other.body != first.body {
            let seen = format!("accepted with the bodies {:x} and {:x}", first.body, other.body);
            verdict.add(Rule::OneBodyAKey, first.order, id, seen);
        }
    }
}

/// What was asked after the first acceptance was answered.
fn afterwards(records: &[Record], first: &Record, id: Option<Uuid>, verdict: &mut Verdict) {
    for later in records.iter().filter(|record| record.sent >= first.done()) {
        // too many, too busy, broken, too slow: says nothing of the order
        let is_silent = matches!(later.answer, 0 | 408 | 409 | 429) || later.answer >= 500;
        match later.what {
            What::Submit if later.body == first.body && later.answer != 202 && !is_silent => {
                let seen = format!("accepted, and then {} for the same body", later.answer);
                verdict.add(Rule::RepeatRefused, first.order, id, seen);
            }
            What::Read | What::Cancel if !is_silent && !(200..300).contains(&later.answer) => {
                let seen = format!("accepted, and then {} to a {:?}", later.answer, later.what);
                verdict.add(Rule::AcceptedIsThere, first.order, id, seen);
            }
            _ => {}
        }
    }
}

/// One end, and one status a version.
fn statuses(records: &[Record], id: Option<Uuid>, verdict: &mut Verdict) {
    let mut ended: Option<(OrderStatus, u64)> = None;
    let mut versions: BTreeMap<i32, OrderStatus> = BTreeMap::new();
    for record in records {
        let Some(status) = record.status else { continue };
        if let Some((end, at)) = ended {
            let is_after = record.sent >= at;
            if status != end && (status.is_terminal() || (is_after && record.what != What::Submit)) {
                let seen = format!("{} and then {}", end.as_str(), status.as_str());
                verdict.add(Rule::TerminalIsTerminal, record.order, id, seen);
            }
        } else if status.is_terminal() {
            ended = Some((status, record.done()));
        }
        if let Some(version) = record.version {
            let first = *versions.entry(version).or_insert(status);
            if first != status {
                let seen = format!("version {version} is {} and {}", first.as_str(), status.as_str());
                verdict.add(Rule::OneStatusAVersion, record.order, id, seen);
            }
        }
    }
}

/// No read says less than what had been read when it was sent.
fn backwards(records: &[Record], id: Option<Uuid>, verdict: &mut Verdict) {
    for (index, later) in records.iter().enumerate() {
        let Some(version) = later.version else { continue };
        let before = records.iter().take(index).filter(|earlier| earlier.done() <= later.sent);
        let highest = before.filter_map(|earlier| earlier.version).max();
        if let Some(highest) = highest.filter(|highest| *highest > version) {
            let seen = format!("version {highest} and later version {version}");
            verdict.add(Rule::NeverBackwards, later.order, id, seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use OrderStatus::{Confirmed, Pending, Rejected, Reserved};
    use proptest::prelude::*;

    const fn id(n: u128) -> Option<Uuid> {
        Some(Uuid::from_u128(n))
    }

    fn submit(at: u64, body: u64, answer: u16) -> Record {
        Record {
            order: 1,
            what: What::Submit,
            body,
            sent: at,
            late: 0,
            took: 10,
            answer,
            version: None,
            status: None,
            id: if answer == 202 { id(7) } else { None },
        }
    }

    fn read(at: u64, version: i32, status: OrderStatus) -> Record {
        let read = submit(at, 0, 200);
        Record { what: What::Read, version: Some(version), status: Some(status), id: id(7), ..read }
    }

    fn broken(records: &[Record]) -> Vec<Rule> {
        let verdict = check(records.to_vec(), true);
        verdict.broken.into_iter().filter(|(_, count)| *count > 0).map(|(rule, _)| rule).collect()
    }

    /// An order that goes well, with a repeat.
    fn well() -> Vec<Record> {
        vec![
            submit(0, 1, 202),
            read(20, 0, Pending),
            submit(40, 1, 202),
            read(60, 2, Reserved),
            read(80, 3, Confirmed),
            read(100, 3, Confirmed),
        ]
    }

    #[test]
    fn a_good_history_is_clean() {
        let verdict = check(well(), true);
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!((verdict.orders, verdict.accepted, verdict.settled, verdict.unknown), (1, 1, 1, 0));
        assert_eq!(verdict.broken.len(), Rule::ALL.len());
    }

    #[test]
    fn a_key_is_one_order_of_one_body() {
        let mut two = well();
        two[2].id = id(8);
        assert_eq!(broken(&two), [Rule::OneOrderAKey]);
        let mut two = well();
        two[2].body = 2;
        assert_eq!(broken(&two), [Rule::OneBodyAKey]);
    }

    #[test]
    fn a_repeat_may_be_told_to_wait_but_not_be_refused() {
        for answer in [0, 409, 429, 500, 503] {
            let mut repeated = well();
            repeated.push(submit(200, 1, answer));
            assert_eq!(broken(&repeated), [], "{answer}");
        }
        for answer in [400, 404, 422] {
            let mut repeated = well();
            repeated.push(submit(200, 1, answer));
            assert_eq!(broken(&repeated), [Rule::RepeatRefused], "{answer}");
            // another body is refused rightly
            repeated.pop();
            repeated.push(submit(200, 2, answer));
            assert_eq!(broken(&repeated), [], "{answer}");
        }
    }

    #[test]
    fn what_was_accepted_is_there_from_then_on() {
        let missing = |at| Record { what: What::Read, answer: 404, ..submit(at, 0, 404) };
        let mut lost = well();
        lost.push(missing(10));
        assert_eq!(broken(&lost), [Rule::AcceptedIsThere]);
        lost.pop();
        // sent before the acknowledgement came: it may have been looked up before
        lost.push(missing(9));
        assert_eq!(broken(&lost), []);
    }

    #[test]
    fn what_was_accepted_settles() {
        let mut open = well();
        open.truncate(4);
        assert_eq!(broken(&open), [Rule::AcceptedSettles]);
        assert!(check(open, false).is_clean());
        assert_eq!(broken(&[submit(0, 1, 0), submit(20, 1, 503)]), []);
        let unknown = check(vec![submit(0, 1, 0)], true);
        assert_eq!((unknown.accepted, unknown.unknown), (0, 1));
    }

    #[test]
    fn a_status_goes_forward() {
        let mut back = well();
        back.push(read(75, 1, Pending));
        assert_eq!(broken(&back), [Rule::NeverBackwards]);
        // overlaps the read of version 2 (60 to 70): either may have come first
        back.pop();
        back.push(read(65, 1, Pending));
        assert_eq!(broken(&back), []);
    }

    #[test]
    fn an_end_is_an_end() {
        let mut two = well();
        two.push(read(200, 4, Rejected));
        assert_eq!(broken(&two), [Rule::TerminalIsTerminal]);
        let mut open_again = well();
        open_again.push(read(200, 4, Reserved));
        assert_eq!(broken(&open_again), [Rule::TerminalIsTerminal]);
        let mut other = well();
        other.insert(4, read(70, 2, Pending));
        assert_eq!(broken(&other), [Rule::OneStatusAVersion]);
    }

    #[test]
    fn examples_are_bounded_and_counts_are_not() {
        let lost = (0..100).map(|order| Record { order, ..submit(0, 1, 202) });
        let verdict = check(lost.collect(), true);
        assert_eq!(verdict.broken[&Rule::AcceptedSettles], 100);
        assert_eq!(verdict.violations.len(), 20);
    }

    proptest! {
        /// The order in which records come in does not matter.
        #[test]
        fn records_come_in_any_order(records in Just(well()).prop_shuffle()) {
            prop_assert!(check(records, true).is_clean());
        }

        /// Reads of a store whose version only grows never look as if it went backwards, however they overlap.
        #[test]
        fn overlapping_reads_of_a_growing_version_are_clean(
            reads in proptest::collection::vec((0u64..100, 1u64..50, 0u64..50), 1..40),
        ) {
            let read = |(sent, before, after): (u64, u64, u64)| {
                // the store is read at some time between; its version is that time
                let version = i32::try_from(sent + before).unwrap();
                let took = u32::try_from(before + after).unwrap();
                Record { took, ..read(sent, version, Pending) }
            };
            let verdict = check(reads.into_iter().map(read).collect(), false);
            prop_assert!(verdict.is_clean(), "{:?}", verdict.violations);
        }
    }
}
