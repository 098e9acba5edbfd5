//! How much may go wrong, and for whom.

use crate::script::{Behaviour, Buyer, Setup};

/// What clients, time and faults may still do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Left {
    /// Orders not submitted yet: the next one's number is the count of those that are.
    pub(super) submits: u8,
    /// The first order's cancel.
    pub(super) cancels: u8,
    /// Jumps to the next thing due.
    pub(super) waits: u8,
    /// A worker dies, or does not hear of its commit.
    pub(super) crashes: u8,
    /// A partition is claimed from a worker that goes on.
    pub(super) zombies: u8,
    /// A relay loses records or acknowledgements, or sends twice.
    pub(super) relays: u8,
    /// A call that is not heard, comes late, or is never begun.
    pub(super) calls: u8,
    /// A record that fails once.
    pub(super) poison: u8,
    /// A submit comes twice, or with another body.
    pub(super) repeats: u8,
}

/// So much of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// In words.
    pub name: &'static str,
    pub(super) left: Left,
}

impl Bound {
    /// How much may go wrong.
    #[must_use]
    pub fn faults(self) -> u8 {
        let Left { crashes, zombies, relays, calls, poison, repeats, cancels, .. } = self.left;
        crashes + zombies + relays + calls + poison + repeats + cancels
    }

    /// The same with the first order alone, and before anything falls due: small enough to be seen to its end in
    /// seconds.
    #[must_use]
    pub fn of_one_order(self) -> Self {
        Self { left: Left { submits: 1, waits: 0, ..self.left }, ..self }
    }
}

/// Two orders with nothing going wrong, with one fault of each kind, and with two of different kinds.
#[must_use]
pub fn bounds() -> Vec<Bound> {
    let none = Left { submits: 2, waits: 1, ..Left::default() };
    let bound = |name, left| Bound { name, left };
    vec![
        bound("no fault, one cancel", Left { cancels: 1, ..none }),
        bound("one crash", Left { crashes: 1, ..none }),
        bound("one zombie", Left { zombies: 1, ..none }),
        bound("one relay fault", Left { relays: 1, ..none }),
        bound("one call lost", Left { calls: 1, ..none }),
        bound("one record that fails", Left { poison: 1, ..none }),
        bound("one submit repeated", Left { repeats: 1, ..none }),
        bound("one crash, one cancel", Left { crashes: 1, cancels: 1, ..none }),
        bound("one crash, one zombie", Left { crashes: 1, zombies: 1, ..none }),
        bound("one crash, one relay fault", Left { crashes: 1, relays: 1, ..none }),
        bound("one zombie, one relay fault", Left { zombies: 1, relays: 1, ..none }),
    ]
}

/// Two orders for two products: they compete for the last unit of the first, and each is charged, declined, or charged
/// without an answer.
pub(super) fn setups() -> Vec<Setup> {
    let buyer = |lines: &[(u8, i32)], charged_on, unknowns| {
        let provider = Behaviour { charged_on, unknowns, ..Behaviour::default() };
        Buyer { lines: lines.to_vec(), patience: 5_000, provider }
    };
    let of = |stock: &[i64], first, second| Setup {
        partitions: 1,
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
