//! Every event in every state, against one grid. A new event or state without its cells fails here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use saga::{Action, Arrival, Effect, Fact, FailedEffect, Order, Outcome, step};
use schemas::{
    ids::{self, EffectId, MessageId, OrderId, ProductId},
    messages::{
        BodyHash, CancelOrder, DeadlinePassed, EffectDone, EffectFailed, OrderCommand, OrderState,
        OrderStatus, PaymentCaptured, PaymentDeclined, PricedLine, RefundOrder, RetryEffect, Settlement,
        StockRejected, StockReserved, SubmitOrder,
    },
    money::Currency,
    time::Timestamp,
};
use uuid::Uuid;

const ORDER: OrderId = OrderId(Uuid::from_u128(1));
const PRODUCT: ProductId = ProductId(Uuid::from_u128(2));
const FOREIGN: EffectId = EffectId(Uuid::from_u128(3));
const UNDONE: EffectId = EffectId(Uuid::from_u128(4));
const REFUND: EffectId = EffectId(Uuid::from_u128(5));
const REFUND_SEEN: EffectId = EffectId(Uuid::from_u128(6));
const FAILED: EffectId = EffectId(Uuid::from_u128(7));
const FAILED_SEEN: EffectId = EffectId(Uuid::from_u128(8));
const TRIED_AGAIN: EffectId = EffectId(Uuid::from_u128(11));
const ACTION: Uuid = Uuid::from_u128(12);
const ACTION_SEEN: Uuid = Uuid::from_u128(13);
const MESSAGE: MessageId = MessageId(Uuid::from_u128(9));
const MESSAGE_SEEN: MessageId = MessageId(Uuid::from_u128(10));
const TOTAL: i64 = 1_000;
const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// `=` already applied, `!` illegal, `#` key conflict; else the status it reaches, or `.` when it stays, the effects
/// beside its event, and `(public)` when the status stays and the public state does not.
const GRID: &str = "
event                    | none             | PENDING            | RESERVED                | CONFIRMED             | REJECTED              | CANCELLED             | EXPIRED
submit                   | PENDING reserve  | =                  | =                       | =                     | =                     | =                     | =
submit, deadline past    | EXPIRED          | =                  | =                       | =                     | =                     | =                     | =
submit, at the due mark  | EXPIRED          | =                  | =                       | =                     | =                     | =                     | =
submit, other body       | PENDING reserve  | #                  | #                       | #                     | #                     | #                     | #
stock reserved           | !                | RESERVED capture   | =                       | =                     | =                     | =                     | =
stock rejected           | !                | REJECTED           | !                       | =                     | =                     | =                     | =
captured                 | !                | !                  | CONFIRMED sold          | =                     | . give-back (public)  | . give-back (public)  | . give-back (public)
captured, other amount   | !                | !                  | !                       | =                     | . give-back (public)  | . give-back (public)  | . give-back (public)
captured, unknown        | !                | !                  | . give-back (public)    | . give-back (public)  | . give-back (public)  | . give-back (public)  | . give-back (public)
captured, given back     | !                | !                  | =                       | =                     | =                     | =                     | =
declined                 | !                | !                  | REJECTED released       | !                     | =                     | =                     | =
declined, expired        | !                | !                  | EXPIRED released        | !                     | =                     | =                     | =
declined, unknown        | !                | !                  | !                       | !                     | =                     | =                     | =
cancel                   | !                | CANCELLED released | CANCELLED released void | . (public)            | . (public)            | =                     | . (public)
cancel, refused before   | !                | CANCELLED released | CANCELLED released void | =                     | =                     | =                     | =
deadline passed          | !                | EXPIRED released   | EXPIRED released void   | =                     | =                     | =                     | =
refund                   | !                | . (public)         | . (public)              | . refund (public)     | . (public)            | . (public)            | . (public)
refund, all that is left | !                | . (public)         | . (public)              | . refund (public)     | . (public)            | . (public)            | . (public)
refund, one too much     | !                | . (public)         | . (public)              | . (public)            | . (public)            | . (public)            | . (public)
refund, nothing          | !                | . (public)         | . (public)              | . (public)            | . (public)            | . (public)            | . (public)
refund, less than none   | !                | . (public)         | . (public)              | . (public)            | . (public)            | . (public)            | . (public)
refund, seen before      | !                | =                  | =                       | =                     | =                     | =                     | =
effect failed            | !                | .                  | .                       | .                     | .                     | .                     | .
effect failed, told before | !                | =                  | =                       | =                     | =                     | =                     | =
effect failed, anew      | !                | .                  | .                       | .                     | .                     | .                     | .
effect done              | !                | .                  | .                       | .                     | .                     | .                     | .
effect done, told before | !                | =                  | =                       | =                     | =                     | =                     | =
effect done, not failed  | !                | .                  | .                       | .                     | .                     | .                     | .
retry                    | !                | . retry            | . retry                 | . retry               | . retry               | . retry               | . retry
retry, not failed        | !                | .                  | .                       | .                     | .                     | .                     | .
retry, action seen       | !                | =                  | =                       | =                     | =                     | =                     | =
retry, under way         | !                | .                  | .                       | .                     | .                     | .                     | .
";

fn own() -> EffectId {
    ids::effect_id(ORDER, "capture")
}

fn submit(body: u8, deadline: Timestamp) -> OrderCommand {
    SubmitOrder {
        order_id: ORDER,
        owner: "issuer\nuser".to_owned(),
        body_hash: BodyHash([body; 32]),
        accepted_at: Timestamp(NOW.0 - 5),
        deadline,
        currency: Currency::USD,
        total: TOTAL,
        lines: vec![PricedLine { product_id: PRODUCT, quantity: 2, unit_price: 500 }],
        shipping_address: "1 Harbour Road".to_owned(),
        payment_method: "CREDIT_CARD".to_owned(),
    }
    .into()
}

fn captured(capture_id: EffectId, amount: i64) -> OrderCommand {
    PaymentCaptured { order_id: ORDER, capture_id, amount }.into()
}

fn declined(capture_id: EffectId, reason: &str) -> OrderCommand {
    PaymentDeclined { order_id: ORDER, capture_id, reason: reason.to_owned() }.into()
}

fn cancel() -> OrderCommand {
    CancelOrder { order_id: ORDER, requested_by: "issuer\nuser".to_owned(), reason: None }.into()
}

fn refund(refund_id: EffectId, amount: i64) -> OrderCommand {
    let (requested_by, reason) = ("issuer\noperator".to_owned(), "broken".to_owned());
    RefundOrder { order_id: ORDER, refund_id, amount, requested_by, reason }.into()
}

fn failed(effect_id: EffectId) -> OrderCommand {
    EffectFailed { order_id: ORDER, effect_id, reason: "gone".to_owned() }.into()
}

fn done(effect_id: EffectId) -> OrderCommand {
    EffectDone { order_id: ORDER, effect_id }.into()
}

fn retry(effect_id: EffectId, action_id: Uuid) -> OrderCommand {
    let requested_by = "operator".to_owned();
    RetryEffect { order_id: ORDER, effect_id, action_id, requested_by, reason: None }.into()
}

/// Every event, in each form that the table tells apart, and the message that brings it.
fn events() -> Vec<(&'static str, OrderCommand, MessageId)> {
    let later = Timestamp(NOW.0 + 60_000);
    let rejected =
        StockRejected { order_id: ORDER, reason: "out_of_stock".to_owned(), product_id: PRODUCT }.into();
    [
        ("submit", submit(1, later)),
        ("submit, deadline past", submit(1, NOW)),
        ("submit, at the due mark", submit(1, due_mark())),
        ("submit, other body", submit(2, later)),
        ("stock reserved", StockReserved { order_id: ORDER }.into()),
        ("stock rejected", rejected),
        ("captured", captured(own(), TOTAL)),
        ("captured, other amount", captured(own(), TOTAL - 1)),
        ("captured, unknown", captured(FOREIGN, TOTAL)),
        ("captured, given back", captured(UNDONE, TOTAL)),
        ("declined", declined(own(), "payment_declined")),
        ("declined, expired", declined(own(), "expired")),
        ("declined, unknown", declined(FOREIGN, "payment_declined")),
        ("cancel", cancel()),
        ("cancel, refused before", cancel()),
        ("deadline passed", DeadlinePassed { order_id: ORDER, deadline: later }.into()),
        ("refund", refund(REFUND, 1)),
        ("refund, all that is left", refund(REFUND, TOTAL - 100)),
        ("refund, one too much", refund(REFUND, TOTAL - 99)),
        ("refund, nothing", refund(REFUND, 0)),
        ("refund, less than none", refund(REFUND, -1)),
        ("refund, seen before", refund(REFUND_SEEN, 1)),
        ("effect failed", failed(FAILED)),
        ("effect failed, told before", failed(FAILED_SEEN)),
        ("effect failed, anew", failed(FAILED_SEEN)),
        ("effect done", done(FAILED_SEEN)),
        ("effect done, told before", done(FAILED_SEEN)),
        ("effect done, not failed", done(FAILED)),
        ("retry", retry(FAILED_SEEN, ACTION)),
        ("retry, not failed", retry(FAILED, ACTION)),
        ("retry, action seen", retry(FAILED_SEEN, ACTION_SEEN)),
        ("retry, under way", retry(TRIED_AGAIN, ACTION)),
    ]
    .into_iter()
    .map(|(name, event)| (name, event, if name.contains("before") { MESSAGE_SEEN } else { MESSAGE }))
    .collect()
}

/// The mark lies ahead of the clock that decides: a deadline there is past all the same.
fn due_mark() -> Timestamp {
    Timestamp(NOW.0 + 3)
}

fn arrival(message: MessageId) -> Arrival {
    Arrival { now: NOW, due_mark: due_mark(), message }
}

/// An order in that status that has seen everything once.
fn order(status: OrderStatus) -> Order {
    let OrderCommand::SubmitOrder(submit) = submit(1, Timestamp(NOW.0 + 60_000)) else { panic!("a submit") };
    let public = OrderState {
        order_id: ORDER,
        owner: submit.owner,
        body_hash: submit.body_hash,
        version: 7,
        status,
        reason: None,
        currency: submit.currency,
        total: submit.total,
        refunded: 100,
        lines: submit.lines,
        shipping_address: submit.shipping_address,
        payment_method: submit.payment_method,
        accepted_at: submit.accepted_at,
        deadline: submit.deadline,
        updated_at: submit.accepted_at,
        timeline: Vec::new(),
    };
    let failed = |effect_id| FailedEffect { at: NOW, effect_id, reason: "gone".to_owned() };
    let (by, why, result) = ("operator".to_owned(), None, None);
    let action = Action { id: ACTION_SEEN, effect_id: TRIED_AGAIN, at: NOW, by, why, result };
    Order {
        public,
        capture: (status != OrderStatus::Pending).then(own),
        seen: saga::Seen {
            cancels: vec![MESSAGE_SEEN],
            refunds: vec![REFUND_SEEN],
            undone: vec![UNDONE],
            told: vec![MESSAGE_SEEN],
        },
        needs_human: vec![failed(FAILED_SEEN), failed(TRIED_AGAIN)],
        actions: vec![action],
    }
}

/// A cell's text; what holds in every cell is asserted on the way.
fn cell(before: Option<&Order>, event: &OrderCommand, message: MessageId) -> String {
    let step = match step(before, event, &arrival(message)) {
        Ok(Outcome::Step(step)) => step,
        Ok(Outcome::AlreadyApplied) => return "=".to_owned(),
        Ok(Outcome::KeyConflict) => return "#".to_owned(),
        Ok(Outcome::Unrecorded) => return "?".to_owned(),
        Err(_) => return "!".to_owned(),
    };
    let after = &step.order.public;
    let status_before = before.map(|order| order.public.status);
    let moved = status_before != Some(after.status);
    let facts: Vec<Fact> = step
        .effects
        .iter()
        .filter_map(|effect| if let Effect::Publish(fact) = effect { Some(*fact) } else { None })
        .collect();
    let grown = after.version - before.map_or(0, |order| order.public.version);
    assert_eq!(grown, facts.len() as i64, "one version for each public change");
    assert_eq!(after.timeline.len() as i64, grown, "one line for each public change");
    let expected = if moved { Fact::from(after.status) } else { Fact::Amended };
    assert!(facts.iter().all(|fact| *fact == expected), "{facts:?} tells of {}", after.status);
    assert!(!moved || status_before.is_none_or(|status| !status.is_terminal()), "terminal is terminal");

    let mut words = vec![if moved { after.status.as_str() } else { "." }];
    words.extend(step.effects.iter().filter_map(effect_name));
    if !moved && grown > 0 {
        words.push("(public)");
    }
    words.join(" ")
}

fn effect_name(effect: &Effect) -> Option<&'static str> {
    Some(match effect {
        Effect::Reserve(_) => "reserve",
        Effect::Capture(capture) => {
            assert_eq!((capture.capture_id, capture.amount), (own(), TOTAL));
            "capture"
        }
        Effect::Settle(settle) if settle.outcome == Settlement::Sold => "sold",
        Effect::Settle(_) => "released",
        Effect::Void(void) => {
            assert_eq!(void.capture_id, own());
            "void"
        }
        Effect::Refund(back) if back.refund_id == ids::undo_of(back.capture_id) => {
            assert_eq!(back.amount, None, "the whole of it");
            "give-back"
        }
        Effect::Refund(refund) => {
            assert_eq!((refund.capture_id, refund.refund_id), (own(), REFUND));
            "refund"
        }
        Effect::Retry(retry) => {
            assert_eq!((retry.refund_id, retry.action_id), (FAILED_SEEN, ACTION));
            "retry"
        }
        Effect::Publish(_) => return None,
    })
}

#[test]
fn every_event_in_every_state_does_what_the_grid_says() {
    let states: Vec<Option<OrderStatus>> =
        std::iter::once(None).chain(OrderStatus::ALL.into_iter().map(Some)).collect();
    let mut expected = GRID.trim().lines();
    let columns: Vec<&str> = expected.next().unwrap().split('|').map(str::trim).collect();
    let names: Vec<&str> = states.iter().map(|state| state.map_or("none", OrderStatus::as_str)).collect();
    assert_eq!(columns[1..], names, "the grid has a column for each state");

    for (name, event, message) in events() {
        let line: Vec<&str> =
            expected.next().expect("a line for each event").split('|').map(str::trim).collect();
        assert_eq!(line[0], name);
        for (at, state) in states.iter().enumerate() {
            let before = state.map(order);
            assert_eq!(cell(before.as_ref(), &event, message), line[at + 1], "{name} for {}", names[at]);
        }
    }
    assert_eq!(expected.next(), None, "a line without its event");
}

/// Without a wildcard: a new command does not compile until it is thought of here.
#[test]
fn every_command_there_is_has_lines_in_the_grid() {
    let (mut met, all) = (Vec::new(), 11);
    for (_, event, _) in events() {
        met.push(match event {
            OrderCommand::SubmitOrder(_) => 0,
            OrderCommand::CancelOrder(_) => 1,
            OrderCommand::DeadlinePassed(_) => 2,
            OrderCommand::RefundOrder(_) => 3,
            OrderCommand::StockReserved(_) => 4,
            OrderCommand::StockRejected(_) => 5,
            OrderCommand::PaymentCaptured(_) => 6,
            OrderCommand::PaymentDeclined(_) => 7,
            OrderCommand::EffectFailed(_) => 8,
            OrderCommand::RetryEffect(_) => 9,
            OrderCommand::EffectDone(_) => 10,
        });
    }
    met.sort_unstable();
    met.dedup();
    assert_eq!(met, (0..all).collect::<Vec<_>>());
}

/// Case 44: from the failure to its end, through two tries.
#[test]
fn what_failed_for_good_needs_a_human_until_it_is_done_and_every_action_says_what_came_of_it() {
    let mut now = order(OrderStatus::Cancelled);
    (now.needs_human, now.actions) = (Vec::new(), Vec::new());
    let mut message = 100;
    let mut take = |event: OrderCommand| {
        message += 1;
        if let Ok(Outcome::Step(step)) =
            step(Some(&now), &event, &arrival(MessageId(Uuid::from_u128(message))))
        {
            now = step.order;
        }
        let results = now.actions.iter().map(|it| it.result.map(|result| result.outcome)).collect();
        (now.needs_human.len(), results)
    };
    use saga::ActionOutcome::{Done, FailedAgain, Needless};
    let [first, second, third] = [1, 2, 3].map(Uuid::from_u128);
    assert_eq!(take(failed(FAILED)), (1, vec![]));
    assert_eq!(take(retry(FAILED, first)), (1, vec![None]));
    assert_eq!(take(retry(FAILED, second)), (1, vec![None, Some(Needless)]), "one try at a time");
    assert_eq!(take(failed(FAILED)), (1, vec![Some(FailedAgain), Some(Needless)]));
    assert_eq!(take(retry(FAILED, second)), (1, vec![Some(FailedAgain), Some(Needless)]), "done once");
    assert_eq!(take(retry(FAILED, third)), (1, vec![Some(FailedAgain), Some(Needless), None]));
    assert_eq!(take(done(FAILED)), (0, vec![Some(FailedAgain), Some(Needless), Some(Done)]));
}
