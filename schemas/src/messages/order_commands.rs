//! `order.commands`: all that the saga hears.

use super::{BodyHash, PricedLine};
use crate::{
    ids::{EffectId, OrderId, ProductId},
    money::Currency,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
