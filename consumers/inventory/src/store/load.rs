//! Loads a batch's books: holds first, without locks; then products, locked; then the states that may have changed.

use super::{
    from_sql, history,
    queues::{self, Queues},
};
use crate::{
    books::{Books, Places, Read},
    hold::{Hold, HoldState, Place},
    need::{Need, may_have_moved},
    stock::Stock,
};
use harness::record::Delivery;
use schemas::{
    ids::{EffectId, OrderId, ProductId},
    messages::{InventoryCommand, StockLine},
    time::Timestamp,
};
use sqlx::{PgConnection, Row, postgres::PgRow};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The advisory lock that stands for all products.
const ALL_PRODUCTS: i64 = 0x6d62_7072_6f64; // "mbprod"
/// From so many products on a batch locks all.
const MANY_PRODUCTS: usize = 200;

/// Loads and locks all that `batch` touches. At most `limit` waiters are looked at in all. What was accepted before
/// `cutoff` may have left for the history, and comes back first.
pub(crate) async fn load_in_tx(
    tx: &mut PgConnection,
    batch: &[Delivery<InventoryCommand>],
    limit: usize,
    cutoff: Option<Timestamp>,
) -> sqlx::Result<Books> {
    // half for those who may be granted, half for those who may have become impossible
    let limit = (limit / 2).max(1);
    let mut need = Need::of(batch);
    let mut places = Places::default();
    let mut holds = holds_in_tx(tx, need.orders.iter().copied(), &mut places).await?;
    let mut moved = cutoff.map(|cutoff| may_have_moved(batch, cutoff)).unwrap_or_default();
    moved.retain(|order| !holds.contains_key(order));
    if !moved.is_empty() && history::recall_in_tx(tx, &moved).await? > 0 {
        holds.extend(holds_in_tx(tx, moved, &mut places).await?);
    }
    need.learn(&holds.values().map(|hold| (hold.order_id, hold.lines.clone())).collect());
    let glimpse = if need.touches_queues() && queues::prepare_in_tx(tx).await? {
        queues::read_in_tx(tx, &need, limit).await?
    } else {
        Queues::default()
    };
    let named: BTreeSet<OrderId> = holds.keys().copied().collect();
    let others = glimpse.orders().filter(|order| !named.contains(order));
    holds.extend(holds_in_tx(tx, others, &mut places).await?);
    need.products.extend(glimpse.orders().filter_map(|order| holds.get(&order)).flat_map(Hold::products));

    let products = lock_products_in_tx(tx, &need, &mut places).await?;
    // who joined a queue before its product was locked is seen now: nobody is forgotten
    let somebody_waits = products.iter().any(|(_, stock)| stock.waiting > 0);
    let queues = if somebody_waits { queues::read_in_tx(tx, &need, limit).await? } else { Queues::default() };
    let waiting: BTreeSet<OrderId> = queues.orders().collect();
    holds.retain(|order, _| named.contains(order) || waiting.contains(order));
    read_waiting_again_in_tx(tx, &mut holds, waiting, &mut places).await?;
    let adjustments = adjustments_in_tx(tx, &need).await?;
    let (holds, Queues { heads, impossible }) = (holds.into_values().collect(), queues);
    let books = Books::open(&need, Read { products, holds, heads, impossible, limit, adjustments });
    Ok(Books { places, ..books })
}

/// Those holds that are there, as they stand now: no lock. Their lines never change, and a row is made in its own lane
/// only.
async fn holds_in_tx(
    tx: &mut PgConnection,
    orders: impl IntoIterator<Item = OrderId>,
    places: &mut Places,
) -> sqlx::Result<BTreeMap<OrderId, Hold>> {
    let ids: BTreeSet<Uuid> = orders.into_iter().map(|order| order.0).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query(
        "SELECT ctid, order_id, partition, outside, product_ids, quantities, accepted_at, deadline, state::text
         FROM holds WHERE order_id = ANY($1)",
    )
    .bind(ids.into_iter().collect::<Vec<_>>())
    .fetch_all(tx)
    .await?;
    for row in &rows {
        places.holds.insert(OrderId(row.try_get("order_id")?), row.try_get("ctid")?);
    }
    rows.iter().map(hold).map(|hold| hold.map(|hold| (hold.order_id, hold))).collect()
}

/// Under the locks of their products: the holds that were seen waiting, and those that are found in a queue. Another
/// lane may have granted or rejected them meanwhile; whatever does not wait is changed by its own lane alone.
async fn read_waiting_again_in_tx(
    tx: &mut PgConnection,
    holds: &mut BTreeMap<OrderId, Hold>,
    in_queues: BTreeSet<OrderId>,
    places: &mut Places,
) -> sqlx::Result<()> {
    let seen = holds.values().filter(|hold| hold.state == HoldState::Waiting).map(|hold| hold.order_id);
    let orders: BTreeSet<OrderId> = seen.chain(in_queues).collect();
    holds.extend(holds_in_tx(tx, orders, places).await?);
    Ok(())
}

/// Few products are locked row by row, many all at once: a batch that names hundreds meets every other one in some
/// product anyway, and a lock on a row is a change to its page. Whoever locks rows shares the lock on all, so that the
/// two never overlap.
async fn lock_products_in_tx(
    tx: &mut PgConnection,
    need: &Need,
    places: &mut Places,
) -> sqlx::Result<Vec<(ProductId, Stock)>> {
    let ids: Vec<Uuid> = need.products.iter().map(|product| product.0).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let (lock, read) = if ids.len() < MANY_PRODUCTS {
        (
            "SELECT pg_advisory_xact_lock_shared($1), set_config('enable_hashjoin', 'off', true),
                    set_config('enable_mergejoin', 'off', true)",
            "SELECT ctid, id, available, held, sold, initial, restocked, version, waiting, cursor_accepted_at,
                    cursor_order_id
             FROM products WHERE id = ANY($1) ORDER BY id FOR UPDATE",
        )
    } else {
        (
            "SELECT pg_advisory_xact_lock($1), set_config('enable_hashjoin', 'off', true),
                    set_config('enable_mergejoin', 'off', true)",
            "SELECT ctid, id, available, held, sold, initial, restocked, version, waiting, cursor_accepted_at,
                    cursor_order_id
             FROM products WHERE id = ANY($1)",
        )
    };
    // a statement of its own: the next one sees what was committed before the lock was free. And from here on rows to
    // update are found where they lie: the planner would rather read a whole small table, and write half of it slowly
    sqlx::query(lock).bind(ALL_PRODUCTS).execute(&mut *tx).await?;
    let rows = sqlx::query(read).bind(ids).fetch_all(tx).await?;
    for row in &rows {
        places.products.insert(ProductId(row.try_get("id")?), row.try_get("ctid")?);
    }
    rows.iter().map(|row| Ok((ProductId(row.try_get("id")?), stock(row)?))).collect()
}

async fn adjustments_in_tx(tx: &mut PgConnection, need: &Need) -> sqlx::Result<Vec<EffectId>> {
    let ids: Vec<Uuid> = need.adjustments.iter().map(|adjustment| adjustment.0).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query("SELECT id FROM adjustments WHERE id = ANY($1)").bind(ids).fetch_all(tx).await?;
    rows.iter().map(|row| Ok(EffectId(row.try_get("id")?))).collect()
}

fn stock(row: &PgRow) -> sqlx::Result<Stock> {
    let cursor_at = row.try_get::<Option<_>, _>("cursor_accepted_at")?;
    let cursor_order = row.try_get::<Option<Uuid>, _>("cursor_order_id")?;
    Ok(Stock {
        available: row.try_get("available")?,
        held: row.try_get("held")?,
        sold: row.try_get("sold")?,
        initial: row.try_get("initial")?,
        restocked: row.try_get("restocked")?,
        version: row.try_get("version")?,
        waiting: row.try_get("waiting")?,
        cursor: cursor_at
            .zip(cursor_order)
            .map(|(at, order)| Place { accepted_at: from_sql(at), order_id: OrderId(order) }),
    })
}

fn hold(row: &PgRow) -> sqlx::Result<Hold> {
    let name: String = row.try_get("state")?;
    let state = HoldState::from_name(&name)
        .ok_or_else(|| sqlx::Error::Decode(format!("{name:?} is not a state of a hold").into()))?;
    Ok(Hold {
        order_id: OrderId(row.try_get("order_id")?),
        partition: row.try_get("partition")?,
        outside: row.try_get("outside")?,
        lines: lines(row)?,
        accepted_at: from_sql(row.try_get("accepted_at")?),
        deadline: from_sql(row.try_get("deadline")?),
        state,
        reason: None,
        stored: Some(state),
        queued: state == HoldState::Waiting,
    })
}

fn lines(row: &PgRow) -> sqlx::Result<Vec<StockLine>> {
    let products: Vec<Uuid> = row.try_get("product_ids")?;
    let quantities: Vec<i32> = row.try_get("quantities")?;
    let lines = products.into_iter().zip(quantities);
    Ok(lines.map(|(product, quantity)| StockLine { product_id: ProductId(product), quantity }).collect())
}
