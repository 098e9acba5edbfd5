//! What was heard and is not written yet: of each product the newest of either part.

use follower::Record;
use schemas::{
    ids::ProductId,
    messages::{CatalogEvent, InventoryEvent},
    shelf::{Change, Facts, Stock},
    time::Timestamp,
    topics::Topic,
    wire::WireError,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Most records that are gathered.
const MAX_RECORDS: u64 = 50_000;

#[derive(Debug, Default)]
pub(crate) struct Heard {
    changes: BTreeMap<ProductId, Change>,
    records: u64,
    since: Option<Instant>,
    is_urgent: bool,
}

impl Heard {
    /// Takes one record. One that cannot be read is passed over: nothing can be parked here, and the product's next
    /// event brings all of it.
    ///
    /// # Errors
    /// [`WireError`], after it was counted.
    pub(crate) fn add(&mut self, record: &Record<'_>, now: Instant) -> Result<(), WireError> {
        self.records += 1;
        self.since.get_or_insert(now);
        if record.topic == Topic::InventoryEvents {
            self.take_stock(record.payload)
        } else {
            self.take_facts(record.payload)
        }
    }

    fn take_stock(&mut self, payload: &[u8]) -> Result<(), WireError> {
        let InventoryEvent::StockChanged(event) = InventoryEvent::decode(payload)?;
        let change = self.change(event.product_id, event.changed_at);
        if change.stock.is_none_or(|known| known.version < event.version) {
            change.stock = Some(Stock { version: event.version, available: event.available });
        }
        Ok(())
    }

    fn take_facts(&mut self, payload: &[u8]) -> Result<(), WireError> {
        let CatalogEvent::ProductChanged(event) = CatalogEvent::decode(payload)?;
        self.is_urgent = true;
        let change = self.change(event.product_id, event.changed_at);
        if change.facts.as_ref().is_none_or(|known| known.version < event.version) {
            change.facts = Some(Facts::from(event));
        }
        Ok(())
    }

    fn change(&mut self, id: ProductId, at: Timestamp) -> &mut Change {
        let change = self.changes.entry(id).or_insert(Change { id, facts: None, stock: None, at });
        change.at = change.at.max(at);
        change
    }

    /// Whether it is time to write: a person's change at once, stock when it was gathered for `window`.
    pub(crate) fn is_due(&self, now: Instant, window: Duration) -> bool {
        let is_old = self.since.is_some_and(|since| now.duration_since(since) >= window);
        self.is_urgent || self.is_full() || is_old
    }

    pub(crate) fn is_full(&self) -> bool {
        self.records >= MAX_RECORDS
    }

    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// By product.
    pub(crate) fn changes(&self) -> impl ExactSizeIterator<Item = &Change> {
        self.changes.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{
        messages::{ProductChanged, StockChanged},
        money::Currency,
        wire,
    };
    use uuid::Uuid;

    fn stock(version: i64) -> Vec<u8> {
        wire::encode(&StockChanged {
            product_id: ProductId(Uuid::nil()),
            available: 100 - version,
            held: 0,
            sold: 0,
            version,
            changed_at: Timestamp(version),
        })
        .unwrap()
    }

    fn facts(version: i64) -> Vec<u8> {
        wire::encode(&ProductChanged {
            product_id: ProductId(Uuid::nil()),
            version,
            changed: Vec::new(),
            name: String::new(),
            description: String::new(),
            category: String::new(),
            price: 1,
            currency: Currency::USD,
            is_active: true,
            changed_by: String::new(),
            changed_at: Timestamp(version),
        })
        .unwrap()
    }

    #[test]
    fn of_many_changes_the_newest_of_each_part_is_left_whatever_came_last() {
        let mut heard = Heard::default();
        for version in [3, 9, 4] {
            heard.take_stock(&stock(version)).unwrap();
        }
        for version in [2, 1] {
            heard.take_facts(&facts(version)).unwrap();
        }
        let change = heard.changes().next().unwrap();
        assert_eq!((heard.changes().len(), change.at), (1, Timestamp(9)));
        assert_eq!(change.stock, Some(Stock { version: 9, available: 91 }));
        assert_eq!(change.facts.as_ref().unwrap().version, 2);
        assert!(heard.take_stock(&facts(1)).is_err());
        assert!(heard.take_facts(b"x").is_err());
    }

    #[test]
    fn stock_waits_for_its_window_and_a_persons_change_does_not() {
        let (now, window) = (Instant::now(), Duration::from_secs(2));
        let mut heard = Heard { since: Some(now), ..Heard::default() };
        heard.take_stock(&stock(1)).unwrap();
        assert!(!heard.is_due(now, window) && heard.is_due(now + window, window));
        heard.take_facts(&facts(1)).unwrap();
        assert!(heard.is_due(now, window));
        assert!(!Heard::default().is_due(now, window));
    }
}
