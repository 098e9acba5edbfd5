//! Orders.

use super::{Due, Tables};
use crate::{
    check::{self, Violation},
    digest::Digest,
    plant::Plant,
    shop::Base,
};
use harness::record::{Delivery, Out};
use orders_worker::{
    Orders,
    decide::{Changed, Fresh, Rows},
    due,
};
use saga::Order;
use schemas::{
    ids::{EffectId, OrderId},
    messages::OrderCommand,
    time::Timestamp,
};
use std::{collections::BTreeMap, sync::Arc};

#[derive(Debug, Clone)]
pub(crate) struct OrdersTables {
    service: Arc<Orders>,
    /// With the partition of its key.
    pub(crate) orders: BTreeMap<OrderId, (i32, Order)>,
}

impl OrdersTables {
    pub(crate) fn new() -> Self {
        Self { service: Arc::new(Orders::new()), orders: BTreeMap::new() }
    }
}

impl Tables for OrdersTables {
    type Service = Orders;

    fn service(&self) -> &Orders {
        &self.service
    }

    fn load(&self, _plant: Plant, batch: &[Delivery<OrderCommand>], _outcomes: &()) -> Rows {
        let mut ids: Vec<OrderId> = batch.iter().map(|delivery| OrderId(delivery.key)).collect();
        ids.sort_unstable();
        ids.dedup();
        Rows::loaded(ids.iter().filter_map(|id| self.orders.get(id)).map(|(_, order)| order.clone()))
    }

    fn due(&self, now: Timestamp, partition: i32, mark: Timestamp, out: &mut Out) -> Result<Due, Violation> {
        let mut passed: Vec<due::Passed> = self
            .orders
            .values()
            .filter(|(of, order)| {
                *of == partition && order.public.deadline > mark && order.public.deadline <= now
            })
            .map(|(_, order)| due::Passed {
                order: order.public.order_id,
                deadline: order.public.deadline,
                settled: order.public.status.is_terminal(),
            })
            .collect();
        passed.sort_by_key(|passed| passed.deadline);
        for order in passed.iter().filter(|order| !order.settled) {
            out.send_from(partition, due::command(order)?);
        }
        Ok(Due { mark: due::next_mark(mark, now, &passed), taken: Vec::new() })
    }

    fn save(&mut self, _now: Timestamp, rows: Option<Rows>, _due: &[EffectId]) -> Result<(), Violation> {
        let Some(rows) = rows else { return Ok(()) };
        let (fresh, changed, _) = rows.into_changes();
        for Fresh { partition, order } in fresh {
            let id = order.public.order_id;
            if self.orders.insert(id, (partition, order)).is_some() {
                return Err(Violation::new("one order per key", format!("{id} is inserted twice")));
            }
        }
        for Changed { loaded_version, order, .. } in changed {
            let id = order.public.order_id;
            let Some((_, row)) = self.orders.get_mut(&id) else {
                return Err(Violation::new("batch", format!("{id} is updated and not there")));
            };
            if row.public.version != loaded_version {
                return Err(Violation::new("batch", format!("{id} is not as it was loaded")));
            }
            check::order_changed(row, &order)?;
            *row = order;
        }
        Ok(())
    }

    fn digest(&self, digest: &mut Digest) {
        digest.add(&self.orders);
    }

    fn next_due(&self, base: &Base) -> Option<Timestamp> {
        let mark = |partition: &i32| base.lanes.get(partition).map_or(Timestamp(0), |lane| lane.due_mark);
        let open = self.orders.values().filter(|(partition, order)| {
            !order.public.status.is_terminal() && order.public.deadline > mark(partition)
        });
        open.map(|(_, order)| order.public.deadline).min()
    }
}
