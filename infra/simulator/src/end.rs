//! What must hold at rest: every accepted order settled, nothing held or parked, the provider's ledger is ours.

use crate::{check::Violation, world::World};
use inventory_worker::hold::HoldState;
use payments_worker::books::{Capture, CaptureState, RefundState};
use saga::Order;
use schemas::{
    ids::{self, OrderId, ProductId},
    messages::OrderStatus,
};

impl World {
    /// Checks the end of a history.
    pub(crate) fn check_end(&self) -> Result<(), Violation> {
        for id in &self.edge.accepted {
            let Some((_, order)) = self.orders.tables.orders.get(id) else {
                return Err(Violation::new("a 202 is a promise", format!("{id} was accepted and is lost")));
            };
            self.check_order(*id, order)?;
        }
        self.check_money()?;
        self.check_stock()
    }

    fn check_order(&self, id: OrderId, order: &Order) -> Result<(), Violation> {
        if !order.public.status.is_terminal() {
            return Err(Violation::new("settled", format!("{id} is {} for ever", order.public.status)));
        }
        let told = self.stage.events.newest.get(&id).map(|(version, _)| *version);
        if told != Some(order.public.version) {
            let what = format!("{id} is at version {}, the events at {told:?}", order.public.version);
            return Err(Violation::new("order per key", what));
        }
        let hold = self.inventory.tables.holds.get(&id).map(|hold| hold.state);
        let fits = match (order.public.status, hold) {
            (OrderStatus::Confirmed, state) => state == Some(HoldState::Sold),
            (_, state) => !matches!(state, Some(HoldState::Sold | HoldState::Held | HoldState::Waiting)),
        };
        if !fits {
            let what = format!("{id} is {}, its hold {hold:?}", order.public.status);
            return Err(Violation::new("conservation of stock", what));
        }
        self.check_paid(id, order)
    }

    /// Captured less refunded is the total of what is confirmed, less what operators gave back; else nothing.
    fn check_paid(&self, id: OrderId, order: &Order) -> Result<(), Violation> {
        let tables = &self.payments.tables;
        let key = ids::effect_id(id, "capture");
        let of_it = || tables.refunds.values().filter(|refund| refund.capture_id == key);
        let known = |effect| order.needs_human.iter().any(|failed| failed.effect_id == effect);
        for refund in of_it() {
            let is_settled = !matches!(refund.state, RefundState::Waiting | RefundState::Calling);
            let asks = matches!(refund.state, RefundState::Failed | RefundState::Refused);
            if !is_settled || (asks && !known(refund.id)) {
                return Err(Violation::money(format!("nobody knows of {refund:?}")));
            }
        }
        let captured = self.stage.provider.charges.get(&key).filter(|charge| charge.moved);
        let paid = captured.map_or(0, |charge| charge.amount) - self.stage.provider.given_back(key);
        let failed = || of_it().filter(|refund| refund.state == RefundState::Failed);
        let open: i64 = failed().filter_map(|refund| refund.amount).sum();
        let due = match order.public.status {
            OrderStatus::Confirmed => order.public.total - order.public.refunded,
            _ => 0,
        };
        // what failed for good may have been done all the same: a human finds out
        if paid < due || paid > due + open {
            let status = order.public.status;
            let what = format!("{id} is {status}: {paid} are with us, {due} are due, {open} need a human");
            return Err(Violation::money(what));
        }
        Ok(())
    }

    /// The provider's ledger is ours.
    fn check_money(&self) -> Result<(), Violation> {
        let tables = &self.payments.tables;
        for row in tables.captures.values() {
            let moved = self.stage.provider.charges.get(&row.id).is_some_and(|charge| charge.moved);
            let Capture { state, .. } = row;
            if matches!(state, CaptureState::Waiting | CaptureState::Calling)
                || moved != (*state == CaptureState::Captured)
            {
                return Err(Violation::money(format!("the provider took it: {moved}; ours: {row:?}")));
            }
        }
        for refund in tables.refunds.values().filter(|refund| refund.state == RefundState::Refunded) {
            let moved = self.stage.provider.refunds.get(&refund.key()).is_some_and(|(_, entry)| entry.moved);
            if !moved {
                return Err(Violation::money(format!("never given back: {refund:?}")));
            }
        }
        match self.stage.provider.charges.keys().find(|key| !tables.captures.contains_key(key)) {
            Some(key) => Err(Violation::money(format!("{key} was charged without a trace"))),
            None => Ok(()),
        }
    }

    /// Nothing is held, and no walk stands.
    fn check_stock(&self) -> Result<(), Violation> {
        let tables = &self.inventory.tables;
        for hold in tables.holds.values() {
            let is_open = matches!(hold.state, HoldState::Held | HoldState::Waiting);
            if is_open {
                return Err(Violation::new("conservation of stock", format!("held for ever: {hold:?}")));
            }
        }
        let stands = tables.products.iter().find(|(_, stock)| stock.cursor.is_some());
        match stands.map(|(id, _): (&ProductId, _)| id) {
            Some(id) => {
                Err(Violation::new("no phantom sold-out", format!("the walk of {id} stands for ever")))
            }
            None => Ok(()),
        }
    }
}
