//! One record at a time: each answer, each refusal, each repeat.

use crate::memory::{
    DEADLINE, Memory, NOW, adjust, context, delivery, from_edge, order, product, reserve, settle, walk, walks,
};
use harness::record::{Out, Record, Verdict};
use harness::service::Service;
use inventory_worker::{
    InventoryService,
    books::Books,
    decide::decide,
    hold::{HoldState, Place},
    need::Need,
    walk::finish,
};
use schemas::{
    envelope::EnvelopeError,
    ids::OrderId,
    messages::{
        InventoryCommand, InventoryEvent, OrderCommand, ReserveStock, Settlement, StockRejected,
        StockReserved,
    },
    time::Timestamp,
    topics::{self, Topic},
    wire,
};

const MANY: usize = 1_000;

fn answers(said: &[harness::record::Said]) -> Vec<OrderCommand> {
    said.iter()
        .filter(|said| said.outgoing.topic == Topic::OrderCommands)
        .map(|said| OrderCommand::decode(&said.outgoing.payload).unwrap())
        .collect()
}

#[test]
fn what_fits_is_held_at_once_and_the_levels_are_told_once_a_batch() {
    let mut tables = Memory::with(&[5, 5]);
    let (verdicts, said) =
        tables.run(MANY, &[delivery(reserve(1, 0, &[(0, 2), (1, 1)])), delivery(reserve(2, 1, &[(0, 1)]))]);
    assert_eq!(verdicts, [Ok(Verdict::Executed), Ok(Verdict::Executed)]);
    let granted = |n| OrderCommand::from(StockReserved { order_id: order(n) });
    assert_eq!(answers(&said), [granted(1), granted(2)]);
    let levels: Vec<_> = said
        .iter()
        .filter(|said| said.outgoing.topic == Topic::InventoryEvents)
        .map(|said| InventoryEvent::decode(&said.outgoing.payload).unwrap())
        .map(|InventoryEvent::StockChanged(event)| {
            (event.product_id, event.available, event.held, event.version)
        })
        .collect();
    assert_eq!(levels, [(product(0), 2, 3, 2), (product(1), 4, 1, 2)]);
}

#[test]
fn all_lines_or_none() {
    let mut tables = Memory::with(&[5, 1]);
    tables.run(MANY, &[delivery(reserve(1, 0, &[(1, 1)]))]);
    tables.run(MANY, &[delivery(reserve(2, 1, &[(0, 2), (1, 1)]))]);
    assert_eq!(tables.state(2), Some(HoldState::Waiting));
    assert_eq!(tables.products[&product(0)].available, 5, "who waits holds nothing");
}

#[test]
fn what_can_never_be_had_is_rejected_with_its_first_product() {
    let mut tables = Memory::with(&[5, 1]);
    tables.run(MANY, &[delivery(reserve(1, 0, &[(1, 1)]))]);
    let (_, said) = tables
        .run(MANY, &[delivery(reserve(2, 0, &[(0, 1), (1, 2)])), delivery(reserve(3, 0, &[(0, 1), (9, 1)]))]);
    let rejected = |n, reason: &str, p| {
        OrderCommand::from(StockRejected {
            order_id: order(n),
            reason: reason.to_owned(),
            product_id: product(p),
        })
    };
    assert_eq!(answers(&said), [rejected(2, "out_of_stock", 1), rejected(3, "unknown_product", 9)]);
    // the same again after a restock: its answer has left, and stays
    tables.run(MANY, &[delivery(adjust(1, 1, 10))]);
    let (verdicts, said) = tables.run(MANY, &[delivery(reserve(2, 0, &[(0, 1), (1, 2)]))]);
    assert_eq!((verdicts, said), (vec![Ok(Verdict::AlreadyApplied)], vec![]));
}

#[test]
fn a_newcomer_does_not_overtake_a_walk() {
    let mut tables = Memory::with(&[1]);
    tables.run(MANY, &[delivery(reserve(1, 0, &[(0, 1)])), delivery(reserve(2, 5, &[(0, 1)]))]);
    // in one batch: the unit comes back, and somebody who came later but was accepted earlier asks for it
    tables.run(
        MANY,
        &[
            delivery(settle(1, Settlement::Released)),
            delivery(reserve(3, 9, &[(0, 1)])),
            delivery(reserve(4, 2, &[(0, 1)])),
        ],
    );
    assert_eq!(
        (tables.state(2), tables.state(3), tables.state(4)),
        (Some(HoldState::Waiting), Some(HoldState::Waiting), Some(HoldState::Held))
    );
    assert_eq!(tables.products[&product(0)].cursor, None, "nothing is left of the walk");
}

#[test]
fn first_fit_passes_over_who_needs_more() {
    let mut tables = Memory::with(&[3]);
    tables.run(
        MANY,
        &[
            delivery(reserve(1, 0, &[(0, 1)])),
            delivery(reserve(2, 0, &[(0, 2)])),
            delivery(reserve(3, 1, &[(0, 3)])),
            delivery(reserve(4, 2, &[(0, 1)])),
        ],
    );
    tables.run(MANY, &[delivery(settle(1, Settlement::Released))]);
    assert_eq!((tables.state(3), tables.state(4)), (Some(HoldState::Waiting), Some(HoldState::Held)));
}

#[test]
fn who_has_become_impossible_is_told_when_the_units_are_sold() {
    let mut tables = Memory::with(&[3]);
    tables.run(
        MANY,
        &[
            delivery(reserve(1, 0, &[(0, 2)])),
            delivery(reserve(2, 0, &[(0, 1)])),
            delivery(reserve(3, 1, &[(0, 3)])),
            delivery(reserve(4, 2, &[(0, 1)])),
        ],
    );
    let (_, said) = tables.run(MANY, &[delivery(settle(1, Settlement::Sold))]);
    assert_eq!(answers(&said).len(), 1);
    assert_eq!((tables.state(3), tables.state(4)), (Some(HoldState::Rejected), Some(HoldState::Waiting)));
    tables.run(MANY, &[delivery(settle(2, Settlement::Sold))]);
    assert_eq!(tables.state(4), Some(HoldState::Rejected));
}

#[test]
fn every_settle_in_every_state() {
    use HoldState::{Held, Rejected, Released, Sold, Waiting};
    use Settlement as To;
    let applied = Ok(Verdict::AlreadyApplied);
    let executed = Ok(Verdict::Executed);
    let illegal = Err("illegal_settle");
    let cases = [
        (Waiting, To::Released, executed, Released),
        (Waiting, To::Sold, illegal, Waiting),
        (Held, To::Released, executed, Released),
        (Held, To::Sold, executed, Sold),
        (Sold, To::Released, illegal, Sold),
        (Sold, To::Sold, applied, Sold),
        (Released, To::Released, applied, Released),
        (Released, To::Sold, illegal, Released),
        (Rejected, To::Released, applied, Rejected),
        (Rejected, To::Sold, illegal, Rejected),
    ];
    for (state, outcome, expected, after) in cases {
        let mut tables = Memory::with(&[2]);
        let ask = |n| delivery(reserve(n, i64::from(n), &[(0, if state == Rejected { 3 } else { 2 })]));
        let _ = match state {
            Waiting => tables.run(MANY, &[ask(9), ask(1)]),
            Held | Rejected => tables.run(MANY, &[ask(1)]),
            Sold => tables.run(MANY, &[ask(1), delivery(settle(1, To::Sold))]),
            Released => tables.run(MANY, &[ask(1), delivery(settle(1, To::Released))]),
        };
        assert_eq!(tables.state(1), Some(state));
        let (verdicts, _) = tables.run(MANY, &[delivery(settle(1, outcome))]);
        let verdict = verdicts[0].clone().map_err(|rejection| rejection.cause);
        assert_eq!((verdict, tables.state(1)), (expected, Some(after)), "{state:?} {outcome:?}");
    }
}

#[test]
fn settling_a_reserve_that_never_was() {
    let mut tables = Memory::with(&[2]);
    let (verdicts, _) = tables.run(MANY, &[delivery(settle(1, Settlement::Released))]);
    assert_eq!(verdicts, [Ok(Verdict::AlreadyApplied)]);
    assert_eq!(tables.state(1), None, "through a lane nothing follows it");
    let (verdicts, _) = tables.run(MANY, &[delivery(settle(1, Settlement::Sold))]);
    assert_eq!(verdicts[0].clone().unwrap_err().cause, "illegal_settle");
}

#[test]
fn a_rejected_record_leaves_the_books_as_they_were() {
    let tables = Memory::with(&[2]);
    let twice = reserve(1, 0, &[(0, 1), (0, 1)]);
    let none = reserve(1, 0, &[]);
    let nothing = reserve(1, 0, &[(0, 0)]);
    let late = reserve(1, i64::MAX - NOW.0, &[(0, 1)]);
    let early = reserve(1, -NOW.0 - 1, &[(0, 1)]);
    for (command, cause) in [
        (twice, "invalid_reserve"),
        (none, "invalid_reserve"),
        (nothing, "invalid_reserve"),
        (late, "invalid_reserve"),
        (early, "invalid_reserve"),
        (settle(1, Settlement::Sold), "illegal_settle"),
    ] {
        let record = delivery(command);
        let mut books = tables.load(MANY, std::slice::from_ref(&record));
        let before = format!("{books:?}");
        let rejection = decide(&context(), &mut books, &record, &mut Out::default()).unwrap_err();
        assert_eq!(rejection.cause, cause);
        assert_eq!(format!("{books:?}"), before);
    }
}

#[test]
fn stock_that_contradicts_its_hold_is_refused_whole() {
    let mut tables = Memory::with(&[5, 5]);
    tables.run(MANY, &[delivery(reserve(1, 0, &[(0, 1), (1, 1)]))]);
    tables.products.get_mut(&product(1)).unwrap().held = 0;
    let before = tables.clone();
    let (verdicts, _) = tables.run(MANY, &[delivery(settle(1, Settlement::Sold))]);
    assert_eq!(verdicts[0].clone().unwrap_err().cause, "conservation");
    assert_eq!(tables, before);
}

#[test]
fn an_adjustment_counts_once_and_a_mistake_parks_nothing() {
    let mut tables = Memory::with(&[2]);
    let (verdicts, _) = tables.run(MANY, &[delivery(adjust(1, 0, 3)), delivery(adjust(1, 0, 3))]);
    assert_eq!(verdicts, [Ok(Verdict::Executed), Ok(Verdict::AlreadyApplied)]);
    let stock =
        |tables: &Memory| (tables.products[&product(0)].available, tables.products[&product(0)].restocked);
    assert_eq!(stock(&tables), (5, 3));
    let (verdicts, said) = tables.run(MANY, &[delivery(adjust(2, 0, -6)), delivery(adjust(3, 0, i64::MAX))]);
    assert_eq!(verdicts, [Ok(Verdict::Executed), Ok(Verdict::Executed)]);
    assert_eq!((stock(&tables), said), ((5, 3), vec![]));
    let (verdicts, _) = tables.run(MANY, &[delivery(adjust(2, 0, -6)), delivery(adjust(4, 0, -5))]);
    assert_eq!(verdicts, [Ok(Verdict::AlreadyApplied), Ok(Verdict::Executed)]);
    assert_eq!(stock(&tables), (0, -2));
}

#[test]
fn the_first_units_make_a_product_known() {
    let mut tables = Memory::with(&[]);
    tables.run(MANY, &[delivery(adjust(1, 7, -1))]);
    assert!(tables.products.is_empty());
    tables.run(MANY, &[delivery(adjust(2, 7, 4))]);
    tables.run(MANY, &[delivery(reserve(1, 0, &[(7, 4)]))]);
    assert_eq!(tables.state(1), Some(HoldState::Held));
}

#[test]
fn a_restock_serves_the_queue() {
    let mut tables = Memory::with(&[1]);
    tables.run(MANY, &[delivery(reserve(1, 0, &[(0, 1)])), delivery(reserve(2, 0, &[(0, 1)]))]);
    let (_, said) = tables.run(MANY, &[delivery(adjust(1, 0, 1))]);
    assert_eq!(answers(&said), [OrderCommand::from(StockReserved { order_id: order(2) })]);
    // said from the lane that restocked, because of it
    assert_eq!(said[0].from, topics::partition_of(&topics::key(product(0).0), crate::memory::PARTITIONS));
    assert!(said[0].causation.is_some());
}

/// One unit for each of a queue that is longer than what one batch looks at.
fn a_long_queue() -> Memory {
    let mut tables = Memory::with(&[4]);
    let queue: Vec<_> = (2..6).map(|n| delivery(reserve(n, i64::from(n), &[(0, 1)]))).collect();
    tables.run(MANY, &[delivery(reserve(1, 0, &[(0, 4)]))]);
    tables.run(MANY, &queue);
    tables
}

#[test]
fn a_newcomer_does_not_overtake_who_was_not_read() {
    let mut tables = a_long_queue();
    let (_, said) =
        tables.run(2, &[delivery(settle(1, Settlement::Released)), delivery(reserve(9, 9, &[(0, 1)]))]);
    assert_eq!(answers(&said), [OrderCommand::from(StockReserved { order_id: order(2) })]);
    assert_eq!(walks(&said), [product(0)]);
    tables.settle_down(2, &[delivery(walk(product(0)))]);
    assert_eq!((tables.state(5), tables.state(9)), (Some(HoldState::Held), Some(HoldState::Waiting)));
}

#[test]
fn a_newcomer_does_not_overtake_a_walk_that_is_under_way() {
    let mut tables = a_long_queue();
    tables.run(2, &[delivery(settle(1, Settlement::Released))]);
    let (_, said) = tables.run(MANY, &[delivery(reserve(9, 9, &[(0, 1)]))]);
    assert_eq!(said, [], "it is left to the walk, which has its command");
    // units that come back meanwhile set it to the head, and send nothing either
    let (_, said) = tables.run(MANY, &[delivery(settle(2, Settlement::Released))]);
    assert_eq!((answers(&said), walks(&said)), (vec![], vec![]));
    assert_eq!(tables.products[&product(0)].cursor, Some(Place::HEAD));
    tables.settle_down(2, &[delivery(walk(product(0)))]);
    assert_eq!((tables.state(5), tables.state(9)), (Some(HoldState::Held), Some(HoldState::Held)));
}

#[test]
fn a_walk_that_nobody_asked_for_does_nothing() {
    let mut tables = Memory::with(&[1]);
    for known in [0, 9] {
        let (verdicts, said) = tables.run(MANY, &[delivery(walk(product(known)))]);
        assert_eq!((verdicts, said), (vec![Ok(Verdict::AlreadyApplied)], vec![]));
    }
}

#[test]
fn an_outside_owner_is_not_answered_through_the_saga() {
    let mut tables = Memory::with(&[1]);
    let (_, said) = tables.run(
        MANY,
        &[
            from_edge(reserve(1, 0, &[(0, 1)])),
            from_edge(reserve(2, 0, &[(0, 2)])),
            from_edge(reserve(3, 0, &[(0, 1)])),
        ],
    );
    assert_eq!(answers(&said), []);
    assert_eq!(
        (tables.state(1), tables.state(2), tables.state(3)),
        (Some(HoldState::Held), Some(HoldState::Rejected), Some(HoldState::Waiting))
    );
    // given back by its owner and by its deadline at once, in either order
    let (verdicts, _) = tables
        .run(MANY, &[from_edge(settle(1, Settlement::Released)), delivery(settle(1, Settlement::Released))]);
    assert_eq!(verdicts, [Ok(Verdict::Executed), Ok(Verdict::AlreadyApplied)]);
    let (verdicts, _) = tables.run(MANY, &[from_edge(settle(1, Settlement::Sold))]);
    assert_eq!(verdicts, [Ok(Verdict::AlreadyApplied)]);
    assert_eq!(tables.state(1), Some(HoldState::Released));
}

/// The edge has no sequence: the release may come first, and the reserve behind it must not hold.
#[test]
fn a_release_that_comes_before_its_reserve_is_remembered() {
    let mut tables = Memory::with(&[1]);
    tables.run(MANY, &[from_edge(settle(1, Settlement::Released))]);
    let (verdicts, said) = tables.run(MANY, &[from_edge(reserve(1, 0, &[(0, 1)]))]);
    assert_eq!((verdicts, said), (vec![Ok(Verdict::AlreadyApplied)], vec![]));
    assert_eq!(tables.products[&product(0)].held, 0);
}

#[test]
fn a_reserve_that_comes_after_its_deadline_holds_nothing() {
    let tables = Memory::with(&[1]);
    for (record, now, state) in [
        (from_edge(reserve(1, 0, &[(0, 1)])), DEADLINE.0, HoldState::Released),
        (from_edge(reserve(1, 0, &[(0, 1)])), DEADLINE.0 - 1, HoldState::Held),
        // an order's deadline is the saga's to watch
        (delivery(reserve(1, 0, &[(0, 1)])), DEADLINE.0, HoldState::Held),
    ] {
        let context = crate::tables::at(Timestamp(now));
        let mut books = tables.load(MANY, std::slice::from_ref(&record));
        decide(&context, &mut books, &record, &mut Out::default()).unwrap();
        assert_eq!(books.holds[&order(1)].state, state);
    }
}

/// A cursor that nobody's command will move again must not be saved.
#[test]
fn a_cursor_without_a_cause_halts() {
    let mut books = Books::open(&Need::default(), inventory_worker::books::Read::default());
    books.make_known(product(0));
    let known = books.products.get_mut(&product(0)).unwrap();
    known.now.available = 1;
    known.now.cursor = Some(Place::HEAD);
    known.unread.from = Some(Place::HEAD);
    let rejection = finish(&context(), &mut books, &mut Out::default()).unwrap_err();
    assert_eq!(rejection.cause, "walk_without_cause");
}

#[test]
fn a_payload_is_read_only_under_its_own_key() {
    let service = InventoryService::default();
    let body = ReserveStock { order_id: order(1), accepted_at: NOW, deadline: DEADLINE, lines: vec![] };
    let record = |key: OrderId, payload: Vec<u8>| Record {
        topic: Topic::InventoryCommands,
        partition: 0,
        offset: 0,
        timestamp: NOW,
        key: topics::key(key.0).to_vec(),
        envelope: Err(EnvelopeError::Missing),
        header: None,
        payload,
        traceparent: None,
    };
    let payload = wire::encode(&body).unwrap();
    assert_eq!(service.decode(&record(order(1), payload.clone())), Ok(InventoryCommand::from(body)));
    assert_eq!(service.decode(&record(order(2), payload)).unwrap_err().cause, "key_mismatch");
    assert_eq!(service.decode(&record(order(1), vec![9; 9])).unwrap_err().cause, "decode");
}
