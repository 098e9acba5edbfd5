//! What a batch has to read: a function of its records, and of the lines of the holds it settles.

use crate::hold::Place;
use harness::record::Delivery;
use schemas::{
    ids::{EffectId, OrderId, ProductId},
    messages::{InventoryCommand, Settlement, StockLine},
    time::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// A product whose queue may have to be walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueAsk {
    /// The product.
    pub product_id: ProductId,
    /// Whether the batch has its `WalkQueue`: a queue whose cursor stands is read for that alone.
    pub walks: bool,
    /// Whether units may come back, so that the walk may begin at the head.
    pub from_head: bool,
}

/// A waiter as a queue shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// The queue.
    pub product_id: ProductId,
    /// The waiter's place in it.
    pub place: Place,
    /// Units it asks for.
    pub quantity: i64,
}

/// Holds that may have moved to the history by `cutoff`, of those that a batch names. A reserve whose deadline lies behind
/// it is younger; what another system asks for may be a key of long ago.
#[must_use]
pub fn may_have_moved(batch: &[Delivery<InventoryCommand>], cutoff: Timestamp) -> Vec<OrderId> {
    let mut young = BTreeSet::new();
    let mut named = Vec::new();
    for delivery in batch {
        match &delivery.command {
            InventoryCommand::ReserveStock(reserve) => {
                let is_outside = delivery.envelope.source.is_none();
                if is_outside || reserve.deadline <= cutoff {
                    named.push(reserve.order_id);
                } else {
                    young.insert(reserve.order_id);
                }
            }
            InventoryCommand::SettleStock(settle) => named.push(settle.order_id),
            InventoryCommand::AdjustStock(_) | InventoryCommand::WalkQueue(_) => {}
        }
    }
    named.retain(|order| !young.contains(order));
    named
}

/// What a batch names, and what may happen to it.
#[derive(Debug, Clone, Default)]
pub struct Need {
    /// Reserves whose holds it may find or make.
    pub orders: BTreeSet<OrderId>,
    /// Products to lock.
    pub products: BTreeSet<ProductId>,
    /// Adjustments that may have been applied before.
    pub adjustments: BTreeSet<EffectId>,
    settles: Vec<(OrderId, Settlement)>,
    asked: BTreeMap<OrderId, Vec<StockLine>>,
    walks: Vec<ProductId>,
    walked: BTreeSet<ProductId>,
    returning: BTreeSet<ProductId>,
    leaving: BTreeMap<ProductId, i64>,
}

impl Need {
    /// What can be said from the records alone.
    #[must_use]
    pub fn of(batch: &[Delivery<InventoryCommand>]) -> Self {
        let mut need = Self::default();
        for delivery in batch {
            need.take(&delivery.command);
        }
        need
    }

    fn take(&mut self, command: &InventoryCommand) {
        match command {
            InventoryCommand::ReserveStock(reserve) => {
                self.orders.insert(reserve.order_id);
                self.products.extend(reserve.lines.iter().map(|line| line.product_id));
                self.asked.entry(reserve.order_id).or_insert_with(|| reserve.lines.clone());
            }
            InventoryCommand::SettleStock(settle) => {
                self.orders.insert(settle.order_id);
                self.settles.push((settle.order_id, settle.outcome));
            }
            InventoryCommand::AdjustStock(adjust) => {
                self.products.insert(adjust.product_id);
                self.adjustments.insert(adjust.adjustment_id);
                if adjust.delta > 0 {
                    self.returning.insert(adjust.product_id);
                } else {
                    self.leaves(adjust.product_id, adjust.delta.saturating_neg());
                }
            }
            InventoryCommand::WalkQueue(walk) => {
                self.products.insert(walk.product_id);
                self.leaves(walk.product_id, 0);
                if self.walked.insert(walk.product_id) {
                    self.walks.push(walk.product_id);
                }
            }
        }
    }

    fn leaves(&mut self, product: ProductId, units: i64) {
        let leaving = self.leaving.entry(product).or_default();
        *leaving = leaving.saturating_add(units);
    }

    /// Adds what is learnt from holds that are there already: their products, and what their settling may do.
    pub fn learn(&mut self, stored: &BTreeMap<OrderId, Vec<StockLine>>) {
        self.products.extend(stored.values().flatten().map(|line| line.product_id));
        for (order, outcome) in std::mem::take(&mut self.settles) {
            let lines = stored.get(&order).or_else(|| self.asked.get(&order)).cloned().unwrap_or_default();
            for line in lines {
                match outcome {
                    Settlement::Sold => self.leaves(line.product_id, i64::from(line.quantity)),
                    Settlement::Released => {
                        self.returning.insert(line.product_id);
                    }
                }
            }
        }
    }

    /// Whether any queue may have to be looked at.
    #[must_use]
    pub fn touches_queues(&self) -> bool {
        !(self.walks.is_empty() && self.returning.is_empty() && self.leaving.is_empty())
    }

    /// Queues that may have to be walked: those the log asks for first, in its order, so that one long queue does
    /// not keep the others waiting; then those whose units may come back.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueAsk> {
        let ask = |product_id: ProductId, walks| QueueAsk {
            product_id,
            walks,
            from_head: self.returning.contains(&product_id),
        };
        let logged = self.walks.iter().map(|product| ask(*product, true));
        let touched = self.returning.iter().filter(|product| !self.walked.contains(product));
        logged.chain(touched.map(|product| ask(*product, false))).collect()
    }

    /// Products of which units may leave, with how many at most: some of their waiters may have become impossible.
    #[must_use]
    pub fn leavings(&self) -> Vec<(ProductId, i64)> {
        self.leaving.iter().map(|(product, units)| (*product, *units)).collect()
    }
}
