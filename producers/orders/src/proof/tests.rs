//! What must be known before a view is believed, reason by reason.

use super::*;
use proptest::prelude::*;

const LEASE: Duration = Duration::from_secs(10);

fn mark(n: u8) -> Mark {
    Mark::new(&format!("run {n} x"))
}

fn lanes(positions: &[i64]) -> Lanes {
    (0..).zip(positions.iter().copied()).collect()
}

#[test]
fn a_partition_is_proved_one_lease_after_the_mark_when_its_lane_has_passed_the_end() {
    let now = Instant::now();
    let mut proof = ClaimProof::new(LEASE);
    assert_eq!(proof.ask(now), Ask::Nothing);
    proof.seen(&mark(1), Duration::from_secs(4), now);
    let ripe = now + Duration::from_secs(6);
    assert_eq!(proof.ask(now), Ask::NotBefore(ripe));
    // an answer to a question that was asked too early proves nothing
    proof.ends(&mark(1), now, vec![0, 0]);
    assert!(!proof.is_proved(&mark(1), 0));
    assert_eq!(proof.ask(ripe), Ask::Ends);
    proof.ends(&mark(1), ripe, vec![5, 0, 7]);
    assert_eq!(proof.ask(ripe), Ask::Lanes);
    assert!(proof.is_proved(&mark(1), 1), "an empty partition is passed by no lane at all");
    proof.lanes(&lanes(&[4, 0, 9]));
    assert!(!proof.is_proved(&mark(1), 0) && proof.is_proved(&mark(1), 2));
    proof.lanes(&lanes(&[5]));
    assert!(proof.is_proved(&mark(1), 0));
    assert_eq!(proof.ask(ripe), Ask::Nothing);
    assert!(!proof.is_proved(&mark(1), 3) && !proof.is_proved(&mark(1), -1), "a partition not asked about");
}

#[test]
fn another_mark_begins_anew() {
    let now = Instant::now();
    let mut proof = ClaimProof::new(LEASE);
    proof.seen(&mark(1), LEASE, now);
    proof.ends(&mark(1), now, vec![0]);
    assert_eq!(proof.proved_mark(0), Some(mark(1)));
    proof.seen(&mark(2), Duration::ZERO, now);
    assert!(!proof.is_proved(&mark(1), 0) && !proof.is_proved(&mark(2), 0));
    // the late answer to the first mark's question
    proof.ends(&mark(1), now + LEASE, vec![0]);
    assert_eq!(proof.ask(now + LEASE), Ask::Ends);
}

#[test]
fn a_mark_is_of_one_server() {
    let mark = Mark::new("abc 17 x");
    assert!(mark.is_of("abc") && !mark.is_of("ab") && !mark.is_of("abcd"));
}

proptest! {
    /// Whatever is heard in whatever order: proved means that a lane was at or past an end asked one lease after
    /// the mark was made.
    #[test]
    fn nothing_is_proved_without_its_reasons(
        steps in proptest::collection::vec((0u8..4, 0u8..2, 0u64..30, 0i64..4), 1..40)
    ) {
        let start = Instant::now();
        let mut proof = ClaimProof::new(LEASE);
        let mut made: Option<(u8, u64)> = None;
        let mut end: Option<i64> = None;
        let mut passed = false;
        let mut clock = 0u64;
        for (what, name, by, value) in steps {
            match what {
                0 => clock += by,
                1 => {
                    proof.seen(&mark(name), Duration::ZERO, start + Duration::from_secs(clock));
                    if made.is_none_or(|(known, _)| known != name) {
                        (made, end, passed) = (Some((name, clock)), None, false);
                    }
                }
                2 => {
                    proof.ends(&mark(name), start + Duration::from_secs(clock), vec![value]);
                    if let Some((known, at)) = made && known == name && clock >= at + 10 && end.is_none() {
                        end = Some(value);
                        passed |= value == 0;
                    }
                }
                _ => {
                    proof.lanes(&lanes(&[value]));
                    passed |= end.is_some_and(|end| value >= end);
                }
            }
            for name in 0..2 {
                let expected = passed && made.is_some_and(|(known, _)| known == name);
                prop_assert_eq!(proof.is_proved(&mark(name), 0), expected);
            }
        }
    }
}

#[test]
fn views_are_proved_step_by_step_for_one_memory() {
    let first = Memory { mark: mark(1), generation: 1 };
    let rest = Duration::from_secs(3);
    let mut proof = ViewProof::new(rest);
    let now = Instant::now();
    assert_eq!(proof.ask(now), (None, AskView::Nothing));
    assert!(proof.seen(&first, now) && !proof.seen(&first, now + rest));
    // who reconnects later tells from Postgres meanwhile
    assert_eq!(proof.ask(now).1, AskView::NotBefore(now + rest));
    let now = now + rest;
    let rows = vec![(uuid::Uuid::nil(), 3)];
    proof.told(&first, ViewAnswer::Drained(true));
    assert_eq!(proof.ask(now).1, AskView::Outboxes, "an answer to another question changes nothing");
    proof.told(&first, ViewAnswer::Outboxes(rows.clone()));
    assert_eq!(proof.ask(now).1, AskView::Drained(rows));
    proof.told(&first, ViewAnswer::Drained(false));
    proof.told(&first, ViewAnswer::Drained(true));
    proof.told(&first, ViewAnswer::Ends(vec![4, 0]));
    proof.told(&first, ViewAnswer::Committed(vec![Some(3), None]));
    assert!(!proof.is_proved(&first));
    proof.told(&first, ViewAnswer::Committed(vec![Some(4)]));
    assert!(proof.is_proved(&first));
    let reconnected = Memory { generation: 2, ..first.clone() };
    assert!(!proof.is_proved(&reconnected));
    assert!(proof.seen(&reconnected, now));
    assert!(!proof.is_proved(&first));
}
