//! A bug of each class, planted into the simulator's adapters, is found within a bounded number of histories.

use super::plan;
use crate::{
    plant::{Bug, Plant},
    play, run_with,
    script::{Behaviour, Buyer, Calls, Fate, Part, Setup, Step},
};

fn found(bug: Bug, within: u64, invariants: &[&str]) {
    let failure = run_with(&plan(1, within), Plant(Some(bug))).expect_err("it must be found");
    println!("{bug}: {}", failure.summary());
    assert!(invariants.contains(&failure.violation.invariant), "{failure}");
}

#[test]
fn a_fence_that_is_ignored() {
    found(Bug::FenceIgnored, 300, &["a zombie cannot write"]);
}

#[test]
fn a_number_taken_twice() {
    found(Bug::DedupeIgnored, 300, &["order per key"]);
}

#[test]
fn a_floor_that_promises_too_much() {
    found(Bug::FloorIgnored, 300, &["order per key"]);
}

#[test]
fn a_late_capture_that_is_kept() {
    found(Bug::LateCaptureKept, 300, &["conservation of money"]);
}

#[test]
fn a_waiter_that_is_overlooked() {
    found(Bug::WaiterSkipped, 300, &["no phantom sold-out", "conservation of stock"]);
}

#[test]
fn a_redrive_that_looks_only_at_what_it_names() {
    found(Bug::RedriveOutOfOrder, 2_000, &["order per key"]);
}

/// Once a bug of the machine itself, too rare to wait for: a batch taken between the order to seek and its being done
/// found the jump still there, believed it, and went on behind what it was to read again.
#[test]
fn a_batch_taken_before_a_seek_is_done() {
    let buyer = Buyer { lines: vec![(0, 1)], patience: 5_000, provider: Behaviour::default() };
    let setup = Setup {
        partitions: 1,
        stock: vec![5],
        buyers: vec![buyer.clone(), buyer.clone(), buyer],
        waiters: 2,
        again: 1_000,
        tidied_early: true,
    };
    let part = Part::Orders;
    let work =
        Step::Work { part, worker: 0, size: 1, due: false, calls: Calls::Answered, fate: Fate::Commits };
    let mut steps: Vec<Step> = (0..3).map(|order| Step::Submit { order, body: 0 }).collect();
    let stray = Step::Stray { part, worker: 0, by: 1 };
    steps.extend([Step::Busy { part, worker: 0, batches: 3 }, stray, work, work]);
    let planted = Plant(Some(Bug::ReadsBeforeSeek));
    assert_eq!(play(&setup, &steps, planted).unwrap_err().invariant, "a 202 is a promise");
    assert_eq!(play(&setup, &steps, Plant::default()), Ok(()));
}
