//! What a cart holds, as its hash in Redis says it.

use schemas::ids::{OrderId, ProductId};
use std::{collections::HashMap, fmt};
use uuid::Uuid;

/// One life of a cart at one version: what a checkout's key is made of, and what `If-Match` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) id: Uuid,
    pub(crate) version: i64,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.version)
    }
}

/// What became of the cart before this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckedOut {
    /// Its state when it was checked out.
    pub(crate) of: String,
    pub(crate) order: OrderId,
    /// Hash of address and payment method.
    pub(crate) delivery: String,
}

/// A cart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// `None` while nothing was ever put into it.
    pub(crate) state: Option<State>,
    /// In the order of their ids: a state has one list of lines.
    pub(crate) lines: Vec<(ProductId, i32)>,
    pub(crate) checked_out: Option<CheckedOut>,
}

/// The hash is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a cart's field {0} does not read")]
pub(crate) struct Unreadable(&'static str);

impl Contents {
    /// Reads names and values in turn, as `HGETALL` answers.
    pub(crate) fn read(hash: &[String]) -> Result<Self, Unreadable> {
        let pairs = hash.as_chunks::<2>().0.iter().map(|[name, value]| (name.as_str(), value.as_str()));
        let fields: HashMap<&str, &str> = pairs.collect();
        let mut lines = Vec::with_capacity(fields.len());
        for (name, value) in &fields {
            if let Some(product) = name.strip_prefix("p:") {
                let product = product.parse().map_err(|_| Unreadable("p"))?;
                lines.push((product, value.parse().map_err(|_| Unreadable("quantity"))?));
            }
        }
        lines.sort_unstable();
        let state = match (fields.get("id"), fields.get("v")) {
            (Some(id), Some(version)) => Some(State {
                id: id.parse().map_err(|_| Unreadable("id"))?,
                version: version.parse().map_err(|_| Unreadable("v"))?,
            }),
            _ => None,
        };
        let checked_out = match (fields.get("of"), fields.get("order"), fields.get("delivery")) {
            (Some(of), Some(order), Some(delivery)) => Some(CheckedOut {
                of: (*of).to_owned(),
                order: order.parse().map_err(|_| Unreadable("order"))?,
                delivery: (*delivery).to_owned(),
            }),
            _ => None,
        };
        Ok(Self { state, lines, checked_out })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Contents, Unreadable> {
        let hash: Vec<String> = pairs.iter().flat_map(|(a, b)| [(*a).to_owned(), (*b).to_owned()]).collect();
        Contents::read(&hash)
    }

    #[test]
    fn one_state_has_one_list_of_lines_however_redis_orders_its_fields() {
        let (a, b) = ("00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b");
        let (first, second) = (format!("p:{a}"), format!("p:{b}"));
        let state = [("id", a), ("v", "3")];
        let one = read(&[&state[..], &[(&first, "1"), (&second, "2")]].concat()).unwrap();
        let other = read(&[&[(second.as_str(), "2"), (&first, "1")], &state[..]].concat()).unwrap();
        assert_eq!(one, other);
        assert_eq!(one.lines, [(a.parse().unwrap(), 1), (b.parse().unwrap(), 2)]);
        assert_eq!(one.state.unwrap().to_string(), format!("{a}.3"));
    }

    #[test]
    fn nothing_is_an_empty_cart_and_rubbish_is_none() {
        assert_eq!(read(&[]).unwrap(), Contents::default());
        assert_eq!(read(&[("other", "x")]).unwrap(), Contents::default());
        assert_eq!(read(&[("id", "7"), ("v", "1")]), Err(Unreadable("id")));
        assert_eq!(read(&[("p:7", "1")]), Err(Unreadable("p")));
    }
}
