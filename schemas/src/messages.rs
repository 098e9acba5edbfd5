//! Every message there is, one struct per Avro record, and one enum per command topic for its readers.
//!
//! Field names are the Avro names (camelCase), so that consoles and analysts see what clients see.

use crate::{
    catalogue::SchemaId,
    ids::{EffectId, OrderId, ProductId},
    money::{Currency, Money},
    time::Timestamp,
    topics::Topic,
    wire::{self, WireError},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fmt;
use uuid::Uuid;

/// What a record says: it has a schema of its own.
pub trait Body: Serialize + DeserializeOwned {
    /// The pinned id of the newest schema, the one this build writes.
    const SCHEMA: SchemaId;
    /// The record's name, e.g. `SubmitOrder`.
    const NAME: &'static str;
}

/// A message of one topic. (What is said of records travels on each command topic: [`crate::parked`].)
pub trait Message: Body {
    /// The topic it travels on.
    const TOPIC: Topic;
}

macro_rules! message {
    ($name:ident, $id:expr, $topic:ident) => {
        impl Body for $name {
            const SCHEMA: SchemaId = SchemaId($id);
            const NAME: &'static str = stringify!($name);
        }

        impl Message for $name {
            const TOPIC: Topic = Topic::$topic;
        }
    };
}

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

// ---- order.commands -------------------------------------------------------------------------------------

/// A client's order, priced by the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubmitOrder {
    /// Derived from owner and idempotency key.
    pub order_id: OrderId,
    /// Who may see it.
    pub owner: String,
    /// Hash of the parsed request.
    pub body_hash: BodyHash,
    /// When the edge accepted it.
    pub accepted_at: Timestamp,
    /// When it expires unless it is settled.
    pub deadline: Timestamp,
    /// Currency of all amounts.
    pub currency: Currency,
    /// Sum of the lines in minor units.
    pub total: i64,
    /// The lines as priced, one per product.
    pub lines: Vec<PricedLine>,
    /// Where it goes.
    pub shipping_address: String,
    /// How it is paid.
    pub payment_method: String,
}
message!(SubmitOrder, 1001, OrderCommands);

/// A client or an operator gives the order up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelOrder {
    /// The order.
    pub order_id: OrderId,
    /// Who asked ([`crate::ids::owner`]).
    pub requested_by: String,
    /// Why, if said.
    pub reason: Option<String>,
}
message!(CancelOrder, 1002, OrderCommands);

/// The order's deadline lies behind the lane's due mark. Sent by the orders lane to itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadlinePassed {
    /// The order.
    pub order_id: OrderId,
    /// The deadline that passed.
    pub deadline: Timestamp,
}
message!(DeadlinePassed, 1003, OrderCommands);

/// An operator gives money back for a confirmed order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundOrder {
    /// The order.
    pub order_id: OrderId,
    /// The refund's own effect id.
    pub refund_id: EffectId,
    /// Minor units of the order's currency, at least 1.
    pub amount: i64,
    /// Who asked.
    pub requested_by: String,
    /// Why.
    pub reason: String,
}
message!(RefundOrder, 1004, OrderCommands);

/// Inventory holds every line of the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockReserved {
    /// The order.
    pub order_id: OrderId,
}
message!(StockReserved, 1005, OrderCommands);

/// Inventory cannot ever hold every line of the order. Nothing is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockRejected {
    /// The order.
    pub order_id: OrderId,
    /// Why: `out_of_stock`, `unknown_product`.
    pub reason: String,
    /// The first product that could not be had.
    pub product_id: ProductId,
}
message!(StockRejected, 1006, OrderCommands);

/// The provider took the money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentCaptured {
    /// The order.
    pub order_id: OrderId,
    /// The capture.
    pub capture_id: EffectId,
    /// Minor units of the order's currency.
    pub amount: i64,
}
message!(PaymentCaptured, 1007, OrderCommands);

/// The provider refused, or the deadline passed before the provider was asked. Nothing was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentDeclined {
    /// The order.
    pub order_id: OrderId,
    /// The capture that was refused.
    pub capture_id: EffectId,
    /// Why: `payment_declined`, `expired`, `voided`.
    pub reason: String,
}
message!(PaymentDeclined, 1008, OrderCommands);

/// A settle or a refund cannot be done: a human is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectFailed {
    /// The order.
    pub order_id: OrderId,
    /// The effect that failed for good.
    pub effect_id: EffectId,
    /// What failed, in a few words.
    pub reason: String,
}
message!(EffectFailed, 1009, OrderCommands);

/// An operator wants an effect that failed for good to be tried again, under its own id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryEffect {
    /// The order.
    pub order_id: OrderId,
    /// The effect that needs a human.
    pub effect_id: EffectId,
    /// This one action: recorded, and done once only.
    pub action_id: Uuid,
    /// Who asked.
    pub requested_by: String,
    /// Why, in their words.
    pub reason: Option<String>,
}
message!(RetryEffect, 1010, OrderCommands);

/// An effect that had failed for good is done after all: no human is needed any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectDone {
    /// The order.
    pub order_id: OrderId,
    /// The effect.
    pub effect_id: EffectId,
}
message!(EffectDone, 1011, OrderCommands);

// ---- inventory.commands ---------------------------------------------------------------------------------

/// Hold every line, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReserveStock {
    /// The order, or the reserve of an outside owner.
    pub order_id: OrderId,
    /// Its place in the queues.
    pub accepted_at: Timestamp,
    /// When the order expires.
    pub deadline: Timestamp,
    /// What to hold, one line per product.
    pub lines: Vec<StockLine>,
}
message!(ReserveStock, 1101, InventoryCommands);

/// How a hold ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Settlement {
    /// The units leave the shop.
    Sold,
    /// The units come back.
    Released,
}

/// End the order's hold, or its wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettleStock {
    /// The order whose reserve this ends.
    pub order_id: OrderId,
    /// How.
    pub outcome: Settlement,
}
message!(SettleStock, 1102, InventoryCommands);

/// Add units to, or take free units from, a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdjustStock {
    /// Derived from the caller's idempotency key: applied once.
    pub adjustment_id: EffectId,
    /// The product.
    pub product_id: ProductId,
    /// Units to add; negative takes away.
    pub delta: i64,
    /// Why.
    pub reason: String,
    /// Who asked.
    pub requested_by: String,
}
message!(AdjustStock, 1103, InventoryCommands);

/// Go on with a product's queue from its cursor. Sent by an inventory lane to itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WalkQueue {
    /// The product whose cursor stands.
    pub product_id: ProductId,
}
message!(WalkQueue, 1104, InventoryCommands);

// ---- payment.commands -----------------------------------------------------------------------------------

/// Take the order's money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapturePayment {
    /// The order.
    pub order_id: OrderId,
    /// The effect, and the provider's idempotency key.
    pub capture_id: EffectId,
    /// Minor units.
    pub amount: i64,
    /// Currency of the amount.
    pub currency: Currency,
    /// How it is paid.
    pub payment_method: String,
    /// Never begun after this.
    pub deadline: Timestamp,
}
message!(CapturePayment, 1201, PaymentCommands);

/// Never begin that capture, or undo it once it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VoidCapture {
    /// The order.
    pub order_id: OrderId,
    /// The capture.
    pub capture_id: EffectId,
}
message!(VoidCapture, 1202, PaymentCommands);

/// Give money of a capture back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundPayment {
    /// The order.
    pub order_id: OrderId,
    /// The capture the money comes from.
    pub capture_id: EffectId,
    /// The refund's own effect id; [`crate::ids::undo_of`] for a whole undo.
    pub refund_id: EffectId,
    /// Minor units; all that is left of the capture when absent.
    pub amount: Option<i64>,
    /// Why.
    pub reason: String,
}
message!(RefundPayment, 1203, PaymentCommands);

/// Look again at a capture or refund that was deferred. Sent by a payments lane to itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResumeEffect {
    /// The order.
    pub order_id: OrderId,
    /// The capture or refund.
    pub effect_id: EffectId,
}
message!(ResumeEffect, 1204, PaymentCommands);

/// What a provider tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NoticeKind {
    /// The money was taken.
    Captured,
    /// The money was not taken, and will not be under that key.
    CaptureFailed,
    /// The money went back.
    Refunded,
    /// The money did not go back, or came back to us; it will not go under that key.
    RefundFailed,
}

/// What the payment provider tells by itself: a webhook, its signature checked by the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderNotice {
    /// The order, from the provider's metadata.
    pub order_id: OrderId,
    /// The provider's own id of the event.
    pub event_id: String,
    /// What happened.
    pub kind: NoticeKind,
    /// The capture; of a refund, the one the money comes from.
    pub capture_id: EffectId,
    /// The idempotency key of the call that it answers: the capture's or refund's id, or a later key of that refund.
    pub key: EffectId,
    /// Minor units.
    pub amount: i64,
    /// Currency of the amount.
    pub currency: Currency,
    /// The provider's own name for the payment or refund.
    pub reference: String,
    /// Why it failed, in the provider's words.
    pub reason: Option<String>,
}
message!(ProviderNotice, 1205, PaymentCommands);

/// Try a refund that failed for good again, under its own id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryRefund {
    /// The order.
    pub order_id: OrderId,
    /// The refund that failed.
    pub refund_id: EffectId,
    /// The operator's action: a refund is tried again once for each.
    pub action_id: Uuid,
}
message!(RetryRefund, 1206, PaymentCommands);

// ---- order.events ---------------------------------------------------------------------------------------

macro_rules! order_event {
    ($(#[$doc:meta])* $name:ident, $id:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            /// The order's whole public state after it.
            pub order: OrderState,
        }
        message!($name, $id, OrderEvents);
    };
}

order_event!(
    /// The order is known.
    OrderAccepted,
    1301
);
order_event!(
    /// Its stock is held.
    OrderReserved,
    1302
);
order_event!(
    /// It is paid and sold.
    OrderConfirmed,
    1303
);
order_event!(
    /// It was refused.
    OrderRejected,
    1304
);
order_event!(
    /// It was given up.
    OrderCancelled,
    1305
);
order_event!(
    /// Its deadline passed.
    OrderExpired,
    1306
);
order_event!(
    /// Any other change of its public state: a refund, a refused cancel.
    OrderAmended,
    1307
);

// ---- inventory.events -----------------------------------------------------------------------------------

/// A product's stock after a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockChanged {
    /// The product.
    pub product_id: ProductId,
    /// Units free to reserve.
    pub available: i64,
    /// Units held by open orders.
    pub held: i64,
    /// Units sold so far.
    pub sold: i64,
    /// Grows with every change; the newest wins.
    pub version: i64,
    /// When it was decided.
    pub changed_at: Timestamp,
}
message!(StockChanged, 1401, InventoryEvents);

// ---- payment.events -------------------------------------------------------------------------------------

/// A capture reached its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaptureSettled {
    /// The order.
    pub order_id: OrderId,
    /// The capture.
    pub capture_id: EffectId,
    /// `CAPTURED`, `DECLINED` or `VOIDED`.
    pub outcome: String,
    /// Minor units.
    pub amount: i64,
    /// Currency of the amount.
    pub currency: Currency,
    /// The provider's own name for it, if it has one.
    pub provider_reference: Option<String>,
    /// Why it was refused.
    pub reason: Option<String>,
    /// When it was decided.
    pub settled_at: Timestamp,
}
message!(CaptureSettled, 1501, PaymentEvents);

/// A refund was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundSettled {
    /// The order.
    pub order_id: OrderId,
    /// The capture the money came from.
    pub capture_id: EffectId,
    /// The refund.
    pub refund_id: EffectId,
    /// Minor units.
    pub amount: i64,
    /// Currency of the amount.
    pub currency: Currency,
    /// The provider's own name for it, if it has one.
    pub provider_reference: Option<String>,
    /// When it was decided.
    pub settled_at: Timestamp,
}
message!(RefundSettled, 1502, PaymentEvents);

// ---- catalog.events -------------------------------------------------------------------------------------

/// A product was added to the catalogue, or what the catalogue says of it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductChanged {
    /// The product.
    pub product_id: ProductId,
    /// Grows by one with every change, from 1; the newest wins.
    pub version: i64,
    /// Names of the fields that changed; all of them when it was added.
    pub changed: Vec<String>,
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// The category's slug.
    pub category: String,
    /// Price of one unit, minor units.
    pub price: i64,
    /// Currency of the price.
    pub currency: Currency,
    /// Whether it is sold.
    pub is_active: bool,
    /// Who changed it ([`crate::ids::owner`]).
    pub changed_by: String,
    /// When it was decided.
    pub changed_at: Timestamp,
}
message!(ProductChanged, 1701, CatalogEvents);

// ---- what a reader of a topic meets ---------------------------------------------------------------------

macro_rules! union {
    ($(#[$doc:meta])* $name:ident on $topic:ident { $($variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $(
                #[doc = concat!("See [`", stringify!($variant), "`].")]
                $variant($variant),
            )+
        }

        impl $name {
            /// Reads one payload of the topic.
            ///
            /// # Errors
            /// [`WireError`]: not our wire format, an unknown schema id, a message of another topic, or a body
            /// that does not decode.
            pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
                let (schema, body) = wire::open(payload)?;
                match schema.record {
                    $(<$variant as Body>::NAME => wire::decode_body(schema, body).map(Self::$variant),)+
                    _ => Err(WireError::NotOfTopic { record: schema.record, topic: Topic::$topic }),
                }
            }

            /// The record's name, e.g. `SubmitOrder`.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => <$variant as Body>::NAME,)+ }
            }
        }

        $(impl From<$variant> for $name {
            fn from(message: $variant) -> Self { Self::$variant(message) }
        })+
    };
}

union!(
    /// All that the saga hears.
    OrderCommand on OrderCommands {
        SubmitOrder, CancelOrder, DeadlinePassed, RefundOrder, StockReserved, StockRejected, PaymentCaptured,
        PaymentDeclined, EffectFailed, RetryEffect, EffectDone,
    }
);
union!(
    /// All that inventory is asked for.
    InventoryCommand on InventoryCommands { ReserveStock, SettleStock, AdjustStock, WalkQueue }
);
union!(
    /// All that payments is asked for.
    PaymentCommand on PaymentCommands {
        CapturePayment, VoidCapture, RefundPayment, ResumeEffect, ProviderNotice, RetryRefund,
    }
);
union!(
    /// Public facts about orders.
    OrderEvent on OrderEvents {
        OrderAccepted, OrderReserved, OrderConfirmed, OrderRejected, OrderCancelled, OrderExpired, OrderAmended,
    }
);
union!(
    /// Stock levels.
    InventoryEvent on InventoryEvents { StockChanged }
);
union!(
    /// Captures and refunds.
    PaymentEvent on PaymentEvents { CaptureSettled, RefundSettled }
);
union!(
    /// What the catalogue says of products.
    CatalogEvent on CatalogEvents { ProductChanged }
);

impl OrderEvent {
    /// The order's whole public state after the event.
    #[must_use]
    pub fn order(&self) -> &OrderState {
        match self {
            Self::OrderAccepted(event) => &event.order,
            Self::OrderReserved(event) => &event.order,
            Self::OrderConfirmed(event) => &event.order,
            Self::OrderRejected(event) => &event.order,
            Self::OrderCancelled(event) => &event.order,
            Self::OrderExpired(event) => &event.order,
            Self::OrderAmended(event) => &event.order,
        }
    }

    /// The same, taken out.
    #[must_use]
    pub fn into_order(self) -> OrderState {
        match self {
            Self::OrderAccepted(event) => event.order,
            Self::OrderReserved(event) => event.order,
            Self::OrderConfirmed(event) => event.order,
            Self::OrderRejected(event) => event.order,
            Self::OrderCancelled(event) => event.order,
            Self::OrderExpired(event) => event.order,
            Self::OrderAmended(event) => event.order,
        }
    }
}
