//! Which orders to look at: the new ones and the overdue ones by index, and every row of each table in pages by key.

use super::{Store, millis, utc};
use chrono::{DateTime, Utc};
use schemas::time::Timestamp;
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Orders to look at, and captures and charges of theirs that were found by themselves.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) orders: BTreeSet<Uuid>,
    pub(crate) strays: Vec<Uuid>,
}

/// One page of a table.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) look: Look,
    pub(crate) rows: usize,
    /// Its last key; none when it was empty.
    pub(crate) last: Option<Uuid>,
}

impl Store {
    /// The highest deadline there is, by partition. Deadlines follow acceptance by the same time, so it says how far
    /// orders have come, and costs one step down an index.
    pub(crate) async fn highest_deadlines(&mut self) -> sqlx::Result<BTreeMap<i32, Timestamp>> {
        let rows = sqlx::query(
            "SELECT partition, (SELECT max(deadline) FROM orders WHERE orders.partition = lane.partition
                                AND deadline < clock_timestamp() + interval '1 day') AS highest
             FROM lane ORDER BY partition",
        )
        .fetch_all(self.orders.connection().await?)
        .await?;
        let mut highest = BTreeMap::new();
        for row in &rows {
            if let Some(deadline) = row.try_get::<Option<DateTime<Utc>>, _>("highest")? {
                highest.insert(row.try_get("partition")?, millis(deadline));
            }
        }
        Ok(highest)
    }

    /// Orders of a partition with deadlines after `after`, up to `to`: about `most`, those of one same deadline together.
    /// And the last one's deadline.
    pub(crate) async fn by_deadline(
        &mut self,
        partition: i32,
        after: Timestamp,
        to: Timestamp,
        most: i64,
    ) -> sqlx::Result<(Vec<Uuid>, Option<Timestamp>)> {
        let rows = sqlx::query(
            "SELECT id, deadline FROM orders WHERE partition = $1 AND deadline > $2 AND deadline <= $3
             ORDER BY deadline FETCH FIRST $4 ROWS WITH TIES",
        )
        .bind(partition)
        .bind(utc(after))
        .bind(utc(to))
        .bind(most)
        .fetch_all(self.orders.connection().await?)
        .await?;
        let last = rows.last().map(|row| row.try_get("deadline").map(millis)).transpose()?;
        Ok((rows.iter().map(|row| row.try_get("id")).collect::<sqlx::Result<_>>()?, last))
    }

    /// Orders whose deadlines lie after `after`, up to `to`, and that are not settled.
    pub(crate) async fn unsettled(
        &mut self,
        partition: i32,
        after: Timestamp,
        to: Timestamp,
        most: i64,
    ) -> sqlx::Result<Vec<(Uuid, Timestamp)>> {
        let rows = sqlx::query(
            "SELECT id, deadline FROM orders WHERE partition = $1 AND deadline > $2 AND deadline <= $3
               AND status IN ('PENDING', 'RESERVED')
             ORDER BY deadline LIMIT $4",
        )
        .bind(partition)
        .bind(utc(after))
        .bind(utc(to))
        .bind(most)
        .fetch_all(self.orders.connection().await?)
        .await?;
        rows.iter().map(|row| Ok((row.try_get("id")?, millis(row.try_get("deadline")?)))).collect()
    }

    /// Holds of outside owners whose deadlines lie after `after`, up to `to`, and that still keep units or a place.
    pub(crate) async fn outside_holds(
        &mut self,
        partition: i32,
        after: Timestamp,
        to: Timestamp,
        most: i64,
    ) -> sqlx::Result<Vec<Uuid>> {
        sqlx::query_scalar(
            "SELECT order_id FROM holds WHERE outside AND partition = $1 AND deadline > $2 AND deadline <= $3
               AND state IN ('waiting', 'held')
             ORDER BY deadline LIMIT $4",
        )
        .bind(partition)
        .bind(utc(after))
        .bind(utc(to))
        .bind(most)
        .fetch_all(self.inventory.connection().await?)
        .await
    }

    /// The next orders by id.
    pub(crate) async fn orders_page(&mut self, after: Uuid, rows: i64) -> sqlx::Result<Page> {
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "SELECT id FROM (SELECT id FROM orders UNION ALL SELECT id FROM history) AS every
             WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .bind(after)
        .bind(rows)
        .fetch_all(self.orders.connection().await?)
        .await?;
        let (rows, last) = (ids.len(), ids.last().copied());
        Ok(Page { look: Look { orders: ids.into_iter().collect(), strays: Vec::new() }, rows, last })
    }

    /// The next holds by order: of an order that is not there, or of an outside owner.
    pub(crate) async fn holds_page(&mut self, after: Uuid, rows: i64) -> sqlx::Result<Page> {
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "SELECT order_id FROM every_hold WHERE order_id > $1 ORDER BY order_id LIMIT $2",
        )
        .bind(after)
        .bind(rows)
        .fetch_all(self.inventory.connection().await?)
        .await?;
        let (rows, last) = (ids.len(), ids.last().copied());
        let captures = self.captures_named_by(&ids).await?;
        let orders = ids.into_iter().filter(|id| !captures.contains_key(id)).collect();
        Ok(Page { look: Look { orders, strays: Vec::new() }, rows, last })
    }

    /// The next captures by id: those that their order does not name as its own.
    pub(crate) async fn captures_page(&mut self, after: Uuid, rows: i64) -> sqlx::Result<Page> {
        let found: Vec<(Uuid, Uuid)> =
            sqlx::query_as("SELECT id, order_id FROM every_capture WHERE id > $1 ORDER BY id LIMIT $2")
                .bind(after)
                .bind(rows)
                .fetch_all(self.payments.connection().await?)
                .await?;
        self.strays(found).await
    }

    /// The next charges by key: likewise.
    pub(crate) async fn charges_page(&mut self, after: Uuid, rows: i64) -> sqlx::Result<Page> {
        let Some(ledger) = &mut self.ledger else { return Ok(Page::default()) };
        let found: Vec<(Uuid, Uuid)> =
            sqlx::query_as("SELECT key, order_id FROM charges WHERE key > $1 ORDER BY key LIMIT $2")
                .bind(after)
                .bind(rows)
                .fetch_all(ledger.connection().await?)
                .await?;
        self.strays(found).await
    }

    async fn strays(&mut self, found: Vec<(Uuid, Uuid)>) -> sqlx::Result<Page> {
        let orders: Vec<Uuid> = found.iter().map(|(_, order)| *order).collect();
        let named = self.captures_named_by(&orders).await?;
        let mut look = Look::default();
        for (id, order) in &found {
            if named.get(order) != Some(&Some(*id)) {
                look.orders.insert(*order);
                look.strays.push(*id);
            }
        }
        Ok(Page { look, rows: found.len(), last: found.last().map(|(id, _)| *id) })
    }

    /// The orders of these ids that are there, and the capture that each names.
    async fn captures_named_by(&mut self, orders: &[Uuid]) -> sqlx::Result<BTreeMap<Uuid, Option<Uuid>>> {
        let rows: Vec<(Uuid, Option<Uuid>)> =
            sqlx::query_as("SELECT id, capture_id FROM every_order WHERE id = ANY ($1)")
                .bind(orders)
                .fetch_all(self.orders.connection().await?)
                .await?;
        Ok(rows.into_iter().collect())
    }
}
