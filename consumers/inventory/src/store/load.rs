//! Loads a batch's books: lines first without locks, then products, then holds.

use super::{
    from_sql,
    queues::{self, Queues},
};
use crate::{
    books::{Books, Read},
    hold::{Hold, HoldState, Place},
    need::Need,
    stock::Stock,
};
use harness::record::Delivery;
use schemas::{
    ids::{EffectId, OrderId, ProductId},
    messages::{InventoryCommand, StockLine},
};
use sqlx::{PgConnection, Row, postgres::PgRow};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Loads and locks all that `batch` touches. At most `limit` waiters are looked at in all.
pub(crate) async fn load_in_tx(
    tx: &mut PgConnection,
    batch: &[Delivery<InventoryCommand>],
    limit: usize,
) -> sqlx::Result<Books> {
    // half for those who may be granted, half for those who may have become impossible
    let limit = (limit / 2).max(1);
    let mut need = Need::of(batch);
    let stored = lines_in_tx(tx, need.orders.iter().copied()).await?;
    need.learn(&stored);
    let glimpse = if need.touches_queues() && queues::prepare_in_tx(tx).await? {
        queues::read_in_tx(tx, &need, limit).await?
    } else {
        Queues::default()
    };
    let of_waiters = lines_in_tx(tx, glimpse.orders().collect::<BTreeSet<_>>()).await?;
    need.products.extend(of_waiters.values().flatten().map(|line| line.product_id));

    let products = lock_products_in_tx(tx, &need).await?;
    // who joined a queue before its product was locked is seen now: nobody is forgotten
    let somebody_waits = products.iter().any(|(_, stock)| stock.waiting > 0);
    let queues = if somebody_waits { queues::read_in_tx(tx, &need, limit).await? } else { Queues::default() };
    let orders: BTreeSet<OrderId> = stored.into_keys().chain(queues.orders()).collect();
    let holds = lock_holds_in_tx(tx, &orders).await?;
    let adjustments = adjustments_in_tx(tx, &need).await?;
    let Queues { heads, impossible } = queues;
    Ok(Books::open(&need, Read { products, holds, heads, impossible, limit, adjustments }))
}

/// The lines of those holds that are there. Lines never change, and a row is made in its own lane only: no lock.
async fn lines_in_tx(
    tx: &mut PgConnection,
    orders: impl IntoIterator<Item = OrderId>,
) -> sqlx::Result<BTreeMap<OrderId, Vec<StockLine>>> {
    let ids: Vec<Uuid> = orders.into_iter().map(|order| order.0).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query("SELECT order_id, product_ids, quantities FROM holds WHERE order_id = ANY($1)")
        .bind(ids)
        .fetch_all(tx)
        .await?;
    rows.iter().map(|row| Ok((OrderId(row.try_get("order_id")?), lines(row)?))).collect()
}

async fn lock_products_in_tx(tx: &mut PgConnection, need: &Need) -> sqlx::Result<Vec<(ProductId, Stock)>> {
    let ids: Vec<Uuid> = need.products.iter().map(|product| product.0).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT id, available, held, sold, initial, restocked, version, waiting, cursor_accepted_at, cursor_order_id
         FROM products WHERE id = ANY($1) ORDER BY id FOR UPDATE",
    )
    .bind(ids)
    .fetch_all(tx)
    .await?;
    rows.iter().map(|row| Ok((ProductId(row.try_get("id")?), stock(row)?))).collect()
}

async fn lock_holds_in_tx(tx: &mut PgConnection, orders: &BTreeSet<OrderId>) -> sqlx::Result<Vec<Hold>> {
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = orders.iter().map(|order| order.0).collect();
    let rows = sqlx::query(
        "SELECT order_id, partition, outside, product_ids, quantities, accepted_at, deadline, state::text
         FROM holds WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE",
    )
    .bind(ids)
    .fetch_all(tx)
    .await?;
    rows.iter().map(hold).collect()
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
