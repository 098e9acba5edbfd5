//! The tables in memory, read and written as `store` does it, so that histories can be run by the thousand.

use harness::{
    record::{Delivery, Out, Rejection, Said, Verdict},
    service::Context,
};
use inventory_worker::{
    books::{Books, Read},
    decide::decide,
    hold::{Hold, HoldState, Place},
    need::{Need, Waiter},
    stock::Stock,
    walk::finish,
};
use schemas::{
    envelope::{Envelope, Source},
    ids::{EffectId, LaneId, MessageId, OrderId, ProductId},
    messages::{AdjustStock, InventoryCommand, ReserveStock, SettleStock, Settlement, StockLine, WalkQueue},
    time::Timestamp,
    topics::{self, Topic},
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

pub(crate) const PARTITIONS: i32 = 3;
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);
pub(crate) const DEADLINE: Timestamp = Timestamp(1_700_000_900_000);

pub(crate) fn product(n: u8) -> ProductId {
    ProductId(Uuid::from_u128(0xA0_0000 + u128::from(n)))
}

pub(crate) fn order(n: u16) -> OrderId {
    OrderId(Uuid::from_u128(0xB0_0000 + u128::from(n)))
}

pub(crate) fn lines(of: &[(u8, i32)]) -> Vec<StockLine> {
    of.iter().map(|(n, quantity)| StockLine { product_id: product(*n), quantity: *quantity }).collect()
}

pub(crate) fn reserve(n: u16, accepted_at: i64, of: &[(u8, i32)]) -> InventoryCommand {
    ReserveStock {
        order_id: order(n),
        accepted_at: Timestamp(NOW.0 + accepted_at),
        deadline: DEADLINE,
        lines: lines(of),
    }
    .into()
}

pub(crate) fn settle(n: u16, outcome: Settlement) -> InventoryCommand {
    SettleStock { order_id: order(n), outcome }.into()
}

pub(crate) fn adjust(id: u128, n: u8, delta: i64) -> InventoryCommand {
    AdjustStock {
        adjustment_id: EffectId(Uuid::from_u128(0xC0_0000 + id)),
        product_id: product(n),
        delta,
        reason: "count".to_owned(),
        requested_by: "operator".to_owned(),
    }
    .into()
}

pub(crate) fn walk(product_id: ProductId) -> InventoryCommand {
    WalkQueue { product_id }.into()
}

/// A record as a lane sends it.
pub(crate) fn delivery(command: InventoryCommand) -> Delivery<InventoryCommand> {
    let key = match &command {
        InventoryCommand::ReserveStock(reserve) => reserve.order_id.0,
        InventoryCommand::SettleStock(settle) => settle.order_id.0,
        InventoryCommand::AdjustStock(adjust) => adjust.product_id.0,
        InventoryCommand::WalkQueue(walk) => walk.product_id.0,
    };
    let message = MessageId(Uuid::from_u128(7));
    let source = Source { lane: LaneId(Uuid::from_u128(9)), n: 1, floor: 0 };
    Delivery {
        partition: topics::partition_of(&topics::key(key), PARTITIONS),
        offset: 0,
        key,
        envelope: Envelope {
            message,
            causation: message,
            occurred_at: NOW,
            deadline: None,
            source: Some(source),
        },
        command,
        traceparent: None,
    }
}

/// The same record as the edge sends it.
pub(crate) fn from_edge(command: InventoryCommand) -> Delivery<InventoryCommand> {
    let mut delivery = delivery(command);
    delivery.envelope.source = None;
    delivery
}

pub(crate) fn context() -> Context {
    Context { now: NOW, due_marks: BTreeMap::new() }
}

/// The products of the walks said.
pub(crate) fn walks(said: &[Said]) -> Vec<ProductId> {
    said.iter()
        .filter(|said| said.outgoing.topic == Topic::InventoryCommands)
        .map(|said| ProductId(said.outgoing.key))
        .collect()
}

pub(crate) type Decided = (Vec<Result<Verdict, Rejection>>, Vec<Said>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) products: BTreeMap<ProductId, Stock>,
    pub(crate) holds: BTreeMap<OrderId, Hold>,
    pub(crate) waiters: BTreeMap<(ProductId, Place), i64>,
    pub(crate) adjustments: BTreeSet<EffectId>,
}

impl Memory {
    pub(crate) fn with(stock: &[i64]) -> Self {
        let products = (0..).zip(stock).map(|(n, units)| (product(n), Stock::of(*units))).collect();
        Self { products, ..Self::default() }
    }

    pub(crate) fn state(&self, n: u16) -> Option<HoldState> {
        self.holds.get(&order(n)).map(|hold| hold.state)
    }

    /// One transaction.
    pub(crate) fn run(&mut self, limit: usize, batch: &[Delivery<InventoryCommand>]) -> Decided {
        let mut books = self.load(limit, batch);
        let mut out = Out::default();
        let verdicts = batch
            .iter()
            .map(|delivery| {
                let mark = out.mark();
                let verdict = decide(&context(), &mut books, delivery, &mut out);
                if verdict.is_err() {
                    out.take_back(mark);
                }
                verdict
            })
            .collect();
        finish(&context(), &mut books, &mut out).unwrap();
        self.save(books);
        (verdicts, out.said().to_vec())
    }

    /// One transaction, and then those it asks for, until no walk is left.
    pub(crate) fn settle_down(&mut self, limit: usize, batch: &[Delivery<InventoryCommand>]) -> usize {
        let (_, said) = self.run(limit, batch);
        let mut pending = walks(&said);
        let mut rounds = 0;
        while !pending.is_empty() {
            let batch: Vec<_> = std::mem::take(&mut pending).into_iter().map(walk).map(delivery).collect();
            pending = walks(&self.run(limit, &batch).1);
            rounds += 1;
            assert!(rounds < 10_000, "the walks do not end");
        }
        rounds
    }

    pub(crate) fn load(&self, limit: usize, batch: &[Delivery<InventoryCommand>]) -> Books {
        let limit = (limit / 2).max(1);
        let mut need = Need::of(batch);
        let stored = need.orders.iter().filter_map(|order| self.holds.get(order));
        let stored = stored.map(|hold| (hold.order_id, hold.lines.clone())).collect();
        need.learn(&stored);
        let (heads, impossible) = (self.heads(&need, limit), self.impossible(&need, limit));
        let mut orders: BTreeSet<OrderId> = need.orders.clone();
        orders.extend(heads.iter().chain(&impossible).map(|waiter| waiter.place.order_id));
        let holds: Vec<Hold> = orders.iter().filter_map(|order| self.holds.get(order)).cloned().collect();
        need.products.extend(holds.iter().flat_map(|hold| hold.products().collect::<Vec<_>>()));
        let products = need.products.iter().filter_map(|id| Some((*id, *self.products.get(id)?))).collect();
        let adjustments = need.adjustments.intersection(&self.adjustments).copied().collect();
        Books::open(&need, Read { products, holds, heads, impossible, limit, adjustments })
    }

    fn queue(&self, product: ProductId) -> impl Iterator<Item = Waiter> + '_ {
        self.waiters.iter().filter(move |((id, _), _)| *id == product).map(
            |((product_id, place), quantity)| Waiter {
                product_id: *product_id,
                place: *place,
                quantity: *quantity,
            },
        )
    }

    fn heads(&self, need: &Need, limit: usize) -> Vec<Waiter> {
        let mut found = Vec::new();
        for ask in need.queues() {
            let Some(stock) = self.products.get(&ask.product_id) else { continue };
            let start = match stock.cursor {
                None if !ask.from_head => continue,
                Some(_) if !ask.walks => continue,
                Some(cursor) if !ask.from_head => cursor,
                _ => Place::HEAD,
            };
            found.extend(self.queue(ask.product_id).filter(|waiter| waiter.place >= start));
        }
        found.truncate(limit + 1);
        found
    }

    fn impossible(&self, need: &Need, limit: usize) -> Vec<Waiter> {
        let mut found = Vec::new();
        for (product, leaving) in need.leavings() {
            let Some(stock) = self.products.get(&product) else { continue };
            let left = (stock.obtainable() - leaving).max(0);
            let mut asking: Vec<Waiter> =
                self.queue(product).filter(|waiter| waiter.quantity > left).collect();
            asking.sort_by_key(|waiter| std::cmp::Reverse(waiter.quantity));
            found.extend(asking);
        }
        found.truncate(limit + 1);
        found
    }

    fn save(&mut self, books: Books) {
        for (id, product) in books.products {
            self.products.insert(id, product.now);
        }
        for (id, mut hold) in books.holds {
            for line in &hold.lines {
                let row = (line.product_id, hold.place());
                match (hold.stored, hold.state) {
                    (None, HoldState::Waiting) => {
                        assert!(self.waiters.insert(row, i64::from(line.quantity)).is_none());
                    }
                    (Some(HoldState::Waiting), state) if state != HoldState::Waiting => {
                        assert!(self.waiters.remove(&row).is_some());
                    }
                    _ => {}
                }
            }
            hold.stored = Some(hold.state);
            self.holds.insert(id, hold);
        }
        self.adjustments.extend(books.adjustments.iter().map(|adjustment| adjustment.id));
    }
}
