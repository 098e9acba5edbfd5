//! The first level: products held in this process, and the reads that are under way for those that are not.
//!
//! All that is written here is taken in part by part, each if it is newer, under one lock: a slow read that ends after
//! a change was heard cannot put the older product back. Reading takes no lock of ours.

use crate::{metrics, product::Product};
use axum::body::Bytes;
use quick_cache::sync::Cache;
use schemas::{
    ids::ProductId,
    shelf::{Change, Facts, Stock},
    time::Timestamp,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Products held.
const ROOM: usize = 1_000;
/// Ids held of which there is no product. They have room of their own: who asks for ids at random pushes nothing out.
const ROOM_ABSENT: usize = 1_000;
/// How long a product is held, at most.
const LIFE: Duration = Duration::from_secs(600);
/// The same while changes are not heard.
const LIFE_DEAF: Duration = Duration::from_secs(2);
/// How long "there is no such product" is believed.
const LIFE_ABSENT: Duration = Duration::from_secs(5);

/// A product ready to be sent.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) product: Product,
    pub(crate) tag: String,
    pub(crate) body: Bytes,
}

/// What is known of an id: a product, or that there is none.
pub(crate) type Known = Option<Arc<Held>>;
/// How a read ended; `None` when it failed.
pub(crate) type Outcome = Option<Known>;

#[derive(Debug, Clone)]
struct Slot {
    held: Arc<Held>,
    until: Instant,
}

/// A read that is under way.
struct Flight {
    /// What was heard since it began.
    facts: Option<Facts>,
    stock: Option<Stock>,
    /// The hearing it began in.
    hearing: u64,
    ended: watch::Sender<Option<Outcome>>,
}

#[derive(Default)]
struct Writing {
    flights: HashMap<ProductId, Flight>,
    /// Counts how often hearing began or ended; odd while changes are heard.
    hearing: u64,
}

/// Whether to read, or to wait for one who does.
pub(crate) enum Boarding {
    /// It came in the meantime.
    There(Known),
    /// Another reads it.
    Join(watch::Receiver<Option<Outcome>>),
    /// You read it, and land with what you found.
    Fly(watch::Receiver<Option<Outcome>>),
}

pub(crate) struct Shelf {
    products: Cache<ProductId, Slot>,
    absent: Cache<ProductId, Instant>,
    writing: Mutex<Writing>,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        Self { products: Cache::new(ROOM), absent: Cache::new(ROOM_ABSENT), writing: Mutex::default() }
    }

    /// What is held of `id` now.
    pub(crate) fn look(&self, id: ProductId, now: Instant) -> Option<Known> {
        if let Some(slot) = self.products.get(&id).filter(|slot| slot.until > now) {
            return Some(Some(slot.held));
        }
        self.absent.get(&id).filter(|until| *until > now).map(|_| None)
    }

    /// After a miss: at most one reads.
    pub(crate) fn board(&self, id: ProductId, now: Instant) -> Boarding {
        let mut writing = self.lock();
        if let Some(flight) = writing.flights.get(&id) {
            return Boarding::Join(flight.ended.subscribe());
        }
        // a read may have landed between the miss and the lock
        if let Some(known) = self.look(id, now) {
            return Boarding::There(known);
        }
        let (ended, end) = watch::channel(None);
        let flight = Flight { facts: None, stock: None, hearing: writing.hearing, ended };
        writing.flights.insert(id, flight);
        Boarding::Fly(end)
    }

    /// The read of `id` has ended: holds what it found, with what was heard meanwhile, and tells all who wait.
    pub(crate) fn land(&self, id: ProductId, found: Option<Option<Product>>, now: Instant) {
        let mut writing = self.lock();
        let Some(flight) = writing.flights.remove(&id) else { return };
        let outcome = found.map(|found| {
            let product = merge(found, flight.facts, flight.stock);
            let life = if flight.hearing == writing.hearing && writing.hears() { LIFE } else { LIFE_DEAF };
            match product {
                Some(product) => Some(self.hold(id, product, now + life)),
                None => {
                    self.absent.insert(id, now + LIFE_ABSENT.min(life));
                    None
                }
            }
        });
        flight.ended.send_replace(Some(outcome));
    }

    /// Takes a change in where the product is held or being read. Elsewhere nothing is held that could be old.
    pub(crate) fn hear(&self, change: Change, now: Timestamp) {
        let mut writing = self.lock();
        let Change { id, facts, stock, at } = change;
        if let Some(flight) = writing.flights.get_mut(&id) {
            flight.facts = newer(flight.facts.take(), facts.clone(), |facts| facts.version);
            flight.stock = newer(flight.stock.take(), stock, |stock| stock.version);
        }
        if facts.is_some() {
            self.absent.remove(&id);
        }
        let Some(slot) = self.products.peek(&id) else { return };
        let was = &slot.held.product;
        if let Some(product) = merge(Some(was.clone()), facts, stock).filter(|product| product != was) {
            ::metrics::histogram!(metrics::STALENESS).record(now.since(at));
            self.hold(id, product, slot.until);
        }
    }

    /// Takes in a product that was read beside the flights.
    pub(crate) fn take_in(&self, product: &Product, now: Timestamp) {
        let id = product.facts.id;
        let (facts, stock) = (Some(product.facts.clone()), Some(product.stock));
        self.hear(Change { id, facts, stock, at: now }, now);
    }

    /// Changes are heard from now on, or no longer. What is held then may have missed one: it goes, and reads that are
    /// under way are believed for a short time only.
    pub(crate) fn hears(&self, hears: bool) {
        let mut writing = self.lock();
        if writing.hears() != hears {
            writing.hearing += 1;
            self.products.clear();
            self.absent.clear();
        }
        ::metrics::gauge!(metrics::HEARS).set(f64::from(u8::from(hears)));
    }

    fn hold(&self, id: ProductId, product: Product, until: Instant) -> Arc<Held> {
        // two that were read at once: the newer parts of both
        let held = self.products.peek(&id).map(|slot| slot.held.product.clone());
        let product = match held {
            Some(held) => join(held, product),
            None => product,
        };
        let body = serde_json::to_vec(&product.shown()).unwrap_or_default();
        let held = Arc::new(Held { tag: product.tag(), body: body.into(), product });
        self.products.insert(id, Slot { held: held.clone(), until });
        held
    }

    fn lock(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writing {
    fn hears(&self) -> bool {
        self.hearing % 2 == 1
    }
}

fn newer<T>(one: Option<T>, other: Option<T>, version: impl Fn(&T) -> i64) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if version(&other) > version(&one) { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// A product with what was heard of it. One that is new has no stock that anybody told.
fn merge(found: Option<Product>, facts: Option<Facts>, stock: Option<Stock>) -> Option<Product> {
    let (known, level) = found.map(|product| (product.facts, product.stock)).unzip();
    let facts = newer(known, facts, |facts| facts.version)?;
    let stock = newer(level, stock, |stock| stock.version);
    Some(Product { facts, stock: stock.unwrap_or(Stock { version: 0, available: 0 }) })
}

/// The newer parts of both.
pub(crate) fn join(one: Product, other: Product) -> Product {
    Product {
        facts: if other.facts.version > one.facts.version { other.facts } else { one.facts },
        stock: if other.stock.version > one.stock.version { other.stock } else { one.stock },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::money::{Currency, Money};
    use uuid::Uuid;

    const ID: ProductId = ProductId(Uuid::from_u128(7));
    const NOW: Timestamp = Timestamp(1_000);

    fn facts(version: i64) -> Facts {
        Facts {
            id: ID,
            version,
            name: String::new(),
            description: String::new(),
            category: String::new(),
            price: Money::new(version, Currency::USD),
            active: true,
        }
    }

    fn product(facts_version: i64, stock_version: i64) -> Product {
        let stock = Stock { version: stock_version, available: stock_version };
        Product { facts: facts(facts_version), stock }
    }

    fn change(facts_version: Option<i64>, stock_version: Option<i64>) -> Change {
        let stock = stock_version.map(|version| Stock { version, available: version });
        Change { id: ID, facts: facts_version.map(facts), stock, at: NOW }
    }

    fn versions(shelf: &Shelf, now: Instant) -> Option<Option<(i64, i64)>> {
        let of = |held: Arc<Held>| (held.product.facts.version, held.product.stock.version);
        shelf.look(ID, now).map(|known| known.map(of))
    }

    #[test]
    fn a_slow_read_cannot_put_an_older_product_back() {
        let (shelf, now) = (Shelf::new(), Instant::now());
        shelf.hears(true);
        assert!(matches!(shelf.board(ID, now), Boarding::Fly(_)));
        shelf.hear(change(Some(3), None), NOW);
        shelf.hear(change(Some(2), Some(9)), NOW);
        shelf.land(ID, Some(Some(product(1, 4))), now);
        assert_eq!(versions(&shelf, now), Some(Some((3, 9))));
        // nor can what comes late, or was read beside the flights
        shelf.hear(change(Some(2), Some(8)), NOW);
        shelf.take_in(&product(1, 1), NOW);
        assert_eq!(versions(&shelf, now), Some(Some((3, 9))));
        shelf.hear(change(None, Some(10)), NOW);
        assert_eq!(versions(&shelf, now), Some(Some((3, 10))));
    }

    #[test]
    fn one_reads_and_all_others_wait_for_it() {
        let (shelf, now) = (Shelf::new(), Instant::now());
        shelf.hears(true);
        assert!(matches!(shelf.board(ID, now), Boarding::Fly(_)));
        let Boarding::Join(end) = shelf.board(ID, now) else { panic!("a second read") };
        shelf.land(ID, Some(Some(product(1, 1))), now);
        assert!(matches!(&*end.borrow(), Some(Some(Some(_)))));
        assert!(matches!(shelf.board(ID, now), Boarding::There(Some(_))));
        // a read that failed says nothing, and the next one tries again
        let later = now + LIFE;
        assert!(matches!(shelf.board(ID, later), Boarding::Fly(_)));
        shelf.land(ID, None, later);
        assert!(matches!(shelf.board(ID, later), Boarding::Fly(_)));
    }

    #[test]
    fn what_is_absent_is_believed_shortly_and_until_it_is_made() {
        let (shelf, now) = (Shelf::new(), Instant::now());
        shelf.hears(true);
        let _flight = shelf.board(ID, now);
        shelf.land(ID, Some(None), now);
        assert_eq!(versions(&shelf, now), Some(None));
        assert_eq!(versions(&shelf, now + LIFE_ABSENT), None);
        shelf.hear(change(Some(1), None), NOW);
        assert_eq!(versions(&shelf, now), None, "made since: to be read");
        let _flight = shelf.board(ID, now);
        shelf.hear(change(Some(1), None), NOW);
        shelf.land(ID, Some(None), now);
        assert_eq!(versions(&shelf, now), Some(Some((1, 0))), "made while it was looked for");
    }

    #[test]
    fn what_may_have_missed_a_change_is_not_held_for_long() {
        let (shelf, now) = (Shelf::new(), Instant::now());
        let held = |shelf: &Shelf, after: Duration| versions(shelf, now + after).is_some();
        let fly = |shelf: &Shelf| assert!(matches!(shelf.board(ID, now), Boarding::Fly(_)));
        fly(&shelf);
        shelf.land(ID, Some(Some(product(1, 1))), now);
        assert!(held(&shelf, Duration::ZERO) && !held(&shelf, LIFE_DEAF), "nothing is heard");
        shelf.hears(true);
        assert!(!held(&shelf, Duration::ZERO), "read before changes were heard");
        fly(&shelf);
        shelf.land(ID, Some(Some(product(1, 1))), now);
        assert!(held(&shelf, LIFE - LIFE_DEAF));
        shelf.hears(false);
        assert!(!held(&shelf, Duration::ZERO), "no longer heard");
        fly(&shelf);
        shelf.hears(true);
        shelf.land(ID, Some(Some(product(1, 1))), now);
        assert!(held(&shelf, Duration::ZERO) && !held(&shelf, LIFE_DEAF), "read across the gap");
    }

    #[test]
    fn room_is_bounded() {
        let (shelf, now) = (Shelf::new(), Instant::now());
        for n in 0..5_000 {
            let id = ProductId(Uuid::from_u128(n));
            let _flight = shelf.board(id, now);
            let mut found = product(1, 1);
            found.facts.id = id;
            shelf.land(id, Some((n % 2 == 0).then_some(found)), now);
        }
        assert!(shelf.products.len() <= ROOM && shelf.absent.len() <= ROOM_ABSENT);
        assert!(shelf.lock().flights.is_empty());
    }
}
