//! What is under way breaks no rule; what is wrong is found in `tests/drifts.rs`, over real tables.

use super::*;
use crate::case::{Charge, Refund, lines};
use schemas::messages::OrderStatus;
use uuid::Uuid;

const NOW: Timestamp = Timestamp(10_000_000);

fn capture(state: CaptureState) -> Capture {
    Capture {
        id: Uuid::from_u128(2),
        state,
        amount: 100,
        refunding: 0,
        refunded: 0,
        attempts: 0,
        first_called_at: Some(NOW),
        is_forgotten: false,
    }
}

fn refund() -> Refund {
    Refund {
        id: Uuid::from_u128(3),
        attempts: 0,
        has_failed: false,
        first_called_at: Some(NOW),
        is_forgotten: false,
    }
}

fn charge(refunded: i64) -> Charge {
    Charge { key: Uuid::from_u128(2), is_charged: true, amount: 100, refunded }
}

fn case(status: OrderStatus, hold: HoldState) -> Case {
    let lines = lines(&[Uuid::from_u128(9)], &[2]);
    let deadline = NOW.plus(Duration::from_secs(60));
    let order = Order {
        status,
        version: 3,
        currency: "USD".to_owned(),
        total: 100,
        refunded: 0,
        capture: Some(Uuid::from_u128(2)),
        lines: lines.clone(),
        deadline,
        needs_human: false,
    };
    let hold = Hold { outside: false, state: hold, lines, deadline };
    Case { order: Some(order), hold: Some(hold), charges: Some(vec![]), ..Case::of(Uuid::from_u128(1)) }
}

fn kinds(case: &Case) -> Vec<Kind> {
    judge(case, NOW).into_iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_live_order_with_a_hold_and_a_call_under_way_is_as_it_should_be() {
    assert_eq!(kinds(&case(Pending, HoldState::Waiting)), []);
    let calling = Case { captures: vec![capture(CaptureState::Unknown)], ..case(Reserved, HoldState::Held) };
    assert_eq!(kinds(&calling), []);
    assert!(!calling.is_settled());
}

#[test]
fn an_order_is_stuck_only_when_its_deadline_is_past_by_the_margin() {
    let mut late = case(Pending, HoldState::Waiting);
    let at = |seconds: u64| Timestamp(NOW.0 - i64::try_from(seconds).unwrap() * 1_000);
    late.order.as_mut().unwrap().deadline = at(60);
    assert_eq!(kinds(&late), []);
    late.order.as_mut().unwrap().deadline = at(61);
    assert_eq!(kinds(&late), [Kind::Stuck]);
    late.parked = vec!["orders"];
    assert_eq!(kinds(&late), [Kind::Parked], "its key is parked: that explains it");
}

#[test]
fn a_cancelled_order_may_wait_for_its_capture_to_be_known_and_for_its_money_to_go_back() {
    let unknown =
        Case { captures: vec![capture(CaptureState::Unknown)], ..case(Cancelled, HoldState::Released) };
    assert_eq!(kinds(&unknown), []);
    let charged = Case { charges: Some(vec![charge(0)]), ..unknown };
    assert_eq!(kinds(&charged), [], "the provider may know more than we");
    let refunding = Case {
        captures: vec![Capture { refunding: 100, ..capture(CaptureState::Captured) }],
        refunds: vec![refund()],
        ..charged
    };
    assert_eq!(kinds(&refunding), []);
    assert!(!refunding.is_settled());
    let known_there = Case { charges: Some(vec![charge(100)]), ..refunding.clone() };
    assert_eq!(kinds(&known_there), [], "the refund's answer is on its way");
    let kept = Case { captures: vec![capture(CaptureState::Captured)], refunds: vec![], ..refunding };
    assert_eq!(kinds(&kept), [Kind::Money]);
}

#[test]
fn a_confirmed_order_owes_its_total_less_refunds() {
    let captured = |refunded, refunding| Capture { refunded, refunding, ..capture(CaptureState::Captured) };
    let mut sold = Case {
        captures: vec![captured(0, 0)],
        charges: Some(vec![charge(0)]),
        ..case(Confirmed, HoldState::Sold)
    };
    assert_eq!(kinds(&sold), []);
    sold.order.as_mut().unwrap().refunded = 30;
    assert_eq!(kinds(&sold), [Kind::Money]);
    sold.captures = vec![captured(0, 30)];
    assert_eq!(kinds(&sold), [], "being given back");
    sold.captures = vec![captured(30, 0)];
    assert_eq!(kinds(&sold), [Kind::Provider], "ours says so, and the provider does not");
    sold.captures = vec![capture(CaptureState::Unknown)];
    assert_eq!(kinds(&sold), [Kind::Money], "a confirmed order's capture is known");
}
