//! Which places have their turn, in which order, at which passing: drawn from a seed.

use chassis::{
    crash::{CrashPoint, Place},
    settings::Environment,
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

/// A place, and the passing at which the process dies there.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    pub place: Place,
    pub passing: u32,
}

pub struct Plan {
    pub seed: u64,
    how: How,
    steps: VecDeque<Vec<Turn>>,
}

/// Who dies in one step.
#[derive(Debug, Clone, Copy)]
enum How {
    /// One process, once.
    Alone,
    /// A process of each role, this often at most.
    Together(usize),
}

impl Plan {
    pub fn from_environment() -> Self {
        let environment = Environment::process();
        let number = |key: &str| environment.text(key).map(|text| text.parse::<u64>().unwrap());
        let seed = number("SWEEP_SEED").unwrap_or_else(rand::random);
        let times = number("SWEEP_TIMES").unwrap_or(1);
        let only = environment.text("SWEEP_ONLY").unwrap_or_default();
        let how = if number("SWEEP_ALONE") == Some(1) { How::Alone } else { How::Together(3) };
        let mut random = StdRng::seed_from_u64(seed);
        let steps = (0..times).flat_map(|time| {
            // the first time early, later on anywhere
            let latest = if time == 0 { 3 } else { 25 };
            how.share_out(turns(&mut random, &only, latest))
        });
        Self { seed, how, steps: steps.collect() }
    }

    pub fn next_step(&mut self) -> Option<Vec<Turn>> {
        self.steps.pop_front()
    }
}

/// Every place whose name has `only` in it, in random order.
fn turns(random: &mut StdRng, only: &str, latest: u32) -> Vec<Turn> {
    let mut places: Vec<Place> = Place::all().filter(|place| place.to_string().contains(only)).collect();
    assert!(!places.is_empty(), "SWEEP_ONLY={only} names no place");
    places.shuffle(random);
    let turn = |place: Place| {
        let passing = if is_frequent(place.point) { random.random_range(1..=latest) } else { 1 };
        Turn { place, passing }
    };
    places.into_iter().map(turn).collect()
}

impl How {
    /// Steps of about equal length that give each place its turn.
    fn share_out(self, turns: Vec<Turn>) -> Vec<Vec<Turn>> {
        let Self::Together(most) = self else { return turns.into_iter().map(|turn| vec![turn]).collect() };
        let mut of_role: BTreeMap<&str, Vec<Turn>> = BTreeMap::new();
        for turn in turns {
            of_role.entry(turn.place.role).or_default().push(turn);
        }
        let longest = of_role.values().map(Vec::len).max().unwrap_or(0);
        let mut steps = vec![Vec::new(); longest.div_ceil(most)];
        for turns in of_role.into_values() {
            let count = steps.len();
            turns.into_iter().enumerate().for_each(|(index, turn)| steps[index % count].push(turn));
        }
        steps
    }
}

/// Whether a few orders pass it many times.
fn is_frequent(point: CrashPoint) -> bool {
    use CrashPoint::*;
    matches!(
        point,
        ClaimBefore
            | ClaimAfter
            | ProduceBefore
            | ProduceHanded
            | ProduceAfter
            | AnswerBefore
            | AnswerAfter
            | CommitBefore
            | CommitAfter
            | TraceBefore
            | TraceAfter
            | CallsAfter
            | ChargeBefore
            | ChargeAfter
            | SendBefore
            | SendHanded
            | SendAfter
            | DeleteBefore
            | DeleteAfter
            | ViewBefore
            | ViewAfter
    )
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.how {
            How::Alone => write!(f, "seed {}, one place at a time", self.seed),
            How::Together(most) => {
                write!(f, "seed {}, up to {most} deaths of each role at a time", self.seed)
            }
        }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.place, self.passing)
    }
}
