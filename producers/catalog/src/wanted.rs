//! What a client asks of the list, read from the query: every fault is named, and only what an index can walk is let
//! through.

use ingress::{
    page::{self, Cursor},
    problem::{FieldError, Kind, Problem},
};
use std::str::FromStr;

/// Longest search, in characters.
pub(crate) const MAX_WORDS: usize = 100;
/// Longest category slug, in characters.
pub(crate) const MAX_SLUG: usize = 100;

/// The order of the list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Sort {
    /// By id: an order that says nothing and never changes.
    #[default]
    Id,
    /// The cheapest first.
    Price,
    /// The dearest first.
    PriceDown,
}

impl FromStr for Sort {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "id" => Ok(Self::Id),
            "price" => Ok(Self::Price),
            "-price" => Ok(Self::PriceDown),
            _ => Err(()),
        }
    }
}

/// Which page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// A category's slug.
    pub(crate) category: Option<String>,
    /// Minor units, inclusive.
    pub(crate) min_price: Option<i64>,
    /// Minor units, inclusive.
    pub(crate) max_price: Option<i64>,
    /// Only what can be bought now.
    pub(crate) in_stock: bool,
    /// Words to search for, as people write them in search boxes.
    pub(crate) words: Option<String>,
    pub(crate) sort: Sort,
    /// The place after which the page begins.
    pub(crate) after: Option<Cursor>,
    /// Most products.
    pub(crate) limit: i64,
}

impl Wanted {
    /// Reads the query. Prices are bounded only in lists by price, which is what such a list is ordered by where
    /// nothing else is said: in another order, how far to walk to the next match would have no bound.
    ///
    /// # Errors
    /// A 400 problem that names every parameter that is wrong, unknown, or there twice.
    pub(crate) fn read(pairs: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut reader = Reader { pairs, faults: Vec::new() };
        let category = reader.take("category", "must be a category's slug", |text| {
            (text.chars().count() <= MAX_SLUG && !text.contains('\0')).then(|| text.to_owned())
        });
        let amount = "must be a whole number of minor units";
        let price = |text: &str| text.parse().ok().filter(|price: &i64| *price >= 0);
        let min_price = reader.take("minPrice", amount, price);
        let max_price = reader.take("maxPrice", amount, price);
        let in_stock = reader.take("inStock", "must be true or false", |text| text.parse().ok());
        let words = reader.take("q", "must be at most 100 characters, none of them a control", |text| {
            let fits = text.chars().count() <= MAX_WORDS && !text.chars().any(char::is_control);
            fits.then(|| text.to_owned())
        });
        let sort = reader.take("sort", "must be id, price or -price", |text| text.parse().ok());
        let after = reader.problem(|text| text.map(Cursor::parse).transpose(), "cursor");
        let limit = reader.problem(page::limit, "limit");
        if min_price.zip(max_price).is_some_and(|(least, most)| least > most) {
            reader.fault("maxPrice", "must not be below minPrice");
        }
        let by_price = min_price.is_some() || max_price.is_some();
        if by_price && sort == Some(Sort::Id) {
            reader.fault("sort", "must be price or -price where minPrice or maxPrice is given");
        }
        reader.finish(Self {
            category,
            min_price,
            max_price,
            in_stock: in_stock.unwrap_or(false),
            words,
            sort: sort.unwrap_or(if by_price { Sort::Price } else { Sort::Id }),
            after: after.flatten(),
            limit: limit.unwrap_or(page::DEFAULT_LIMIT),
        })
    }
}

struct Reader {
    pairs: Vec<(String, String)>,
    faults: Vec<FieldError>,
}

impl Reader {
    /// The parameter's text; an empty one counts as left out.
    fn text(&mut self, name: &str) -> Option<String> {
        let (found, others) = std::mem::take(&mut self.pairs).into_iter().partition(|(key, _)| key == name);
        self.pairs = others;
        let mut found: Vec<(String, String)> = found;
        if found.len() > 1 {
            self.fault(name, "must be given once");
        }
        found.pop().map(|(_, text)| text).filter(|text| !text.is_empty())
    }

    fn take<T>(&mut self, name: &str, expected: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name)?;
        let value = read(&text);
        if value.is_none() {
            self.fault(name, expected);
        }
        value
    }

    /// A parameter whose reader makes problems of its own.
    fn problem<T>(
        &mut self,
        read: impl Fn(Option<&str>) -> Result<T, Problem>,
        name: &'static str,
    ) -> Option<T> {
        let text = self.text(name);
        read(text.as_deref()).map_err(|problem| self.faults.extend(problem.errors)).ok()
    }

    fn fault(&mut self, name: &str, message: &str) {
        self.faults.push(FieldError::new(name, message));
    }

    fn finish<T>(mut self, value: T) -> Result<T, Problem> {
        for (name, _) in std::mem::take(&mut self.pairs).into_iter().take(page::MAX_LIMIT as usize) {
            let shown: String = name.chars().take(40).collect();
            self.fault(&shown.escape_debug().to_string(), "is not a parameter of this list");
        }
        if self.faults.is_empty() {
            return Ok(value);
        }
        let detail = match self.faults.as_slice() {
            [one] => format!("{}: {}", one.field, one.message),
            many => format!("{} parameters are wrong; see errors", many.len()),
        };
        Err(Problem { errors: self.faults, ..Problem::new(Kind::BadRequest, detail) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Wanted, Vec<String>> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap());
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Wanted::read(pairs).map_err(|problem| problem.errors.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn what_is_left_out_has_a_default_and_bounds_of_the_price_order_by_it() {
        let plain = Wanted { limit: 20, ..Wanted::default() };
        assert_eq!(read("").unwrap(), plain);
        assert_eq!(read("q=&category=").unwrap(), plain);
        assert_eq!(read("minPrice=5").unwrap().sort, Sort::Price);
        assert_eq!(read("maxPrice=5&sort=-price").unwrap().sort, Sort::PriceDown);
        let all = read("category=a&minPrice=1&maxPrice=1&inStock=true&q=red -pump&limit=100").unwrap();
        assert_eq!((all.min_price, all.max_price, all.in_stock), (Some(1), Some(1), true));
        assert_eq!(all.words.as_deref(), Some("red -pump"));
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let bad = "minPrice=-1&maxPrice=1e3&inStock=maybe&sort=rank&cursor=x&limit=0&page=2";
        let names = ["minPrice", "maxPrice", "inStock", "sort", "cursor", "limit", "page"];
        assert_eq!(read(bad).unwrap_err(), names);
        assert_eq!(read("minPrice=2&maxPrice=1").unwrap_err(), ["maxPrice"]);
        assert_eq!(read("minPrice=2&sort=id").unwrap_err(), ["sort"]);
        assert_eq!(read("limit=5&limit=6").unwrap_err(), ["limit"]);
        assert_eq!(read(&format!("q={}", "x".repeat(101))).unwrap_err(), ["q"]);
        assert_eq!(read("q=a\0b&category=\0").unwrap_err(), ["category", "q"]);
    }
}
