//! What was heard and is not written yet: of each product the newest of either part, and how far the topics were read.

use rdkafka::message::{BorrowedMessage, Message};
use schemas::{
    ids::ProductId,
    messages::{CatalogEvent, InventoryEvent},
    shelf::{Change, Facts, Stock},
    time::Timestamp,
    wire::WireError,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Most records that are gathered.
const MAX_RECORDS: u64 = 20_000;

/// Which of the two topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Inventory,
    Catalog,
}

/// The first offset not yet read, by topic (as the cluster calls it) and partition.
pub(crate) type Positions = BTreeMap<(String, i32), i64>;

#[derive(Debug, Default)]
pub(crate) struct Heard {
    changes: BTreeMap<ProductId, Change>,
    next: Positions,
    records: u64,
    since: Option<Instant>,
    is_urgent: bool,
}

impl Heard {
    /// Takes one record. One that cannot be read is passed over: nothing can be parked here, and the product's next
    /// event brings all of it.
    ///
    /// # Errors
    /// [`WireError`], after it was noted as read.
    pub(crate) fn add(
        &mut self,
        from: Source,
        record: &BorrowedMessage<'_>,
        now: Instant,
    ) -> Result<(), WireError> {
        self.next.insert((record.topic().to_owned(), record.partition()), record.offset() + 1);
        self.records += 1;
        self.since.get_or_insert(now);
        self.take(from, record.payload().unwrap_or_default())
    }

    fn take(&mut self, from: Source, payload: &[u8]) -> Result<(), WireError> {
        match from {
            Source::Inventory => {
                let InventoryEvent::StockChanged(event) = InventoryEvent::decode(payload)?;
                let change = self.change(event.product_id, event.changed_at);
                if change.stock.is_none_or(|known| known.version < event.version) {
                    change.stock = Some(Stock { version: event.version, available: event.available });
                }
            }
            Source::Catalog => {
                let CatalogEvent::ProductChanged(event) = CatalogEvent::decode(payload)?;
                self.is_urgent = true;
                let change = self.change(event.product_id, event.changed_at);
                if change.facts.as_ref().is_none_or(|known| known.version < event.version) {
                    change.facts = Some(Facts::from(event));
                }
            }
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

    pub(crate) fn next(&self) -> &Positions {
        &self.next
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
            heard.take(Source::Inventory, &stock(version)).unwrap();
        }
        for version in [2, 1] {
            heard.take(Source::Catalog, &facts(version)).unwrap();
        }
        let change = heard.changes().next().unwrap();
        assert_eq!((heard.changes().len(), change.at), (1, Timestamp(9)));
        assert_eq!(change.stock, Some(Stock { version: 9, available: 91 }));
        assert_eq!(change.facts.as_ref().unwrap().version, 2);
        assert!(heard.take(Source::Inventory, &facts(1)).is_err());
        assert!(heard.take(Source::Catalog, b"x").is_err());
    }

    #[test]
    fn stock_waits_for_its_window_and_a_persons_change_does_not() {
        let (now, window) = (Instant::now(), Duration::from_secs(2));
        let mut heard = Heard { since: Some(now), ..Heard::default() };
        heard.take(Source::Inventory, &stock(1)).unwrap();
        assert!(!heard.is_due(now, window) && heard.is_due(now + window, window));
        heard.take(Source::Catalog, &facts(1)).unwrap();
        assert!(heard.is_due(now, window));
        assert!(!Heard::default().is_due(now, window));
    }
}
