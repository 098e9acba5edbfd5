//! A cart as clients see it: its lines with the prices of this moment.

use crate::{
    contents::Contents,
    holder::{CART_TOKEN, CartToken},
};
use axum::{
    Json,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use ingress::problem::Problem;
use orders_api::{Price, PriceBook};
use schemas::{
    ids::ProductId,
    money::{Currency, Money},
};
use serde::Serialize;
use uuid::Uuid;

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cart {
    #[serde(skip_serializing_if = "Option::is_none")]
    cart_id: Option<Uuid>,
    version: i64,
    items: Vec<Item>,
    /// What a checkout would cost now; left out where it would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<Vec<ProductId>>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    product_id: ProductId,
    quantity: i32,
    on_sale: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit_price: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line_total: Option<Money>,
}

/// How a cart is answered.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) contents: Contents,
    /// The token of a guest's cart that has just begun.
    pub(crate) token: Option<CartToken>,
    /// Products of which a merge had to leave units out.
    pub(crate) cut: Option<Vec<ProductId>>,
}

impl Answer {
    /// The answer, priced by `book`.
    pub(crate) fn respond(self, book: &PriceBook) -> Result<Response, Problem> {
        let Self { contents, token, cut } = self;
        let prices = book.look_up(contents.lines.iter().map(|(product, _)| *product))?;
        let etag = contents.state.map(|state| format!("\"{state}\""));
        let mut response = Json(Cart { cut, ..priced(&contents, &prices) }).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // of the cart's state, not of its prices: it is for If-Match
        if let Some(value) = etag.and_then(|etag| HeaderValue::from_str(&etag).ok()) {
            headers.insert(header::ETAG, value);
        }
        if let Some(value) = token.and_then(|token| HeaderValue::from_str(&token.text()).ok()) {
            headers.insert(CART_TOKEN, value);
        }
        Ok(response)
    }
}

/// The cart that the document shows.
pub(crate) fn example() -> serde_json::Value {
    let price = Price { unit: Money::new(2_390, Currency::USD), is_active: true };
    let contents =
        Contents { lines: vec![(ProductId(ingress::api::example::PRODUCT), 2)], ..Contents::default() };
    serde_json::to_value(priced(&contents, &[Some(price)])).unwrap_or_default()
}

fn priced(contents: &Contents, prices: &[Option<Price>]) -> Cart {
    let item = |(&(product_id, quantity), price): (&(ProductId, i32), &Option<Price>)| {
        let unit_price = price.filter(|price| price.is_active).map(|price| price.unit);
        let line_total = unit_price.and_then(|unit| unit.times(quantity).ok());
        Item { product_id, quantity, on_sale: unit_price.is_some(), unit_price, line_total }
    };
    let items: Vec<Item> = contents.lines.iter().zip(prices).map(item).collect();
    let sums = items.iter().map(|item| item.line_total);
    let total = sums.reduce(|sum, next| sum.zip(next).and_then(|(sum, next)| sum.add(next).ok())).flatten();
    let version = contents.state.map_or(0, |state| state.version);
    Cart { cart_id: contents.state.map(|state| state.id), version, items, total, cut: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::money::Currency;

    fn cart(prices: &[Option<(i64, &str, bool)>]) -> Cart {
        let line = |n: usize| (ProductId(Uuid::from_u128(n as u128)), 2);
        let contents = Contents { lines: (0..prices.len()).map(line).collect(), ..Contents::default() };
        let price = |(amount, currency, is_active): (i64, &str, bool)| {
            let currency: Currency = currency.parse().unwrap();
            Price { unit: Money::new(amount, currency), is_active }
        };
        priced(&contents, &prices.iter().map(|one| one.map(price)).collect::<Vec<_>>())
    }

    #[test]
    fn a_total_is_told_only_where_a_checkout_would_take_it() {
        let dollars = |amount| Some(Money::new(amount, Currency::USD));
        assert_eq!(cart(&[Some((5, "USD", true)), Some((7, "USD", true))]).total, dollars(24));
        assert_eq!(cart(&[]).total, None);
        for refused in [Some((7, "USD", false)), Some((7, "EUR", true)), Some((i64::MAX, "USD", true)), None]
        {
            let cart = cart(&[Some((5, "USD", true)), refused]);
            assert_eq!(cart.total, None, "{refused:?}");
            assert_eq!(cart.items[0].line_total, dollars(10));
        }
        assert!(!cart(&[Some((7, "USD", false))]).items[0].on_sale);
    }
}
