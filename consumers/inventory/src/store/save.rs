//! Saves what was decided: one statement a table and kind of change, sets in key order, each counted.

use super::to_sql;
use crate::{
    books::{Adjustment, Books, Places, Product},
    hold::{Hold, HoldState},
    metrics::Tally,
    stock::Stock,
};
use chrono::{DateTime, Utc};
use schemas::{ids::ProductId, time::Timestamp};
use sqlx::{PgConnection, postgres::PgQueryResult};
use uuid::Uuid;

/// Saves the books.
pub(crate) async fn save_in_tx(tx: &mut PgConnection, now: Timestamp, books: Books) -> sqlx::Result<Tally> {
    let Books { products, holds, adjustments, mut tally, places, .. } = books;
    let now = to_sql(now)?;
    let (known, new): (Vec<_>, Vec<_>) = products
        .iter()
        .filter(|(_, product)| product.is_changed())
        .map(|(id, product)| (*id, product))
        .partition(|(_, product)| product.stored.is_some());
    tally.products(known.len() + new.len());
    update_products_in_tx(tx, &known, &places).await?;
    insert_products_in_tx(tx, new.into_iter().map(|(id, product)| (id, product.now)).collect()).await?;

    let changed: Vec<&Hold> = holds.values().filter(|hold| hold.stored != Some(hold.state)).collect();
    let (new, known): (Vec<&Hold>, Vec<&Hold>) = changed.iter().partition(|hold| hold.stored.is_none());
    insert_holds_in_tx(tx, &new, now).await?;
    update_holds_in_tx(tx, &known, now, &places).await?;
    let joined: Vec<&Hold> = new.into_iter().filter(|hold| hold.state == HoldState::Waiting).collect();
    let left: Vec<&Hold> = known.into_iter().filter(|hold| hold.stored == Some(HoldState::Waiting)).collect();
    delete_waiters_in_tx(tx, Lines::of(&left)?).await?;
    insert_waiters_in_tx(tx, Lines::of(&joined)?).await?;
    insert_adjustments_in_tx(tx, adjustments, now).await?;
    Ok(tally)
}

/// Rows are found where they were read, and only as they were read: whoever wrote one meanwhile, without our lock, has
/// made the batch an error. (`IS NOT DISTINCT FROM` compares the key and is nothing that an index could serve.)
async fn update_products_in_tx(
    tx: &mut PgConnection,
    rows: &[(ProductId, &Product)],
    places: &Places,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let now: Vec<_> = rows.iter().map(|(id, product)| (*id, product.now)).collect();
    let columns = Products::of(&now)?;
    let loaded = rows.iter().map(|(_, product)| product.stored.map(|stored| stored.version));
    let done = sqlx::query(
        "UPDATE products AS p
         SET available = n.available, held = n.held, sold = n.sold, restocked = n.restocked, version = n.version,
             waiting = n.waiting, cursor_accepted_at = n.cursor_accepted_at, cursor_order_id = n.cursor_order_id
         FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                     $8::timestamptz[], $9::uuid[], $10::tid[], $11::bigint[])
           AS n (id, available, held, sold, restocked, version, waiting, cursor_accepted_at, cursor_order_id, place,
                 loaded_version)
         WHERE p.ctid = n.place AND p.id IS NOT DISTINCT FROM n.id AND p.version = n.loaded_version",
    )
    .bind(columns.id)
    .bind(columns.available)
    .bind(columns.held)
    .bind(columns.sold)
    .bind(columns.restocked)
    .bind(columns.version)
    .bind(columns.waiting)
    .bind(columns.cursor_accepted_at)
    .bind(columns.cursor_order_id)
    .bind(rows.iter().map(|(id, _)| places.products.get(id).copied()).collect::<Vec<_>>())
    .bind(loaded.collect::<Vec<_>>())
    .execute(tx)
    .await?;
    expect(&done, rows.len(), "products")
}

/// Conflict rule: none, for a product is made known in its own lane only; a clash runs the batch again.
async fn insert_products_in_tx(tx: &mut PgConnection, rows: Vec<(ProductId, Stock)>) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = Products::of(&rows)?;
    let initial: Vec<i64> = rows.iter().map(|(_, stock)| stock.initial).collect();
    let done = sqlx::query(
        "INSERT INTO products (id, available, held, sold, restocked, version, waiting, initial)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                              $7::bigint[], $8::bigint[])",
    )
    .bind(columns.id)
    .bind(columns.available)
    .bind(columns.held)
    .bind(columns.sold)
    .bind(columns.restocked)
    .bind(columns.version)
    .bind(columns.waiting)
    .bind(initial)
    .execute(tx)
    .await?;
    expect(&done, rows.len(), "new products")
}

/// Conflict rule: none, for a hold is made in its own lane only.
async fn insert_holds_in_tx(tx: &mut PgConnection, holds: &[&Hold], now: DateTime<Utc>) -> sqlx::Result<()> {
    if holds.is_empty() {
        return Ok(());
    }
    let columns = Holds::of(holds)?;
    // the lines of all holds travel as two flat arrays, and each hold takes its slice
    let done = sqlx::query(
        "INSERT INTO holds (order_id, partition, outside, accepted_at, deadline, state, reason, product_ids, quantities,
                            changed_at)
         SELECT order_id, partition, outside, accepted_at, deadline, state::hold_state, reason,
                ($8::uuid[])[first:last], ($9::int[])[first:last], $12
         FROM unnest($1::uuid[], $2::int[], $3::boolean[], $4::timestamptz[], $5::timestamptz[], $6::text[],
                     $7::text[], $10::int[], $11::int[])
           AS n (order_id, partition, outside, accepted_at, deadline, state, reason, first, last)",
    )
    .bind(columns.order_id)
    .bind(columns.partition)
    .bind(columns.outside)
    .bind(columns.accepted_at)
    .bind(columns.deadline)
    .bind(columns.state)
    .bind(columns.reason)
    .bind(columns.product_ids)
    .bind(columns.quantities)
    .bind(columns.first)
    .bind(columns.last)
    .bind(now)
    .execute(tx)
    .await?;
    expect(&done, holds.len(), "new holds")
}

async fn update_holds_in_tx(
    tx: &mut PgConnection,
    holds: &[&Hold],
    now: DateTime<Utc>,
    places: &Places,
) -> sqlx::Result<()> {
    if holds.is_empty() {
        return Ok(());
    }
    let done = sqlx::query(
        "UPDATE holds AS h SET state = n.state::hold_state, reason = n.reason, changed_at = $4
         FROM unnest($1::uuid[], $2::text[], $3::text[], $5::tid[]) AS n (order_id, state, reason, place)
         WHERE h.ctid = n.place AND h.order_id IS NOT DISTINCT FROM n.order_id",
    )
    .bind(holds.iter().map(|hold| hold.order_id.0).collect::<Vec<_>>())
    .bind(holds.iter().map(|hold| hold.state.as_str()).collect::<Vec<_>>())
    .bind(holds.iter().map(|hold| hold.reason).collect::<Vec<_>>())
    .bind(now)
    .bind(holds.iter().map(|hold| places.holds.get(&hold.order_id).copied()).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    expect(&done, holds.len(), "holds")
}

async fn delete_waiters_in_tx(tx: &mut PgConnection, lines: Lines) -> sqlx::Result<()> {
    if lines.product_id.is_empty() {
        return Ok(());
    }
    let count = lines.product_id.len();
    let done = sqlx::query(
        "DELETE FROM waiters AS w
         USING unnest($1::uuid[], $2::timestamptz[], $3::uuid[]) AS n (product_id, accepted_at, order_id)
         WHERE w.product_id = n.product_id AND w.accepted_at = n.accepted_at AND w.order_id = n.order_id",
    )
    .bind(lines.product_id)
    .bind(lines.accepted_at)
    .bind(lines.order_id)
    .execute(tx)
    .await?;
    expect(&done, count, "waiters that left")
}

/// Conflict rule: none, for a reserve joins its queues once.
async fn insert_waiters_in_tx(tx: &mut PgConnection, lines: Lines) -> sqlx::Result<()> {
    if lines.product_id.is_empty() {
        return Ok(());
    }
    let count = lines.product_id.len();
    let done = sqlx::query(
        "INSERT INTO waiters (product_id, accepted_at, order_id, quantity)
         SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::int[])",
    )
    .bind(lines.product_id)
    .bind(lines.accepted_at)
    .bind(lines.order_id)
    .bind(lines.quantity)
    .execute(tx)
    .await?;
    expect(&done, count, "waiters that joined")
}

/// Conflict rule: none. An id that two lanes have at once is a mistake of the edge; the batch runs again and finds it.
async fn insert_adjustments_in_tx(
    tx: &mut PgConnection,
    adjustments: Vec<Adjustment>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    if adjustments.is_empty() {
        return Ok(());
    }
    let done = sqlx::query(
        "INSERT INTO adjustments (id, product_id, delta, outcome, reason, requested_by, decided_at)
         SELECT *, $7 FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[])",
    )
    .bind(adjustments.iter().map(|adjustment| adjustment.id.0).collect::<Vec<_>>())
    .bind(adjustments.iter().map(|adjustment| adjustment.product_id.0).collect::<Vec<_>>())
    .bind(adjustments.iter().map(|adjustment| adjustment.delta).collect::<Vec<_>>())
    .bind(adjustments.iter().map(|adjustment| adjustment.outcome).collect::<Vec<_>>())
    .bind(adjustments.iter().map(|adjustment| adjustment.reason.as_str()).collect::<Vec<_>>())
    .bind(adjustments.iter().map(|adjustment| adjustment.requested_by.as_str()).collect::<Vec<_>>())
    .bind(now)
    .execute(tx)
    .await?;
    expect(&done, adjustments.len(), "adjustments")
}

/// Every row was locked, or is ours to make: another count means that rows and books have parted.
fn expect(done: &PgQueryResult, rows: usize, what: &str) -> sqlx::Result<()> {
    if usize::try_from(done.rows_affected()).ok() == Some(rows) {
        return Ok(());
    }
    Err(sqlx::Error::Protocol(format!("wrote {} {what} instead of {rows}", done.rows_affected())))
}

#[derive(Default)]
struct Products {
    id: Vec<Uuid>,
    available: Vec<i64>,
    held: Vec<i64>,
    sold: Vec<i64>,
    restocked: Vec<i64>,
    version: Vec<i64>,
    waiting: Vec<i64>,
    cursor_accepted_at: Vec<Option<DateTime<Utc>>>,
    cursor_order_id: Vec<Option<Uuid>>,
}

impl Products {
    fn of(rows: &[(ProductId, Stock)]) -> sqlx::Result<Self> {
        let mut columns = Self::default();
        for (id, stock) in rows {
            columns.id.push(id.0);
            columns.available.push(stock.available);
            columns.held.push(stock.held);
            columns.sold.push(stock.sold);
            columns.restocked.push(stock.restocked);
            columns.version.push(stock.version);
            columns.waiting.push(stock.waiting);
            columns.cursor_accepted_at.push(stock.cursor.map(|place| to_sql(place.accepted_at)).transpose()?);
            columns.cursor_order_id.push(stock.cursor.map(|place| place.order_id.0));
        }
        Ok(columns)
    }
}

#[derive(Default)]
struct Holds {
    order_id: Vec<Uuid>,
    partition: Vec<i32>,
    outside: Vec<bool>,
    accepted_at: Vec<DateTime<Utc>>,
    deadline: Vec<DateTime<Utc>>,
    state: Vec<&'static str>,
    reason: Vec<Option<&'static str>>,
    product_ids: Vec<Uuid>,
    quantities: Vec<i32>,
    first: Vec<i32>,
    last: Vec<i32>,
}

impl Holds {
    fn of(holds: &[&Hold]) -> sqlx::Result<Self> {
        let mut columns = Self::default();
        for hold in holds {
            columns.order_id.push(hold.order_id.0);
            columns.partition.push(hold.partition);
            columns.outside.push(hold.outside);
            columns.accepted_at.push(to_sql(hold.accepted_at)?);
            columns.deadline.push(to_sql(hold.deadline)?);
            columns.state.push(hold.state.as_str());
            columns.reason.push(hold.reason);
            columns.first.push(position(columns.quantities.len())?.saturating_add(1));
            columns.product_ids.extend(hold.products().map(|product| product.0));
            columns.quantities.extend(hold.lines.iter().map(|line| line.quantity));
            columns.last.push(position(columns.quantities.len())?);
        }
        Ok(columns)
    }
}

fn position(length: usize) -> sqlx::Result<i32> {
    i32::try_from(length).map_err(|_| sqlx::Error::Encode("more lines than an array has places".into()))
}

#[derive(Default)]
struct Lines {
    product_id: Vec<Uuid>,
    accepted_at: Vec<DateTime<Utc>>,
    order_id: Vec<Uuid>,
    quantity: Vec<i32>,
}

impl Lines {
    /// The queue rows of these holds, in key order.
    fn of(holds: &[&Hold]) -> sqlx::Result<Self> {
        let mut rows: Vec<_> = holds
            .iter()
            .flat_map(|hold| hold.lines.iter().map(|line| (line.product_id, hold.place(), line.quantity)))
            .collect();
        rows.sort_unstable();
        let mut columns = Self::default();
        for (product, place, quantity) in rows {
            columns.product_id.push(product.0);
            columns.accepted_at.push(to_sql(place.accepted_at)?);
            columns.order_id.push(place.order_id.0);
            columns.quantity.push(quantity);
        }
        Ok(columns)
    }
}
