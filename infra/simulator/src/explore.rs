//! Small bounds, all of them: from a setup of two orders and two products, every order in which clients, workers and
//! relays can move, with so many faults of each kind at every place where they can strike. States that were seen are
//! not entered again, so it ends. Every state is checked as it is reached, and from every one faults end and the history
//! runs to rest, where the books must balance.

mod bounds;
mod moves;

pub use bounds::{Bound, bounds};

use crate::{
    Failure, Origin, explain,
    plant::Plant,
    script::{Setup, Step},
    world::World,
};
use bounds::Left;
use moves::moves;
use std::{collections::HashSet, fmt};

/// What an exploration came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Explored {
    /// Different states.
    pub states: u64,
    /// Steps from one to another, or to one that was known.
    pub steps: u64,
    /// The longest way to a state, in steps.
    pub depth: usize,
    /// Whether all states within the bound were seen.
    pub complete: bool,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, steps, depth, complete } = self;
        let end = if *complete { "all" } else { "not all" };
        write!(f, "{states} states, {steps} steps, {depth} deep, {end} of them")
    }
}

/// One state on the way, and what is still to be tried from it.
struct Place {
    world: World,
    moves: std::vec::IntoIter<(Step, Left)>,
}

/// Explores one bound, at most `most` states of each of its setups.
///
/// # Errors
/// A history that breaks an invariant, shrunk.
pub fn explore(bound: &Bound, most: u64) -> Result<Explored, Box<Failure>> {
    explore_with(bound, most, Plant::default())
}

pub(crate) fn explore_with(bound: &Bound, most: u64, plant: Plant) -> Result<Explored, Box<Failure>> {
    let mut total = Explored { complete: true, ..Explored::default() };
    for setup in bounds::setups() {
        let explored = Exploration {
            name: bound.name,
            setup: &setup,
            plant,
            most,
            path: Vec::new(),
            seen: HashSet::new(),
        }
        .run(bound.left)?;
        total.states += explored.states;
        total.steps += explored.steps;
        total.depth = total.depth.max(explored.depth);
        total.complete &= explored.complete;
    }
    Ok(total)
}

struct Exploration<'a> {
    name: &'static str,
    setup: &'a Setup,
    plant: Plant,
    most: u64,
    /// The steps to where it stands.
    path: Vec<Step>,
    seen: HashSet<(u128, Left)>,
}

impl Exploration<'_> {
    fn run(mut self, left: Left) -> Result<Explored, Box<Failure>> {
        let mut explored = Explored { complete: true, ..Explored::default() };
        let world = World::new(self.setup, self.plant, false);
        let mut way = vec![Place { moves: moves(&world, left).into_iter(), world }];
        while let Some(place) = way.last_mut() {
            let Some((step, left)) = place.moves.next() else {
                way.pop();
                self.path.pop();
                continue;
            };
            explored.steps += 1;
            let mut world = place.world.clone();
            self.path.push(step);
            world.step(step).map_err(|_| self.failure())?;
            if !self.seen.insert((world.fingerprint(), left)) {
                self.path.pop();
                continue;
            }
            explored.states += 1;
            explored.depth = explored.depth.max(self.path.len());
            let mut end = world.clone();
            end.come_to_rest().and_then(|()| end.check_end()).map_err(|_| self.failure())?;
            if explored.states >= self.most {
                explored.complete = false;
                break;
            }
            way.push(Place { moves: moves(&world, left).into_iter(), world });
        }
        Ok(explored)
    }

    fn failure(&self) -> Box<Failure> {
        Box::new(explain(
            Origin::Explored { bound: self.name },
            self.setup.clone(),
            self.path.clone(),
            self.plant,
        ))
    }
}
