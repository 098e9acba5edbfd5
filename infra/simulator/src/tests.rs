//! A bounded run, bugs that must be found, and small bounds explored to the end.

mod edge;
mod exhaustive;
mod planted;

use crate::{Plan, run, script::Faults};
use std::time::{SystemTime, UNIX_EPOCH};

fn plan(seed: u64, histories: u64) -> Plan {
    Plan { seed, histories, orders: 4, faults: Faults::ALL }
}

/// `SIMULATOR_HISTORIES` of the environment, or a few hundred: seconds in a debug build.
fn histories() -> u64 {
    option_env!("SIMULATOR_HISTORIES").and_then(|text| text.parse().ok()).unwrap_or(300)
}

fn expect_none(plan: &Plan) {
    if let Err(failure) = run(plan) {
        panic!("{failure}");
    }
}

#[test]
fn the_invariants_hold_under_every_fault() {
    expect_none(&plan(1, histories()));
}

#[test]
fn the_invariants_hold_when_nothing_goes_wrong() {
    expect_none(&Plan { faults: Faults::NONE, ..plan(5_000_000, histories() / 3) });
}

/// Another seed each time, printed: whoever sees it fail can play it again.
#[test]
#[expect(clippy::disallowed_methods, reason = "a fresh seed each time is the point")]
fn the_invariants_hold_for_a_fresh_seed() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("again: mambogo sim --seed {seed} --histories {}", histories());
    expect_none(&plan(seed, histories()));
}

#[test]
fn a_seed_is_a_history() {
    let again = || crate::history(77, 4, Faults::ALL);
    assert_eq!(again(), again());
}
