//! What inventory says: answers to the saga, stock levels to the world, and the command to itself to go on walking.
//!
//! A reserve is answered exactly once in its life, so its answer may leave from any lane: no second one can overtake it.

use crate::{hold::Hold, stock::Stock};
use harness::record::{Outgoing, Rejection};
use schemas::{
    ids::{self, OrderId, ProductId},
    messages::{SettleStock, Settlement, StockChanged, StockRejected, StockReserved, WalkQueue},
    time::Timestamp,
};

/// Every line is held.
pub(crate) fn reserved(order: OrderId) -> Result<Outgoing, Rejection> {
    let body = StockReserved { order_id: order };
    Outgoing::new(order.0, ids::message_id(order.0, "stock reserved"), &body)
}

/// A line can never be had.
pub(crate) fn rejected(hold: &Hold, reason: &str, product_id: ProductId) -> Result<Outgoing, Rejection> {
    let order = hold.order_id;
    let body = StockRejected { order_id: order, reason: reason.to_owned(), product_id };
    Outgoing::new(order.0, ids::message_id(order.0, "stock rejected"), &body)
}

/// A product's levels after the batch.
pub(crate) fn changed(product_id: ProductId, stock: &Stock, now: Timestamp) -> Result<Outgoing, Rejection> {
    let body = StockChanged {
        product_id,
        available: stock.available,
        held: stock.held,
        sold: stock.sold,
        version: stock.version,
        changed_at: now,
    };
    Outgoing::new(product_id.0, ids::message_id(product_id.0, &format!("stock {}", stock.version)), &body)
}

/// Go on with the queue from the cursor. Every one of a product has its own version, so its own id.
pub(crate) fn walk(product_id: ProductId, stock: &Stock) -> Result<Outgoing, Rejection> {
    let id = ids::message_id(product_id.0, &format!("walk {}", stock.version));
    Outgoing::new(product_id.0, id, &WalkQueue { product_id })
}

/// The deadline of an outside owner's reserve has passed.
///
/// # Errors
/// None in practice.
pub fn overdue(order: OrderId) -> Result<Outgoing, Rejection> {
    let body = SettleStock { order_id: order, outcome: Settlement::Released };
    Outgoing::new(order.0, ids::message_id(order.0, "reserve overdue"), &body)
}
