//! `inventory.commands`: all that inventory is asked for.

use super::StockLine;
use crate::{
    ids::{EffectId, OrderId, ProductId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

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
