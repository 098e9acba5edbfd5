//! The decider without a database: records in, rows and records out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod story;

use harness::record::{Delivery, Out, Outgoing, Rejection, Verdict};
use orders_worker::{
    decide::{Rows, decide},
    tally::Tally,
};
use proptest::prelude::*;
use saga::Order;
use schemas::{
    ids::OrderId,
    messages::{
        InventoryCommand, OrderCommand, OrderEvent, OrderStatus, PaymentCommand, Settlement, SubmitOrder,
    },
    time::Timestamp,
    topics::Topic,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use story::{
    PARTITION, START, TOTAL, cancel, capture_id, captured, context, deadline_passed, declined, delivery,
    done, failed, order_id, other_body, out_of_stock, refund, reserved, retry, submit, terms,
};

/// A table of orders in memory, and all that was said.
#[derive(Default)]
struct Table {
    orders: BTreeMap<OrderId, Order>,
    said: Vec<Outgoing>,
    verdicts: Vec<Result<Verdict, Rejection>>,
    tallies: Vec<Tally>,
    at: i64,
}

impl Table {
    /// One batch: load, decide, save.
    fn batch(&mut self, batch: &[Delivery<OrderCommand>]) {
        let ids: BTreeSet<_> = batch.iter().map(|delivery| OrderId(delivery.key)).collect();
        let mut rows = Rows::loaded(ids.iter().filter_map(|id| self.orders.get(id).cloned()));
        let mut out = Out::default();
        for delivery in batch {
            self.at += 1;
            let mark = out.mark();
            let verdict = decide(&context(self.at), &mut rows, delivery, &mut out);
            assert!(verdict.is_ok() || out.mark() == mark, "a rejected record says nothing");
            self.verdicts.push(verdict);
        }
        self.said.extend(out.said().iter().map(|said| said.outgoing.clone()));
        let (fresh, changed, tally) = rows.into_changes();
        self.tallies.push(tally);
        for fresh in fresh {
            assert_eq!(fresh.partition, PARTITION);
            assert!(self.orders.insert(fresh.order.public.order_id, fresh.order).is_none(), "inserted once");
        }
        for changed in changed {
            let before = self.orders.insert(changed.order.public.order_id, changed.order).unwrap();
            assert_eq!(before.public.version, changed.loaded_version, "saved over what was loaded");
        }
    }

    fn run(&mut self, commands: impl IntoIterator<Item = OrderCommand>) -> &mut Self {
        for command in commands {
            self.batch(&[delivery(1, self.at, command)]);
        }
        self
    }

    fn status(&self) -> OrderStatus {
        self.orders[&order_id(1)].public.status
    }

    /// What was said since the last time, in words.
    fn heard(&mut self) -> Vec<String> {
        self.said.drain(..).map(|outgoing| name(&outgoing)).collect()
    }
}

/// Reads a record as its reader will.
fn name(outgoing: &Outgoing) -> String {
    match outgoing.topic {
        Topic::OrderEvents => {
            let event = OrderEvent::decode(&outgoing.payload).unwrap();
            assert_eq!(event.order().order_id.0, outgoing.key);
            format!("{} v{}", event.name(), event.order().version)
        }
        Topic::InventoryCommands => match InventoryCommand::decode(&outgoing.payload).unwrap() {
            InventoryCommand::SettleStock(settle) if settle.outcome == Settlement::Sold => "sold".to_owned(),
            InventoryCommand::SettleStock(_) => "released".to_owned(),
            other => other.name().to_owned(),
        },
        Topic::PaymentCommands => PaymentCommand::decode(&outgoing.payload).unwrap().name().to_owned(),
        other => panic!("nothing of ours goes to {other}"),
    }
}

#[test]
fn an_order_runs_to_its_confirmation_and_says_each_thing_once() {
    let mut table = Table::default();
    assert_eq!(table.run([submit(1)]).heard(), ["OrderAccepted v1", "ReserveStock"]);
    assert_eq!(table.run([reserved(1)]).heard(), ["OrderReserved v2", "CapturePayment"]);
    assert_eq!(table.run([captured(1)]).heard(), ["OrderConfirmed v3", "sold"]);
    assert_eq!(table.run([submit(1), reserved(1), captured(1)]).heard(), [""; 0]);
    assert_eq!(table.status(), OrderStatus::Confirmed);
    let ended: Vec<_> = table.tallies.iter().flat_map(|tally| &tally.ended).collect();
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].status, ended[0].reason), (OrderStatus::Confirmed, "none"));
    assert_eq!(
        ended[0].took,
        Duration::from_millis(23),
        "accepted 20 ms before the start, confirmed 3 after"
    );
}

#[test]
fn every_other_end_gives_back_what_it_held() {
    let cases: [(&[OrderCommand], OrderStatus, &[&str]); 7] = [
        (&[out_of_stock(1)], OrderStatus::Rejected, &["OrderRejected v2"]),
        (&[cancel(1)], OrderStatus::Cancelled, &["OrderCancelled v2", "released"]),
        (&[deadline_passed(1)], OrderStatus::Expired, &["OrderExpired v2", "released"]),
        (&[reserved(1), declined(1)], OrderStatus::Rejected, &["OrderRejected v3", "released"]),
        (
            &[reserved(1), cancel(1)],
            OrderStatus::Cancelled,
            &["OrderCancelled v3", "released", "VoidCapture"],
        ),
        (
            &[reserved(1), deadline_passed(1)],
            OrderStatus::Expired,
            &["OrderExpired v3", "released", "VoidCapture"],
        ),
        (
            &[reserved(1), cancel(1), captured(1), captured(1)],
            OrderStatus::Cancelled,
            &["OrderCancelled v3", "released", "VoidCapture", "RefundPayment", "OrderAmended v4"],
        ),
    ];
    for (commands, status, expected) in cases {
        let mut table = Table::default();
        table.run([submit(1)]).heard();
        for command in commands {
            if *command == reserved(1) {
                table.run([command.clone()]).heard();
            } else {
                table.run([command.clone()]);
            }
        }
        assert_eq!(table.heard(), expected, "{commands:?}");
        assert_eq!(table.status(), status);
    }
}

#[test]
fn the_same_key_with_another_body_is_counted_and_changes_nothing() {
    let mut table = Table::default();
    table.run([submit(1)]).heard();
    let before = table.orders.clone();
    assert_eq!(table.run([other_body(1)]).heard(), [""; 0]);
    assert_eq!(table.orders, before);
    assert_eq!(table.verdicts.last(), Some(&Ok(Verdict::Executed)));
    assert_eq!(table.tallies.last().unwrap().key_conflicts, 1);
}

#[test]
fn an_order_past_its_deadline_expires_on_arrival_with_nothing_reserved() {
    for deadline in [START - 10, START, START + 1] {
        let mut table = Table::default();
        table.run([SubmitOrder { deadline: Timestamp(deadline), ..terms(1) }.into()]);
        assert_eq!(table.heard(), ["OrderExpired v1"], "{deadline}");
        assert_eq!((table.tallies[0].created, table.tallies[0].ended.len()), (1, 1));
    }
}

#[test]
fn what_cannot_be_is_rejected_and_leaves_everything_as_it_was() {
    let mut table = Table::default();
    table.run([submit(1), reserved(1)]).heard();
    let before = table.orders.clone();
    let invalid = SubmitOrder { total: TOTAL + 1, order_id: order_id(2), ..terms(1) };
    table.batch(&[
        delivery(1, 10, out_of_stock(1)),
        delivery(2, 11, cancel(2)),
        delivery(2, 12, invalid.into()),
        delivery(2, 13, submit(1)),
    ]);
    let causes: Vec<_> = table.verdicts[2..].iter().map(|it| it.as_ref().unwrap_err().cause).collect();
    assert_eq!(causes, ["illegal_transition", "no_such_order", "invalid_order", "key_mismatch"]);
    assert_eq!(table.orders, before);
    assert_eq!(table.heard(), [""; 0]);
    assert_eq!(table.tallies.last(), Some(&Tally::default()));
}

#[test]
fn what_is_said_carries_key_message_id_and_deadline() {
    let mut table = Table::default();
    table.run([submit(1), reserved(1)]);
    let deadlines: Vec<_> =
        table.said.iter().map(|it| (it.topic, it.deadline.map(|at| at.0 - START))).collect();
    assert_eq!(
        deadlines,
        [
            (Topic::OrderEvents, None),
            (Topic::InventoryCommands, Some(60_000)),
            (Topic::OrderEvents, None),
            (Topic::PaymentCommands, Some(60_000)),
        ]
    );
    let PaymentCommand::CapturePayment(capture) = PaymentCommand::decode(&table.said[3].payload).unwrap()
    else {
        panic!("a capture")
    };
    assert_eq!((capture.capture_id, capture.amount), (capture_id(1), TOTAL));
}

#[test]
fn requests_too_late_are_on_the_timeline_and_refunds_are_counted() {
    let mut table = Table::default();
    table.run([submit(1), reserved(1), captured(1)]).heard();
    assert_eq!(table.run([cancel(1)]).heard(), ["OrderAmended v4"]);
    assert_eq!(table.run([refund(1, 5, 300)]).heard(), ["RefundPayment", "OrderAmended v5"]);
    assert_eq!(table.run([refund(1, 5, 300)]).heard(), [""; 0]);
    assert_eq!(table.run([refund(1, 6, TOTAL)]).heard(), ["OrderAmended v6"]);
    let public = &table.orders[&order_id(1)].public;
    assert_eq!((public.status, public.refunded), (OrderStatus::Confirmed, 300));
    let events: Vec<_> = public.timeline.iter().map(|entry| entry.event.as_str()).collect();
    let expected = ["ACCEPTED", "RESERVED", "CONFIRMED", "CANCEL_REFUSED", "REFUNDED", "REFUND_REFUSED"];
    assert_eq!(events, expected);
    let sum = |of: fn(&Tally) -> u64| table.tallies.iter().map(of).sum::<u64>();
    assert_eq!(sum(|it| it.refused_cancels), 1);
    assert_eq!(sum(|it| it.refunds), 1);
    assert_eq!(sum(|it| it.refused_refunds), 1);
}

/// What an order that is reserved comes to by these two in one batch, and what it says.
fn race(first: OrderCommand, second: OrderCommand) -> (OrderStatus, Vec<String>) {
    let mut table = Table::default();
    table.run([submit(1), reserved(1)]).heard();
    table.batch(&[delivery(1, 70, first), delivery(1, 71, second)]);
    (table.status(), table.heard())
}

#[test]
fn case_46_of_cancel_and_confirmation_the_first_wins_and_the_other_is_refused_or_given_back() {
    let (status, said) = race(captured(1), cancel(1));
    assert_eq!(status, OrderStatus::Confirmed);
    assert_eq!(
        said,
        ["OrderConfirmed v3", "sold", "OrderAmended v4"],
        "the cancel is refused on the timeline"
    );
    let (status, said) = race(cancel(1), captured(1));
    assert_eq!(status, OrderStatus::Cancelled);
    assert_eq!(said, ["OrderCancelled v3", "released", "VoidCapture", "RefundPayment", "OrderAmended v4"]);
}

#[test]
fn case_47_an_expiry_and_the_captures_answer_in_one_batch_settle_the_hold_once() {
    let (status, said) = race(captured(1), deadline_passed(1));
    assert_eq!(status, OrderStatus::Confirmed);
    assert_eq!(said, ["OrderConfirmed v3", "sold"]);
    let (status, said) = race(deadline_passed(1), captured(1));
    assert_eq!(status, OrderStatus::Expired);
    assert_eq!(said, ["OrderExpired v3", "released", "VoidCapture", "RefundPayment", "OrderAmended v4"]);
}

#[test]
fn a_failed_effect_is_kept_and_counted_and_not_public() {
    let mut table = Table::default();
    table.run([submit(1), cancel(1)]).heard();
    table.batch(&[delivery(1, 50, failed(1)), delivery(1, 50, failed(1))]);
    assert_eq!(table.heard(), [""; 0]);
    assert_eq!(table.orders[&order_id(1)].needs_human.len(), 1);
    let count = |table: &Table, of: fn(&Tally) -> usize| table.tallies.iter().map(of).sum::<usize>();
    assert_eq!(count(&table, |tally| tally.failed.len()), 1);
    table.batch(&[delivery(1, 51, retry(1, 1)), delivery(1, 51, retry(1, 1)), delivery(1, 52, retry(1, 2))]);
    assert_eq!(table.heard(), ["RetryRefund"], "one try at a time, and none twice");
    table.batch(&[delivery(1, 53, failed(1)), delivery(1, 54, done(1)), delivery(1, 54, done(1))]);
    assert_eq!(table.heard(), [""; 0]);
    assert_eq!(table.orders[&order_id(1)].needs_human, []);
    assert_eq!(count(&table, |tally| tally.failed.len()), 2, "an alarm for each failure");
    assert_eq!(count(&table, |tally| tally.mended.len()), 1);
}

fn command(n: u128, pick: u8) -> OrderCommand {
    match pick {
        0..=3 => submit(n),
        4 => other_body(n),
        5..=8 => reserved(n),
        9 => out_of_stock(n),
        10..=12 => captured(n),
        13 => declined(n),
        14 => cancel(n),
        15 => deadline_passed(n),
        16 => refund(n, 5, 700),
        17 => refund(n, 6, 1_700),
        _ => failed(n),
    }
}

fn records() -> impl Strategy<Value = Vec<Delivery<OrderCommand>>> {
    prop::collection::vec((1..=4u128, 0..19u8), 1..60).prop_map(|picks| {
        let records = picks.into_iter().enumerate();
        records.map(|(at, (n, pick))| delivery(n, at as i64, command(n, pick))).collect()
    })
}

proptest! {
    /// However the log is cut into batches, it comes to the same.
    #[test]
    fn batches_do_not_matter(records in records(), cuts in prop::collection::vec(1..20usize, 60)) {
        let (mut one, mut many) = (Table::default(), Table::default());
        one.batch(&records);
        let mut rest = &records[..];
        for cut in cuts {
            let (batch, later) = rest.split_at(cut.min(rest.len()));
            many.batch(batch);
            rest = later;
        }
        prop_assert_eq!(one.orders, many.orders);
        prop_assert_eq!(one.said, many.said);
        prop_assert_eq!(one.verdicts, many.verdicts);
    }

    /// A message id means one message; each order's published versions are 1, 2, 3, ….
    #[test]
    fn message_ids_and_versions_are_told_once(records in records()) {
        let mut table = Table::default();
        table.batch(&records);
        let ids: BTreeSet<_> = table.said.iter().map(|outgoing| outgoing.message).collect();
        prop_assert_eq!(ids.len(), table.said.len());
        let mut versions: BTreeMap<OrderId, i64> = BTreeMap::new();
        for outgoing in table.said.iter().filter(|outgoing| outgoing.topic == Topic::OrderEvents) {
            let event = OrderEvent::decode(&outgoing.payload).unwrap();
            let last = versions.entry(event.order().order_id).or_default();
            *last += 1;
            prop_assert_eq!(event.order().version, *last);
        }
        for (id, order) in &table.orders {
            prop_assert_eq!(versions[id], order.public.version, "the newest event is the whole state");
        }
    }
}
