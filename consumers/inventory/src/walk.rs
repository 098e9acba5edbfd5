//! The end of a batch: who waits is looked at again, in the order of acceptance, first fit; then what changed is said.
//!
//! Only places that a cursor has yet to pass are looked at, and only as far as the queue was read. What is left over
//! keeps its cursor, and a `WalkQueue` to ourselves goes on from there.

use crate::{
    answer,
    books::{Books, Cause, Product, Weighed},
    decide::{grant, reject},
    hold::{Hold, HoldState, Place},
};
use harness::{
    record::{Out, Rejection},
    service::Context,
};
use schemas::ids::ProductId;

/// Walks the queues of the products that the batch touched, and says their levels.
///
/// # Errors
/// A [`Rejection`] when the database contradicts itself, or a message does not encode.
pub fn finish(context: &Context, books: &mut Books, out: &mut Out) -> Result<(), Rejection> {
    look_again(context, books, out)?;
    let unfinished = books
        .products
        .iter_mut()
        .filter_map(|(id, product)| Some((*id, close(product)?)))
        .collect::<Vec<(ProductId, bool)>>();
    number(books);
    say_levels(context, books, out)?;
    go_on(books, unfinished, out)
}

fn look_again(context: &Context, books: &mut Books, out: &mut Out) -> Result<(), Rejection> {
    let mut places: Vec<Place> = waiting(books).map(Hold::place).collect();
    places.sort_unstable();
    for place in places {
        let Some(hold) = books.holds.get(&place.order_id) else { continue };
        let Some(cause) = reason_to_look(books, hold).cloned() else { continue };
        let hold = hold.clone();
        match books.weigh(&hold.lines) {
            Weighed::Fits => grant(context, books, &cause, hold, out)?,
            Weighed::Never { reason, product_id } => {
                reject(context, books, &cause, hold, (reason, product_id), out)?;
            }
            Weighed::Waits => {}
        }
    }
    Ok(())
}

fn waiting(books: &Books) -> impl Iterator<Item = &Hold> {
    books.holds.values().filter(|hold| hold.state == HoldState::Waiting)
}

/// The record because of which a waiting hold is looked at: it made units come back, or leave for good.
fn reason_to_look<'a>(books: &'a Books, hold: &Hold) -> Option<&'a Cause> {
    hold.lines.iter().find_map(|line| {
        let product = books.products.get(&line.product_id)?;
        let impossible = product.shrunk && i64::from(line.quantity) > product.now.obtainable();
        if impossible || is_due(product, hold.place()) { product.cause.as_ref() } else { None }
    })
}

/// Whether this batch's walk of the queue reaches that place.
fn is_due(product: &Product, place: Place) -> bool {
    product.now.available > 0
        && !product.walk_is_under_way()
        && product.now.cursor.is_some_and(|cursor| cursor <= place)
        && product.unread.from.is_none_or(|unread| place < unread)
}

/// Sets the cursor to what is left of the walk, or takes it away. Says whether this batch has to send the command
/// that goes on with it, and whether it came on at all.
fn close(product: &mut Product) -> Option<bool> {
    if product.walk_is_under_way() {
        return None;
    }
    let began = product.now.cursor;
    // with nothing available nobody of this queue fits, wherever the walk stands
    let left = product.unread.from.filter(|_| product.now.available > 0);
    product.now.cursor = began.and_then(|cursor| left.map(|from| from.max(cursor)));
    let still_impossible =
        product.unread.largest.filter(|(quantity, _)| product.shrunk && *quantity > product.now.obtainable());
    if let Some((_, place)) = still_impossible {
        product.now.cursor = Some(product.now.cursor.map_or(place, |cursor| cursor.min(place)));
    }
    product.now.cursor.map(|cursor| began != Some(cursor))
}

fn number(books: &mut Books) {
    for product in books.products.values_mut().filter(|product| product.is_changed()) {
        product.now.version = product.now.version.saturating_add(1);
    }
}

fn say_levels(context: &Context, books: &Books, out: &mut Out) -> Result<(), Rejection> {
    for (id, product) in &books.products {
        let told = product.stored.is_some_and(|stored| stored.same_levels(&product.now));
        if let (false, Some(cause)) = (told, &product.cause) {
            out.send(cause, answer::changed(*id, &product.now, context.now)?);
        }
    }
    Ok(())
}

/// The queues that did not come on are named first: they come first in the batch that reads the commands.
fn go_on(books: &Books, mut unfinished: Vec<(ProductId, bool)>, out: &mut Out) -> Result<(), Rejection> {
    unfinished.sort_by_key(|(_, came_on)| *came_on);
    for (id, _) in unfinished {
        let product = books.products.get(&id);
        let Some((product, cause)) = product.and_then(|product| Some((product, product.cause.as_ref()?)))
        else {
            // a cursor without its command would stand for ever
            return Err(Rejection::new("walk_without_cause", format!("no record set the cursor of {id}")));
        };
        out.send(cause, answer::walk(id, &product.now)?);
    }
    Ok(())
}
