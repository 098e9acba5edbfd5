//! What the auditor says: a rule that does not hold, of what, with which figures, and what to type about it.

use serde::Serialize;
use std::fmt;
use uuid::Uuid;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// Which rule does not hold. The name is a label of metrics and the `kind` of reports.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Kind {
            $($(#[$doc])* $name,)+
        }

        impl Kind {
            /// Every kind there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name in metrics and reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

kinds! {
    /// A product: initial + restocked is not available + held + sold.
    StockSum = "stock_sum",
    /// A product's row is not the sum of its holds.
    StockHolds = "stock_holds",
    /// A product's row does not count its waiters, or the queue is not its waiting holds.
    StockQueue = "stock_queue",
    /// A product's restocked units are not its adjustments.
    StockRestocked = "stock_restocked",
    /// Units held or waited for, and no live order.
    HoldWithoutOrder = "hold_without_order",
    /// Units sold without a confirmed order, or an order confirmed without units sold.
    UnitsSold = "units_sold",
    /// A hold of other units than its order's.
    HoldLines = "hold_lines",
    /// An outside owner's hold past its deadline.
    OutsideOverdue = "outside_overdue",
    /// Captured less given back is not what the order owes.
    Money = "money",
    /// The provider's books say otherwise than ours.
    Provider = "provider",
    /// An order past its deadline, neither settled nor parked.
    Stuck = "stuck",
    /// Inventory or payments have decided, and the order has not heard of it.
    Unheard = "unheard",
    /// A call under way that nothing will look at again.
    ForgottenCall = "forgotten_call",
    /// An outbox that does not drain.
    Outbox = "outbox",
    /// A lane that does not take what was sent to it, or does not see to what is due.
    Lane = "lane",
    /// An effect that failed for good.
    NeedsHuman = "needs_human",
    /// A key with parked records: what is wrong with its order is put right by redriving them.
    Parked = "parked",
    /// A call whose outcome the provider has not told for long.
    UnknownOutcome = "unknown_outcome",
}

impl Kind {
    /// Whether it breaks a promise. The others wait for a person, and break none.
    #[must_use]
    pub fn is_drift(self) -> bool {
        !matches!(self, Self::NeedsHuman | Self::Parked | Self::UnknownOutcome)
    }
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// An order, or the reserve of an outside owner.
    Order(Uuid),
    /// A product.
    Product(Uuid),
    /// A service's lane.
    Lane(&'static str, i32),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(id) => write!(f, "order {id}"),
            Self::Product(id) => write!(f, "product {id}"),
            Self::Lane(service, partition) => write!(f, "lane {service}/{partition}"),
        }
    }
}

/// One rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Which rule.
    pub kind: Kind,
    /// Of what.
    pub subject: Subject,
    /// The figures.
    pub what: String,
    /// A command that puts it right, or, where none can, that shows how it came about.
    pub repair: String,
}

impl Finding {
    pub(crate) fn new(kind: Kind, subject: Subject, what: impl Into<String>) -> Self {
        let repair = match subject {
            Subject::Order(id) => format!("mambogo replay --topic all --key {id}"),
            Subject::Product(id) => format!("mambogo replay --topic inventory.events --key {id}"),
            Subject::Lane(..) => "mambogo lag".to_owned(),
        };
        Self { kind, subject, what: what.into(), repair }
    }

    pub(crate) fn repaired_by(self, repair: String) -> Self {
        Self { repair, ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.kind.name(), self.subject, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_name_everywhere() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_string(kind).unwrap(), format!("\"{}\"", kind.name()));
        }
    }
}
