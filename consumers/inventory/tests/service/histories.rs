//! Random histories over the tables in memory: what must hold after every batch.
use crate::memory::{Memory, adjust, delivery, reserve, settle, walk, walks};
use harness::record::{Delivery, Said, Verdict};
use inventory_worker::hold::{Hold, HoldState};
use proptest::prelude::*;
use schemas::{
    ids::{OrderId, ProductId},
    messages::{InventoryCommand, OrderCommand, Settlement, StockLine},
};
use std::collections::{BTreeMap, BTreeSet};

const PRODUCTS: u8 = 3;
const ORDERS: u16 = 24;
const UNLIMITED: usize = 1_000_000;

/// An order to be: when it is accepted, and what it asks of each product (0: nothing).
#[derive(Debug, Clone)]
struct Wish {
    accepted_at: i64,
    lines: Vec<(u8, i32)>,
}

#[derive(Debug, Clone)]
enum Step {
    Reserve(u16),
    Sell(u16),
    Release(u16),
    Adjust(u8, i64),
    Walk,
}

fn wish(products: u8, most: i32) -> impl Strategy<Value = Wish> {
    let lines = prop_oneof![
        (0..products, 1..=most).prop_map(|line| vec![line]),
        prop::collection::btree_map(0..products, 1..=most, 1..=usize::from(products))
            .prop_map(|lines| lines.into_iter().collect()),
    ];
    (0i64..12, lines).prop_map(|(accepted_at, lines)| Wish { accepted_at, lines })
}

fn step(products: u8) -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..ORDERS).prop_map(Step::Reserve),
        2 => (0..ORDERS).prop_map(Step::Sell),
        3 => (0..ORDERS).prop_map(Step::Release),
        1 => (0..products, -3i64..5).prop_map(|(product, delta)| Step::Adjust(product, delta)),
        2 => Just(Step::Walk),
    ]
}

type History = (Vec<i64>, Vec<Wish>, Vec<Vec<Step>>);

/// Orders that ask up to `most` units of each of so many products.
fn history(products: u8, most: i32) -> impl Strategy<Value = History> {
    (
        prop::collection::vec(0i64..8, usize::from(products)),
        prop::collection::vec(wish(products, most), usize::from(ORDERS)),
        prop::collection::vec(prop::collection::vec(step(products), 1..6), 1..60),
    )
}

/// All sorts of orders, or a crowd that wants one unit of the same product.
fn any_history() -> impl Strategy<Value = History> {
    prop_oneof![3 => history(PRODUCTS, 3), 1 => history(1, 2), 1 => history(1, 1)]
}

/// Orders of a batch.
#[derive(Default)]
struct Touched {
    reserved: BTreeSet<u16>,
    settled: BTreeSet<u16>,
}

/// The tables, and what is on its way.
struct World {
    wishes: Vec<Wish>,
    tables: Memory,
    pending: Vec<ProductId>,
    answers: BTreeMap<OrderId, OrderCommand>,
    adjustments: u128,
}

impl World {
    fn new(stock: &[i64], wishes: Vec<Wish>) -> Self {
        Self {
            wishes,
            tables: Memory::with(stock),
            pending: Vec::new(),
            answers: BTreeMap::new(),
            adjustments: 0,
        }
    }

    /// The step as a record, where our own services would send it now.
    fn command(&mut self, step: &Step, touched: &mut Touched) -> Option<InventoryCommand> {
        let Touched { reserved, settled } = touched;
        match *step {
            Step::Reserve(n) => {
                reserved.insert(n);
                let wish = &self.wishes[usize::from(n)];
                Some(reserve(n, wish.accepted_at, &wish.lines))
            }
            Step::Sell(n) => {
                let may = self.tables.state(n) == Some(HoldState::Held) && settled.insert(n);
                may.then(|| settle(n, Settlement::Sold))
            }
            Step::Release(n) => {
                let known = self.tables.state(n).is_some() || reserved.contains(&n);
                let may = known && self.tables.state(n) != Some(HoldState::Sold) && settled.insert(n);
                may.then(|| settle(n, Settlement::Released))
            }
            Step::Adjust(product, delta) => {
                self.adjustments += 1;
                Some(adjust(self.adjustments, product, delta))
            }
            Step::Walk => (!self.pending.is_empty()).then(|| walk(self.pending.remove(0))),
        }
    }

    fn run(&mut self, limit: usize, steps: &[Step]) {
        let mut touched = Touched::default();
        let batch: Vec<Delivery<_>> =
            steps.iter().filter_map(|step| self.command(step, &mut touched)).map(delivery).collect();
        let before = self.tables.clone();
        let (verdicts, said) = self.tables.run(limit, &batch);
        assert!(verdicts.iter().all(Result::is_ok), "{verdicts:?}");
        self.pending.extend(walks(&said));
        self.hear(&said, &batch);
        self.check_stock();
        self.check_queues(&before);
    }

    fn hear(&mut self, said: &[Said], batch: &[Delivery<InventoryCommand>]) {
        let restocked = batch
            .iter()
            .any(|delivery| matches!(&delivery.command, InventoryCommand::AdjustStock(a) if a.delta > 0));
        for said in said.iter().filter(|said| said.outgoing.topic == schemas::topics::Topic::OrderCommands) {
            let answer = OrderCommand::decode(&said.outgoing.payload).unwrap();
            let order = OrderId(said.outgoing.key);
            if let OrderCommand::StockRejected(_) = &answer
                && !restocked
            {
                let hold = &self.tables.holds[&order];
                assert!(self.is_impossible(hold).is_some(), "phantom sold-out: {hold:?}");
            }
            assert!(self.answers.insert(order, answer).is_none(), "{order} was answered twice");
        }
    }

    fn fits(&self, hold: &Hold) -> bool {
        hold.lines
            .iter()
            .all(|line| i64::from(line.quantity) <= self.tables.products[&line.product_id].available)
    }

    fn is_impossible(&self, hold: &Hold) -> Option<StockLine> {
        let can_not = |line: &&StockLine| {
            i64::from(line.quantity) > self.tables.products[&line.product_id].obtainable()
        };
        hold.lines.iter().find(can_not).cloned()
    }

    /// Conservation, and rows that agree with each other.
    fn check_stock(&self) {
        let units = |state: HoldState, product: ProductId| -> i64 {
            let holds = self.tables.holds.values().filter(|hold| hold.state == state);
            let lines = holds.flat_map(|hold| &hold.lines).filter(|line| line.product_id == product);
            lines.map(|line| i64::from(line.quantity)).sum()
        };
        for (id, stock) in &self.tables.products {
            assert_eq!(
                stock.initial + stock.restocked,
                stock.available + stock.held + stock.sold,
                "{stock:?}"
            );
            assert!(stock.available >= 0);
            assert_eq!(stock.held, units(HoldState::Held, *id));
            assert_eq!(stock.sold, units(HoldState::Sold, *id));
            let waiting = self.tables.waiters.keys().filter(|(product, _)| product == id).count();
            assert_eq!(stock.waiting, i64::try_from(waiting).unwrap());
            let under_way = self.pending.iter().filter(|product| *product == id).count();
            assert_eq!(usize::from(stock.cursor.is_some()), under_way, "a cursor is one walk under way");
        }
        for hold in self.tables.holds.values() {
            let answer = self.answers.get(&hold.order_id);
            match hold.state {
                HoldState::Waiting => assert!(answer.is_none()),
                HoldState::Held | HoldState::Sold => {
                    assert!(matches!(answer, Some(OrderCommand::StockReserved(_))), "{answer:?}");
                }
                HoldState::Rejected => assert!(matches!(answer, Some(OrderCommand::StockRejected(_)))),
                HoldState::Released => {}
            }
        }
    }

    /// Nobody waits who could be served, unless a walk that has yet to reach it is under way; and turns are kept.
    fn check_queues(&self, before: &Memory) {
        let waiting: Vec<&Hold> =
            self.tables.holds.values().filter(|hold| hold.state == HoldState::Waiting).collect();
        for hold in &waiting {
            let cursor_of = |product: ProductId| self.tables.products[&product].cursor;
            if let Some(line) = self.is_impossible(hold) {
                assert!(cursor_of(line.product_id).is_some(), "waits for what can't be had: {hold:?}");
            }
            if self.fits(hold) {
                let reached = |product| cursor_of(product).is_some_and(|cursor| cursor <= hold.place());
                assert!(hold.products().any(reached), "forgotten: {hold:?}");
            }
        }
        let single = |hold: &&&Hold| hold.lines.len() == 1;
        let granted = self.tables.holds.values().filter(|hold| {
            let was = before.holds.get(&hold.order_id).map(|hold| hold.state);
            hold.state == HoldState::Held && was != Some(HoldState::Held)
        });
        for served in granted.collect::<Vec<_>>().iter().filter(single) {
            // who came to the queue in this batch may have come too late
            let were_waiting = waiting.iter().filter(|hold| before.holds.contains_key(&hold.order_id));
            for other in were_waiting.filter(single) {
                let overtaken = other.lines == served.lines && other.place() < served.place();
                assert!(!overtaken, "{served:?} was served before {other:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_batch_keeps_what_must_hold((stock, wishes, batches) in any_history(), limit in 2usize..8) {
        let mut world = World::new(&stock, wishes);
        for steps in &batches {
            world.run(limit, steps);
        }
        for _ in 0..1_000 {
            if world.pending.is_empty() {
                break;
            }
            world.run(limit, &[Step::Walk]);
        }
        prop_assert!(world.pending.is_empty(), "the walks do not end");
    }

    #[test]
    fn every_record_alone_keeps_what_must_hold((stock, wishes, batches) in any_history()) {
        let mut world = World::new(&stock, wishes);
        for step in batches.into_iter().flatten() {
            world.run(2, &[step]);
        }
    }

    /// Redelivered reserves, settles and adjustments change nothing and say nothing.
    #[test]
    fn duplicates_change_nothing((stock, wishes, batches) in any_history()) {
        let mut world = World::new(&stock, wishes);
        let mut sent: Vec<Delivery<InventoryCommand>> = Vec::new();
        for steps in &batches {
            let mut touched = Touched::default();
            let batch: Vec<Delivery<_>> =
                steps.iter().filter_map(|step| world.command(step, &mut touched)).map(delivery).collect();
            let (_, said) = world.tables.run(UNLIMITED, &batch);
            world.pending.extend(walks(&said));
            sent.extend(
                batch.into_iter().filter(|delivery| !matches!(delivery.command, InventoryCommand::WalkQueue(_))),
            );
        }
        let before = world.tables.clone();
        for again in sent {
            let (verdicts, said) = world.tables.run(UNLIMITED, std::slice::from_ref(&again));
            prop_assert_eq!(&verdicts[0], &Ok(Verdict::AlreadyApplied));
            prop_assert!(said.is_empty());
        }
        prop_assert_eq!(world.tables, before);
    }

    /// A walk in steps reaches what a walk in one go reaches.
    #[test]
    fn a_bounded_walk_is_complete(
        wishes in prop::collection::vec(wish(PRODUCTS, 3), usize::from(ORDERS)),
        holds in prop::collection::vec(1i32..6, usize::from(PRODUCTS)),
        units in 1i64..10,
        limit in 2usize..6,
    ) {
        // one order holds all there is, everybody else queues up
        let stock: Vec<i64> = holds.iter().map(|units| i64::from(*units)).collect();
        let all: Vec<(u8, i32)> = (0..).zip(holds).collect();
        let mut tables = Memory::with(&stock);
        tables.run(UNLIMITED, &[delivery(reserve(1_000, 0, &all))]);
        let queue: Vec<_> = (0..)
            .zip(&wishes)
            .map(|(n, wish)| delivery(reserve(n, wish.accepted_at, &wish.lines)))
            .collect();
        tables.run(UNLIMITED, &queue);

        for change in [adjust(1, 0, units), adjust(2, 1, -1), settle(1_000, Settlement::Sold)] {
            let (mut whole, mut stepwise) = (tables.clone(), tables.clone());
            whole.settle_down(UNLIMITED, &[delivery(change.clone())]);
            stepwise.settle_down(limit, &[delivery(change)]);
            for tables in [&mut whole, &mut stepwise] {
                tables.products.values_mut().for_each(|stock| stock.version = 0);
            }
            prop_assert_eq!(whole, stepwise);
        }
    }
}
