//! What becomes of one record: a function of the books and the record. Queues are walked at the end of the batch, in
//! [`crate::walk`].

use crate::{
    answer,
    books::{Adjustment, Books, Cause, UNKNOWN_PRODUCT, Weighed},
    hold::{Hold, HoldState, Place},
    stock::{AdjustmentError, Stock},
};
use harness::{
    record::{Delivery, Out, Rejection, Verdict},
    service::Context,
};
use schemas::{
    ids::ProductId,
    messages::{AdjustStock, InventoryCommand, ReserveStock, SettleStock, Settlement, StockLine, WalkQueue},
    time::Timestamp,
};
use std::collections::BTreeSet;

/// Most lines of a reserve; the edge takes 100.
const MAX_LINES: usize = 1_000;
/// The last millisecond of the year 9999: any later time is a mistake, and would not fit the database.
const MAX_TIME: Timestamp = Timestamp(253_402_300_799_999);

/// Decides one record.
///
/// # Errors
/// A [`Rejection`], and then the books are as before: `invalid_reserve`, `illegal_settle`, or `conservation` when the
/// database contradicts itself.
pub fn decide(
    context: &Context,
    books: &mut Books,
    delivery: &Delivery<InventoryCommand>,
    out: &mut Out,
) -> Result<Verdict, Rejection> {
    let cause = Cause {
        partition: delivery.partition,
        offset: delivery.offset,
        key: delivery.key,
        envelope: delivery.envelope,
        traceparent: delivery.traceparent.clone(),
        command: (),
    };
    match &delivery.command {
        InventoryCommand::ReserveStock(command) => reserve(context, books, &cause, command, out),
        InventoryCommand::SettleStock(command) => settle(context, books, &cause, command),
        InventoryCommand::AdjustStock(command) => Ok(adjust(books, &cause, command)),
        InventoryCommand::WalkQueue(command) => Ok(walk_queue(books, &cause, command)),
    }
}

/// What comes from the edge has no source: another system reserves, not an order. It reads its answer from the hold,
/// and its deadline is ours to watch.
fn is_outside(cause: &Cause) -> bool {
    cause.envelope.source.is_none()
}

fn reserve(
    context: &Context,
    books: &mut Books,
    cause: &Cause,
    command: &ReserveStock,
    out: &mut Out,
) -> Result<Verdict, Rejection> {
    check(command)?;
    // its answer left with its first decision; other lines under the same id are the edge's to refuse
    if books.holds.contains_key(&command.order_id) {
        return Ok(Verdict::AlreadyApplied);
    }
    let hold = Hold {
        order_id: command.order_id,
        partition: cause.partition,
        outside: is_outside(cause),
        lines: command.lines.clone(),
        accepted_at: command.accepted_at,
        deadline: command.deadline,
        state: HoldState::Waiting,
        reason: None,
        stored: None,
        queued: false,
    };
    // the lane's due mark may have come up to now in this transaction: nobody would look for that deadline again
    if hold.outside && hold.deadline <= context.now {
        books.end(hold, HoldState::Released);
        return Ok(Verdict::Executed);
    }
    match books.weigh(&hold.lines) {
        Weighed::Never { reason, product_id } => {
            reject(context, books, cause, hold, (reason, product_id), out)?
        }
        Weighed::Fits if !books.walk_stands(&hold.lines) => grant(context, books, cause, hold, out)?,
        Weighed::Fits | Weighed::Waits => {
            books.tally.waits();
            books.join(hold);
        }
    }
    Ok(Verdict::Executed)
}

fn check(command: &ReserveStock) -> Result<(), Rejection> {
    let products: BTreeSet<ProductId> = command.lines.iter().map(|line| line.product_id).collect();
    let in_range = |time: Timestamp| Place::HEAD.accepted_at <= time && time <= MAX_TIME;
    let wrong = if command.lines.is_empty() || command.lines.len() > MAX_LINES {
        "has no line, or too many"
    } else if products.len() != command.lines.len() {
        "names a product twice"
    } else if command.lines.iter().any(|line| line.quantity < 1) {
        "asks for less than one unit"
    } else if !in_range(command.accepted_at) || !in_range(command.deadline) {
        "has a time out of range"
    } else {
        return Ok(());
    };
    Err(Rejection::new("invalid_reserve", format!("the reserve of {} {wrong}", command.order_id)))
}

/// Holds every line and says so.
pub(crate) fn grant(
    context: &Context,
    books: &mut Books,
    cause: &Cause,
    hold: Hold,
    out: &mut Out,
) -> Result<(), Rejection> {
    let moved = books.moved(hold.order_id, &hold.lines, Stock::hold)?;
    if !hold.outside {
        out.send(cause, answer::reserved(hold.order_id)?);
    }
    books.tally.granted(context.now.since(hold.accepted_at));
    books.put(cause, moved);
    books.end(hold, HoldState::Held);
    Ok(())
}

/// Refuses the reserve for good and says so.
pub(crate) fn reject(
    context: &Context,
    books: &mut Books,
    cause: &Cause,
    hold: Hold,
    (reason, product_id): (&'static str, ProductId),
    out: &mut Out,
) -> Result<(), Rejection> {
    if !hold.outside {
        out.send(cause, answer::rejected(&hold, reason, product_id)?);
    }
    books.tally.rejected(context.now.since(hold.accepted_at));
    books.end(Hold { reason: Some(reason), ..hold }, HoldState::Rejected);
    Ok(())
}

fn settle(
    context: &Context,
    books: &mut Books,
    cause: &Cause,
    command: &SettleStock,
) -> Result<Verdict, Rejection> {
    let Some(hold) = books.holds.get(&command.order_id).cloned() else {
        return settle_nothing(context, books, cause, command);
    };
    match (hold.state, command.outcome) {
        (HoldState::Held, Settlement::Sold) => {
            let moved = books.moved(hold.order_id, &hold.lines, Stock::sell)?;
            books.put(cause, moved);
            books.each_product(&hold.lines, |product| product.shrunk = true);
            books.tally.sold();
            books.end(hold, HoldState::Sold);
            Ok(Verdict::Executed)
        }
        (HoldState::Held, Settlement::Released) => {
            let moved = books.moved(hold.order_id, &hold.lines, Stock::release)?;
            books.put(cause, moved);
            units_came_back(books, &hold.lines);
            books.tally.released();
            books.end(hold, HoldState::Released);
            Ok(Verdict::Executed)
        }
        (HoldState::Waiting, Settlement::Released) => {
            books.tally.released();
            books.end(hold, HoldState::Released);
            Ok(Verdict::Executed)
        }
        (HoldState::Sold, Settlement::Sold)
        | (HoldState::Released | HoldState::Rejected, Settlement::Released) => Ok(Verdict::AlreadyApplied),
        // an outside owner may settle while its deadline passes: whoever came first has settled it
        _ if hold.outside => Ok(Verdict::AlreadyApplied),
        (state, outcome) => Err(Rejection::new(
            "illegal_settle",
            format!("the hold of {} is {}, and cannot become {outcome:?}", hold.order_id, state.as_str()),
        )),
    }
}

/// A reserve that never was. What comes through a lane comes in sequence, so nothing can follow it; the edge has many
/// instances and no sequence, so its release leaves a mark, and a reserve that comes late holds nothing.
fn settle_nothing(
    context: &Context,
    books: &mut Books,
    cause: &Cause,
    command: &SettleStock,
) -> Result<Verdict, Rejection> {
    if command.outcome == Settlement::Sold {
        let detail = format!("{} was never reserved, and cannot be sold", command.order_id);
        return Err(Rejection::new("illegal_settle", detail));
    }
    if is_outside(cause) {
        let mark = Hold {
            order_id: command.order_id,
            partition: cause.partition,
            outside: true,
            lines: Vec::new(),
            accepted_at: context.now,
            deadline: context.now,
            state: HoldState::Released,
            reason: None,
            stored: None,
            queued: false,
        };
        books.end(mark, HoldState::Released);
    }
    Ok(Verdict::AlreadyApplied)
}

/// Where somebody waits, the walk begins at the head again.
fn units_came_back(books: &mut Books, lines: &[StockLine]) {
    books.each_product(lines, |product| {
        if product.now.waiting > 0 {
            product.now.cursor = Some(Place::HEAD);
        }
    });
}

/// Applies an adjustment or refuses it, on the record: an operator's mistake parks nothing, or the product's walks,
/// which have the same key, would be parked behind it. The first units of an unknown product make it known.
fn adjust(books: &mut Books, cause: &Cause, command: &AdjustStock) -> Verdict {
    if !books.adjusted.insert(command.adjustment_id) {
        return Verdict::AlreadyApplied;
    }
    let product_id = command.product_id;
    if command.delta > 0 {
        books.make_known(product_id);
    }
    let outcome = match books.products.get(&product_id).map(|product| product.now.adjust(command.delta)) {
        Some(Ok(stock)) => {
            books.put(cause, vec![(product_id, stock)]);
            adjusted(books, product_id, command.delta);
            "applied"
        }
        Some(Err(AdjustmentError::Insufficient)) => "insufficient",
        Some(Err(AdjustmentError::OutOfRange)) => "out_of_range",
        None => UNKNOWN_PRODUCT,
    };
    books.tally.adjusted(command.delta, outcome);
    books.adjustments.push(Adjustment {
        id: command.adjustment_id,
        product_id,
        delta: command.delta,
        outcome,
        reason: command.reason.clone(),
        requested_by: command.requested_by.clone(),
    });
    Verdict::Executed
}

fn adjusted(books: &mut Books, product_id: ProductId, delta: i64) {
    let line = StockLine { product_id, quantity: 0 };
    if delta > 0 {
        units_came_back(books, &[line]);
    } else {
        books.each_product(&[line], |product| product.shrunk = true);
    }
}

/// Takes the walk that the cursor stands for; the end of the batch does it.
fn walk_queue(books: &mut Books, cause: &Cause, command: &WalkQueue) -> Verdict {
    let Some(product) = books.products.get_mut(&command.product_id) else {
        return Verdict::AlreadyApplied;
    };
    if product.now.cursor.is_none() {
        return Verdict::AlreadyApplied;
    }
    product.walk_taken = true;
    product.shrunk = true;
    product.cause = Some(cause.clone());
    books.tally.walked();
    Verdict::Executed
}
