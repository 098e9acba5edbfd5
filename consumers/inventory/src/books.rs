//! All that a batch holds in memory: locked products, holds, and how far each queue was read. Moves on several rows
//! are made here, so that either all rows of a hold change or none.

use crate::{
    hold::{Hold, HoldState, Place},
    metrics::Tally,
    need::{Need, QueueAsk, Waiter},
    stock::Stock,
};
use chassis::place::Place as RowPlace;
use harness::record::{Delivery, Rejection};
use schemas::{
    ids::{EffectId, OrderId, ProductId},
    messages::StockLine,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Why a reserve names a product that inventory does not know.
pub const UNKNOWN_PRODUCT: &str = "unknown_product";
/// Why a line could not be had even if every held unit came back.
pub const OUT_OF_STOCK: &str = "out_of_stock";

/// The record that is the reason of a change, without its body.
pub type Cause = Delivery<()>;

/// A locked product.
#[derive(Debug, Clone)]
pub struct Product {
    /// Its row in the database; `None` when it has none yet.
    pub stored: Option<Stock>,
    /// Its row as it will be.
    pub now: Stock,
    /// What of its queue was not read.
    pub unread: Unread,
    /// The batch has taken the `WalkQueue` that its cursor stands for.
    pub walk_taken: bool,
    /// Units left in this batch, or did when a walk was asked for: some waiters may have become impossible.
    pub shrunk: bool,
    /// The last record that touched it.
    pub cause: Option<Cause>,
}

impl Product {
    fn open(stored: Option<Stock>, now: Stock, unread: Unread) -> Self {
        Self { stored, now, unread, walk_taken: false, shrunk: false, cause: None }
    }

    /// Whether another record on the log will walk its queue: then this batch leaves the walk alone.
    #[must_use]
    pub fn walk_is_under_way(&self) -> bool {
        self.stored.is_some_and(|stored| stored.cursor.is_some()) && !self.walk_taken
    }

    /// Whether its row has to be written.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.stored != Some(self.now)
    }
}

/// What of a product's queue was not read, or names a product that is not locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unread {
    /// Waiters from this place on are not known.
    pub from: Option<Place>,
    /// The most that one not known may ask for, and where it may stand.
    pub largest: Option<(i64, Place)>,
}

impl Unread {
    const ALL: Self = Self { from: Some(Place::HEAD), largest: Some((i64::MAX, Place::HEAD)) };

    fn misses(&mut self, place: Place, quantity: i64) {
        self.from = Some(self.from.map_or(place, |from| from.min(place)));
        let here = (quantity, place);
        self.largest = Some(self.largest.map_or(here, |largest| largest.max(here)));
    }
}

/// An adjustment as it was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// Its id.
    pub id: EffectId,
    /// The product.
    pub product_id: ProductId,
    /// Units to add; negative takes away.
    pub delta: i64,
    /// `applied`, or why it was refused.
    pub outcome: &'static str,
    /// Why it was asked for.
    pub reason: String,
    /// Who asked.
    pub requested_by: String,
}

/// What was read under the locks.
#[derive(Debug, Default)]
pub struct Read {
    /// Locked products.
    pub products: Vec<(ProductId, Stock)>,
    /// Locked holds: of the batch, and of the waiters below.
    pub holds: Vec<Hold>,
    /// Queues in order, as asked: at most `limit + 1`, the last of which says only that there are more.
    pub heads: Vec<Waiter>,
    /// Those that may ask for more than can be had, the most first, product by product: at most `limit + 1`.
    pub impossible: Vec<Waiter>,
    /// Most waiters that are looked at of each kind.
    pub limit: usize,
    /// Adjustments that were decided before.
    pub adjustments: Vec<EffectId>,
}

/// A batch's books.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// Locked products.
    pub products: BTreeMap<ProductId, Product>,
    /// Holds of the batch, and of the waiters it may grant or reject. All their products are locked.
    pub holds: BTreeMap<OrderId, Hold>,
    /// Adjustments decided before.
    pub adjusted: BTreeSet<EffectId>,
    /// Adjustments decided in this batch.
    pub adjustments: Vec<Adjustment>,
    /// What to count once it is committed.
    pub tally: Tally,
    /// Where rows lie that were read from a table.
    pub places: Places,
}

/// Where rows lie.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Of products.
    pub products: HashMap<ProductId, RowPlace>,
    /// Of holds.
    pub holds: HashMap<OrderId, RowPlace>,
}

/// What can be done for a reserve now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weighed {
    /// Every line fits what is available.
    Fits,
    /// Every line could be had if held units came back.
    Waits,
    /// A line can never be had.
    Never {
        /// Why.
        reason: &'static str,
        /// The first product that could not be had.
        product_id: ProductId,
    },
}

impl Books {
    /// Opens the books on what was read for `need`.
    #[must_use]
    pub fn open(need: &Need, read: Read) -> Self {
        let unread = unread(need, &read);
        let of = |product: ProductId, stock: &Stock| match unread.get(&product) {
            _ if stock.waiting == 0 => Unread::default(),
            Some(unread) => *unread,
            None => Unread::ALL,
        };
        let products: BTreeMap<_, _> = read
            .products
            .iter()
            .map(|(id, stock)| (*id, Product::open(Some(*stock), *stock, of(*id, stock))))
            .collect();
        let mut books =
            Self { products, adjusted: read.adjustments.into_iter().collect(), ..Self::default() };
        for hold in read.holds {
            let locked = hold.products().all(|product| books.products.contains_key(&product));
            if locked || need.orders.contains(&hold.order_id) {
                books.holds.insert(hold.order_id, hold);
            } else {
                books.leave(&hold);
            }
        }
        books
    }

    /// A waiter that names a product not locked is left to the self-sent command.
    fn leave(&mut self, hold: &Hold) {
        for line in &hold.lines {
            if let Some(product) = self.products.get_mut(&line.product_id) {
                product.unread.misses(hold.place(), i64::from(line.quantity));
            }
        }
    }

    /// What can be done for these lines now.
    #[must_use]
    pub fn weigh(&self, lines: &[StockLine]) -> Weighed {
        let mut fits = true;
        for line in lines {
            let (product_id, quantity) = (line.product_id, i64::from(line.quantity));
            let Some(product) = self.products.get(&product_id) else {
                return Weighed::Never { reason: UNKNOWN_PRODUCT, product_id };
            };
            if quantity > product.now.obtainable() {
                return Weighed::Never { reason: OUT_OF_STOCK, product_id };
            }
            fits &= quantity <= product.now.available;
        }
        if fits { Weighed::Fits } else { Weighed::Waits }
    }

    /// Whether a cursor stands in one of the queues: then a newcomer joins them instead of overtaking.
    #[must_use]
    pub fn walk_stands(&self, lines: &[StockLine]) -> bool {
        lines
            .iter()
            .filter_map(|line| self.products.get(&line.product_id))
            .any(|product| product.now.cursor.is_some())
    }

    /// The rows of `lines` after `moving` each, without changing anything.
    ///
    /// # Errors
    /// A [`Rejection`] when a row is missing or has not that many units: the database contradicts itself.
    pub fn moved(
        &self,
        order: OrderId,
        lines: &[StockLine],
        moving: impl Fn(Stock, i64) -> Option<Stock>,
    ) -> Result<Vec<(ProductId, Stock)>, Rejection> {
        let of_line = |line: &StockLine| {
            let product = self.products.get(&line.product_id)?;
            Some((line.product_id, moving(product.now, i64::from(line.quantity))?))
        };
        let contradiction =
            || Rejection::new("conservation", format!("the stock of {order}'s lines contradicts its hold"));
        lines.iter().map(|line| of_line(line).ok_or_else(contradiction)).collect()
    }

    /// Writes moved rows.
    pub fn put(&mut self, cause: &Cause, moved: Vec<(ProductId, Stock)>) {
        for (id, stock) in moved {
            if let Some(product) = self.products.get_mut(&id) {
                product.now = stock;
                product.cause = Some(cause.clone());
            }
        }
    }

    /// Each locked product of `lines`.
    pub fn each_product(&mut self, lines: &[StockLine], mut change: impl FnMut(&mut Product)) {
        for line in lines {
            if let Some(product) = self.products.get_mut(&line.product_id) {
                change(product);
            }
        }
    }

    /// Puts a hold into the queues of its products, and sets a cursor that it sorts before back to it.
    pub fn join(&mut self, mut hold: Hold) {
        let place = hold.place();
        self.each_product(&hold.lines, |product| {
            product.now.waiting = product.now.waiting.saturating_add(1);
            product.now.cursor = product.now.cursor.map(|cursor| cursor.min(place));
        });
        hold.queued = true;
        hold.state = HoldState::Waiting;
        self.holds.insert(hold.order_id, hold);
    }

    /// Takes a hold out of the queues, if it is in them, and gives it that state.
    pub fn end(&mut self, mut hold: Hold, state: HoldState) {
        if hold.queued {
            self.each_product(&hold.lines, |product| {
                product.now.waiting = product.now.waiting.saturating_sub(1);
            });
        }
        hold.queued = false;
        hold.state = state;
        self.holds.insert(hold.order_id, hold);
    }

    /// A product inventory did not know until now.
    pub fn make_known(&mut self, product: ProductId) {
        self.products.entry(product).or_insert_with(|| Product::open(None, Stock::of(0), Unread::default()));
    }
}

/// How far each queue was read.
fn unread(need: &Need, read: &Read) -> BTreeMap<ProductId, Unread> {
    let queues: Vec<ProductId> = need.queues().iter().map(|ask: &QueueAsk| ask.product_id).collect();
    let leavings: Vec<ProductId> = need.leavings().iter().map(|(product, _)| *product).collect();
    let mut unread: BTreeMap<ProductId, Unread> = BTreeMap::new();
    for (product, cut) in cuts(&queues, &read.heads, read.limit) {
        let from = cut.map(|cut| cut.map_or(Place::HEAD, |waiter| waiter.place));
        unread.entry(product).or_insert(Unread { largest: Unread::ALL.largest, ..Unread::default() }).from =
            from;
    }
    for (product, cut) in cuts(&leavings, &read.impossible, read.limit) {
        let largest =
            cut.map(|cut| cut.map_or((i64::MAX, Place::HEAD), |waiter| (waiter.quantity, waiter.place)));
        unread.entry(product).or_insert(Unread { from: Unread::ALL.from, ..Unread::default() }).largest =
            largest;
    }
    unread
}

/// Where the reading of each asked product was cut: `None` when all of it was read, `Some(None)` when none of it was,
/// else the first waiter that is left out.
fn cuts<'a>(
    asked: &[ProductId],
    found: &'a [Waiter],
    limit: usize,
) -> Vec<(ProductId, Option<Option<&'a Waiter>>)> {
    let mut cut = found.get(limit);
    let mut reached = true;
    let mut cuts = Vec::with_capacity(asked.len());
    for product in asked {
        match cut {
            Some(first) if first.product_id == *product => {
                cuts.push((*product, Some(Some(first))));
                reached = false;
                cut = None;
            }
            _ => cuts.push((*product, if reached { None } else { Some(None) })),
        }
    }
    cuts
}
