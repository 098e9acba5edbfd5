//! Draws a history's decisions from a seed.

use crate::{
    random::Random,
    script::{Calls, Deed, Fate, Faults, Part, Sending, Setup, Step},
};

/// So many decisions, none of which knows what the ones before it came to.
pub(crate) fn steps(random: &mut Random, setup: &Setup, faults: Faults, count: usize) -> Vec<Step> {
    let mut draw = Draw { random, setup, faults };
    (0..count).map(|at| draw.step(at)).collect()
}

struct Draw<'a> {
    random: &'a mut Random,
    setup: &'a Setup,
    faults: Faults,
}

impl Draw<'_> {
    fn step(&mut self, at: usize) -> Step {
        let orders = u8::try_from(self.setup.buyers.len()).unwrap_or(u8::MAX);
        // all come early, some of them again
        if at < usize::from(orders) * 4 && at.is_multiple_of(4) {
            return Step::Submit { order: u8::try_from(at / 4).unwrap_or(0), body: 0 };
        }
        let order = self.random.below(orders);
        match self.random.below(100) {
            0..=3 => Step::Submit { order, body: u8::from(self.random.chance(40)) },
            4..=6 => Step::Cancel { order, number: self.random.below(2) },
            7..=8 => {
                Step::Refund { order, number: self.random.below(3), percent: 1 + self.random.below(120) }
            }
            9..=11 => self.stock(),
            12..=13 if self.faults.poison => self.poison(order),
            12..=17 => self.wait(),
            18..=61 => self.work(),
            62..=65 if self.faults.zombies => Step::Claim {
                part: self.part(),
                worker: self.random.below(2),
                partition: self.random.below(u8::try_from(self.setup.partitions).unwrap_or(1)),
            },
            66 if self.faults.zombies => Step::Stray {
                part: self.part(),
                worker: self.random.below(2),
                by: i8::try_from(self.random.between(-4, 3)).unwrap_or(0),
            },
            67 if self.faults.zombies => Step::Busy {
                part: self.part(),
                worker: self.random.below(2),
                batches: 1 + self.random.below(3),
            },
            67..=69 if self.faults.relays => Step::Arrive {
                part: self.part(),
                relay: self.random.below(2),
                records: 1 + self.random.below(4),
            },
            70..=71 if self.faults.provider => Step::Straggle,
            62..=71 => self.work(),
            _ => self.send(),
        }
    }

    fn part(&mut self) -> Part {
        match self.random.below(3) {
            0 => Part::Orders,
            1 => Part::Inventory,
            _ => Part::Payments,
        }
    }

    fn wait(&mut self) -> Step {
        let most = if self.random.chance(80) { 400 } else { 8_000 };
        Step::Wait(self.random.between(1, most))
    }

    fn stock(&mut self) -> Step {
        let product = self.random.below(u8::try_from(self.setup.stock.len()).unwrap_or(1));
        let number = self.random.below(3);
        match self.random.below(4) {
            0 => Step::Reserve {
                owner: number,
                product,
                units: i32::from(1 + self.random.below(3)),
                patience: self.random.between(1, 5_000),
            },
            1 => Step::GiveBack { owner: number },
            _ => Step::Adjust { product, number, delta: self.random.between(-2, 3) },
        }
    }

    /// Most records fail at a key of which something is on its way; operators look where something may be parked.
    fn poison(&mut self, order: u8) -> Step {
        let part = self.part();
        let products = u8::try_from(self.setup.stock.len()).unwrap_or(1);
        let orders = u8::try_from(self.setup.buyers.len()).unwrap_or(1);
        let whom = if self.random.chance(15) { orders + self.random.below(products) } else { order };
        match self.random.below(10) {
            0 => Step::Poison { part, whom },
            1..=3 => Step::Curse { part, whom, times: self.random.below(4), unknown: self.random.chance(30) },
            4 => Step::Mend,
            _ => {
                let deed = usize::from(self.random.below(8));
                Step::Operate { part, whom, deed: Deed::ALL.get(deed).copied().unwrap_or(Deed::Redrive) }
            }
        }
    }

    fn work(&mut self) -> Step {
        let part = self.part();
        let calls = match self.random.below(10) {
            0 if self.faults.provider => Calls::Unheard,
            1 if self.faults.provider => Calls::Late,
            2 if self.faults.provider => Calls::NotBegun,
            _ => Calls::Answered,
        };
        let fate = match self.random.below(40) {
            0..=2 if self.faults.crashes => Fate::DiesBefore,
            3..=5 if self.faults.crashes => Fate::DiesAfter,
            6..=7 if self.faults.crashes => Fate::AnswerLost,
            8..=9 if self.faults.crashes => Fate::CommitLost,
            10..=11 if self.faults.crashes => Fate::DiesBetween,
            12..=13 if self.faults.zombies => Fate::Freezes,
            _ => Fate::Commits,
        };
        let size = if self.random.chance(50) { 1 + self.random.below(3) } else { 20 };
        Step::Work { part, worker: self.random.below(2), size, due: self.random.chance(20), calls, fate }
    }

    fn send(&mut self) -> Step {
        let (part, relay) = (self.part(), self.random.below(2));
        let records = if self.random.chance(40) { 1 + self.random.below(4) } else { 30 };
        let sending = match self.random.below(30) {
            0..=1 if self.faults.relays => Sending::AckedBackwards,
            2..=3 if self.faults.relays => Sending::NotDeleted,
            4..=6 if self.faults.relays => Sending::AcksLost(self.random.below(4)),
            7..=9 if self.faults.relays => Sending::Hole(self.random.below(3)),
            10..=11 if self.faults.relays => Sending::Delayed,
            12 if self.faults.relays => Sending::Dies,
            _ => Sending::Through,
        };
        Step::Send { part, relay, records, sending }
    }
}
