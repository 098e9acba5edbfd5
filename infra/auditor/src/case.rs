//! All that the books say of one order, put together from each service's own.

use schemas::{messages::OrderStatus, time::Timestamp};
use std::collections::BTreeMap;
use uuid::Uuid;

/// One order as everybody sees it. Two readings that are equal mean that nothing has happened to it in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) id: Uuid,
    pub(crate) order: Option<Order>,
    /// It moved to the history once, and its row, hold or capture has left with its month: it ended long ago.
    pub(crate) has_left: bool,
    pub(crate) hold: Option<Hold>,
    pub(crate) captures: Vec<Capture>,
    /// Those not at their end, and those that failed for good.
    pub(crate) refunds: Vec<Refund>,
    /// The provider's; none where its books cannot be read.
    pub(crate) charges: Option<Vec<Charge>>,
    /// Services that have parked records of this key.
    pub(crate) parked: Vec<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) status: OrderStatus,
    pub(crate) version: i64,
    pub(crate) currency: String,
    pub(crate) total: i64,
    pub(crate) refunded: i64,
    pub(crate) capture: Option<Uuid>,
    pub(crate) lines: Lines,
    pub(crate) deadline: Timestamp,
    pub(crate) needs_human: bool,
}

/// Units by product.
pub(crate) type Lines = BTreeMap<Uuid, i64>;

pub(crate) fn lines(products: &[Uuid], quantities: &[i32]) -> Lines {
    let mut lines = Lines::new();
    for (product, quantity) in products.iter().zip(quantities) {
        *lines.entry(*product).or_default() += i64::from(*quantity);
    }
    lines
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) outside: bool,
    pub(crate) state: HoldState,
    pub(crate) lines: Lines,
    pub(crate) deadline: Timestamp,
}

/// A state of the inventory's enum `hold_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldState {
    Waiting,
    Held,
    Sold,
    Released,
    Rejected,
}

impl HoldState {
    const ALL: [Self; 5] = [Self::Waiting, Self::Held, Self::Sold, Self::Released, Self::Rejected];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Sold => "sold",
            Self::Released => "released",
            Self::Rejected => "rejected",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether it keeps units, or a place in a queue.
    pub(crate) fn is_live(self) -> bool {
        matches!(self, Self::Waiting | Self::Held)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capture {
    pub(crate) id: Uuid,
    pub(crate) state: CaptureState,
    pub(crate) amount: i64,
    pub(crate) refunding: i64,
    pub(crate) refunded: i64,
    pub(crate) attempts: i32,
    pub(crate) first_called_at: Option<Timestamp>,
    /// Not known yet, and nothing is due that would look at it again.
    pub(crate) is_forgotten: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CaptureState {
    /// Waiting or under way.
    Unknown,
    Captured,
    /// Declined, or void.
    Ended,
}

impl Capture {
    /// What of it is in our hands, as far as we know.
    pub(crate) fn kept(&self) -> i64 {
        match self.state {
            CaptureState::Captured => self.amount - self.refunded,
            CaptureState::Unknown | CaptureState::Ended => 0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refund {
    pub(crate) id: Uuid,
    pub(crate) attempts: i32,
    pub(crate) has_failed: bool,
    pub(crate) first_called_at: Option<Timestamp>,
    pub(crate) is_forgotten: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) key: Uuid,
    pub(crate) is_charged: bool,
    pub(crate) amount: i64,
    pub(crate) refunded: i64,
}

impl Case {
    pub(crate) fn of(id: Uuid) -> Self {
        Self {
            id,
            order: None,
            has_left: false,
            hold: None,
            captures: Vec::new(),
            refunds: Vec::new(),
            charges: None,
            parked: Vec::new(),
        }
    }

    /// Whether its order, hold or own capture is not there.
    pub(crate) fn lacks_a_part(&self) -> bool {
        let Some(order) = &self.order else { return true };
        let has_capture = order.capture.is_none_or(|own| self.captures.iter().any(|it| it.id == own));
        self.hold.is_none() || !has_capture
    }

    /// Whether its order has reached its end and nothing of it is under way.
    pub(crate) fn is_settled(&self) -> bool {
        let is_terminal = self.order.as_ref().is_none_or(|order| order.status.is_terminal());
        let is_known = self.captures.iter().all(|c| c.state != CaptureState::Unknown);
        is_terminal && is_known && self.refunds.iter().all(|refund| refund.has_failed)
    }
}
