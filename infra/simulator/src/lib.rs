//! The simulator: thousands of histories a minute, each from a seed.
//!
//! What runs is what runs in production: the saga and the deciders of orders, inventory and payments, the lane protocol
//! with its batches (`harness::pure`), the relay's plan. What is modelled is what lies around them: a log, tables,
//! time, a payment provider, and everything that can go wrong between them. After every step the invariants are
//! checked; then faults end, the history runs to rest, and the books must balance. A history that fails is shrunk to
//! the decisions that matter and printed as a timeline.
//!
//! In reading order: `script` (what is decided), `draw` (from a seed), `world` (what it is done to), `turn` and
//! `relaying` (a batch, a send), `operator` (redrive and discard), `check`, `rest` and `end` (what must hold), `explore`
//! (small bounds, all of them), `plant` (bugs that must be found).
//!
//! Where each invariant is checked; "commit" is every commit of every batch, "end" is when faults have ended and nothing
//! is left to do:
//!
//! | invariant | commit | end |
//! |---|---|---|
//! | 1 one order per key | `tables::orders` (inserted once), `check::order_changed` (its terms), `events` (one body) | |
//! | 2 a 202 is a promise | | `end` (each accepted order is there) |
//! | 3 one batch, one transaction | `turn` (a batch is written whole or not at all), `tables` (no row is not as it was loaded) | |
//! | 4 a zombie cannot write | `turn::check_fence` (asked of the rows, beside what the machine asked) | |
//! | 5 order per key | `check::Takes` (each number of a source once, in order), `check::Runs` and `parked::check_passed` (over parking and redrive), `events` (versions) | `end` (the events tell the newest version) |
//! | 6 terminal is terminal | `check::order_changed`, `check::capture` | `end::check_paid` (late money was given back) |
//! | 7 conservation | `check::stock` (per product), `check::capture` (per capture), `provider` (never more back than taken) | `end` (nothing held, the provider's ledger is ours) |
//! | 8 no phantom sold-out | `check::rejections`, `check::stock` (who waits will be looked at) | `end` (no walk stands) |
//! | 9 nothing blocks the rest | `parked::check` (nothing is parked but what failed, and what came after it) | `rest` (all else settles while it is parked) |
//! | 10 bounded | `check::order_changed` (the timeline) | `rest` (it comes to rest within a bounded number of rounds) |

mod draw;
mod random;
mod script;

mod curses;
mod digest;
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
mod explore;
mod gateways;
mod rest;
mod shrink;

#[cfg(test)]
mod tests;

pub use check::Violation;
pub use explore::{Bound, Explored, bounds, explore};
pub use plant::Bug;
pub use script::Faults;

use gateways::Edge;
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

impl Plan {
    /// The same histories with a bug planted into what is modelled; `None` when none of them finds it.
    #[must_use]
    pub fn find(&self, bug: Bug) -> Option<Box<Failure>> {
        run_with(self, Plant(Some(bug))).err()
    }
}

/// A history that broke an invariant, at its shortest.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Where it comes from.
    pub origin: Origin,
    /// What did not hold.
    pub violation: Violation,
    /// Who comes, and to what.
    setup: String,
    /// The decisions that matter.
    pub steps: Vec<String>,
    /// What happened, line by line.
    pub timeline: Vec<String>,
}

/// Where a history comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From a seed.
    Drawn {
        /// The seed.
        seed: u64,
        /// Orders of it.
        orders: u8,
        /// What might go wrong.
        faults: Faults,
        /// How many histories were run, this one included.
        histories: u64,
    },
    /// From the exploration of this bound.
    Explored {
        /// Its name.
        bound: &'static str,
    },
}

impl Failure {
    /// In a line: which history found it, and at how few decisions it still does.
    #[must_use]
    pub fn summary(&self) -> String {
        let steps = self.steps.len();
        match self.origin {
            Origin::Drawn { seed, histories, .. } => {
                format!("found by history {histories} (seed {seed}), {steps} decisions: {}", self.violation)
            }
            Origin::Explored { bound } => {
                format!("found within {bound:?}, {steps} decisions: {}", self.violation)
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.violation)?;
        match self.origin {
            Origin::Drawn { seed, orders, faults, .. } => {
                let again = format!("--seed {seed} --histories 1 --orders {orders} --faults {faults}");
                writeln!(f, "again: mambogo sim {again}")?;
            }
            Origin::Explored { bound } => writeln!(f, "again: mambogo sim --exhaustive ({bound})")?,
        }
        write!(f, "{}", self.setup)?;
        writeln!(f, "\ndecisions:")?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))?;
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
        let Plan { orders, faults, .. } = *plan;
        let origin = Origin::Drawn { seed, orders, faults, histories: number + 1 };
        let (setup, steps) = history(seed, orders, faults);
        if play(&setup, &steps, plant).is_err() {
            return Err(Box::new(explain(origin, setup, steps, plant)));
        }
        let (edge, steps) = gateways::draw(&mut Random::new(!seed));
        if faults != Faults::NONE && play_edge(edge, &steps, plant).is_err() {
            return Err(Box::new(explain_edge(origin, edge, steps, plant)));
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

fn explain(origin: Origin, setup: Setup, steps: Vec<Step>, plant: Plant) -> Failure {
    let invariant = play(&setup, &steps, plant).err().map(|violation| violation.invariant);
    let steps = shrink::shrink(steps, |steps| {
        play(&setup, steps, plant).err().map(|violation| violation.invariant) == invariant
    });
    let mut world = World::new(&setup, plant, true);
    let violation = match play_in(&mut world, &steps) {
        Err(violation) => violation,
        Ok(()) => Violation::new("determinism", "the same history went well the second time".to_owned()),
    };
    let steps = steps.iter().map(|step| format!("{step:?}")).collect();
    Failure { origin, violation, setup: setup.to_string(), steps, timeline: world.stage.notes.lines }
}

/// Plays a history of the edge to its end.
fn play_edge(edge: Edge, steps: &[gateways::Step], plant: Plant) -> Result<(), Violation> {
    let mut world = gateways::World::new(edge.gateways, plant.trusts_links(), false);
    steps.iter().try_for_each(|step| world.step(*step))?;
    world.end()
}

fn explain_edge(origin: Origin, edge: Edge, steps: Vec<gateways::Step>, plant: Plant) -> Failure {
    let steps = shrink::shrink(steps, |steps| play_edge(edge, steps, plant).is_err());
    let mut world = gateways::World::new(edge.gateways, plant.trusts_links(), true);
    let played = steps.iter().try_for_each(|step| world.step(*step)).and_then(|()| world.end());
    let violation = played.err().unwrap_or_else(|| {
        Violation::new("determinism", "the same history went well the second time".to_owned())
    });
    let steps = steps.iter().map(|step| format!("{step:?}")).collect();
    let setup = format!("the edge: {} gateways\n", edge.gateways);
    Failure { origin, violation, setup, steps, timeline: world.timeline() }
}
