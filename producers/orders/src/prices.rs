//! The price book: what each product costs, in this process, fed from the catalogue.

use crate::{
    metrics,
    read::{self, PriceRow},
};
use chrono::{DateTime, Utc};
use ingress::problem::{FieldError, Problem};
use schemas::{ids::ProductId, messages::PricedLine, money::Money};
use sqlx::PgPool;
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::request::Line;

/// Products read by one query.
const PAGE: i64 = 5_000;
/// A row's time is its transaction's begin, so one may become visible behind rows already read: each refresh begins
/// this much earlier than the newest row seen.
const OVERLAP: Duration = Duration::from_secs(10);
/// Transactions longer than [`OVERLAP`] are caught by reading everything anew this often.
const RELOAD: Duration = Duration::from_secs(300);

/// What a product costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Price of one unit.
    pub unit: Money,
    /// Whether it is sold.
    pub is_active: bool,
}

/// Lines with their prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Priced {
    pub(crate) lines: Vec<PricedLine>,
    pub(crate) total: Money,
}

/// The book. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct PriceBook {
    prices: Arc<RwLock<Option<HashMap<ProductId, Price>>>>,
}

impl PriceBook {
    /// Whether it was read at least once.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.prices.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Enters prices.
    pub fn enter(&self, prices: impl IntoIterator<Item = (ProductId, Price)>) {
        let mut book = self.prices.write().unwrap_or_else(PoisonError::into_inner);
        let book = book.get_or_insert_default();
        book.extend(prices);
        ::metrics::gauge!(metrics::PRICES).set(book.len() as f64);
    }

    /// The price of each of `products`, `None` for one that the catalogue does not have.
    ///
    /// # Errors
    /// 503 before the book was read for the first time.
    pub fn look_up(
        &self,
        products: impl IntoIterator<Item = ProductId>,
    ) -> Result<Vec<Option<Price>>, Problem> {
        let book = self.prices.read().unwrap_or_else(PoisonError::into_inner);
        let book = book.as_ref().ok_or_else(unread)?;
        Ok(products.into_iter().map(|product| book.get(&product).copied()).collect())
    }

    /// Prices `lines`: all known, all sold, one currency.
    pub(crate) fn price(&self, lines: &[Line]) -> Result<Priced, Problem> {
        let book = self.prices.read().unwrap_or_else(PoisonError::into_inner);
        let book = book.as_ref().ok_or_else(unread)?;
        let mut errors = Vec::new();
        let mut priced = Vec::with_capacity(lines.len());
        let mut total: Option<Money> = None;
        for line in lines {
            let field = |name| format!("items[{}].{name}", line.index);
            let price = book.get(&line.product).filter(|price| price.is_active);
            let Some(price) = price else {
                errors.push(FieldError::new(field("productId"), "is not a product on sale"));
                continue;
            };
            let sum = price.unit.times(line.quantity).and_then(|sum| match total {
                Some(total) => total.add(sum),
                None => Ok(sum),
            });
            match sum {
                Ok(sum) => total = Some(sum),
                Err(error) => errors.push(FieldError::new(field("productId"), error.to_string())),
            }
            priced.push(PricedLine {
                product_id: line.product,
                quantity: line.quantity,
                unit_price: price.unit.amount,
            });
        }
        match total {
            Some(total) if errors.is_empty() => Ok(Priced { lines: priced, total }),
            _ => Err(Problem::invalid(errors)),
        }
    }

    /// Reads the catalogue now and then what changes, until `stop`.
    pub(crate) fn follow(&self, pool: PgPool, refresh: Duration, stop: CancellationToken) {
        let book = self.clone();
        tokio::spawn(async move {
            let mut reader = Reader { pool, newest: None, reloaded: Instant::now() };
            while !stop.is_cancelled() {
                if let Err(error) = reader.read(&book).await {
                    tracing::warn!(%error, "the price book could not be refreshed");
                }
                // only the waiting is cut short: a query is never dropped half-way
                let _ = tokio::time::timeout(refresh, stop.cancelled()).await;
            }
        });
    }
}

fn unread() -> Problem {
    Problem::unavailable("the prices are not loaded yet")
}

struct Reader {
    pool: PgPool,
    /// The newest row's time, and since when it is the newest.
    newest: Option<(DateTime<Utc>, Instant)>,
    reloaded: Instant,
}

impl Reader {
    async fn read(&mut self, book: &PriceBook) -> sqlx::Result<()> {
        if self.reloaded.elapsed() > RELOAD {
            self.newest = None;
        }
        let whole = self.newest.is_none();
        let mut place = self.begin();
        loop {
            let rows = read::prices(&self.pool, place, PAGE).await?;
            for row in &rows {
                place = (row.updated_at, row.product.0);
                if self.newest.is_none_or(|(newest, _)| row.updated_at > newest) {
                    self.newest = Some((row.updated_at, Instant::now()));
                }
            }
            let is_last = (rows.len() as i64) < PAGE;
            book.enter(rows.into_iter().filter_map(usable));
            if is_last {
                break;
            }
        }
        if whole {
            self.reloaded = Instant::now();
        }
        Ok(())
    }

    /// Where the next refresh begins: at the newest row once all older ones must have become visible, before it until
    /// then.
    fn begin(&self) -> (DateTime<Utc>, Uuid) {
        match self.newest {
            None => (DateTime::UNIX_EPOCH, Uuid::nil()),
            Some((newest, since)) if since.elapsed() > OVERLAP => (newest, Uuid::max()),
            Some((newest, _)) => (newest - OVERLAP, Uuid::nil()),
        }
    }
}

fn usable(row: PriceRow) -> Option<(ProductId, Price)> {
    match row.currency.parse() {
        Ok(currency) => {
            Some((row.product, Price { unit: Money::new(row.price, currency), is_active: row.is_active }))
        }
        Err(error) => {
            tracing::error!(product = %row.product, %error, "a product has no usable currency");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::money::Currency;

    fn product(n: u128) -> ProductId {
        ProductId(Uuid::from_u128(n))
    }

    fn line(n: u128, quantity: i32) -> Line {
        Line { product: product(n), quantity, index: usize::try_from(n).unwrap() }
    }

    fn book() -> PriceBook {
        let price = |amount, currency: &str, is_active| Price {
            unit: Money::new(amount, currency.parse().unwrap()),
            is_active,
        };
        let book = PriceBook::default();
        book.enter([
            (product(1), price(1_299, "USD", true)),
            (product(2), price(100, "EUR", true)),
            (product(3), price(100, "USD", false)),
            (product(4), price(i64::MAX / 2, "USD", true)),
        ]);
        book
    }

    fn fields(problem: Problem) -> Vec<String> {
        problem.errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn lines_are_priced_and_summed() {
        let priced = book().price(&[line(1, 2)]).unwrap();
        assert_eq!(priced.total, Money::new(2_598, Currency::USD));
        assert_eq!(priced.lines[0].unit_price, 1_299);
    }

    #[test]
    fn what_cannot_be_sold_is_named() {
        let problem = book().price(&[line(1, 1), line(3, 1), line(9, 1)]).unwrap_err();
        assert_eq!(fields(problem), ["items[3].productId", "items[9].productId"]);
        assert_eq!(fields(book().price(&[line(1, 1), line(2, 1)]).unwrap_err()), ["items[2].productId"]);
        assert_eq!(fields(book().price(&[line(4, 3)]).unwrap_err()), ["items[4].productId"]);
        assert_eq!(fields(book().price(&[line(4, 2), line(4, 2)]).unwrap_err()).len(), 1);
    }

    #[test]
    fn an_unread_book_sells_nothing_and_says_why() {
        let problem = PriceBook::default().price(&[line(1, 1)]).unwrap_err();
        assert_eq!(problem.kind, ingress::problem::Kind::Unavailable);
    }
}
