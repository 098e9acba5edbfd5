//! What an order is to everybody: its public state, and what that is made of.

use super::SubmitOrder;
use crate::{
    ids::{OrderId, ProductId},
    money::{Currency, Money},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// SHA-256 of the parsed request, before pricing (Avro `fixed` of 32 bytes).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyHash(pub [u8; 32]);

impl fmt::Display for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyHash({self})")
    }
}

impl Serialize for BodyHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for BodyHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = BodyHash;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("32 bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<BodyHash, E> {
                bytes.try_into().map(BodyHash).map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// A line as it was priced when the order was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PricedLine {
    /// The product.
    pub product_id: ProductId,
    /// Units, 1 to 10,000.
    pub quantity: i32,
    /// Price of one unit in minor units of the order's currency.
    pub unit_price: i64,
}

/// A line as inventory needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockLine {
    /// The product.
    pub product_id: ProductId,
    /// Units, at least 1.
    pub quantity: i32,
}

/// Public status of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderStatus {
    /// Accepted; stock is being reserved, or waited for.
    Pending,
    /// Stock is held; payment is being taken.
    Reserved,
    /// Paid; stock is sold.
    Confirmed,
    /// Refused: out of stock, payment declined.
    Rejected,
    /// Given up by the client or an operator.
    Cancelled,
    /// The deadline passed first.
    Expired,
}

impl OrderStatus {
    /// Every status there is.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Reserved, Self::Confirmed, Self::Rejected, Self::Cancelled, Self::Expired];

    /// The public name, e.g. `CONFIRMED`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Reserved => "RESERVED",
            Self::Confirmed => "CONFIRMED",
            Self::Rejected => "REJECTED",
            Self::Cancelled => "CANCELLED",
            Self::Expired => "EXPIRED",
        }
    }

    /// The status of that public name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether nothing but refunds can happen to the order any more.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::Reserved)
    }
}

impl fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line of an order's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When it was decided.
    pub at: Timestamp,
    /// What happened, e.g. `ACCEPTED`, `RESERVED`, `CANCEL_REFUSED`.
    pub event: String,
    /// Why, in a few words, where there is more to say.
    pub detail: Option<String>,
}

/// An order's whole public state: the newest one alone rebuilds a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderState {
    /// The order.
    pub order_id: OrderId,
    /// Who may see it ([`crate::ids::owner`]).
    pub owner: String,
    /// Hash of the request that made it.
    pub body_hash: BodyHash,
    /// Grows by one with every change; 1 when accepted.
    pub version: i64,
    /// Where it stands.
    pub status: OrderStatus,
    /// Why it was refused, for `REJECTED`: `out_of_stock`, `payment_declined`, ….
    pub reason: Option<String>,
    /// Currency of all amounts.
    pub currency: Currency,
    /// Sum of the lines in minor units.
    pub total: i64,
    /// Refunded by operators so far, in minor units.
    pub refunded: i64,
    /// The lines as priced.
    pub lines: Vec<PricedLine>,
    /// Where it goes.
    pub shipping_address: String,
    /// How it is paid.
    pub payment_method: String,
    /// When the edge accepted it.
    pub accepted_at: Timestamp,
    /// When it expires unless it is settled.
    pub deadline: Timestamp,
    /// When this version was decided.
    pub updated_at: Timestamp,
    /// All that happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
}

impl OrderState {
    /// Version 0: an order that was accepted, and of which nobody has heard more.
    #[must_use]
    pub fn pending(submit: SubmitOrder) -> Self {
        Self {
            order_id: submit.order_id,
            owner: submit.owner,
            body_hash: submit.body_hash,
            version: 0,
            status: OrderStatus::Pending,
            reason: None,
            currency: submit.currency,
            total: submit.total,
            refunded: 0,
            lines: submit.lines,
            shipping_address: submit.shipping_address,
            payment_method: submit.payment_method,
            accepted_at: submit.accepted_at,
            deadline: submit.deadline,
            updated_at: submit.accepted_at,
            timeline: Vec::new(),
        }
    }

    /// The total as money.
    #[must_use]
    pub fn total(&self) -> Money {
        Money::new(self.total, self.currency)
    }
}
