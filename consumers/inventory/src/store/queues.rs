//! Reads queues: once without locks, to learn which products to lock, and once more under the locks.

use super::from_sql;
use crate::{
    hold::Place,
    need::{Need, Waiter},
};
use schemas::ids::{OrderId, ProductId};
use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

/// What was read of the queues: at most `limit + 1` of each.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// In order, from head or cursor.
    pub(super) heads: Vec<Waiter>,
    /// Those that may ask for more than can be had, the most first.
    pub(super) impossible: Vec<Waiter>,
}

impl Queues {
    /// The orders that wait in them.
    pub(super) fn orders(&self) -> impl Iterator<Item = OrderId> + '_ {
        self.heads.iter().chain(&self.impossible).map(|waiter| waiter.place.order_id)
    }
}

/// Whether anybody waits at all, for any product; asked before the first look at the queues.
///
/// For the rest of the transaction it also makes the planner read queues along their indexes, up to a LIMIT. Queues
/// grow within seconds: with statistics that say "short" it would read a whole queue into a bitmap and sort it (33,000
/// waiters: 8 ms instead of 0.3).
pub(super) async fn prepare_in_tx(tx: &mut PgConnection) -> sqlx::Result<bool> {
    let row = sqlx::query(
        "SELECT set_config('enable_bitmapscan', 'off', true), EXISTS (SELECT FROM waiters) AS somebody_waits",
    )
    .fetch_one(tx)
    .await?;
    row.try_get("somebody_waits")
}

/// Reads the queues that `need` may walk, as far as the products' own rows say there is anything to read.
pub(super) async fn read_in_tx(tx: &mut PgConnection, need: &Need, limit: usize) -> sqlx::Result<Queues> {
    Ok(Queues {
        heads: heads_in_tx(tx, need, limit).await?,
        impossible: impossible_in_tx(tx, need, limit).await?,
    })
}

/// The products are taken one by one, in the order given, and each queue by its index, until there are enough: every
/// part of this is a nested loop (LIMIT keeps the planner from flattening the inner ones), so no more is read.
async fn heads_in_tx(tx: &mut PgConnection, need: &Need, limit: usize) -> sqlx::Result<Vec<Waiter>> {
    let asks = need.queues();
    if asks.is_empty() {
        return Ok(Vec::new());
    }
    let (mut ids, mut walks, mut from_head) = (Vec::new(), Vec::new(), Vec::new());
    for ask in &asks {
        ids.push(ask.product_id.0);
        walks.push(ask.walks);
        from_head.push(ask.from_head);
    }
    let rows = sqlx::query(
        "SELECT asked.product_id, waiter.accepted_at, waiter.order_id, waiter.quantity
         FROM unnest($1::uuid[], $2::boolean[], $3::boolean[]) AS asked (product_id, walks, from_head)
         CROSS JOIN LATERAL (
           SELECT CASE WHEN asked.from_head THEN NULL ELSE cursor_accepted_at END AS accepted_at,
                  CASE WHEN asked.from_head THEN NULL ELSE cursor_order_id END AS order_id
           FROM products
           WHERE id = asked.product_id AND waiting > 0
             AND CASE WHEN cursor_order_id IS NULL THEN asked.from_head ELSE asked.walks END
           LIMIT 1
         ) AS start
         CROSS JOIN LATERAL (
           SELECT accepted_at, order_id, quantity
           FROM waiters
           WHERE product_id = asked.product_id
             AND (accepted_at, order_id) >= (coalesce(start.accepted_at, '1970-01-01Z'),
                                             coalesce(start.order_id, '00000000-0000-0000-0000-000000000000'))
           ORDER BY accepted_at, order_id
           LIMIT $4
         ) AS waiter
         LIMIT $4",
    )
    .bind(ids)
    .bind(walks)
    .bind(from_head)
    .bind(one_more(limit))
    .fetch_all(tx)
    .await?;
    rows.iter().map(waiter).collect()
}

/// Those that ask for more than would be left if all went that may go in this batch, the most first: whoever is
/// impossible in the end stands before whoever is not.
async fn impossible_in_tx(tx: &mut PgConnection, need: &Need, limit: usize) -> sqlx::Result<Vec<Waiter>> {
    let leavings = need.leavings();
    if leavings.is_empty() {
        return Ok(Vec::new());
    }
    let (ids, units): (Vec<Uuid>, Vec<i64>) =
        leavings.iter().map(|(product, units)| (product.0, *units)).unzip();
    let rows = sqlx::query(
        "SELECT asked.product_id, waiter.accepted_at, waiter.order_id, waiter.quantity
         FROM unnest($1::uuid[], $2::bigint[]) AS asked (product_id, leaving)
         CROSS JOIN LATERAL (
           SELECT greatest(available + held, asked.leaving) - asked.leaving AS units
           FROM products
           WHERE id = asked.product_id AND waiting > 0
           LIMIT 1
         ) AS left_over
         CROSS JOIN LATERAL (
           SELECT accepted_at, order_id, quantity
           FROM waiters
           WHERE product_id = asked.product_id AND quantity > left_over.units
           ORDER BY quantity DESC
           LIMIT $3
         ) AS waiter
         LIMIT $3",
    )
    .bind(ids)
    .bind(units)
    .bind(one_more(limit))
    .fetch_all(tx)
    .await?;
    rows.iter().map(waiter).collect()
}

/// The last one says only that there are more.
fn one_more(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

fn waiter(row: &PgRow) -> sqlx::Result<Waiter> {
    Ok(Waiter {
        product_id: ProductId(row.try_get("product_id")?),
        place: Place {
            accepted_at: from_sql(row.try_get("accepted_at")?),
            order_id: OrderId(row.try_get("order_id")?),
        },
        quantity: i64::from(row.try_get::<i32, _>("quantity")?),
    })
}
