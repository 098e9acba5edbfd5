//! What a buyer means to do, drawn from the seed: what is bought and how it is paid, and whether the buyer asks twice,
//! cancels, or changes its mind under the same key.

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};
use std::time::Duration;

/// Products by what happens to them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf {
    /// Plenty of each.
    pub(crate) plenty: Vec<String>,
    /// In every sixth order.
    pub(crate) hot: String,
    /// So few that they sell out: buyers wait for units that are held, and are turned away in the end.
    pub(crate) scarce: Vec<String>,
}

/// One buyer's plan.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) key: String,
    pub(crate) body: Value,
    /// Another body under the same key, sent after the 202; it has to be refused.
    pub(crate) other_body: Option<Value>,
    /// The same at both gateways at once.
    pub(crate) twice: bool,
    /// Reads right after the 202, without waiting.
    pub(crate) looks_at_once: bool,
    /// Names the version it has when it reads again: then no gateway may tell it less, whoever is cut off.
    pub(crate) names_versions: bool,
    /// Cancels so long after the 202.
    pub(crate) cancels_after: Option<Duration>,
    /// The gateway it goes to first.
    pub(crate) gateway: usize,
    /// What its own waits are jittered by.
    pub(crate) seed: u64,
}

impl Order {
    /// Order number `n` of the run.
    pub(crate) fn draw(random: &mut StdRng, shelf: &Shelf, run: &str, n: u64) -> Self {
        let body = body(random, shelf);
        Self {
            key: format!("chaos-{run}-{n}"),
            other_body: random.random_bool(0.01).then(|| bought(random, shelf, "DEBIT_CARD", 3)),
            body,
            twice: random.random_bool(0.04),
            looks_at_once: random.random_bool(0.2),
            names_versions: random.random_bool(0.5),
            cancels_after: random
                .random_bool(0.06)
                .then(|| Duration::from_millis(random.random_range(0..400))),
            gateway: random.random_range(0..2),
            seed: random.random(),
        }
    }
}

fn body(random: &mut StdRng, shelf: &Shelf) -> Value {
    let quantity = random.random_range(1..=2);
    // what becomes of a payment is the provider's to draw
    match random.random_range(0..100) {
        0..=40 => bought(random, shelf, "DEBIT_CARD", quantity),
        _ => bought(random, shelf, "CREDIT_CARD", quantity),
    }
}

fn bought(random: &mut StdRng, shelf: &Shelf, method: &str, quantity: u32) -> Value {
    let any = |random: &mut StdRng| shelf.plenty.choose(random).cloned().unwrap_or_default();
    let first = match random.random_range(0..30) {
        0 => shelf.scarce.choose(random).cloned().unwrap_or_default(),
        1..=5 => shelf.hot.clone(),
        _ => any(random),
    };
    let second = any(random);
    if random.random_bool(0.25) && first != second {
        order(&[(&first, quantity), (&second, 1)], method)
    } else {
        order(&[(&first, quantity)], method)
    }
}

fn order(lines: &[(&str, u32)], method: &str) -> Value {
    let items: Vec<Value> =
        lines.iter().map(|(product, quantity)| json!({"productId": product, "quantity": quantity})).collect();
    json!({"items": items, "shippingAddress": "1 Harbour Road, Mombasa", "paymentMethod": method})
}
