//! What a history is made of: who buys what of which stock, and a list of decisions. Each decision stands for itself,
//! so any of them can be left out: that is how a failing history shrinks.

use crate::random::Random;
use schemas::topics::Topic;
use std::{fmt, str::FromStr};

/// The shop, and who comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Partitions of every topic.
    pub(crate) partitions: i32,
    /// Units of each product at the start.
    pub(crate) stock: Vec<i64>,
    /// The orders.
    pub(crate) buyers: Vec<Buyer>,
    /// Most waiters that inventory looks at in a batch.
    pub(crate) waiters: usize,
    /// Most parked records that run again at once.
    pub(crate) again: usize,
    /// Whether operators see to what is parked before time runs on, once faults have ended.
    pub(crate) tidied_early: bool,
}

/// One order to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Buyer {
    /// Products and units.
    pub(crate) lines: Vec<(u8, i32)>,
    /// Milliseconds from acceptance to its deadline.
    pub(crate) patience: i64,
    /// How the provider treats its payment.
    pub(crate) provider: Behaviour,
}

/// How the provider treats one capture and its refunds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Behaviour {
    /// So many first calls bring no answer that counts.
    pub(crate) unknowns: u8,
    /// The call that takes the money; none does when it declines.
    pub(crate) charged_on: Option<u8>,
    /// So many first calls of a refund bring no answer that counts; half of them had done it.
    pub(crate) refund_unknowns: u8,
    /// The first key of a refund is refused for good.
    pub(crate) refuses_refund: bool,
}

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// `order.commands`
    Orders,
    /// `inventory.commands`
    Inventory,
    /// `payment.commands`
    Payments,
}

impl Part {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Orders, Self::Inventory, Self::Payments];

    /// What it reads.
    #[must_use]
    pub(crate) fn input(self) -> Topic {
        match self {
            Self::Orders => Topic::OrderCommands,
            Self::Inventory => Topic::InventoryCommands,
            Self::Payments => Topic::PaymentCommands,
        }
    }

    /// Its name.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Inventory => "inventory",
            Self::Payments => "payments",
        }
    }
}

/// How a worker's batch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It commits.
    Commits,
    /// The worker dies before the commit.
    DiesBefore,
    /// The worker dies after the commit.
    DiesAfter,
    /// It commits, and the worker does not hear of it.
    AnswerLost,
    /// It does not commit, and the worker does not know.
    CommitLost,
    /// Payments: the worker dies when the trace is written, before its calls.
    DiesBetween,
    /// Payments: the worker freezes after its calls and goes on at its next turn.
    Freezes,
}

/// What becomes of the calls of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    /// They are answered in time.
    Answered,
    /// Made, but the budget ends before the answer.
    Unheard,
    /// Under way when the budget ends; they arrive later.
    Late,
    /// Never begun.
    NotBegun,
}

/// What becomes of what a relay sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    /// All of it arrives and is acknowledged; rows are deleted.
    Through,
    /// Acknowledged in the opposite order.
    AckedBackwards,
    /// Acknowledged, but the rows cannot be deleted.
    NotDeleted,
    /// It arrives; only so many acknowledgements are heard, then the relay begins anew.
    AcksLost(u8),
    /// The record of that place is lost, later ones arrive; the relay begins anew.
    Hole(u8),
    /// It hangs in the network and arrives when the relay is gone.
    Delayed,
    /// The relay dies before it sends.
    Dies,
}

/// What an operator does about the parked records of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Redrives all of them.
    Redrive,
    /// Redrives the first.
    RedriveFirst,
    /// Redrives the last, whatever stands before it.
    RedriveLast,
    /// Redrives what is not there.
    RedriveGone,
    /// Redrives them under the key of the next order.
    WrongKey,
    /// Sends the last command of this service once more.
    Again,
    /// Gives up those that nothing rests on.
    Discard,
    /// Puts a cancel in the place of one that nobody can read.
    Edit,
}

impl Deed {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Redrive,
        Self::RedriveFirst,
        Self::RedriveLast,
        Self::RedriveGone,
        Self::WrongKey,
        Self::Again,
        Self::Discard,
        Self::Edit,
    ];
}

/// One decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Time passes, in milliseconds.
    Wait(i64),
    /// The edge produces an order's submit; a body other than 0 is another request under the same key.
    Submit { order: u8, body: u8 },
    /// A client or operator cancels; a repeat has the same number.
    Cancel { order: u8, number: u8 },
    /// An operator asks for money back, in percent of the total.
    Refund { order: u8, number: u8, percent: u8 },
    /// An operator adjusts stock; a repeat has the same number.
    Adjust { product: u8, number: u8, delta: i64 },
    /// Another system reserves.
    Reserve { owner: u8, product: u8, units: i32, patience: i64 },
    /// Another system gives its reserve back.
    GiveBack { owner: u8 },
    /// A record that nobody can read, under the key of an order; from their number on, of a product.
    Poison { part: Part, whom: u8 },
    /// The next record of that key fails so many times, or, with 0, until what is wrong is mended. `unknown`: its schema
    /// is not known to this release; else the service panics on it.
    Curse { part: Part, whom: u8, times: u8, unknown: bool },
    /// What makes records fail is mended.
    Mend,
    /// An operator sees to what is parked of that key.
    Operate { part: Part, whom: u8, deed: Deed },
    /// A worker takes a partition over; whoever had it does not know.
    Claim { part: Part, worker: u8, partition: u8 },
    /// A worker's next fetch begins so many records off.
    Stray { part: Part, worker: u8, by: i8 },
    /// A worker's polling thread does what it is told only after so many batches.
    Busy { part: Part, worker: u8, batches: u8 },
    /// A worker runs a batch.
    Work { part: Part, worker: u8, size: u8, due: bool, calls: Calls, fate: Fate },
    /// A relay sends.
    Send { part: Part, relay: u8, records: u8, sending: Sending },
    /// What hung in the network arrives, so many records of it.
    Arrive { part: Part, relay: u8, records: u8 },
    /// A call that outlived its owner reaches the provider.
    Straggle,
}

/// Which faults there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Workers die, and lose answers.
    pub crashes: bool,
    /// Partitions change hands while their old owners go on.
    pub zombies: bool,
    /// Relays lose records and acknowledgements.
    pub relays: bool,
    /// The provider is more than quick and obliging.
    pub provider: bool,
    /// Records fail, once or for ever, and operators see to them.
    pub poison: bool,
}

impl Faults {
    /// All of them.
    pub const ALL: Self = Self { crashes: true, zombies: true, relays: true, provider: true, poison: true };
    /// None of them.
    pub const NONE: Self =
        Self { crashes: false, zombies: false, relays: false, provider: false, poison: false };
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { crashes, zombies, relays, provider, poison } = *self;
        let named = [
            (crashes, "crashes"),
            (zombies, "zombies"),
            (relays, "relays"),
            (provider, "provider"),
            (poison, "poison"),
        ];
        let names: Vec<&str> = named.into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| name).collect();
        match names.len() {
            0 => f.write_str("none"),
            5 => f.write_str("all"),
            _ => f.write_str(&names.join(",")),
        }
    }
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut faults = Self::NONE;
        for word in text.split(',').filter(|word| !word.is_empty()) {
            match word {
                "all" => faults = Self::ALL,
                "none" => faults = Self::NONE,
                "crashes" => faults.crashes = true,
                "zombies" => faults.zombies = true,
                "relays" => faults.relays = true,
                "provider" => faults.provider = true,
                "poison" => faults.poison = true,
                _ => {
                    return Err(format!(
                        "{word:?} is none of all, none, crashes, zombies, relays, provider, poison"
                    ));
                }
            }
        }
        Ok(faults)
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} partitions; stock {:?}", self.partitions, self.stock)?;
        for (number, buyer) in self.buyers.iter().enumerate() {
            let Buyer { lines, patience, provider } = buyer;
            writeln!(f, "order {number}: (product, units) {lines:?}, patience {patience} ms, {provider:?}")?;
        }
        Ok(())
    }
}

/// Draws a shop and who comes.
pub(crate) fn setup(random: &mut Random, orders: u8, faults: Faults) -> Setup {
    let products = 1 + random.below(3);
    Setup {
        partitions: i32::from(2 + random.below(3)),
        stock: (0..products).map(|_| random.between(0, 5)).collect(),
        buyers: (0..orders).map(|_| buyer(random, products, faults)).collect(),
        waiters: if random.chance(50) { 1_000 } else { 2 },
        again: if random.chance(50) { 1_000 } else { 1 + usize::from(random.below(2)) },
        tidied_early: random.chance(50),
    }
}

fn buyer(random: &mut Random, products: u8, faults: Faults) -> Buyer {
    let mut lines: Vec<(u8, i32)> = Vec::new();
    for _ in 0..1 + random.below(2) {
        let product = random.below(products);
        if lines.iter().all(|(other, _)| *other != product) {
            lines.push((product, i32::from(1 + random.below(3))));
        }
    }
    let patience = if random.chance(30) { random.between(1, 3_000) } else { random.between(3_000, 60_000) };
    Buyer { lines, patience, provider: behaviour(random, faults) }
}

fn behaviour(random: &mut Random, faults: Faults) -> Behaviour {
    if !faults.provider || random.chance(30) {
        return Behaviour { charged_on: Some(1), ..Behaviour::default() };
    }
    let unknowns = if random.chance(50) { random.below(4) } else { 0 };
    let charged_on = 1 + random.below(unknowns + 1);
    Behaviour {
        unknowns,
        charged_on: (!random.chance(25)).then_some(charged_on),
        refund_unknowns: if random.chance(30) { random.below(4) } else { 0 },
        refuses_refund: random.chance(5),
    }
}
