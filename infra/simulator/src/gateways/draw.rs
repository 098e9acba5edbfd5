//! Draws a history of the edge from a seed.

use super::{Step, redis::Reach};
use crate::random::Random;

/// Who takes the requests, and what may go wrong between them and Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) gateways: u8,
    pub(crate) peril: Peril,
}

/// How Redis fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peril {
    /// For all gateways alike.
    Shared,
    /// For one alone too: it is cut off, or its words are lost. With several gateways this is the case that is known not
    /// to hold: one that is cut off alone produces without a claim, and another, which is not, cannot know.
    Alone,
}

/// A history of the edge.
pub(crate) fn draw(random: &mut Random) -> (Edge, Vec<Step>) {
    let gateways = 1 + random.below(3);
    let peril = if gateways == 1 { Peril::Alone } else { Peril::Shared };
    let edge = Edge { gateways, peril };
    (edge, steps(random, edge))
}

pub(crate) fn steps(random: &mut Random, edge: Edge) -> Vec<Step> {
    let count = random.between(30, 140);
    // most histories begin with proofs made, so that there is something to lose
    let mut steps = Vec::new();
    if random.chance(70) {
        for gateway in 0..edge.gateways {
            let submit = Step::Submit { gateway, order: 9, body: 0 };
            steps.extend([submit, go(0), go(0), go(0), Step::Land { record: 0, heard: true }, Step::Decide]);
            steps.extend([go(0), go(0)]);
        }
        steps.push(Step::Wait(10_001));
        steps.extend((0..edge.gateways).flat_map(|gateway| [Step::Ask { gateway }; 6]));
    }
    steps.extend((0..count).map(|_| step(random, edge)));
    steps
}

fn go(request: u8) -> Step {
    Step::Go { request, reach: Reach::Answered }
}

fn step(random: &mut Random, edge: Edge) -> Step {
    let gateway = random.below(edge.gateways);
    let order = random.below(2);
    let is_alone = edge.peril == Peril::Alone;
    match random.below(100) {
        0..=11 => Step::Submit { gateway, order, body: random.below(2) },
        12..=18 => Step::Read { gateway, order },
        19..=54 => {
            let reach = match random.below(20) {
                0 if is_alone => Reach::ReplyLost,
                1 if is_alone => Reach::RequestLost,
                _ => Reach::Answered,
            };
            Step::Go { request: random.below(4), reach }
        }
        55..=62 => Step::Land { record: random.below(3), heard: random.chance(90) },
        63..=66 => Step::Wait(u16::try_from(random.between(1, 1_500)).unwrap_or(1)),
        67 => Step::Wait(10_001),
        68..=75 => Step::Decide,
        76..=78 => Step::Change { order },
        79..=82 => Step::Relay,
        83..=86 => Step::Consume,
        87..=93 => Step::Ask { gateway },
        94 => Step::Flush,
        95 => Step::Restart { keeps: random.chance(50) },
        96 => Step::Away,
        97..=98 => Step::Back,
        _ if is_alone && random.chance(50) => Step::Cut { gateway },
        _ => Step::Heal { gateway },
    }
}
