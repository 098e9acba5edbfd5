//! All SQL of the orders worker: load, insert, update, what is due. One statement a table and purpose; sets go through
//! `UNNEST`, sorted by order id.

use crate::{
    decide::{Changed, Fresh, Rows},
    due::Passed,
};
use chassis::place::Place;
use chrono::{DateTime, Utc};
use saga::{Action, FailedEffect, Order, Seen};
use schemas::{
    ids::{EffectId, OrderId, ProductId},
    messages::{BodyHash, OrderState, OrderStatus, PricedLine, TimelineEntry},
    time::Timestamp,
};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{PgConnection, Row, postgres::PgRow, types::Json};
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

pub(crate) mod history;
pub(crate) mod human;

type Time = DateTime<Utc>;

/// Loads the orders of those ids, where they are; those that had left for the history come back first. They need no locks
/// of their own: whoever writes them holds the row of their lane, as this transaction does.
pub(crate) async fn load_in_tx(tx: &mut PgConnection, ids: impl Iterator<Item = Uuid>) -> sqlx::Result<Rows> {
    let mut missing: BTreeSet<Uuid> = ids.collect();
    let mut rows = rows_in_tx(tx, missing.iter().copied().collect()).await?;
    for row in &rows {
        missing.remove(&row.try_get::<Uuid, _>("id")?);
    }
    let mut recalled = history::Recalled::default();
    if !missing.is_empty() {
        recalled = history::recall_in_tx(tx, missing.into_iter().collect()).await?;
    }
    if !recalled.back.is_empty() {
        rows.extend(rows_in_tx(tx, recalled.back).await?);
    }
    let place = |row: &PgRow| Ok((OrderId(row.try_get("id")?), row.try_get("ctid")?));
    let places = rows.iter().map(place).collect::<sqlx::Result<HashMap<OrderId, Place>>>()?;
    let orders = rows.iter().map(read).collect::<sqlx::Result<Vec<Order>>>()?;
    Ok(Rows::loaded(orders).at(places).with_gone(recalled.gone))
}

async fn rows_in_tx(tx: &mut PgConnection, ids: Vec<Uuid>) -> sqlx::Result<Vec<PgRow>> {
    sqlx::query(
        "SELECT ctid, id, owner, body_hash, version, status, reason, currency, total, refunded, capture_id,
                product_ids, quantities, unit_prices, shipping_address, payment_method,
                accepted_at, deadline, updated_at, timeline, seen, needs_human, actions
         FROM orders WHERE id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(tx)
    .await
}

/// Inserts new orders.
///
/// # Errors
/// One that stops the worker when an order is there already: then this lane is not its only writer.
pub(crate) async fn insert_in_tx(tx: &mut PgConnection, orders: Vec<Fresh>) -> sqlx::Result<()> {
    if orders.is_empty() {
        return Ok(());
    }
    let count = orders.len();
    let lines = Lines::of(&orders);
    let all = |column: fn(&OrderState) -> i64| -> Vec<i64> {
        orders.iter().map(|fresh| column(&fresh.order.public)).collect()
    };
    let texts = |column: fn(&OrderState) -> &str| -> Vec<&str> {
        orders.iter().map(|fresh| column(&fresh.order.public)).collect()
    };
    let times = |column: fn(&OrderState) -> Timestamp| -> sqlx::Result<Vec<Time>> {
        orders.iter().map(|fresh| time(column(&fresh.order.public))).collect()
    };
    let changing = Changing::of(orders.iter().map(|fresh| &fresh.order))?;
    // arrays of different lengths: all lines behind each other, and each order's slice of them
    let inserted = sqlx::query(
        "INSERT INTO orders (id, version, status, reason, refunded, capture_id, updated_at, timeline, seen, needs_human,
                partition, owner, body_hash, currency, total, shipping_address, payment_method,
                accepted_at, deadline, product_ids, quantities, unit_prices)
         SELECT id, version, status, reason, refunded, capture_id, updated_at, timeline, seen, needs_human,
                partition, owner, body_hash, currency, total, shipping_address, payment_method,
                accepted_at, deadline,
                ($22::uuid[])[first_line:last_line], ($23::int[])[first_line:last_line],
                ($24::bigint[])[first_line:last_line]
         FROM UNNEST($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::uuid[], $7::timestamptz[],
                     $8::jsonb[], $9::jsonb[], $10::jsonb[], $11::int[], $12::text[], $13::bytea[], $14::text[],
                     $15::bigint[], $16::text[], $17::text[], $18::timestamptz[], $19::timestamptz[],
                     $20::int[], $21::int[])
              AS new (id, version, status, reason, refunded, capture_id, updated_at, timeline, seen, needs_human,
                      partition, owner, body_hash, currency, total, shipping_address, payment_method,
                      accepted_at, deadline, first_line, last_line)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(&changing.ids)
    .bind(&changing.versions)
    .bind(&changing.statuses)
    .bind(&changing.reasons)
    .bind(&changing.refunded)
    .bind(&changing.captures)
    .bind(&changing.updated_at)
    .bind(&changing.timelines)
    .bind(&changing.seen)
    .bind(&changing.needs_human)
    .bind(orders.iter().map(|fresh| fresh.partition).collect::<Vec<i32>>())
    .bind(texts(|order| &order.owner))
    .bind(orders.iter().map(|fresh| fresh.order.public.body_hash.0.as_slice()).collect::<Vec<&[u8]>>())
    .bind(texts(|order| order.currency.as_str()))
    .bind(all(|order| order.total))
    .bind(texts(|order| &order.shipping_address))
    .bind(texts(|order| &order.payment_method))
    .bind(times(|order| order.accepted_at)?)
    .bind(times(|order| order.deadline)?)
    .bind(lines.first)
    .bind(lines.last)
    .bind(lines.products)
    .bind(lines.quantities)
    .bind(lines.prices)
    .execute(tx)
    .await?
    .rows_affected();
    all_written(inserted, count, "an order to insert is there already")
}

/// Writes what changed; never a column that an index names. Rows are found where they were read: their key in the
/// condition makes a place that holds no more an error, and no other row's change.
///
/// # Errors
/// One that stops the worker when an order is no longer as it was loaded: then this lane is not its only writer.
pub(crate) async fn update_in_tx(tx: &mut PgConnection, orders: Vec<Changed>) -> sqlx::Result<()> {
    if orders.is_empty() {
        return Ok(());
    }
    let changing = Changing::of(orders.iter().map(|changed| &changed.order))?;
    let updated = sqlx::query(
        "UPDATE orders SET version = new.version, status = new.status, reason = new.reason,
                refunded = new.refunded, capture_id = new.capture_id, updated_at = new.updated_at,
                timeline = new.timeline, seen = new.seen, needs_human = new.needs_human, actions = new.actions
         FROM UNNEST($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::uuid[], $7::timestamptz[],
                     $8::jsonb[], $9::jsonb[], $10::jsonb[], $11::jsonb[], $12::bigint[], $13::tid[])
              AS new (id, version, status, reason, refunded, capture_id, updated_at, timeline, seen, needs_human,
                      actions, loaded_version, place)
         WHERE orders.ctid = new.place AND orders.id = new.id AND orders.version = new.loaded_version",
    )
    .bind(&changing.ids)
    .bind(&changing.versions)
    .bind(&changing.statuses)
    .bind(&changing.reasons)
    .bind(&changing.refunded)
    .bind(&changing.captures)
    .bind(&changing.updated_at)
    .bind(&changing.timelines)
    .bind(&changing.seen)
    .bind(&changing.needs_human)
    .bind(&changing.actions)
    .bind(orders.iter().map(|changed| changed.loaded_version).collect::<Vec<i64>>())
    .bind(orders.iter().map(|changed| changed.place).collect::<Vec<Option<Place>>>())
    .execute(&mut *tx)
    .await?
    .rows_affected();
    all_written(updated, orders.len(), "an order to update is not as it was loaded")?;
    let human: Vec<&Order> =
        orders.iter().filter(|changed| changed.human).map(|changed| &changed.order).collect();
    human::write_in_tx(tx, &human).await
}

/// Whether any order's deadline lies between its lane's mark and the database's time.
pub(crate) async fn is_due(connection: &mut PgConnection, lanes: &[(i32, Timestamp)]) -> sqlx::Result<bool> {
    let (partitions, marks): (Vec<i32>, Vec<Timestamp>) = lanes.iter().copied().unzip();
    let marks = marks.into_iter().map(time).collect::<sqlx::Result<Vec<Time>>>()?;
    sqlx::query_scalar(
        "SELECT EXISTS (
             SELECT FROM UNNEST($1::int[], $2::timestamptz[]) AS lane (partition, mark)
             CROSS JOIN LATERAL (
                 SELECT FROM orders
                 WHERE orders.partition = lane.partition AND deadline > mark AND deadline <= date_trunc('milliseconds', now())
                 LIMIT 1) AS due)",
    )
    .bind(partitions)
    .bind(marks)
    .fetch_one(connection)
    .await
}

/// The orders of a partition whose deadline lies between `mark` and `now`, earliest first: `limit` of them, and those
/// that share the last one's deadline.
pub(crate) async fn due_in_tx(
    tx: &mut PgConnection,
    partition: i32,
    mark: Timestamp,
    now: Timestamp,
    limit: i64,
) -> sqlx::Result<Vec<Passed>> {
    let rows = sqlx::query(
        "SELECT id, deadline, status FROM orders
         WHERE partition = $1 AND deadline > $2 AND deadline <= $3
         ORDER BY deadline FETCH FIRST ($4::bigint) ROWS WITH TIES",
    )
    .bind(partition)
    .bind(time(mark)?)
    .bind(time(now)?)
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Passed {
                order: OrderId(row.try_get("id")?),
                deadline: read_time(row, "deadline")?,
                settled: read_status(row)?.is_terminal(),
            })
        })
        .collect()
}

/// The columns that a step changes, as arrays of one length.
#[derive(Default)]
struct Changing<'a> {
    ids: Vec<Uuid>,
    versions: Vec<i64>,
    statuses: Vec<&'static str>,
    reasons: Vec<Option<&'a str>>,
    refunded: Vec<i64>,
    captures: Vec<Option<Uuid>>,
    updated_at: Vec<Time>,
    timelines: Vec<Json<Vec<Entry<'a>>>>,
    seen: Vec<Option<Json<&'a Seen>>>,
    needs_human: Vec<Option<Json<&'a [FailedEffect]>>>,
    actions: Vec<Option<Json<&'a [Action]>>>,
}

impl<'a> Changing<'a> {
    fn of(orders: impl Iterator<Item = &'a Order>) -> sqlx::Result<Self> {
        let mut columns = Self::default();
        for Order { public, capture, seen, needs_human, actions } in orders {
            columns.ids.push(public.order_id.0);
            columns.versions.push(public.version);
            columns.statuses.push(public.status.as_str());
            columns.reasons.push(public.reason.as_deref());
            columns.refunded.push(public.refunded);
            columns.captures.push(capture.map(|id| id.0));
            columns.updated_at.push(time(public.updated_at)?);
            columns.timelines.push(Json(public.timeline.iter().map(Entry::from).collect()));
            columns.seen.push((!seen.is_empty()).then_some(Json(seen)));
            columns.needs_human.push((!needs_human.is_empty()).then_some(Json(needs_human)));
            columns.actions.push((!actions.is_empty()).then_some(Json(actions)));
        }
        Ok(columns)
    }
}

/// A timeline's entry as it is stored: rows are to stay small, so nothing is said where there is no detail.
#[derive(Serialize)]
struct Entry<'a> {
    at: Timestamp,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl<'a> From<&'a TimelineEntry> for Entry<'a> {
    fn from(entry: &'a TimelineEntry) -> Self {
        Self { at: entry.at, event: &entry.event, detail: entry.detail.as_deref() }
    }
}

/// The lines of many orders behind each other, and where each order's begin and end, counted from 1.
#[derive(Default)]
struct Lines {
    first: Vec<i32>,
    last: Vec<i32>,
    products: Vec<Uuid>,
    quantities: Vec<i32>,
    prices: Vec<i64>,
}

impl Lines {
    fn of(orders: &[Fresh]) -> Self {
        let mut all = Self::default();
        let mut count: i32 = 0;
        for line in orders.iter().map(|fresh| &fresh.order.public.lines) {
            all.first.push(count.saturating_add(1));
            for line in line {
                count = count.saturating_add(1);
                all.products.push(line.product_id.0);
                all.quantities.push(line.quantity);
                all.prices.push(line.unit_price);
            }
            all.last.push(count);
        }
        all
    }
}

fn all_written(written: u64, count: usize, why_not: &str) -> sqlx::Result<()> {
    if u64::try_from(count).is_ok_and(|count| count == written) {
        return Ok(());
    }
    Err(sqlx::Error::Protocol(format!("{why_not}: {written} of {count} written")))
}

fn time(at: Timestamp) -> sqlx::Result<Time> {
    // marks start at the beginning of time, and orders are checked: nothing else comes here
    Time::from_timestamp_millis(at.0)
        .ok_or_else(|| sqlx::Error::Encode(format!("{} ms is no time of this world", at.0).into()))
}

fn read(row: &PgRow) -> sqlx::Result<Order> {
    let body_hash: Vec<u8> = row.try_get("body_hash")?;
    let public = OrderState {
        order_id: OrderId(row.try_get("id")?),
        owner: row.try_get("owner")?,
        body_hash: BodyHash(body_hash.try_into().map_err(|_| unreadable("body_hash"))?),
        version: row.try_get("version")?,
        status: read_status(row)?,
        reason: row.try_get("reason")?,
        currency: row.try_get::<&str, _>("currency")?.parse().map_err(|_| unreadable("currency"))?,
        total: row.try_get("total")?,
        refunded: row.try_get("refunded")?,
        lines: read_lines(row)?,
        shipping_address: row.try_get("shipping_address")?,
        payment_method: row.try_get("payment_method")?,
        accepted_at: read_time(row, "accepted_at")?,
        deadline: read_time(row, "deadline")?,
        updated_at: read_time(row, "updated_at")?,
        timeline: row.try_get::<Json<_>, _>("timeline")?.0,
    };
    Ok(Order {
        public,
        capture: row.try_get::<Option<Uuid>, _>("capture_id")?.map(EffectId),
        seen: read_json(row, "seen")?,
        needs_human: read_json(row, "needs_human")?,
        actions: read_json(row, "actions")?,
    })
}

fn read_lines(row: &PgRow) -> sqlx::Result<Vec<PricedLine>> {
    let products: Vec<Uuid> = row.try_get("product_ids")?;
    let quantities: Vec<i32> = row.try_get("quantities")?;
    let prices: Vec<i64> = row.try_get("unit_prices")?;
    if products.len() != quantities.len() || products.len() != prices.len() {
        return Err(unreadable("product_ids"));
    }
    let lines = products.into_iter().zip(quantities).zip(prices);
    Ok(lines
        .map(|((product, quantity), unit_price)| PricedLine {
            product_id: ProductId(product),
            quantity,
            unit_price,
        })
        .collect())
}

fn read_status(row: &PgRow) -> sqlx::Result<OrderStatus> {
    OrderStatus::from_name(row.try_get("status")?).ok_or_else(|| unreadable("status"))
}

fn read_time(row: &PgRow, column: &str) -> sqlx::Result<Timestamp> {
    Ok(Timestamp(row.try_get::<Time, _>(column)?.timestamp_millis()))
}

fn read_json<T: DeserializeOwned + Default>(row: &PgRow, column: &str) -> sqlx::Result<T> {
    Ok(row.try_get::<Option<Json<T>>, _>(column)?.map(|json| json.0).unwrap_or_default())
}

fn unreadable(column: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: "not written by this service".into() }
}
