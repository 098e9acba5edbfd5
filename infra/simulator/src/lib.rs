//! The simulator: thousands of histories a minute, each from a seed.
//!
//! What runs is what runs in production: the saga and the deciders of orders, inventory and payments, the lane protocol
//! with its batches (`harness::pure`), the relay's plan. What is modelled is what lies around them: a log, tables,
//! time, a payment provider, and everything that can go wrong between them. After every step the invariants are
//! checked; then faults end, the history runs to rest, and the books must balance. A history that fails is shrunk to
//! the decisions that matter and printed as a timeline.
//!
//! In reading order: `script` (what is decided), `draw` (from a seed), `world` (what it is done to), `turn` and
//! `relaying` (a batch, a send), `check`, `rest` and `end` (what must hold).

mod draw;
mod random;
mod script;

mod curses;
mod edge;
mod log;
mod notes;
mod operator;
mod parked;
mod plant;
mod provider;
mod relaying;
mod shop;
mod stage;
mod tables;
mod turn;
mod world;

mod check;
mod end;
mod events;
mod rest;
mod shrink;

#[cfg(test)]
mod tests;

pub use check::Violation;
pub use script::Faults;

use plant::Plant;
use random::Random;
use script::{Setup, Step};
use std::fmt;
use world::World;

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The first history's seed; the next one has the next.
    pub seed: u64,
    /// How many histories.
    pub histories: u64,
    /// Orders of each.
    pub orders: u8,
    /// What may go wrong.
    pub faults: Faults,
}

/// A history that broke an invariant, at its shortest.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// How many histories were run, this one included.
    pub histories: u64,
    /// What did not hold.
    pub violation: Violation,
    /// The shop.
    setup: Setup,
    /// The decisions that matter.
    steps: Vec<Step>,
    /// What happened, line by line.
    pub timeline: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.violation)?;
        write!(f, "{}", self.setup)?;
        writeln!(f, "\ndecisions:")?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step:?}"))?;
        writeln!(f, "\ntimeline:")?;
        self.timeline.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl std::error::Error for Failure {}

/// Runs histories until one fails.
///
/// # Errors
/// The first that fails, shrunk.
pub fn run(plan: &Plan) -> Result<(), Box<Failure>> {
    run_with(plan, Plant::default())
}

pub(crate) fn run_with(plan: &Plan, plant: Plant) -> Result<(), Box<Failure>> {
    for number in 0..plan.histories {
        let seed = plan.seed.wrapping_add(number);
        let (setup, steps) = history(seed, plan.orders, plan.faults);
        if play(&setup, &steps, plant).is_err() {
            return Err(Box::new(explain((seed, number + 1), setup, steps, plant)));
        }
    }
    Ok(())
}

/// The history of a seed.
fn history(seed: u64, orders: u8, faults: Faults) -> (Setup, Vec<Step>) {
    let mut random = Random::new(seed);
    let setup = script::setup(&mut random, orders, faults);
    let count = usize::from(orders) * 8 + usize::try_from(random.between(20, 90)).unwrap_or(20);
    let steps = draw::steps(&mut random, &setup, faults, count);
    (setup, steps)
}

/// Plays a history from its beginning to its rest.
fn play(setup: &Setup, steps: &[Step], plant: Plant) -> Result<(), Violation> {
    let mut world = World::new(setup, plant, false);
    play_in(&mut world, steps)
}

fn play_in(world: &mut World, steps: &[Step]) -> Result<(), Violation> {
    steps.iter().try_for_each(|step| world.step(*step))?;
    world.come_to_rest()?;
    world.check_end()
}

fn explain((seed, histories): (u64, u64), setup: Setup, steps: Vec<Step>, plant: Plant) -> Failure {
    let invariant = play(&setup, &steps, plant).err().map(|violation| violation.invariant);
    let steps = shrink::shrink(steps, |steps| {
        play(&setup, steps, plant).err().map(|violation| violation.invariant) == invariant
    });
    let mut world = World::new(&setup, plant, true);
    let violation = match play_in(&mut world, &steps) {
        Err(violation) => violation,
        Ok(()) => Violation::new("determinism", "the same history went well the second time".to_owned()),
    };
    Failure { seed, histories, violation, setup, steps, timeline: world.stage.notes.lines }
}
