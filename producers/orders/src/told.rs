//! How the document tells of orders: the shapes of what goes in and out, and an example of each.

use crate::{
    request::{MAX_ADDRESS, MAX_LINES, MAX_QUANTITY},
    submit::Receipt,
};
use ingress::api::{
    example,
    shape::{self, Shape},
};
use schemas::{
    ids::{OrderId, ProductId},
    messages::{BodyHash, OrderState, OrderStatus, PricedLine, TimelineEntry},
    money::Currency,
    payment_methods,
    time::Timestamp,
    view,
};
use serde_json::{Value, json};

/// The order of all examples.
pub(crate) const ORDER: OrderId = OrderId(example::ORDER);
const PRODUCT: ProductId = ProductId(example::PRODUCT);
/// 2026-11-22T19:59:29.284Z
const ACCEPTED_AT: Timestamp = Timestamp(1_795_377_569_284);

/// One order as asked for.
pub(crate) fn submit() -> Shape {
    fields(shape::object()).named("SubmitOrder")
}

/// The same with its key, as a batch has it.
pub(crate) fn keyed_submit() -> Shape {
    let key = shape::matching("^[!-~]+$", 1, ingress::idempotency::MAX_KEY);
    let key = key.says("As the header `Idempotency-Key` of a single order.");
    fields(shape::object().must("idempotencyKey", key)).named("KeyedSubmitOrder")
}

fn fields(object: Shape) -> Shape {
    let line = shape::object()
        .must("productId", shape::uuid())
        .must(
            "quantity",
            whole_quantity().says("Lines of one product are added up, to at most the same bound."),
        )
        .closed();
    with_delivery(object.must("items", shape::list(line, 1, MAX_LINES))).closed()
}

fn with_delivery(object: Shape) -> Shape {
    let methods = payment_methods::REAL.iter().chain(payment_methods::SANDBOX).copied();
    object.must("shippingAddress", shape::words(MAX_ADDRESS)).must(
        "paymentMethod",
        shape::choice(methods).says("`SANDBOX_…` only where the sandbox provider is set up."),
    )
}

fn whole_quantity() -> Shape {
    shape::whole(1, MAX_QUANTITY)
}

pub(crate) fn submit_example() -> Value {
    json!({
        "items": [{"productId": PRODUCT, "quantity": 2}],
        "shippingAddress": "1 Harbour Road, Mombasa",
        "paymentMethod": "CREDIT_CARD",
    })
}

/// Where an order goes and how it is paid, as a checkout has it.
#[must_use]
pub fn delivery() -> Shape {
    with_delivery(shape::object()).closed().named("Delivery")
}

/// What is told of an order that was accepted, or is to be cancelled.
#[must_use]
pub fn receipt() -> Shape {
    shape::object()
        .must("orderId", shape::uuid())
        .must("status", status())
        .must("statusUrl", shape::text().says("Where to read the order."))
        .named("OrderReceipt")
}

/// The receipt of the order of all examples.
#[must_use]
pub fn receipt_example() -> Value {
    serde_json::to_value(Receipt::of(ORDER, OrderStatus::Pending)).unwrap_or_default()
}

/// An order's status.
pub(crate) fn status() -> Shape {
    shape::choice(OrderStatus::ALL.map(OrderStatus::as_str))
        .says("PENDING and RESERVED go on; the others are final.")
        .named("OrderStatus")
}

/// An order as its owner sees it ([`view::public_json`]).
pub(crate) fn order() -> Shape {
    let line = shape::object()
        .must("productId", shape::uuid())
        .must("quantity", whole_quantity())
        .must("unitPrice", shape::money());
    let entry = shape::object()
        .must("at", shape::time())
        .must("event", shape::text().example("RESERVED"))
        .may("detail", shape::text());
    shape::object()
        .must("orderId", shape::uuid())
        .must("status", status())
        .may("reason", shape::text().says("Why it was rejected, e.g. `out_of_stock`."))
        .must("version", shape::whole(0, i64::MAX).says("Grows with every change; also the ETag."))
        .must("total", shape::money())
        .must("refunded", shape::money())
        .must("items", shape::list(line, 1, MAX_LINES))
        .must("shippingAddress", shape::text())
        .must("paymentMethod", shape::text())
        .must("acceptedAt", shape::time())
        .must("deadline", shape::time().says("An order that has not ended by then expires."))
        .must("updatedAt", shape::time())
        .must("timeline", shape::list(entry, 0, 10_000))
        .named("Order")
}

/// An order that was confirmed.
pub(crate) fn order_example() -> Value {
    let entry = |after, event: &str| TimelineEntry {
        at: Timestamp(ACCEPTED_AT.0 + after),
        event: event.to_owned(),
        detail: None,
    };
    let order = OrderState {
        order_id: ORDER,
        owner: String::new(),
        body_hash: BodyHash([0; 32]),
        version: 3,
        status: OrderStatus::Confirmed,
        reason: None,
        currency: Currency::USD,
        total: 4_780,
        refunded: 0,
        lines: vec![PricedLine { product_id: PRODUCT, quantity: 2, unit_price: 2_390 }],
        shipping_address: "1 Harbour Road, Mombasa".to_owned(),
        payment_method: "CREDIT_CARD".to_owned(),
        accepted_at: ACCEPTED_AT,
        deadline: Timestamp(ACCEPTED_AT.0 + 900_000),
        updated_at: Timestamp(ACCEPTED_AT.0 + 74),
        timeline: vec![entry(28, "ACCEPTED"), entry(46, "RESERVED"), entry(74, "CONFIRMED")],
    };
    view::public_json(&order).ok().and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OrdersConfig, request::SubmitRequest};
    use chassis::settings::Environment;

    #[test]
    fn the_example_of_a_request_is_one_that_is_taken() {
        let config = OrdersConfig::from_environment(&Environment::of([])).unwrap();
        let json = ingress::body::Json::parse(submit_example().to_string().as_bytes()).unwrap();
        assert!(SubmitRequest::read(json, &config).is_ok());
    }
}
