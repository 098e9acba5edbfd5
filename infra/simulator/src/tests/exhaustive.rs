//! Small bounds, all of them: two orders for two products, and one fault of each kind at every step.

use crate::{
    plant::Plant,
    play,
    script::{Behaviour, Buyer, Calls, Fate, Part, Sending, Setup, Step},
};

fn buyer(lines: &[(u8, i32)], charged_on: Option<u8>, unknowns: u8) -> Buyer {
    let provider = Behaviour { charged_on, unknowns, ..Behaviour::default() };
    Buyer { lines: lines.to_vec(), patience: 5_000, provider }
}

/// They compete for the last unit of product 0; one is declined, or charged without an answer.
fn setups() -> Vec<Setup> {
    let of = |stock: &[i64], first: Buyer, second: Buyer| Setup {
        partitions: 2,
        stock: stock.to_vec(),
        buyers: vec![first, second],
        waiters: 1_000,
        again: 1_000,
        tidied_early: true,
    };
    vec![
        of(&[1, 1], buyer(&[(0, 1)], Some(1), 0), buyer(&[(0, 1), (1, 1)], Some(1), 0)),
        of(&[1, 2], buyer(&[(0, 1), (1, 1)], None, 0), buyer(&[(0, 1)], Some(1), 1)),
    ]
}

/// The road of both orders, with a cancel on its way.
fn road() -> Vec<Step> {
    let work =
        |part, due| Step::Work { part, worker: 0, size: 9, due, calls: Calls::Answered, fate: Fate::Commits };
    let send = |part| Step::Send { part, relay: 0, records: 9, sending: Sending::Through };
    let mut road: Vec<Step> =
        Part::ALL.iter().map(|part| Step::Claim { part: *part, worker: 0, partition: 1 }).collect();
    road.extend([Step::Submit { order: 0, body: 0 }, Step::Submit { order: 1, body: 0 }]);
    for round in 0..4 {
        for part in Part::ALL {
            road.extend([work(part, round == 2), send(part)]);
        }
        if round == 1 {
            road.push(Step::Cancel { order: 0, number: 0 });
            road.push(Step::Wait(300));
        }
    }
    road
}

/// Every way in which one step can go wrong.
fn faults(step: Step) -> Vec<Vec<Step>> {
    match step {
        Step::Work { part, worker, size, due, calls, .. } => {
            let fates = [
                Fate::DiesBefore,
                Fate::DiesAfter,
                Fate::AnswerLost,
                Fate::CommitLost,
                Fate::DiesBetween,
                Fate::Freezes,
            ];
            let with = |calls, fate| Step::Work { part, worker, size, due, calls, fate };
            let claim = |partition| Step::Claim { part, worker: 1, partition };
            let mut all: Vec<Vec<Step>> = fates.iter().map(|fate| vec![with(calls, *fate)]).collect();
            // the other one takes over; this one goes on as if nothing had happened
            all.push(vec![claim(0), claim(1), step]);
            all.push(vec![with(calls, Fate::Freezes), claim(0), claim(1), step]);
            all.push(vec![with(Calls::Late, Fate::Commits)]);
            all.push(vec![with(Calls::Unheard, Fate::DiesBefore)]);
            all
        }
        Step::Send { part, relay, records, .. } => {
            let sendings = [
                Sending::AckedBackwards,
                Sending::NotDeleted,
                Sending::AcksLost(0),
                Sending::AcksLost(1),
                Sending::Hole(0),
                Sending::Hole(1),
                Sending::Delayed,
                Sending::Dies,
            ];
            let with = |sending| Step::Send { part, relay, records, sending };
            let mut all: Vec<Vec<Step>> = sendings.iter().map(|sending| vec![with(*sending)]).collect();
            let arrive = Step::Arrive { part, relay, records };
            all.push(vec![with(Sending::Delayed), step, arrive]);
            all
        }
        Step::Submit { order, .. } => vec![vec![step, Step::Submit { order, body: 1 }], vec![step, step]],
        _ => Vec::new(),
    }
}

#[test]
fn one_fault_at_every_step_of_two_orders() {
    let road = road();
    let mut played = 0;
    for setup in setups() {
        for (at, step) in road.iter().enumerate() {
            for instead in faults(*step) {
                let steps: Vec<Step> =
                    road.iter().take(at).chain(&instead).chain(road.iter().skip(at + 1)).copied().collect();
                if let Err(violation) = play(&setup, &steps, Plant::default()) {
                    panic!("{violation}\n{setup}\n{steps:#?}");
                }
                played += 1;
            }
        }
    }
    println!("{played} histories");
}

/// One order, one fault of each kind, at every place and in every order of what workers and relays do.
#[test]
fn every_state_of_one_order() {
    for bound in crate::bounds().into_iter().filter(|bound| bound.faults() == 1) {
        let explored =
            crate::explore(&bound.of_one_order(), 20_000).unwrap_or_else(|failure| panic!("{failure}"));
        println!("{}: {explored}", bound.name);
        assert!(explored.complete, "{}: {explored}", bound.name);
    }
}

/// What is explored can fail.
#[test]
fn a_fence_that_is_ignored_is_found_by_exploring() {
    let zombie = crate::bounds().into_iter().find(|bound| bound.name == "one zombie").unwrap();
    let planted = Plant(Some(crate::Bug::FenceIgnored));
    let failure = crate::explore::explore_with(&zombie.of_one_order(), 20_000, planted).unwrap_err();
    assert_eq!(failure.violation.invariant, "a zombie cannot write", "{failure}");
}
