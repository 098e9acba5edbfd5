//! Random histories of several orders, with duplicates and reordering across keys: what holds after every one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;
use saga::{ActionOutcome, Arrival, Effect, MAX_REFUNDS, MAX_TIMELINE, Order, Outcome, step};
use schemas::{
    ids::{self, EffectId, MessageId, OrderId, ProductId},
    messages::{
        BodyHash, CancelOrder, DeadlinePassed, EffectDone, EffectFailed, OrderCommand, OrderStatus,
        PaymentCaptured, PaymentDeclined, PricedLine, RefundOrder, RetryEffect, StockRejected, StockReserved,
        SubmitOrder,
    },
    money::Currency,
    time::Timestamp,
};
use std::collections::BTreeMap;
use uuid::Uuid;

const START: i64 = 1_700_000_000_000;
const TOTAL: i64 = 900;
/// Two captures that no order asked for, beside its own.
const CAPTURES: u128 = 3;

/// One event on the way to one of the orders.
#[derive(Debug, Clone)]
struct Sent {
    command: OrderCommand,
    message: MessageId,
}

fn order_id(order: u128) -> OrderId {
    OrderId(Uuid::from_u128(order))
}

fn capture_id(order: u128, capture: u128) -> EffectId {
    match capture {
        0 => ids::effect_id(order_id(order), "capture"),
        other => EffectId(Uuid::from_u128(1_000 * order + other)),
    }
}

fn submit(order: u128, body: u8, past: bool) -> OrderCommand {
    SubmitOrder {
        order_id: order_id(order),
        owner: "issuer\nuser".to_owned(),
        body_hash: BodyHash([body; 32]),
        accepted_at: Timestamp(START),
        deadline: Timestamp(if past { START } else { START + 60_000 }),
        currency: Currency::USD,
        total: TOTAL,
        lines: vec![PricedLine { product_id: ProductId(Uuid::from_u128(7)), quantity: 3, unit_price: 300 }],
        shipping_address: "1 Harbour Road".to_owned(),
        payment_method: "CREDIT_CARD".to_owned(),
    }
    .into()
}

/// One event; `pick` leans to those that bring an order forward, so that histories get long.
fn command(order: u128, pick: u8, capture: u128, amount: i64) -> OrderCommand {
    let id = order_id(order);
    let capture_id = capture_id(order, capture);
    match pick {
        0..=5 => submit(order, 1, false),
        6 => submit(order, 2, false),
        7 => submit(order, 1, true),
        8..=13 => StockReserved { order_id: id }.into(),
        14 => {
            let product_id = ProductId(Uuid::from_u128(7));
            StockRejected { order_id: id, reason: "out_of_stock".to_owned(), product_id }.into()
        }
        15..=20 => PaymentCaptured { order_id: id, capture_id, amount: TOTAL }.into(),
        21 => PaymentCaptured { order_id: id, capture_id, amount }.into(),
        22..=23 => {
            let reason = if amount % 2 == 0 { "expired" } else { "payment_declined" }.to_owned();
            PaymentDeclined { order_id: id, capture_id, reason }.into()
        }
        24..=25 => CancelOrder { order_id: id, requested_by: "issuer\nuser".to_owned(), reason: None }.into(),
        26 => DeadlinePassed { order_id: id, deadline: Timestamp(START + 60_000) }.into(),
        27..=31 => {
            let refund_id = EffectId(Uuid::from_u128(amount.unsigned_abs().into()));
            let (requested_by, reason) = ("issuer\nop".to_owned(), "broken".to_owned());
            RefundOrder { order_id: id, refund_id, amount: amount - 20, requested_by, reason }.into()
        }
        33 => EffectDone { order_id: id, effect_id: capture_id }.into(),
        34..=35 => {
            let (action_id, requested_by) = (Uuid::from_u128(amount.unsigned_abs().into()), "op".to_owned());
            RetryEffect { order_id: id, effect_id: capture_id, action_id, requested_by, reason: None }.into()
        }
        _ => EffectFailed { order_id: id, effect_id: capture_id, reason: "gone".to_owned() }.into(),
    }
}

/// Events of three orders, mixed; every fourth is one of the earlier events of the history again.
fn history() -> impl Strategy<Value = Vec<Sent>> {
    let one = (1..=3u128, 0..36u8, 0..CAPTURES, 0..400i64, any::<prop::sample::Index>(), 0..4u8);
    prop::collection::vec(one, 1..120).prop_map(|picks| {
        let mut sent: Vec<Sent> = Vec::new();
        for (at, (order, pick, capture, amount, earlier, again)) in picks.into_iter().enumerate() {
            let next = if again == 0 && !sent.is_empty() {
                sent[earlier.index(sent.len())].clone()
            } else {
                let message = MessageId(Uuid::from_u128(9_000 + at as u128));
                Sent { command: command(order, pick, capture, amount), message }
            };
            sent.push(next);
        }
        sent
    })
}

fn order_of(command: &OrderCommand) -> OrderId {
    match command {
        OrderCommand::SubmitOrder(it) => it.order_id,
        OrderCommand::CancelOrder(it) => it.order_id,
        OrderCommand::DeadlinePassed(it) => it.order_id,
        OrderCommand::RefundOrder(it) => it.order_id,
        OrderCommand::StockReserved(it) => it.order_id,
        OrderCommand::StockRejected(it) => it.order_id,
        OrderCommand::PaymentCaptured(it) => it.order_id,
        OrderCommand::PaymentDeclined(it) => it.order_id,
        OrderCommand::EffectFailed(it) => it.order_id,
        OrderCommand::RetryEffect(it) => it.order_id,
        OrderCommand::EffectDone(it) => it.order_id,
    }
}

/// All orders and everything they asked for.
#[derive(Default)]
struct World {
    orders: BTreeMap<OrderId, Order>,
    asked: BTreeMap<OrderId, Vec<Effect>>,
    at: i64,
}

impl World {
    fn take(&mut self, sent: &Sent) -> Option<Outcome> {
        self.at += 1;
        let arrival =
            Arrival { now: Timestamp(START + self.at), due_mark: Timestamp(START), message: sent.message };
        let id = order_of(&sent.command);
        let before = self.orders.get(&id).cloned();
        let outcome = step(before.as_ref(), &sent.command, &arrival).ok()?;
        if let Outcome::Step(step) = &outcome {
            check_step(before.as_ref(), &step.order, &step.effects);
            self.asked.entry(id).or_default().extend(step.effects.iter().cloned());
            self.orders.insert(id, step.order.clone());
        }
        Some(outcome)
    }

    fn count(&self, id: OrderId, wanted: impl Fn(&Effect) -> bool) -> usize {
        self.asked.get(&id).map_or(0, |asked| asked.iter().filter(|effect| wanted(effect)).count())
    }
}

fn check_step(before: Option<&Order>, after: &Order, effects: &[Effect]) {
    let published = effects.iter().filter(|effect| matches!(effect, Effect::Publish(_))).count();
    let grown = after.public.version - before.map_or(0, |order| order.public.version);
    assert_eq!(grown, published as i64, "the version grows by one with each public change");
    let same = before.is_some_and(|before| before.public == after.public);
    assert_eq!(same, published == 0, "a change is told, no change is not");
    let Some(before) = before else { return };
    if before.public.status.is_terminal() {
        assert_eq!(after.public.status, before.public.status, "terminal is terminal");
        assert_eq!(after.public.reason, before.public.reason);
    }
    assert!(after.public.updated_at >= before.public.updated_at);
    assert!(after.public.refunded >= before.public.refunded);
    assert!(after.public.timeline.starts_with(&before.public.timeline), "history is not rewritten");
    assert_eq!(after.public.lines, before.public.lines, "prices are fixed");
}

fn check_end(world: &World, id: OrderId, order: &Order) {
    let reserves = world.count(id, |effect| matches!(effect, Effect::Reserve(_)));
    let settles = world.count(id, |effect| matches!(effect, Effect::Settle(_)));
    let captures = world.count(id, |effect| matches!(effect, Effect::Capture(_)));
    let status = order.public.status;
    assert!(reserves <= 1 && captures <= 1, "one reserve, one capture");
    // a reserve that inventory itself has ended needs no settle
    let out_of_stock =
        status == OrderStatus::Rejected && order.public.reason.as_deref() == Some("out_of_stock");
    let owed = usize::from(status.is_terminal() && reserves == 1 && !out_of_stock);
    assert_eq!(settles, owed, "{status}: a settle for every reserve, once, at the end");
    assert!(order.public.timeline.len() <= MAX_TIMELINE);
    assert!(order.public.refunded <= if status == OrderStatus::Confirmed { TOTAL } else { 0 });

    for capture in (0..CAPTURES).map(|n| capture_id(id.0.as_u128(), n)) {
        let undone = world.count(
            id,
            |effect| matches!(effect, Effect::Refund(refund) if refund.refund_id == ids::undo_of(capture)),
        );
        assert!(undone <= 1, "a late capture is given back once");
        assert_eq!(undone == 1, order.seen.undone.contains(&capture));
        if status == OrderStatus::Confirmed {
            assert!(undone == 0 || !order.is_own(capture), "what was sold is not given back");
        }
    }
    let refunds: i64 = world.asked[&id]
        .iter()
        .map(|effect| match effect {
            Effect::Refund(refund) => refund.amount.unwrap_or(0),
            _ => 0,
        })
        .sum();
    assert_eq!(refunds, order.public.refunded, "what operators give back is asked for, once");
    let retried: Vec<_> = world.asked[&id]
        .iter()
        .filter_map(|effect| if let Effect::Retry(retry) = effect { Some(retry.action_id) } else { None })
        .collect();
    let needless = |it: &&saga::Action| it.result.is_none_or(|it| it.outcome != ActionOutcome::Needless);
    let acted: Vec<_> = order.actions.iter().filter(needless).map(|it| it.id).collect();
    assert_eq!(retried, acted, "what is tried again is an action on record, each once");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_invariants(history in history()) {
        let mut world = World::default();
        for sent in &history {
            world.take(sent);
        }
        for (id, order) in &world.orders {
            check_end(&world, *id, order);
        }
    }

    /// Each event once, or each event followed by any number of events that were taken before: the same end.
    #[test]
    fn replays_change_nothing(history in history(), again in prop::collection::vec(any::<prop::sample::Index>(), 0..120)) {
        let (mut plain, mut repeated) = (World::default(), World::default());
        let mut taken: Vec<&Sent> = Vec::new();
        for (at, sent) in history.iter().enumerate() {
            plain.take(sent);
            if repeated.take(sent).is_some() {
                taken.push(sent);
            }
            if let (Some(index), false) = (again.get(at), taken.is_empty()) {
                let outcome = repeated.take(taken[index.index(taken.len())]);
                prop_assert!(!matches!(outcome, Some(Outcome::Step(_))), "{outcome:?}");
            }
        }
        prop_assert_eq!(&plain.asked, &repeated.asked);
        prop_assert_eq!(plain.orders.len(), repeated.orders.len());
        for (id, order) in &plain.orders {
            let other = &repeated.orders[id].public;
            prop_assert_eq!((order.public.status, order.public.version), (other.status, other.version));
        }
    }

    /// Each order's own sequence alone gives what the mixture gave.
    #[test]
    fn orders_do_not_touch_each_other(history in history()) {
        let mut mixed = World::default();
        for sent in &history {
            mixed.take(sent);
        }
        for (id, order) in &mixed.orders {
            let mut alone = World::default();
            for sent in history.iter().filter(|sent| order_of(&sent.command) == *id) {
                alone.take(sent);
            }
            prop_assert_eq!(&alone.asked[id], &mixed.asked[id]);
            prop_assert_eq!(alone.orders[id].public.version, order.public.version);
        }
    }
}

#[test]
fn requests_beyond_the_bound_leave_no_trace_and_never_come_true_later() {
    let mut world = World::default();
    let mut at = 0;
    let mut take = |world: &mut World, command: OrderCommand| {
        at += 1;
        world.take(&Sent { command, message: MessageId(Uuid::from_u128(at)) })
    };
    let refund = |n: u128| -> OrderCommand {
        let (requested_by, reason) = ("issuer\nop".to_owned(), "broken".to_owned());
        let refund_id = EffectId(Uuid::from_u128(n));
        RefundOrder { order_id: order_id(1), refund_id, amount: 1, requested_by, reason }.into()
    };
    take(&mut world, submit(1, 1, false));
    for n in 0..MAX_REFUNDS as u128 {
        assert!(matches!(take(&mut world, refund(n)), Some(Outcome::Step(_))));
    }
    assert_eq!(take(&mut world, refund(5_000)), Some(Outcome::Unrecorded));
    take(&mut world, StockReserved { order_id: order_id(1) }.into());
    let own = capture_id(1, 0);
    take(&mut world, PaymentCaptured { order_id: order_id(1), capture_id: own, amount: TOTAL }.into());
    let confirmed = world.orders[&order_id(1)].clone();
    assert_eq!(confirmed.public.status, OrderStatus::Confirmed);
    assert_eq!(take(&mut world, refund(5_000)), Some(Outcome::Unrecorded));
    assert_eq!(take(&mut world, refund(3)), Some(Outcome::AlreadyApplied));

    let cancel = || CancelOrder { order_id: order_id(1), requested_by: String::new(), reason: None }.into();
    let refused = (0..50).filter(|_| matches!(take(&mut world, cancel()), Some(Outcome::Step(_)))).count();
    assert_eq!(refused, saga::MAX_REFUSED_CANCELS);
    assert!(world.orders[&order_id(1)].public.timeline.len() <= MAX_TIMELINE);
}
