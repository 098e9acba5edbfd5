//! One reserve: its lines, its place in the queues, and where it stands.

use schemas::{
    ids::{OrderId, ProductId},
    messages::StockLine,
    time::Timestamp,
};
use uuid::Uuid;

/// A place in a queue: who was accepted first comes first, equal times by order id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// When the order was accepted.
    pub accepted_at: Timestamp,
    /// The order.
    pub order_id: OrderId,
}

impl Place {
    /// The head of every queue: no reserve sorts before it.
    pub const HEAD: Self = Self { accepted_at: Timestamp(0), order_id: OrderId(Uuid::nil()) };
}

/// Where a reserve stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldState {
    /// In the queues of its products; holds nothing.
    Waiting,
    /// Every line is held.
    Held,
    /// The units left the shop.
    Sold,
    /// Given up; the units, if any were held, came back.
    Released,
    /// Could not be had.
    Rejected,
}

impl HoldState {
    /// Every state there is.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Held, Self::Sold, Self::Released, Self::Rejected];

    /// The name in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Sold => "sold",
            Self::Released => "released",
            Self::Rejected => "rejected",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A reserve's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The order, or the reserve of an outside owner.
    pub order_id: OrderId,
    /// The partition of its lane.
    pub partition: i32,
    /// Whether another system reserved it, not an order.
    pub outside: bool,
    /// What is asked for, one line per product. Never changes.
    pub lines: Vec<StockLine>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it ends unless it is settled.
    pub deadline: Timestamp,
    /// Where it stands.
    pub state: HoldState,
    /// Why it was rejected, when this batch rejected it.
    pub reason: Option<&'static str>,
    /// Its state in the database; `None` when it has no row yet.
    pub stored: Option<HoldState>,
    /// Whether its lines are counted in the queues of their products.
    pub queued: bool,
}

impl Hold {
    /// Its place in the queues.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { accepted_at: self.accepted_at, order_id: self.order_id }
    }

    /// The products it names.
    pub fn products(&self) -> impl Iterator<Item = ProductId> + '_ {
        self.lines.iter().map(|line| line.product_id)
    }
}
