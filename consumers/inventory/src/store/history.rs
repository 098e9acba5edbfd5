//! The SQL of holds that have left their table: to the history when they are at their end and old, and back when a record
//! names one again.
//!
//! A hold at its end never changes and stands in no queue, so no other lane locks it: its own moves it without a lock on
//! its products, and after all else, so that products are locked before holds as ever.

use super::{from_sql, to_sql};
use chrono::{DateTime, Utc};
use harness::{
    config::HistoryConfig,
    history::{Place, Walks},
};
use schemas::{ids::OrderId, time::Timestamp, topics::Topic};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

/// Whether a hold of these partitions may leave. Makes the months that it and its next ones go to.
pub(crate) async fn is_old(
    connection: &mut PgConnection,
    walks: &Walks,
    partitions: &[i32],
) -> sqlx::Result<bool> {
    let HistoryConfig { after, rows } = walks.config();
    if after.is_zero() || rows == 0 {
        return Ok(false);
    }
    let places: Vec<Place> = partitions.iter().map(|partition| walks.place(*partition)).collect();
    let months: Vec<(DateTime<Utc>, bool)> = sqlx::query_as(
        "SELECT date_trunc('month', old.accepted_at) AS month,
                bool_and(made.month IS NOT NULL AND next.month IS NOT NULL) AS is_made
         FROM UNNEST($1::int[], $2::timestamptz[], $3::uuid[]) AS lane (partition, at, id)
         CROSS JOIN LATERAL (
             SELECT accepted_at FROM holds
             WHERE holds.partition = lane.partition AND (accepted_at, order_id) > (lane.at, lane.id)
               AND accepted_at <= now() - make_interval(secs => $4)
             ORDER BY accepted_at, order_id LIMIT 1) AS old
         LEFT JOIN history_month AS made
             ON made.month = date_trunc('month', old.accepted_at) AND made.dropped_at IS NULL
         LEFT JOIN history_month AS next
             ON next.month = date_trunc('month', old.accepted_at) + interval '1 month' AND next.dropped_at IS NULL
         GROUP BY 1",
    )
    .bind(partitions)
    .bind(places.iter().map(|place| to_sql(place.at)).collect::<sqlx::Result<Vec<_>>>()?)
    .bind(places.iter().map(|place| place.id).collect::<Vec<Uuid>>())
    .bind(after.as_secs_f64())
    .fetch_all(&mut *connection)
    .await?;
    for (month, _) in months.iter().filter(|(_, is_made)| !is_made) {
        sqlx::query("SELECT make_history($1), make_history($1 + interval '1 month')")
            .bind(month)
            .execute(&mut *connection)
            .await?;
    }
    Ok(!months.is_empty())
}

/// Moves a partition's holds that are at their end, and have been for as long as the settings say: as many as one
/// transaction looks at, in the order of acceptance. One whose records are parked stays.
pub(crate) async fn age_in_tx(
    tx: &mut PgConnection,
    walks: &Walks,
    partition: i32,
    now: Timestamp,
) -> sqlx::Result<()> {
    let Some(cutoff) = walks.config().cutoff(now) else { return Ok(()) };
    let place = walks.place(partition);
    let row = sqlx::query(
        "WITH old AS (
             SELECT order_id, accepted_at FROM holds
             WHERE partition = $1 AND (accepted_at, order_id) > ($2, $3) AND accepted_at <= $4
             ORDER BY accepted_at, order_id LIMIT $5),
         gone AS (
             DELETE FROM holds USING old, history_month
             WHERE holds.order_id = old.order_id AND holds.accepted_at >= month AND holds.accepted_at < until
               AND dropped_at IS NULL
               AND state IN ('sold', 'released', 'rejected') AND changed_at <= $4 AND deadline <= $4
               AND NOT EXISTS (SELECT FROM parked WHERE topic = $6 AND parked.partition = $1
                               AND key = convert_to(holds.order_id::text, 'UTF8'))
             RETURNING holds.*),
         moved AS (INSERT INTO hold_history SELECT * FROM gone)
         SELECT accepted_at, order_id, (SELECT count(*) FROM gone) AS moved FROM old
         ORDER BY accepted_at DESC, order_id DESC LIMIT 1",
    )
    .bind(partition)
    .bind(to_sql(place.at)?)
    .bind(place.id)
    .bind(to_sql(cutoff)?)
    .bind(i64::from(walks.config().rows))
    .bind(Topic::InventoryCommands.name())
    .fetch_optional(tx)
    .await?;
    if let Some(row) = row {
        let at = from_sql(row.try_get("accepted_at")?);
        walks.looked(partition, Place { at, id: row.try_get("order_id")? });
        crate::metrics::moved(row.try_get("moved")?);
    }
    Ok(())
}

/// Puts those of these holds that are in the history back into their table; says how many that was. Every month is looked
/// at, for records seldom name the month of a hold: asked for what may have left only.
pub(crate) async fn recall_in_tx(tx: &mut PgConnection, orders: &[OrderId]) -> sqlx::Result<u64> {
    let back = sqlx::query(
        "WITH back AS (DELETE FROM hold_history WHERE order_id = ANY ($1) RETURNING *)
         INSERT INTO holds SELECT * FROM back",
    )
    .bind(orders.iter().map(|order| order.0).collect::<Vec<Uuid>>())
    .execute(tx)
    .await?;
    Ok(back.rows_affected())
}
