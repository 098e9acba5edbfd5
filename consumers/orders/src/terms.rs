//! What an order must be like. The edge has checked it; a record that says otherwise did not come from the edge.

use harness::record::Rejection;
use schemas::{
    messages::{PricedLine, SubmitOrder},
    money::Money,
    time::Timestamp,
};
use std::collections::BTreeSet;

/// Cause of a rejection for an order that cannot be.
pub const INVALID_ORDER: &str = "invalid_order";

const MAX_LINES: usize = 100;
const QUANTITIES: std::ops::RangeInclusive<i32> = 1..=10_000;
const MAX_OWNER: usize = 2_048;
const MAX_ADDRESS: usize = 500;
const MAX_METHOD: usize = 100;
/// 9999-12-31T23:59:59.999Z: what both Postgres and RFC 3339 can hold.
const END_OF_TIME: Timestamp = Timestamp(253_402_300_799_999);

/// Checks an order's terms.
///
/// # Errors
/// A [`Rejection`] `invalid_order` that names the first thing wrong.
pub fn check(order: &SubmitOrder) -> Result<(), Rejection> {
    let lines = order.lines.len();
    ensure((1..=MAX_LINES).contains(&lines), || format!("it has {lines} lines, not 1 to {MAX_LINES}"))?;
    let mut products = BTreeSet::new();
    for line in &order.lines {
        check_line(line)?;
        ensure(products.insert(line.product_id), || format!("product {} has two lines", line.product_id))?;
    }
    let sum = sum(order)?;
    ensure(sum == order.total, || format!("its lines come to {sum}, its total is {}", order.total))?;
    check_text("owner", &order.owner, MAX_OWNER)?;
    check_text("shipping address", &order.shipping_address, MAX_ADDRESS)?;
    check_text("payment method", &order.payment_method, MAX_METHOD)?;
    check_time("accepted-at", order.accepted_at)?;
    check_time("deadline", order.deadline)
}

fn check_line(line: &PricedLine) -> Result<(), Rejection> {
    let product = line.product_id;
    ensure(QUANTITIES.contains(&line.quantity), || format!("{} units of product {product}", line.quantity))?;
    ensure(line.unit_price > 0, || format!("product {product} at a price of {}", line.unit_price))
}

fn sum(order: &SubmitOrder) -> Result<i64, Rejection> {
    let nothing = Money::new(0, order.currency);
    let line = |line: &PricedLine| Money::new(line.unit_price, order.currency).times(line.quantity);
    order
        .lines
        .iter()
        .try_fold(nothing, |sum, it| sum.add(line(it)?))
        .map(|sum| sum.amount)
        .map_err(|error| Rejection::new(INVALID_ORDER, error.to_string()))
}

fn check_text(what: &str, text: &str, most: usize) -> Result<(), Rejection> {
    let length = text.chars().count();
    ensure((1..=most).contains(&length), || format!("its {what} has {length} characters, not 1 to {most}"))?;
    ensure(!text.contains('\0'), || format!("its {what} holds a NUL"))
}

fn check_time(what: &str, at: Timestamp) -> Result<(), Rejection> {
    ensure((Timestamp(0)..=END_OF_TIME).contains(&at), || format!("its {what} is at {} ms", at.0))
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Rejection> {
    if holds { Ok(()) } else { Err(Rejection::new(INVALID_ORDER, what())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{
        ids::{OrderId, ProductId},
        messages::BodyHash,
        money::Currency,
    };
    use uuid::Uuid;

    fn line(product: u128, quantity: i32, unit_price: i64) -> PricedLine {
        PricedLine { product_id: ProductId(Uuid::from_u128(product)), quantity, unit_price }
    }

    fn order() -> SubmitOrder {
        SubmitOrder {
            order_id: OrderId(Uuid::from_u128(1)),
            owner: "issuer\nuser".to_owned(),
            body_hash: BodyHash([1; 32]),
            accepted_at: Timestamp(1_700_000_000_000),
            deadline: Timestamp(1_700_000_900_000),
            currency: Currency::USD,
            total: 350,
            lines: vec![line(1, 1, 150), line(2, 2, 100)],
            shipping_address: "1 Harbour Road".to_owned(),
            payment_method: "CREDIT_CARD".to_owned(),
        }
    }

    #[test]
    fn a_good_order_passes_up_to_every_bound() {
        assert_eq!(check(&order()), Ok(()));
        let lines: Vec<_> = (1..=100).map(|product| line(product, 10_000, 1)).collect();
        let widest = SubmitOrder { lines, total: 1_000_000, shipping_address: "é".repeat(500), ..order() };
        assert_eq!(check(&widest), Ok(()));
    }

    #[test]
    fn each_thing_wrong_is_named() {
        let with_lines = |lines: Vec<PricedLine>, total| SubmitOrder { lines, total, ..order() };
        let cases = [
            (with_lines(vec![], 0), "0 lines"),
            (with_lines((0..101).map(|product| line(product, 1, 1)).collect(), 101), "101 lines"),
            (with_lines(vec![line(1, 0, 5)], 0), "0 units"),
            (with_lines(vec![line(1, -1, 5)], -5), "-1 units"),
            (with_lines(vec![line(1, 10_001, 1)], 10_001), "10001 units"),
            (with_lines(vec![line(1, 1, 0)], 0), "a price of 0"),
            (with_lines(vec![line(1, 1, 5), line(1, 1, 5)], 10), "two lines"),
            (with_lines(vec![line(1, 2, i64::MAX)], -2), "too large"),
            (with_lines(vec![line(1, 1, i64::MAX), line(2, 1, 1)], i64::MIN), "too large"),
            (SubmitOrder { total: 351, ..order() }, "come to 350, its total is 351"),
            (SubmitOrder { owner: String::new(), ..order() }, "owner has 0"),
            (SubmitOrder { shipping_address: "x".repeat(501), ..order() }, "address has 501"),
            (SubmitOrder { payment_method: "a\0b".to_owned(), ..order() }, "method holds a NUL"),
            (SubmitOrder { deadline: Timestamp(i64::MAX), ..order() }, "deadline is at"),
            (SubmitOrder { accepted_at: Timestamp(-1), ..order() }, "accepted-at is at"),
        ];
        for (order, expected) in cases {
            let rejection = check(&order).unwrap_err();
            assert_eq!(rejection.cause, INVALID_ORDER);
            assert!(rejection.detail.contains(expected), "{} does not say {expected:?}", rejection.detail);
        }
    }
}
