//! The edge: what clients, operators and other systems ask for, as records without a source.

use crate::{
    check::Violation,
    notes::Notes,
    script::{Buyer, Setup, Step},
    stage::Stage,
};
use harness::record::Outgoing;
use schemas::{
    ids::{self, EffectId, OrderId, ProductId},
    messages::{
        AdjustStock, BodyHash, CancelOrder, Message, PricedLine, RefundOrder, ReserveStock, SettleStock,
        Settlement, StockLine, SubmitOrder,
    },
    money::Currency,
    time::Timestamp,
    topics,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use uuid::Uuid;

const PRICE: i64 = 100;

#[derive(Debug, Clone)]
pub(crate) struct Edge {
    ids: Vec<OrderId>,
    buyers: Vec<Buyer>,
    /// Orders that were acknowledged.
    pub(crate) accepted: BTreeSet<OrderId>,
    products: u8,
    /// Requests of others as they were first made: a repeat says the same.
    adjusted: BTreeMap<(u8, u8), i64>,
    reserves: BTreeMap<u8, ReserveStock>,
}

impl Edge {
    pub(crate) fn new(setup: &Setup, notes: &mut Notes) -> Self {
        let count = u8::try_from(setup.buyers.len()).unwrap_or(u8::MAX);
        let id = |n: u8| ids::order_id(&Uuid::from_u128(7), "issuer\nbuyer", "orders", &format!("key {n}"));
        let ids: Vec<OrderId> = (0..count).map(id).collect();
        for (n, id) in ids.iter().enumerate() {
            notes.name_order(*id, format!("order {n}"));
        }
        for n in 0..u8::try_from(setup.stock.len()).unwrap_or(u8::MAX) {
            notes.name_product(Self::product(n), format!("product {n}"));
        }
        Self {
            ids,
            buyers: setup.buyers.clone(),
            accepted: BTreeSet::new(),
            products: u8::try_from(setup.stock.len()).unwrap_or(1).max(1),
            adjusted: BTreeMap::new(),
            reserves: BTreeMap::new(),
        }
    }

    pub(crate) fn order(&self, n: u8) -> OrderId {
        self.ids.get(usize::from(n)).copied().unwrap_or(OrderId(Uuid::nil()))
    }

    pub(crate) fn product(n: u8) -> ProductId {
        ProductId(Uuid::from_u128(0xa0_0000 + u128::from(n)))
    }

    /// An order's key; from their number on, a product's.
    pub(crate) fn whom(&self, n: u8) -> Uuid {
        let orders = u8::try_from(self.ids.len()).unwrap_or(u8::MAX);
        match n.checked_sub(orders) {
            None => self.order(n).0,
            Some(n) => Self::product(n % self.products).0,
        }
    }

    /// What was asked for, into the fingerprint of a state.
    pub(crate) fn asked(&self) -> impl std::fmt::Debug {
        (&self.accepted, &self.adjusted, &self.reserves)
    }

    /// Produces what the step asks for, if it can be asked for yet.
    pub(crate) fn produce(&mut self, stage: &mut Stage, step: Step) -> Result<(), Violation> {
        match step {
            Step::Submit { order, body } => {
                let Some(submit) = self.submit(order, body, stage.now) else { return Ok(()) };
                self.accepted.insert(submit.order_id);
                say(stage, submit.order_id.0, "submit", &submit)
            }
            Step::Cancel { order, number } if self.accepted.contains(&self.order(order)) => {
                let order_id = self.order(order);
                let cancel = CancelOrder { order_id, requested_by: "buyer".to_owned(), reason: None };
                say(stage, order_id.0, &format!("cancel {number}"), &cancel)
            }
            Step::Refund { order, number, percent } if self.accepted.contains(&self.order(order)) => {
                let order_id = self.order(order);
                let amount = (self.total(order) * i64::from(percent) / 100).max(1);
                let refund = RefundOrder {
                    order_id,
                    refund_id: ids::effect_id(order_id, &format!("refund {number}")),
                    amount,
                    requested_by: "operator".to_owned(),
                    reason: "asked".to_owned(),
                };
                say(stage, order_id.0, &format!("refund {number}"), &refund)
            }
            Step::Adjust { product, number, delta } if delta != 0 => {
                let delta = *self.adjusted.entry((product, number)).or_insert(delta);
                let product_id = Self::product(product);
                let adjust = AdjustStock {
                    adjustment_id: EffectId(Uuid::new_v5(&product_id.0, &[number])),
                    product_id,
                    delta,
                    reason: "count".to_owned(),
                    requested_by: "operator".to_owned(),
                };
                say(stage, product_id.0, &format!("adjust {number}"), &adjust)
            }
            Step::Reserve { owner, product, units, patience } => {
                let (now, order_id) = (stage.now, outside(owner));
                let reserve = self.reserves.entry(owner).or_insert_with(|| ReserveStock {
                    order_id,
                    accepted_at: now,
                    deadline: now.plus(Duration::from_millis(patience.unsigned_abs())),
                    lines: vec![StockLine { product_id: Self::product(product), quantity: units }],
                });
                say(stage, order_id.0, "reserve", reserve)
            }
            Step::GiveBack { owner } => {
                let order_id = outside(owner);
                let settle = SettleStock { order_id, outcome: Settlement::Released };
                say(stage, order_id.0, "give back", &settle)
            }
            Step::Poison { part, whom } => {
                let key = self.whom(whom);
                let (partitions, now) = (stage.partitions, stage.now);
                let message = ids::message_id(key, "poison");
                stage.log.produce(part.input(), partitions, now, (key, message), vec![9]);
                stage.notes.note(now, |notes| {
                    format!("poison for {} under the key of {}", part.name(), notes.name(&topics::key(key)))
                });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn total(&self, order: u8) -> i64 {
        let lines = self.buyers.get(usize::from(order)).map(|buyer| buyer.lines.as_slice());
        lines.unwrap_or_default().iter().map(|(_, units)| PRICE * i64::from(*units)).sum()
    }

    /// A body other than 0 is another request: it asks for one unit more of each.
    fn submit(&self, order: u8, body: u8, now: Timestamp) -> Option<SubmitOrder> {
        let buyer = self.buyers.get(usize::from(order))?;
        let line = |(product, units): &(u8, i32)| PricedLine {
            product_id: Self::product(*product),
            quantity: units + i32::from(body),
            unit_price: PRICE,
        };
        let lines: Vec<PricedLine> = buyer.lines.iter().map(line).collect();
        Some(SubmitOrder {
            order_id: self.order(order),
            owner: "issuer\nbuyer".to_owned(),
            body_hash: BodyHash([body; 32]),
            accepted_at: now,
            deadline: now.plus(Duration::from_millis(buyer.patience.unsigned_abs())),
            currency: Currency::USD,
            total: lines.iter().map(|line| PRICE * i64::from(line.quantity)).sum(),
            lines,
            shipping_address: "here".to_owned(),
            payment_method: "CARD".to_owned(),
        })
    }
}

fn outside(owner: u8) -> OrderId {
    OrderId(Uuid::from_u128(0x0b_0000 + u128::from(owner)))
}

fn say<M: Message>(stage: &mut Stage, key: Uuid, meaning: &str, body: &M) -> Result<(), Violation> {
    let (partitions, now) = (stage.partitions, stage.now);
    let message = ids::message_id(key, meaning);
    let payload = Outgoing::new(key, message, body)?.payload;
    stage.notes.note(now, |notes| format!("edge: {}", notes.describe(&topics::key(key), &payload)));
    stage.log.produce(M::TOPIC, partitions, now, (key, message), payload);
    Ok(())
}
