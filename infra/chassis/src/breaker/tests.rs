//! When it opens, how long, and what closes it, by a clock that the tests hold.

use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> BreakerLimits {
    BreakerLimits { fewest: 4, ..BreakerLimits::default() }
}

fn breaker() -> Breaker {
    Breaker::new(limits(), 7)
}

fn ticket(breaker: &mut Breaker, now: Duration) -> Ticket {
    match breaker.admit(now) {
        Admission::Call(ticket) => ticket,
        Admission::Wait(wait) => panic!("put off for {wait:?}, {breaker:?}"),
    }
}

fn wait(breaker: &mut Breaker, now: Duration) -> Duration {
    match breaker.admit(now) {
        Admission::Call(_) => panic!("admitted, {breaker:?}"),
        Admission::Wait(wait) => wait,
    }
}

fn call(breaker: &mut Breaker, worked: bool, now: Duration) {
    let ticket = ticket(breaker, now);
    breaker.answered(&ticket, worked, now);
}

fn opened(now: Duration) -> Breaker {
    let mut breaker = breaker();
    for _ in 0..4 {
        call(&mut breaker, false, now);
    }
    assert_eq!(breaker.position(), Position::Open);
    breaker
}

#[test]
fn it_opens_at_the_share_and_not_before_there_are_enough_calls() {
    let mut breaker = breaker();
    for worked in [false, false, false, true, true, true, true] {
        call(&mut breaker, worked, SECOND);
        // after the fourth call three of four have failed, so it is open by then
        if breaker.position() == Position::Open {
            break;
        }
    }
    assert_eq!(breaker.position(), Position::Open);
    let mut breaker = self::breaker();
    for worked in [false, true, true, true, false, true, true, false] {
        call(&mut breaker, worked, SECOND);
    }
    assert_eq!(breaker.position(), Position::Closed, "never half of them: {breaker:?}");
}

#[test]
fn failures_that_left_the_window_are_forgotten() {
    let mut breaker = breaker();
    for at in [0, 1, 2] {
        call(&mut breaker, false, SECOND * at);
    }
    call(&mut breaker, false, SECOND * 12);
    assert_eq!(breaker.position(), Position::Closed, "{breaker:?}");
    let mut breaker = self::breaker();
    for at in [0, 1, 2, 9] {
        call(&mut breaker, false, SECOND * at);
    }
    assert_eq!(breaker.position(), Position::Open);
}

#[test]
fn while_it_is_open_nothing_is_called_and_the_wait_ends_with_the_cool_down() {
    let mut breaker = opened(SECOND);
    let first = wait(&mut breaker, SECOND);
    assert!(first >= 5 * SECOND && first <= 15 * SECOND / 2, "{first:?}");
    assert_eq!(wait(&mut breaker, 2 * SECOND), first - SECOND);
    assert_eq!(breaker.position(), Position::Open);
    ticket(&mut breaker, SECOND + first);
    assert_eq!(breaker.position(), Position::HalfOpen);
}

#[test]
fn it_closes_when_all_probes_worked_and_never_makes_more_of_them() {
    let mut breaker = opened(SECOND);
    let now = 20 * SECOND;
    let probes: Vec<Ticket> = (0..3).map(|_| ticket(&mut breaker, now)).collect();
    assert_eq!(wait(&mut breaker, now), SECOND / 2);
    for (answered, probe) in probes.iter().enumerate() {
        assert_eq!(breaker.position(), Position::HalfOpen, "after {answered}");
        breaker.answered(probe, true, now);
    }
    assert_eq!(breaker.position(), Position::Closed);
    // and its count begins anew
    for _ in 0..3 {
        call(&mut breaker, false, now);
    }
    assert_eq!(breaker.position(), Position::Closed);
}

#[test]
fn a_probe_that_fails_opens_it_for_longer_up_to_a_limit() {
    let mut breaker = opened(SECOND);
    let mut now = SECOND;
    for step in [5, 10, 20, 40, 60, 60] {
        let step = SECOND * step;
        let wait = wait(&mut breaker, now);
        assert!(wait >= step && wait <= step * 3 / 2, "{wait:?} after {step:?}");
        now += wait;
        call(&mut breaker, false, now);
        assert_eq!(breaker.position(), Position::Open);
    }
}

#[test]
fn an_answer_counts_in_the_period_of_its_call_alone() {
    let mut breaker = breaker();
    let late: Vec<Ticket> = (0..6).map(|_| ticket(&mut breaker, SECOND)).collect();
    for ticket in &late[..4] {
        breaker.answered(ticket, false, 2 * SECOND);
    }
    let now = 20 * SECOND;
    let probe = ticket(&mut breaker, now);
    breaker.answered(&late[4], false, now);
    assert_eq!(breaker.position(), Position::HalfOpen, "a failure from before is no probe's");
    breaker.answered(&late[5], true, now);
    breaker.answered(&probe, true, now);
    assert_eq!(breaker.position(), Position::HalfOpen, "a success from before is no probe's");
}

#[test]
fn a_probe_that_was_given_up_gives_its_place_to_another_and_shows_nothing() {
    let mut breaker = opened(SECOND);
    let now = 20 * SECOND;
    for _ in 0..10 {
        let probe = ticket(&mut breaker, now);
        breaker.withdrawn(&probe);
    }
    assert_eq!(breaker.position(), Position::HalfOpen);
    for _ in 0..3 {
        call(&mut breaker, true, now);
    }
    assert_eq!(breaker.position(), Position::Closed);
    let late = ticket(&mut breaker, now);
    breaker.withdrawn(&late);
    assert_eq!((breaker.position(), breaker.left_alone(now)), (Position::Closed, None));
    assert_eq!(opened(SECOND).left_alone(SECOND).map(|wait| wait >= 5 * SECOND), Some(true));
}

#[test]
fn breakers_of_a_fleet_do_not_probe_at_once() {
    let waits: std::collections::BTreeSet<Duration> = (0..50)
        .map(|seed| {
            let mut breaker = Breaker::new(limits(), seed);
            for _ in 0..4 {
                call(&mut breaker, false, SECOND);
            }
            wait(&mut breaker, SECOND)
        })
        .collect();
    assert!(waits.len() > 45, "{}", waits.len());
}

proptest! {
    /// Whatever comes when: open means no call, half-open no more than the probes, and it never stays open for good.
    #[test]
    fn it_keeps_its_promises(
        seed in any::<u64>(), steps in prop::collection::vec((0u64..3_000, any::<bool>(), any::<bool>()), 1..200),
    ) {
        let mut breaker = Breaker::new(limits(), seed);
        let (mut now, mut under_way, mut probes) = (Duration::ZERO, Vec::new(), 0);
        for (millis, answers, worked) in steps {
            now += Duration::from_millis(millis);
            if answers && !under_way.is_empty() {
                breaker.answered(&under_way.swap_remove(0), worked, now);
                continue;
            }
            let before = breaker.position();
            match breaker.admit(now) {
                Admission::Call(ticket) => {
                    probes = if breaker.position() == before { probes + 1 } else { 1 };
                    if breaker.position() == Position::Closed {
                        probes = 0;
                    }
                    prop_assert!(probes <= limits().probes);
                    under_way.push(ticket);
                }
                Admission::Wait(wait) => {
                    prop_assert!(before != Position::Closed);
                    prop_assert!(wait > Duration::ZERO && wait <= limits().longest * 3 / 2);
                }
            }
            prop_assert!(breaker.position() != Position::Open || before == Position::Open);
        }
    }
}
