//! What must hold at every commit. What must hold in the end is in [`crate::end`].

use crate::{log::Log, tables::InventoryTables};
use harness::record::{Record, Rejection};
use inventory_worker::{
    books::Books,
    hold::{Hold, HoldState},
};
use payments_worker::books::{Capture, CaptureState};
use saga::Order;
use schemas::{
    ids::{LaneId, ProductId},
    topics::Topic,
};
use std::{collections::BTreeMap, fmt};

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one, in its short name.
    pub invariant: &'static str,
    /// What was found.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(invariant: &'static str, what: String) -> Self {
        Self { invariant, what }
    }

    pub(crate) fn money(what: String) -> Self {
        Self::new("conservation of money", what)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

impl From<Rejection> for Violation {
    fn from(rejection: Rejection) -> Self {
        Self::new("halt", format!("{}: {}", rejection.cause, rejection.detail))
    }
}

/// Which numbers each lane took of each source: every one once, in order, from the first on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Takes {
    last: BTreeMap<(Topic, i32, LaneId), u64>,
}

impl Takes {
    pub(crate) fn note(&mut self, topic: Topic, log: &Log, places: &[(i32, i64)]) -> Result<(), Violation> {
        for (partition, offset) in places {
            let envelope = log.read(topic, *partition, *offset).map(|record| &record.envelope);
            let Some(source) = envelope.and_then(|it| it.as_ref().ok()).and_then(|it| it.source) else {
                continue;
            };
            let last = self.last.entry((topic, *partition, source.lane)).or_default();
            if source.n != *last + 1 {
                let what = format!(
                    "{topic}/{partition} takes number {} of a source at offset {offset}, after number {last}",
                    source.n
                );
                return Err(Violation::new("order per key", what));
            }
            *last = source.n;
        }
        Ok(())
    }
}

/// Which numbers of a source have run for each key: in order, each once, whatever was parked on the way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs {
    last: BTreeMap<(Topic, LaneId, Vec<u8>), u64>,
}

impl Runs {
    pub(crate) fn note(&mut self, record: &Record) -> Result<(), Violation> {
        let Some(source) = record.envelope.as_ref().ok().and_then(|envelope| envelope.source) else {
            return Ok(());
        };
        let last = self.last.entry((record.topic, source.lane, record.key.clone())).or_default();
        if source.n <= *last {
            let what = format!(
                "{}/{} offset {}: number {} of a source runs after its number {last}",
                record.topic, record.partition, record.offset, source.n
            );
            return Err(Violation::new("order per key", what));
        }
        *last = source.n;
        Ok(())
    }
}

/// Terminal is terminal; versions rise; the terms of an order never change.
pub(crate) fn order_changed(before: &Order, after: &Order) -> Result<(), Violation> {
    let (old, new) = (&before.public, &after.public);
    if old.status.is_terminal() && old.status != new.status {
        let what = format!("{} was {} and is {}", old.order_id, old.status, new.status);
        return Err(Violation::new("terminal is terminal", what));
    }
    if new.body_hash != old.body_hash || new.total != old.total || new.lines != old.lines {
        return Err(Violation::new("one order per key", format!("{} has other terms", old.order_id)));
    }
    let is_told = new.status == old.status && new.refunded == old.refunded || new.version > old.version;
    if new.version < old.version || !is_told || new.timeline.len() > saga_bound() {
        return Err(Violation::new("bounded", format!("{} went from {old:?} to {new:?}", old.order_id)));
    }
    Ok(())
}

fn saga_bound() -> usize {
    saga::MAX_TIMELINE
}

/// No phantom sold-out: who is rejected asked for more than there was, held units included.
pub(crate) fn rejections(books: &Books) -> Result<(), Violation> {
    let is_new = |hold: &&Hold| hold.state == HoldState::Rejected && hold.stored != Some(HoldState::Rejected);
    for hold in books.holds.values().filter(is_new) {
        let never = hold.lines.iter().any(|line| match books.products.get(&line.product_id) {
            None => true,
            // the least there can have been while the batch was decided
            Some(product) => {
                let came = books
                    .adjustments
                    .iter()
                    .filter(|it| it.product_id == line.product_id && it.outcome == "applied" && it.delta > 0);
                i64::from(line.quantity) > product.now.obtainable() - came.map(|it| it.delta).sum::<i64>()
            }
        });
        if !never {
            let what = format!("{} was told sold out: {:?}", hold.order_id, hold.lines);
            return Err(Violation::new("no phantom sold-out", what));
        }
    }
    Ok(())
}

/// Conservation of stock, and no unit idle while somebody waits for it.
pub(crate) fn stock(tables: &InventoryTables) -> Result<(), Violation> {
    for (id, stock) in &tables.products {
        let units = |state: HoldState| -> i64 {
            let holds = tables.holds.values().filter(|hold| hold.state == state);
            holds.map(|hold| asked(hold, *id)).sum()
        };
        let adds_up = stock.initial + stock.restocked == stock.available + stock.held + stock.sold;
        let is_whole = stock.available >= 0
            && stock.held == units(HoldState::Held)
            && stock.sold == units(HoldState::Sold);
        if !adds_up || !is_whole {
            return Err(Violation::new("conservation of stock", format!("product {id}: {stock:?}")));
        }
        let queue = tables.waiters.keys().filter(|(product, _)| product == id).count();
        if i64::try_from(queue).ok() != Some(stock.waiting) {
            return Err(Violation::new("conservation of stock", format!("{queue} wait for {id}: {stock:?}")));
        }
    }
    for hold in tables.holds.values().filter(|hold| hold.state == HoldState::Waiting) {
        let mut products = hold
            .lines
            .iter()
            .filter_map(|line| Some((i64::from(line.quantity), tables.products.get(&line.product_id)?)));
        let is_walked = products.clone().any(|(_, stock)| stock.cursor.is_some());
        let fits = products.clone().all(|(quantity, stock)| quantity <= stock.available);
        let never = products.any(|(quantity, stock)| quantity > stock.obtainable());
        if (fits || never) && !is_walked {
            let what = format!("{} waits, and nobody will look at it again: {:?}", hold.order_id, hold.lines);
            return Err(Violation::new("no phantom sold-out", what));
        }
    }
    Ok(())
}

fn asked(hold: &Hold, product: ProductId) -> i64 {
    hold.lines.iter().filter(|line| line.product_id == product).map(|line| i64::from(line.quantity)).sum()
}

/// The constraints of the table, and that no end is left.
pub(crate) fn capture(before: Option<&Capture>, row: &Capture) -> Result<(), Violation> {
    let is_end = |state| !matches!(state, CaptureState::Waiting | CaptureState::Calling);
    let is_sound = row.refunding >= 0
        && row.refunded >= 0
        && row.refunding + row.refunded <= row.amount.amount
        && (row.refunding + row.refunded == 0 || row.state == CaptureState::Captured)
        && (row.state != CaptureState::Waiting || row.first_called_at.is_none())
        && row.first_called_at.is_none_or(|first| first < row.deadline);
    if !is_sound {
        return Err(Violation::money(format!("{row:?}")));
    }
    match before.filter(|before| is_end(before.state) && before.state != row.state) {
        Some(before) => Err(Violation::new("terminal is terminal", format!("{before:?} becomes {row:?}"))),
        None => Ok(()),
    }
}
