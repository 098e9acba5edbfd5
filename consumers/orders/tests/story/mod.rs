//! Orders and what happens to them, for tests.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use harness::{record::Delivery, service::Context};
use schemas::{
    envelope::Envelope,
    ids::{self, EffectId, MessageId, OrderId, ProductId},
    messages::{
        BodyHash, CancelOrder, DeadlinePassed, EffectDone, EffectFailed, OrderCommand, PaymentCaptured,
        PaymentDeclined, PricedLine, RefundOrder, RetryEffect, StockRejected, StockReserved, SubmitOrder,
    },
    money::Currency,
    time::Timestamp,
};
use std::collections::BTreeMap;
use uuid::Uuid;

pub(crate) const START: i64 = 1_700_000_000_000;
pub(crate) const TOTAL: i64 = 2_300;
pub(crate) const PARTITION: i32 = 2;

pub(crate) fn order_id(n: u128) -> OrderId {
    OrderId(Uuid::new_v5(&Uuid::nil(), &n.to_be_bytes()))
}

pub(crate) fn capture_id(n: u128) -> EffectId {
    ids::effect_id(order_id(n), "capture")
}

/// `at` milliseconds after the start.
pub(crate) fn context(at: i64) -> Context {
    Context { now: Timestamp(START + at), due_marks: BTreeMap::from([(PARTITION, Timestamp(START))]) }
}

pub(crate) fn terms(n: u128) -> SubmitOrder {
    let line = |product, quantity, unit_price| PricedLine {
        product_id: ProductId(Uuid::from_u128(product)),
        quantity,
        unit_price,
    };
    SubmitOrder {
        order_id: order_id(n),
        owner: "https://issuer.example\nuser-7".to_owned(),
        body_hash: BodyHash([7; 32]),
        accepted_at: Timestamp(START - 20),
        deadline: Timestamp(START + 60_000),
        currency: Currency::USD,
        total: TOTAL,
        lines: vec![line(1, 2, 1_000), line(2, 3, 100)],
        shipping_address: "1 Harbour Road".to_owned(),
        payment_method: "CREDIT_CARD".to_owned(),
    }
}

pub(crate) fn submit(n: u128) -> OrderCommand {
    terms(n).into()
}

pub(crate) fn other_body(n: u128) -> OrderCommand {
    SubmitOrder { body_hash: BodyHash([8; 32]), ..terms(n) }.into()
}

pub(crate) fn reserved(n: u128) -> OrderCommand {
    StockReserved { order_id: order_id(n) }.into()
}

pub(crate) fn out_of_stock(n: u128) -> OrderCommand {
    let product_id = ProductId(Uuid::from_u128(1));
    StockRejected { order_id: order_id(n), reason: "out_of_stock".to_owned(), product_id }.into()
}

pub(crate) fn captured(n: u128) -> OrderCommand {
    PaymentCaptured { order_id: order_id(n), capture_id: capture_id(n), amount: TOTAL }.into()
}

pub(crate) fn declined(n: u128) -> OrderCommand {
    let reason = "payment_declined".to_owned();
    PaymentDeclined { order_id: order_id(n), capture_id: capture_id(n), reason }.into()
}

pub(crate) fn cancel(n: u128) -> OrderCommand {
    let reason = Some("changed my mind \u{0} 🙂".to_owned());
    CancelOrder { order_id: order_id(n), requested_by: terms(n).owner, reason }.into()
}

pub(crate) fn deadline_passed(n: u128) -> OrderCommand {
    DeadlinePassed { order_id: order_id(n), deadline: terms(n).deadline }.into()
}

pub(crate) fn refund(n: u128, refund: u128, amount: i64) -> OrderCommand {
    RefundOrder {
        order_id: order_id(n),
        refund_id: EffectId(Uuid::from_u128(refund)),
        amount,
        requested_by: "https://issuer.example\noperator".to_owned(),
        reason: "broken on arrival".to_owned(),
    }
    .into()
}

pub(crate) fn failed(n: u128) -> OrderCommand {
    let reason = "nobody knows this product".to_owned();
    EffectFailed { order_id: order_id(n), effect_id: ids::undo_of(capture_id(n)), reason }.into()
}

pub(crate) fn done(n: u128) -> OrderCommand {
    EffectDone { order_id: order_id(n), effect_id: ids::undo_of(capture_id(n)) }.into()
}

pub(crate) fn retry(n: u128, action: u128) -> OrderCommand {
    RetryEffect {
        order_id: order_id(n),
        effect_id: ids::undo_of(capture_id(n)),
        action_id: Uuid::from_u128(action),
        requested_by: "amina".to_owned(),
        reason: Some("the bank answers again".to_owned()),
    }
    .into()
}

/// The record that brings `command` about order `n`; `offset` is also what its message id is made of.
pub(crate) fn delivery(n: u128, offset: i64, command: OrderCommand) -> Delivery<OrderCommand> {
    let message = MessageId(Uuid::from_u128(0xfeed_0000 + u128::from(offset.unsigned_abs())));
    Delivery {
        partition: PARTITION,
        offset,
        key: order_id(n).0,
        envelope: Envelope {
            message,
            causation: message,
            occurred_at: Timestamp(START),
            deadline: None,
            source: None,
        },
        command,
        traceparent: None,
    }
}
