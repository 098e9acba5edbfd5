//! The SQL of the orders endpoints: reads only, each on the role of the edge.

#[cfg(test)]
pub(crate) mod tests;

use crate::proof::{Lanes, Outboxes};
use chassis::postgres;
use chrono::{DateTime, Utc};
use ingress::page::Cursor;
use schemas::{
    ids::{OrderId, ProductId},
    messages::{BodyHash, OrderCommand, OrderState, OrderStatus, PricedLine, TimelineEntry},
    time::Timestamp,
    topics::{self, ORDERS_GROUP, Topic},
};
use sqlx::{PgPool, Row, postgres::PgRow, types::Json};
use std::sync::Arc;
use uuid::Uuid;

/// Parked records of one key that are looked at for its submit, which is the first of them in all but odd cases.
const PARKED_PER_KEY: i64 = 20;

/// Which order, and whose: the owner is part of a client's question, so nobody else's row is ever read for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) order: OrderId,
    /// None: an operator's question, or a provider's.
    pub(crate) owner: Option<Arc<str>>,
}

/// What Postgres knows of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Its row.
    Row(Box<OrderState>),
    /// Its submit, parked: it reads as pending.
    Parked(Box<OrderState>),
    /// Its key alone: it ended so long ago that its row has left.
    Kept(BodyHash),
    /// A parked record that this release cannot read: whose, and what, is not known.
    Unreadable,
    /// Nothing.
    Nothing,
}

/// Looks for many orders at once, rows and parked records in one snapshot, so that a redrive in between hides nothing.
pub(crate) async fn lookup(pool: &PgPool, partitions: i32, wanted: &[Wanted]) -> sqlx::Result<Vec<Found>> {
    let keys: Vec<[u8; 36]> = wanted.iter().map(|one| topics::key(one.order.0)).collect();
    let query = sqlx::query(
        "SELECT w.at, o.id, o.owner, o.body_hash, o.version, o.status, o.reason, o.currency, o.total, o.refunded,
                o.product_ids, o.quantities, o.unit_prices, o.shipping_address, o.payment_method, o.accepted_at,
                o.deadline, o.updated_at, o.timeline, p.record, k.body_hash AS kept
         FROM UNNEST($1::uuid[], $2::text[], $3::int[], $4::bytea[])
              WITH ORDINALITY AS w (id, owner, partition, key, at)
         LEFT JOIN orders.orders o ON o.id = w.id AND (w.owner IS NULL OR o.owner = w.owner)
         LEFT JOIN orders.kept_key k ON o.id IS NULL AND k.id = w.id
         LEFT JOIN LATERAL (
             SELECT parked.record, parked.turn FROM orders.parked
             WHERE o.id IS NULL AND parked.topic = $5 AND parked.partition = w.partition AND parked.key = w.key
             ORDER BY parked.turn LIMIT $6
         ) p ON true
         WHERE o.id IS NOT NULL OR p.record IS NOT NULL OR k.id IS NOT NULL
         ORDER BY w.at, p.turn",
    )
    .bind(wanted.iter().map(|one| one.order.0).collect::<Vec<Uuid>>())
    .bind(wanted.iter().map(|one| one.owner.as_deref()).collect::<Vec<Option<&str>>>())
    .bind(keys.iter().map(|key| topics::partition_of(key, partitions)).collect::<Vec<i32>>())
    .bind(keys.iter().map(|key| key.to_vec()).collect::<Vec<_>>())
    .bind(Topic::OrderCommands.name())
    .bind(PARKED_PER_KEY);
    let rows = postgres::read(pool, query).await?;

    let mut found = vec![Found::Nothing; wanted.len()];
    for row in &rows {
        let at = usize::try_from(row.try_get::<i64, _>("at")? - 1).unwrap_or(usize::MAX);
        let (Some(slot), Some(asked)) = (found.get_mut(at), wanted.get(at)) else { continue };
        if let Some(kept) = row.try_get::<Option<Vec<u8>>, _>("kept")? {
            *slot = Found::Kept(body_hash(kept)?);
            continue;
        }
        match row.try_get::<Option<Vec<u8>>, _>("record")? {
            None => *slot = Found::Row(Box::new(order_of(row)?)),
            Some(record) if *slot == Found::Nothing => *slot = parked(&record, asked),
            Some(_) => {}
        }
    }
    if found.iter().any(|found| matches!(found, Found::Kept(_))) {
        look_in_history(pool, wanted, &mut found).await?;
    }
    Ok(found)
}

/// Finds the rows of keys that were kept: in the history, or among the others again if a record has named them meanwhile.
/// Asked apart, for nearly every key is new, and the history has many parts.
async fn look_in_history(pool: &PgPool, wanted: &[Wanted], found: &mut [Found]) -> sqlx::Result<()> {
    let kept = wanted.iter().zip(&*found).filter(|(_, found)| matches!(found, Found::Kept(_)));
    let rows = sqlx::query(
        "SELECT id, owner, body_hash, version, status, reason, currency, total, refunded, product_ids, quantities,
                unit_prices, shipping_address, payment_method, accepted_at, deadline, updated_at, timeline
         FROM orders.every_order WHERE id = ANY ($1)",
    )
    .bind(kept.map(|(wanted, _)| wanted.order.0).collect::<Vec<Uuid>>())
    .fetch_all(pool)
    .await?;
    for row in &rows {
        let order = order_of(row)?;
        for (wanted, found) in wanted.iter().zip(&mut *found) {
            if wanted.order == order.order_id && matches!(found, Found::Kept(_)) {
                let is_theirs = wanted.owner.as_deref().is_none_or(|owner| owner == order.owner);
                *found = if is_theirs { Found::Row(Box::new(order.clone())) } else { Found::Nothing };
            }
        }
    }
    Ok(())
}

fn body_hash(bytes: Vec<u8>) -> sqlx::Result<BodyHash> {
    let unreadable = |_| sqlx::Error::Decode("an order's body hash does not read".into());
    Ok(BodyHash(bytes.try_into().map_err(unreadable)?))
}

/// What one parked record says of the order. A record of another kind says nothing: its submit is a row, or never was.
fn parked(record: &[u8], asked: &Wanted) -> Found {
    match OrderCommand::decode(record) {
        Ok(OrderCommand::SubmitOrder(submit))
            if asked.owner.as_deref().is_none_or(|owner| owner == submit.owner) =>
        {
            Found::Parked(Box::new(OrderState::pending(submit)))
        }
        Ok(_) => Found::Nothing,
        Err(_) => Found::Unreadable,
    }
}

fn order_of(row: &PgRow) -> sqlx::Result<OrderState> {
    let unreadable = |what: &str| sqlx::Error::Decode(format!("an order's {what} does not read").into());
    let at = |column| row.try_get::<DateTime<Utc>, _>(column).map(|at| Timestamp(at.timestamp_millis()));
    let products: Vec<Uuid> = row.try_get("product_ids")?;
    let quantities: Vec<i32> = row.try_get("quantities")?;
    let prices: Vec<i64> = row.try_get("unit_prices")?;
    let lines = products.into_iter().zip(quantities).zip(prices);
    Ok(OrderState {
        order_id: OrderId(row.try_get("id")?),
        owner: row.try_get("owner")?,
        body_hash: body_hash(row.try_get("body_hash")?)?,
        version: row.try_get("version")?,
        status: OrderStatus::from_name(row.try_get("status")?).ok_or_else(|| unreadable("status"))?,
        reason: row.try_get("reason")?,
        currency: row.try_get::<&str, _>("currency")?.parse().map_err(|_| unreadable("currency"))?,
        total: row.try_get("total")?,
        refunded: row.try_get("refunded")?,
        lines: lines
            .map(|((product, quantity), unit_price)| PricedLine {
                product_id: ProductId(product),
                quantity,
                unit_price,
            })
            .collect(),
        shipping_address: row.try_get("shipping_address")?,
        payment_method: row.try_get("payment_method")?,
        accepted_at: at("accepted_at")?,
        deadline: at("deadline")?,
        updated_at: at("updated_at")?,
        timeline: row.try_get::<Json<Vec<TimelineEntry>>, _>("timeline")?.0,
    })
}

/// A page of an owner's orders, newest first.
pub(crate) async fn list(
    pool: &PgPool,
    owner: &str,
    status: Option<OrderStatus>,
    after: Option<Cursor>,
    limit: i64,
) -> sqlx::Result<Vec<OrderState>> {
    let (before, id) = match after {
        Some(cursor) => (DateTime::from_timestamp_millis(cursor.sort), Some(cursor.id)),
        None => (None, None),
    };
    let query = sqlx::query(
        "SELECT id, owner, body_hash, version, status, reason, currency, total, refunded, product_ids, quantities,
                unit_prices, shipping_address, payment_method, accepted_at, deadline, updated_at, timeline
         FROM (SELECT * FROM orders.orders UNION ALL SELECT * FROM orders.history) AS every
         WHERE owner = $1 AND ($2::text IS NULL OR status = $2)
           AND ($3::timestamptz IS NULL OR (accepted_at, id) < ($3, $4))
         ORDER BY accepted_at DESC, id DESC LIMIT $5",
    )
    .bind(owner)
    .bind(status.map(OrderStatus::as_str))
    .bind(before)
    .bind(id)
    .bind(limit);
    let rows = postgres::read(pool, query).await?;
    rows.iter().map(order_of).collect()
}

/// Where the orders lanes stand.
pub(crate) async fn lanes(pool: &PgPool) -> sqlx::Result<Lanes> {
    let query = sqlx::query(
        "SELECT partition, next_offset FROM orders.lane WHERE consumer_group = $1 AND topic = $2",
    )
    .bind(ORDERS_GROUP)
    .bind(Topic::OrderCommands.name());
    let rows = postgres::read(pool, query).await?;
    rows.iter().map(|row| Ok((row.try_get("partition")?, row.try_get("next_offset")?))).collect()
}

/// The last packed row of each orders lane.
pub(crate) async fn outboxes(pool: &PgPool) -> sqlx::Result<Outboxes> {
    let query =
        sqlx::query("SELECT id, outbox_seq FROM orders.lane WHERE consumer_group = $1 AND topic = $2")
            .bind(ORDERS_GROUP)
            .bind(Topic::OrderCommands.name());
    let rows = postgres::read(pool, query).await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get("outbox_seq")?))).collect()
}

/// Whether no outbox holds any of these rows, or of those before them.
pub(crate) async fn are_drained(pool: &PgPool, outboxes: &Outboxes) -> sqlx::Result<bool> {
    let (lanes, seqs): (Vec<Uuid>, Vec<i64>) = outboxes.iter().copied().unzip();
    let query = sqlx::query(
        "SELECT NOT EXISTS (
             SELECT FROM UNNEST($1::uuid[], $2::bigint[]) AS w (lane, seq)
             JOIN orders.outbox o ON o.lane = w.lane AND o.seq <= w.seq
         ) AS drained",
    )
    .bind(lanes)
    .bind(seqs);
    let rows = postgres::read(pool, query).await?;
    rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get("drained")
}

/// A product's price as the catalogue has it.
pub(crate) struct PriceRow {
    pub(crate) product: ProductId,
    pub(crate) price: i64,
    pub(crate) currency: String,
    pub(crate) is_active: bool,
    pub(crate) updated_at: DateTime<Utc>,
}

/// The next page of prices behind `place` (time of change, id), oldest change first.
pub(crate) async fn prices(
    pool: &PgPool,
    place: (DateTime<Utc>, Uuid),
    page: i64,
) -> sqlx::Result<Vec<PriceRow>> {
    let query = sqlx::query(
        "SELECT id, price, currency, is_active, updated_at FROM catalog.products
         WHERE (updated_at, id) > ($1, $2) ORDER BY updated_at, id LIMIT $3",
    )
    .bind(place.0)
    .bind(place.1)
    .bind(page);
    let rows = postgres::read(pool, query).await?;
    rows.iter()
        .map(|row| {
            Ok(PriceRow {
                product: ProductId(row.try_get("id")?),
                price: row.try_get("price")?,
                currency: row.try_get("currency")?,
                is_active: row.try_get("is_active")?,
                updated_at: row.try_get("updated_at")?,
            })
        })
        .collect()
}
