//! Products, holds, queues, adjustments.

use super::{Due, Tables};
use crate::{
    check::{self, Violation},
    digest::Digest,
    plant::Plant,
    shop::Base,
};
use harness::record::{Delivery, Out};
use inventory_worker::{
    InventoryService, Limits, answer,
    books::{Books, Read},
    hold::{Hold, HoldState, Place},
    need::{Need, Waiter},
    stock::Stock,
};
use schemas::{
    ids::{EffectId, OrderId, ProductId},
    messages::InventoryCommand,
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

#[derive(Clone)]
pub(crate) struct InventoryTables {
    service: Arc<InventoryService>,
    waiters_read: usize,
    pub(crate) products: BTreeMap<ProductId, Stock>,
    pub(crate) holds: BTreeMap<OrderId, Hold>,
    pub(crate) waiters: BTreeMap<(ProductId, Place), i64>,
    adjustments: BTreeSet<EffectId>,
}

impl InventoryTables {
    pub(crate) fn new(products: BTreeMap<ProductId, Stock>, waiters_read: usize) -> Self {
        Self {
            service: Arc::new(InventoryService::with_limits(Limits {
                waiters: waiters_read,
                ..Limits::default()
            })),
            waiters_read,
            products,
            holds: BTreeMap::new(),
            waiters: BTreeMap::new(),
            adjustments: BTreeSet::new(),
        }
    }

    fn queue(&self, product: ProductId) -> impl Iterator<Item = Waiter> + '_ {
        let of_it = self.waiters.iter().filter(move |((id, _), _)| *id == product);
        of_it.map(|((product_id, place), quantity)| Waiter {
            product_id: *product_id,
            place: *place,
            quantity: *quantity,
        })
    }

    fn heads(&self, need: &Need, limit: usize, plant: Plant) -> Vec<Waiter> {
        let mut found = Vec::new();
        for ask in need.queues() {
            let Some(stock) = self.products.get(&ask.product_id) else { continue };
            let start = match stock.cursor {
                None if !ask.from_head => continue,
                Some(_) if !ask.walks => continue,
                Some(cursor) if !ask.from_head => cursor,
                _ => Place::HEAD,
            };
            let queue = self.queue(ask.product_id).filter(|waiter| waiter.place >= start);
            found.extend(queue.skip(usize::from(plant.skips_waiter())));
        }
        found.truncate(limit + 1);
        found
    }

    fn impossible(&self, need: &Need, limit: usize) -> Vec<Waiter> {
        let mut found = Vec::new();
        for (product, leaving) in need.leavings() {
            let Some(stock) = self.products.get(&product) else { continue };
            let left = (stock.obtainable() - leaving).max(0);
            let mut asking: Vec<Waiter> =
                self.queue(product).filter(|waiter| waiter.quantity > left).collect();
            asking.sort_by_key(|waiter| std::cmp::Reverse(waiter.quantity));
            found.extend(asking);
        }
        found.truncate(limit + 1);
        found
    }

    fn write_hold(&mut self, mut hold: Hold) -> Result<(), Violation> {
        for line in &hold.lines {
            let row = (line.product_id, hold.place());
            let is_wrong = match (hold.stored, hold.state) {
                (None, HoldState::Waiting) => self.waiters.insert(row, i64::from(line.quantity)).is_some(),
                (Some(HoldState::Waiting), state) if state != HoldState::Waiting => {
                    self.waiters.remove(&row).is_none()
                }
                _ => false,
            };
            if is_wrong {
                return Err(Violation::new("batch", format!("the queue of {} does not fit", hold.order_id)));
            }
        }
        hold.stored = Some(hold.state);
        hold.queued = hold.state == HoldState::Waiting;
        hold.reason = None;
        self.holds.insert(hold.order_id, hold);
        Ok(())
    }
}

impl Tables for InventoryTables {
    type Service = InventoryService;

    fn service(&self) -> &InventoryService {
        &self.service
    }

    fn load(&self, plant: Plant, batch: &[Delivery<InventoryCommand>], _outcomes: &()) -> Books {
        let limit = (self.waiters_read / 2).max(1);
        let mut need = Need::of(batch);
        let stored = need.orders.iter().filter_map(|order| self.holds.get(order));
        let stored: BTreeMap<_, _> = stored.map(|hold| (hold.order_id, hold.lines.clone())).collect();
        need.learn(&stored);
        let (heads, impossible) = (self.heads(&need, limit, plant), self.impossible(&need, limit));
        let mut orders: BTreeSet<OrderId> = stored.into_keys().collect();
        orders.extend(heads.iter().chain(&impossible).map(|waiter| waiter.place.order_id));
        let holds: Vec<Hold> = orders.iter().filter_map(|order| self.holds.get(order)).cloned().collect();
        need.products.extend(holds.iter().flat_map(Hold::products));
        let products = need.products.iter().filter_map(|id| Some((*id, *self.products.get(id)?))).collect();
        let adjustments = need.adjustments.intersection(&self.adjustments).copied().collect();
        Books::open(&need, Read { products, holds, heads, impossible, limit, adjustments })
    }

    fn due(&self, now: Timestamp, partition: i32, mark: Timestamp, out: &mut Out) -> Result<Due, Violation> {
        let of_ours = |hold: &&Hold| hold.outside && hold.partition == partition;
        let due = self.holds.values().filter(of_ours).filter(|it| it.deadline > mark && it.deadline <= now);
        for hold in due.filter(|hold| matches!(hold.state, HoldState::Waiting | HoldState::Held)) {
            out.send_from(partition, answer::overdue(hold.order_id)?);
        }
        Ok(Due { mark: mark.max(now), taken: Vec::new() })
    }

    fn save(&mut self, _now: Timestamp, rows: Option<Books>, _due: &[EffectId]) -> Result<(), Violation> {
        let Some(books) = rows else { return Ok(()) };
        check::rejections(&books)?;
        for (id, product) in books.products {
            self.products.insert(id, product.now);
        }
        for hold in books.holds.into_values() {
            self.write_hold(hold)?;
        }
        for adjustment in books.adjustments {
            if !self.adjustments.insert(adjustment.id) {
                return Err(Violation::new("batch", format!("{} is applied twice", adjustment.id)));
            }
        }
        check::stock(self)
    }

    fn digest(&self, digest: &mut Digest) {
        digest.add(&(&self.products, &self.holds, &self.waiters, &self.adjustments));
    }

    fn next_due(&self, base: &Base) -> Option<Timestamp> {
        let mark = |partition: &i32| base.lanes.get(partition).map_or(Timestamp(0), |lane| lane.due_mark);
        let open = self.holds.values().filter(|hold| {
            hold.outside
                && hold.deadline > mark(&hold.partition)
                && matches!(hold.state, HoldState::Waiting | HoldState::Held)
        });
        open.map(|hold| hold.deadline).min()
    }
}
