//! The SQL of orders that have left their table: to the history when they are settled and old, and back when a record
//! names one again. So the saga only ever meets rows of `orders`, and the key alone where even the history has gone.

use super::{Time, read_status, time, unreadable};
use chrono::{DateTime, Utc};
use harness::{
    config::HistoryConfig,
    history::{Place, Walks},
};
use saga::Gone;
use schemas::{ids::OrderId, messages::BodyHash, time::Timestamp};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

/// Whether an order of these partitions may leave. Makes the months that it and its next ones go to.
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
    let months: Vec<(Time, bool)> = sqlx::query_as(
        "SELECT date_trunc('month', old.accepted_at) AS month,
                bool_and(made.month IS NOT NULL AND next.month IS NOT NULL) AS is_made
         FROM UNNEST($1::int[], $2::timestamptz[], $3::uuid[]) AS lane (partition, at, id)
         CROSS JOIN LATERAL (
             SELECT accepted_at FROM orders
             WHERE orders.partition = lane.partition AND (deadline, orders.id) > (lane.at, lane.id)
               AND deadline <= now() - make_interval(secs => $4)
             ORDER BY deadline, orders.id LIMIT 1) AS old
         LEFT JOIN history_month AS made
             ON made.month = date_trunc('month', old.accepted_at) AND made.dropped_at IS NULL
         LEFT JOIN history_month AS next
             ON next.month = date_trunc('month', old.accepted_at) + interval '1 month' AND next.dropped_at IS NULL
         GROUP BY 1",
    )
    .bind(partitions)
    .bind(places.iter().map(|place| time(place.at)).collect::<sqlx::Result<Vec<Time>>>()?)
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

/// Moves a partition's orders that are settled, and have been for as long as the settings say: as many as one
/// transaction looks at, the earliest deadline first. An order that somebody has to look at stays, and one whose records
/// are parked.
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
             SELECT id, deadline FROM orders
             WHERE partition = $1 AND (deadline, id) > ($2, $3) AND deadline <= $4
             ORDER BY deadline, id LIMIT $5),
         gone AS (
             DELETE FROM orders USING old, history_month
             WHERE orders.id = old.id AND orders.accepted_at >= month AND orders.accepted_at < until
               AND dropped_at IS NULL
               AND status IN ('CONFIRMED', 'REJECTED', 'CANCELLED', 'EXPIRED')
               AND updated_at <= $4 AND needs_human IS NULL
               AND NOT EXISTS (SELECT FROM parked WHERE topic = $6 AND parked.partition = $1
                               AND key = convert_to(orders.id::text, 'UTF8'))
             RETURNING orders.*),
         kept AS (
             INSERT INTO kept_key (id, accepted_at, body_hash, status)
             SELECT id, accepted_at, body_hash, status FROM gone ORDER BY id
             ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status),
         moved AS (INSERT INTO history SELECT * FROM gone)
         SELECT deadline, id, (SELECT count(*) FROM gone) AS moved FROM old ORDER BY deadline DESC, id DESC LIMIT 1",
    )
    .bind(partition)
    .bind(time(place.at)?)
    .bind(place.id)
    .bind(time(cutoff)?)
    .bind(i64::from(walks.config().rows))
    .bind(schemas::topics::Topic::OrderCommands.name())
    .fetch_optional(tx)
    .await?;
    if let Some(row) = row {
        let at = Timestamp(row.try_get::<DateTime<Utc>, _>("deadline")?.timestamp_millis());
        walks.looked(partition, Place { at, id: row.try_get("id")? });
        crate::metrics::moved(row.try_get("moved")?);
    }
    Ok(())
}

/// What is known of orders that are not in their table: those in the history are put back into it, and of those whose
/// month has left, the key says what it says for ever.
pub(crate) async fn recall_in_tx(tx: &mut PgConnection, ids: Vec<Uuid>) -> sqlx::Result<Recalled> {
    // one index step an order, and no more for those that are new
    let kept = sqlx::query("SELECT id, accepted_at, body_hash, status FROM kept_key WHERE id = ANY($1)")
        .bind(ids)
        .fetch_all(&mut *tx)
        .await?;
    if kept.is_empty() {
        return Ok(Recalled::default());
    }
    let named: Vec<Uuid> = kept.iter().map(|row| row.try_get("id")).collect::<sqlx::Result<_>>()?;
    let back: Vec<Uuid> = sqlx::query_scalar(
        "WITH back AS (
             DELETE FROM history USING UNNEST($1::uuid[], $2::timestamptz[]) AS wanted (id, accepted_at)
             WHERE history.id = wanted.id AND history.accepted_at = wanted.accepted_at
             RETURNING history.*),
         put AS (INSERT INTO orders SELECT * FROM back)
         SELECT id FROM back",
    )
    .bind(&named)
    .bind(kept.iter().map(|row| row.try_get("accepted_at")).collect::<sqlx::Result<Vec<Time>>>()?)
    .fetch_all(&mut *tx)
    .await?;
    let mut gone = Vec::new();
    for row in kept.iter().zip(&named).filter(|(_, id)| !back.contains(id)).map(|(row, _)| row) {
        let hash: Vec<u8> = row.try_get("body_hash")?;
        gone.push(Gone {
            order_id: OrderId(row.try_get("id")?),
            body_hash: BodyHash(hash.try_into().map_err(|_| unreadable("body_hash"))?),
            status: read_status(row)?,
        });
    }
    Ok(Recalled { back, gone })
}

/// Orders that were not in their table.
#[derive(Debug, Default)]
pub(crate) struct Recalled {
    /// They are again.
    pub(crate) back: Vec<Uuid>,
    /// Their month has left.
    pub(crate) gone: Vec<Gone>,
}
