//! A pass over whole books: every order, then holds, captures and charges that no order knows of. In pages by key, so
//! that neither the number of orders nor the time a pass takes is a burden.

use super::{AT_ONCE, Auditor};
use crate::{
    report::Report,
    store::{Look, Page, stock},
};
use schemas::time::Timestamp;
use std::time::Duration;
use tokio::time::{Instant, interval};
use uuid::Uuid;

/// Rows of a page of the tables that are only checked for strays.
const STRAYS_AT_ONCE: i64 = 2_000;
/// Between two looks at what is not proved yet.
const TICK: Duration = Duration::from_millis(50);

/// What of the books is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Everything,
    /// Orders whose deadlines lie ahead, or no further back than this; stock in any case.
    Since(Duration),
}

/// Where a pass stands.
#[derive(Default)]
pub(crate) struct Sweep {
    table: Table,
    after: Uuid,
    pub(super) counted: Counted,
}

/// How much a pass has seen.
#[derive(Default, Clone, Copy)]
pub(super) struct Counted {
    pub(super) orders: u64,
    pub(super) products: u64,
}

#[derive(Default, Clone, Copy)]
enum Table {
    #[default]
    Orders,
    Holds,
    Captures,
    Charges,
}

impl Table {
    fn next(self) -> Option<Self> {
        match self {
            Self::Orders => Some(Self::Holds),
            Self::Holds => Some(Self::Captures),
            Self::Captures => Some(Self::Charges),
            Self::Charges => None,
        }
    }
}

impl Auditor {
    /// Looks over the books in scope, then waits until what looked wrong is proved or gone, for as long as lanes may
    /// take to hear each other.
    ///
    /// # Errors
    /// When a database does not answer.
    pub async fn pass(&mut self, scope: Scope) -> sqlx::Result<Report> {
        let begun = Instant::now();
        self.read_desk(begun).await?;
        self.compare_stock().await?;
        match scope {
            Scope::Everything => {
                self.sweep = Sweep { counted: self.sweep.counted, ..Sweep::default() };
                self.sweep.counted.orders = 0;
                while !self.sweep_page().await? {}
            }
            Scope::Since(since) => self.look_since(since).await?,
        }
        self.look_at_overdue().await?;
        let settling = Instant::now();
        let mut tick = interval(TICK);
        while self.suspects.unproved().next().is_some() && settling.elapsed() < self.config.patience + TICK {
            tick.tick().await;
            self.look_again().await?;
        }
        Ok(self.report(begun))
    }

    /// Compares all stock once: reads every hold.
    ///
    /// # Errors
    /// When a database does not answer.
    pub async fn compare_stock(&mut self) -> sqlx::Result<()> {
        let (products, found) = stock::compare(&mut self.store.inventory).await?;
        self.sweep.counted.products = products;
        self.of_stock = found;
        Ok(())
    }

    async fn look_since(&mut self, since: Duration) -> sqlx::Result<()> {
        let now = self.store.now().await?;
        let most = i64::try_from(AT_ONCE).unwrap_or(i64::MAX);
        self.sweep.counted.orders = 0;
        for partition in self.store.highest_deadlines().await?.into_keys() {
            let mut after =
                Some(Timestamp(now.0.saturating_sub(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))));
            while let Some(from) = after {
                let (orders, last) =
                    self.store.by_deadline(partition, from, Timestamp(i64::MAX), most).await?;
                after = last;
                self.sweep.counted.orders += orders.len() as u64;
                self.look(&Look { orders: orders.into_iter().collect(), strays: Vec::new() }).await?;
            }
        }
        Ok(())
    }

    /// One page of the pass under way; true when it was the last.
    pub(crate) async fn sweep_page(&mut self) -> sqlx::Result<bool> {
        let after = self.sweep.after;
        let page: Page = match self.sweep.table {
            Table::Orders => {
                self.store.orders_page(after, i64::try_from(AT_ONCE).unwrap_or(i64::MAX)).await?
            }
            Table::Holds => self.store.holds_page(after, STRAYS_AT_ONCE).await?,
            Table::Captures => self.store.captures_page(after, STRAYS_AT_ONCE).await?,
            Table::Charges => self.store.charges_page(after, STRAYS_AT_ONCE).await?,
        };
        self.look(&page.look).await?;
        if let Table::Orders = self.sweep.table {
            self.sweep.counted.orders += page.rows as u64;
        }
        match (page.last, self.sweep.table.next()) {
            (Some(last), _) => self.sweep.after = last,
            (None, Some(next)) => (self.sweep.table, self.sweep.after) = (next, Uuid::nil()),
            (None, None) => {
                self.sweep = Sweep { counted: self.sweep.counted, ..Sweep::default() };
                return Ok(true);
            }
        }
        Ok(false)
    }
}
