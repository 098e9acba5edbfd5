//! The edge: what holds, what is known not to, and that what was mended stays so.

use crate::{
    Bug, Edge, Faults, Origin, explain_edge,
    gateways::{
        Step,
        draw::{Peril, draw},
        redis::Reach,
    },
    plant::Plant,
    play_edge,
    random::Random,
};

/// The seeds of `mambogo sim` that draw this edge, `within` of them.
fn failing(edge: Edge, plant: Plant, within: usize) -> Option<crate::Failure> {
    let drawn = (0..).map(|seed: u64| (seed, draw(&mut Random::new(!seed))));
    drawn.filter(|(_, (drawn, _))| *drawn == edge).take(within).find_map(|(seed, (edge, steps))| {
        play_edge(edge, &steps, plant).is_err().then(|| {
            let origin = Origin::Drawn { seed, orders: 4, faults: Faults::ALL, histories: seed + 1 };
            explain_edge(origin, edge, steps, plant)
        })
    })
}

#[test]
fn one_promise_a_key_whatever_becomes_of_redis() {
    for (gateways, peril) in [(1, Peril::Alone), (2, Peril::Shared), (3, Peril::Shared)] {
        if let Some(failure) = failing(Edge { gateways, peril }, Plant::default(), 1_500) {
            panic!("{failure}");
        }
    }
}

/// Known, and left so: a gateway that alone is cut off from Redis produces without a claim, and one that is not cut off
/// cannot know of it. Both may say 202, for two bodies under one key. The log decides which of them is the order.
#[test]
fn a_gateway_cut_off_alone_is_the_case_that_does_not_hold() {
    let edge = Edge { gateways: 2, peril: Peril::Alone };
    let go = |request| Step::Go { request, reach: Reach::Answered };
    let steps = vec![
        // gateway 1 makes the mark and proves it
        Step::Submit { gateway: 1, order: 9, body: 0 },
        go(0),
        Step::Wait(10_001),
        Step::Ask { gateway: 1 },
        // gateway 0 goes unclaimed; what it knows, and that it produces, gateway 1 cannot see
        Step::Cut { gateway: 0 },
        Step::Submit { gateway: 0, order: 1, body: 0 },
        Step::Submit { gateway: 1, order: 1, body: 1 },
        go(1),
        go(0),
        go(0),
        go(0),
        go(1),
        go(1),
        // its record comes first on the log
        Step::Land { record: 1, heard: true },
        Step::Land { record: 0, heard: true },
        go(0),
        Step::Decide,
    ];
    let violation = play_edge(edge, &steps, Plant::default()).unwrap_err();
    assert_eq!(violation.invariant, "one order per key");
    let origin = Origin::Drawn { seed: 0, orders: 0, faults: Faults::ALL, histories: 1 };
    println!("{violation}\n{}", explain_edge(origin, edge, steps, Plant::default()).timeline.join("\n"));
}

/// Redis was away for everybody; one gateway has produced without a claim, another comes back and believes its old
/// proof.
#[test]
fn a_gateway_that_reconnects_does_not_believe_what_it_did_before() {
    let edge = Edge { gateways: 2, peril: Peril::Shared };
    let failure = failing(edge, Plant(Some(Bug::LinkTrusted)), 20_000).expect("it is found");
    println!("{failure}");
    assert_eq!(failure.violation.invariant, "one order per key");
}
