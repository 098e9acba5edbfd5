//! Loaded rows and a record: row changes and what is said. Pure: no SQL, no clock, no waiting.

use crate::{records, tally::Tally, terms};
use chassis::place::Place;
use harness::{
    record::{Delivery, Out, Rejection, Verdict},
    service::Context,
};
use saga::{Arrival, Gone, Illegal, Late, Order, Outcome, Step};
use schemas::{ids::OrderId, messages::OrderCommand, time::Timestamp};
use std::collections::{BTreeMap, HashMap};

/// The orders a batch touches, by id, and what is to be counted.
#[derive(Debug, Default)]
pub struct Rows {
    orders: BTreeMap<OrderId, Row>,
    places: HashMap<OrderId, Place>,
    /// Of these there is no row any more.
    gone: BTreeMap<OrderId, Gone>,
    tally: Tally,
}

/// One order and what the database knows of it.
#[derive(Debug)]
struct Row {
    order: Order,
    stored: Stored,
    /// Whether another set of its effects needs a human than when it was loaded.
    human: bool,
}

#[derive(Debug, Clone, Copy)]
enum Stored {
    /// As it is in the database, at that version.
    Same { version: i64 },
    /// Changed since it was loaded at that version.
    Changed { version: i64 },
    /// Not in the database yet.
    Not { partition: i32 },
}

/// An order to insert.
#[derive(Debug)]
pub struct Fresh {
    /// The partition of its key.
    pub partition: i32,
    /// Its state.
    pub order: Order,
}

/// An order to update.
#[derive(Debug)]
pub struct Changed {
    /// The version it was loaded at.
    pub loaded_version: i64,
    /// Where its row lies, if it was read from a table.
    pub place: Option<Place>,
    /// Its state from now on.
    pub order: Order,
    /// Whether another set of its effects needs a human now.
    pub human: bool,
}

impl Rows {
    /// Orders as they were loaded.
    #[must_use]
    pub fn loaded(orders: impl IntoIterator<Item = Order>) -> Self {
        let row = |order: Order| {
            let stored = Stored::Same { version: order.public.version };
            (order.public.order_id, Row { order, stored, human: false })
        };
        Self { orders: orders.into_iter().map(row).collect(), ..Self::default() }
    }

    /// The same, and where their rows lie.
    #[must_use]
    pub fn at(self, places: HashMap<OrderId, Place>) -> Self {
        Self { places, ..self }
    }

    /// The same, beside orders whose history has left.
    #[must_use]
    pub fn with_gone(self, gone: impl IntoIterator<Item = Gone>) -> Self {
        Self { gone: gone.into_iter().map(|gone| (gone.order_id, gone)).collect(), ..self }
    }

    /// An order as it stands now.
    #[must_use]
    pub fn order(&self, id: OrderId) -> Option<&Order> {
        self.orders.get(&id).map(|row| &row.order)
    }

    /// What to insert and what to update, each sorted by order id, and what to count once that is committed.
    #[must_use]
    pub fn into_changes(self) -> (Vec<Fresh>, Vec<Changed>, Tally) {
        let (mut fresh, mut changed) = (Vec::new(), Vec::new());
        for Row { order, stored, human } in self.orders.into_values() {
            match stored {
                Stored::Same { .. } => {}
                Stored::Changed { version } => {
                    let place = self.places.get(&order.public.order_id).copied();
                    changed.push(Changed { loaded_version: version, place, order, human });
                }
                Stored::Not { partition } => fresh.push(Fresh { partition, order }),
            }
        }
        (fresh, changed, self.tally)
    }

    fn put(&mut self, order: Order, partition: i32) {
        let before = self.orders.get(&order.public.order_id);
        let stored = match before.map(|row| row.stored) {
            None => Stored::Not { partition },
            Some(Stored::Same { version }) => Stored::Changed { version },
            Some(stored) => stored,
        };
        let human = before.is_some_and(|row| row.human || row.order.needs_human != order.needs_human);
        self.orders.insert(order.public.order_id, Row { order, stored, human });
    }
}

/// Decides one record.
///
/// # Errors
/// A [`Rejection`]; `rows` are then as before.
pub fn decide(
    context: &Context,
    rows: &mut Rows,
    delivery: &Delivery<OrderCommand>,
    out: &mut Out,
) -> Result<Verdict, Rejection> {
    let id = addressee(&delivery.command);
    if id.0 != delivery.key {
        let detail = format!("a {} for order {id} under key {}", delivery.command.name(), delivery.key);
        return Err(Rejection::new("key_mismatch", detail));
    }
    if let Some(gone) = rows.gone.get(&id) {
        let late = gone.hears(&delivery.command).map_err(|illegal| reject(id, illegal))?;
        return hear_late(rows, late, delivery, out);
    }
    let before = rows.order(id);
    if let (None, OrderCommand::SubmitOrder(submit)) = (before, &delivery.command) {
        terms::check(submit)?;
    }
    let arrival = Arrival {
        now: context.now,
        due_mark: context.due_marks.get(&delivery.partition).copied().unwrap_or(Timestamp(i64::MIN)),
        message: delivery.envelope.message,
    };
    match saga::step(before, &delivery.command, &arrival).map_err(|illegal| reject(id, illegal))? {
        Outcome::Step(step) => take(rows, *step, delivery, out),
        unchanged => Ok(leave(rows, &unchanged)),
    }
}

/// Nothing changes; what is refused is counted.
fn leave(rows: &mut Rows, outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::KeyConflict => rows.tally.key_conflicts += 1,
        Outcome::Unrecorded => rows.tally.unrecorded += 1,
        Outcome::Step(_) | Outcome::AlreadyApplied => return Verdict::AlreadyApplied,
    }
    Verdict::Executed
}

/// An order whose history has left: nothing is written, and money that nobody is to keep goes back.
fn hear_late(
    rows: &mut Rows,
    late: Late,
    delivery: &Delivery<OrderCommand>,
    out: &mut Out,
) -> Result<Verdict, Rejection> {
    match late {
        Late::Nothing(outcome) => Ok(leave(rows, &outcome)),
        Late::GiveBack(refund) => {
            out.send(delivery, records::of_refund(&refund)?);
            rows.tally.late_captures += 1;
            Ok(Verdict::Executed)
        }
    }
}

/// Encodes first: nothing changes unless all of it can be said.
fn take(
    rows: &mut Rows,
    step: Step,
    delivery: &Delivery<OrderCommand>,
    out: &mut Out,
) -> Result<Verdict, Rejection> {
    let Step { order, effects } = step;
    let records = records::of_effects(effects, &order.public)?;
    let before = rows.orders.get(&order.public.order_id).map(|row| &row.order);
    rows.tally.count(before, &order);
    for record in records {
        out.send(delivery, record);
    }
    rows.put(order, delivery.partition);
    Ok(Verdict::Executed)
}

fn reject(id: OrderId, illegal: Illegal) -> Rejection {
    let cause = match illegal {
        Illegal::NoSuchOrder { .. } => "no_such_order",
        Illegal::NotNow { .. } => "illegal_transition",
    };
    Rejection::new(cause, format!("order {id}: {illegal}"))
}

/// The order a command is about.
fn addressee(command: &OrderCommand) -> OrderId {
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
