//! What a run does: how fast, how many, of what kind.

use serde::Serialize;
use std::time::Duration;

/// One run. The same plan over the same shop sends the same orders, byte for byte, at the same intended times.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// First part of every idempotency key. Another name is another run; the same name repeats the orders of before.
    pub name: String,
    /// All that is drawn is drawn from this and the order's number.
    pub seed: u64,
    /// When orders are sent.
    pub pace: Pace,
    /// How long orders are sent.
    pub length: Duration,
    /// Most orders; none after these, whatever the length.
    pub orders: Option<u64>,
    /// How orders are sent.
    pub way: Way,
    /// Which products they name.
    pub products: Spread,
    /// Lines an order, of different products where there are enough.
    pub lines: u8,
    /// Payment methods with their weights: `[("CREDIT_CARD", 9.0), ("SANDBOX_DECLINE", 1.0)]`.
    pub payments: Vec<(String, f64)>,
    /// Share of orders whose submit is sent a second time once it was acknowledged.
    pub repeats: f64,
    /// Share of orders whose key is sent again with another body, which must be refused.
    pub other_bodies: f64,
    /// Share of orders that are cancelled once they were acknowledged.
    pub cancels: f64,
    /// What clients do after the acknowledgement, with weights: half of them `[(Wait, 1.0), (Events, 1.0)]`.
    pub follow: Vec<(Follow, f64)>,
    /// Whether the generator sees ends on the log besides, without asking anybody.
    pub on_log: bool,
    /// How long a client repeats a submit that was not decided (409, 429, 503, no answer). Zero: it gives up at once.
    pub insist: Duration,
    /// How long after the last submit the ends of acknowledged orders are waited for. Zero: they are not looked for.
    pub settle: Duration,
    /// Most connections, and so most calls at once.
    pub connections: usize,
    /// Longest wait for one answer, beyond what the call asks to wait.
    pub patience: Duration,
}

/// When orders are sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// By schedule: this many orders a second, whatever becomes of those before (open loop).
    Rate(f64),
    /// By this many clients, each of which sends its next order when its last one is done with (closed loop).
    Clients(usize),
}

/// How orders are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// One order a call.
    Single,
    /// This many orders a call, at most 500.
    Bulk(u16),
}

/// Which products orders name.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// Each alike.
    Uniform,
    /// The k-th product with weight 1 / k^exponent.
    Zipf(f64),
    /// The first product is in every order.
    Hot,
}

/// What a client does after the acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Follow {
    /// Nothing.
    Nothing,
    /// Reads the status once, at once: it must be there.
    ReadOnce,
    /// Reads the status again and again with this pause, to the end.
    Poll(Duration),
    /// Reads with `Prefer: wait`, to the end.
    Wait,
    /// Reads server-sent events, to the end.
    Events,
}

impl Follow {
    /// Every client does this.
    #[must_use]
    pub fn always(self) -> Vec<(Self, f64)> {
        vec![(self, 1.0)]
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            name: "load".to_owned(),
            seed: 1,
            pace: Pace::Rate(100.0),
            length: Duration::from_secs(10),
            orders: None,
            way: Way::Single,
            products: Spread::Uniform,
            lines: 2,
            payments: vec![("CREDIT_CARD".to_owned(), 1.0)],
            repeats: 0.0,
            other_bodies: 0.0,
            cancels: 0.0,
            follow: Follow::Wait.always(),
            on_log: false,
            insist: Duration::ZERO,
            settle: Duration::from_secs(30),
            connections: 512,
            patience: Duration::from_secs(10),
        }
    }
}

impl Plan {
    /// The idempotency key of the order of that number.
    #[must_use]
    pub fn key(&self, order: u32) -> String {
        format!("{}-{order}", self.name)
    }
}
