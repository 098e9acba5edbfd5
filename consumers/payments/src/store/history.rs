//! The SQL of captures that have left their table, each with its refunds: to the history when they are at their end and
//! old, and back when a command names one again.

use super::{Moved, at, millis};
use chrono::{DateTime, Utc};
use harness::{
    config::HistoryConfig,
    history::{Place, Walks},
};
use schemas::{time::Timestamp, topics::Topic};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

/// Whether a capture of these partitions may leave. Makes the months that it and its next ones go to.
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
        "SELECT date_trunc('month', old.created_at) AS month,
                bool_and(made.month IS NOT NULL AND next.month IS NOT NULL) AS is_made
         FROM UNNEST($1::int[], $2::timestamptz[], $3::uuid[]) AS lane (partition, at, id)
         CROSS JOIN LATERAL (
             SELECT created_at FROM captures
             WHERE captures.partition = lane.partition AND (created_at, captures.id) > (lane.at, lane.id)
               AND created_at <= now() - make_interval(secs => $4)
             ORDER BY created_at, captures.id LIMIT 1) AS old
         LEFT JOIN history_month AS made
             ON made.month = date_trunc('month', old.created_at) AND made.dropped_at IS NULL
         LEFT JOIN history_month AS next
             ON next.month = date_trunc('month', old.created_at) + interval '1 month' AND next.dropped_at IS NULL
         GROUP BY 1",
    )
    .bind(partitions)
    .bind(places.iter().map(|place| at(place.at)).collect::<Vec<_>>())
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

/// Moves a partition's captures, and their refunds with them, that are at their end and have been for as long as the
/// settings say: as many as one transaction looks at, the oldest first. One that is being given back, of which a refund
/// was refused or failed, that is to be looked at again, or whose records are parked, stays.
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
             SELECT id, created_at FROM captures
             WHERE partition = $1 AND (created_at, id) > ($2, $3) AND created_at <= $4
             ORDER BY created_at, id LIMIT $5),
         gone AS (
             DELETE FROM captures USING old, history_month
             WHERE captures.id = old.id AND captures.created_at >= month AND captures.created_at < until
               AND dropped_at IS NULL
               AND state IN ('CAPTURED', 'DECLINED', 'VOIDED') AND refunding = 0
               AND coalesce(settled_at, captures.created_at) <= $4 AND deadline <= $4
               AND NOT EXISTS (SELECT FROM deferred WHERE effect_id = captures.id)
               AND NOT EXISTS (SELECT FROM refunds r WHERE r.capture_id = captures.id
                               AND (r.state NOT IN ('REFUNDED', 'NEEDLESS') OR coalesce(r.settled_at, r.created_at) > $4))
               AND NOT EXISTS (SELECT FROM parked WHERE topic = $6 AND parked.partition = $1
                               AND key = convert_to(captures.order_id::text, 'UTF8'))
             RETURNING captures.*),
         gone_refunds AS (
             DELETE FROM refunds USING gone WHERE capture_id = gone.id RETURNING refunds.*, gone.created_at AS captured_at),
         moved AS (INSERT INTO capture_history SELECT * FROM gone),
         moved_refunds AS (INSERT INTO refund_history SELECT * FROM gone_refunds)
         SELECT created_at, id, (SELECT count(*) FROM gone) AS moved FROM old
         ORDER BY created_at DESC, id DESC LIMIT 1",
    )
    .bind(partition)
    .bind(at(place.at))
    .bind(place.id)
    .bind(at(cutoff))
    .bind(i64::from(walks.config().rows))
    .bind(Topic::PaymentCommands.name())
    .fetch_optional(tx)
    .await?;
    if let Some(row) = row {
        let at = millis(row.try_get("created_at")?);
        walks.looked(partition, Place { at, id: row.try_get("id")? });
        crate::metrics::moved(row.try_get("moved")?);
    }
    Ok(())
}

/// Puts those of these captures that are in the history back, with their refunds; says how many that was. Every month is
/// looked at, for commands do not name it: asked for what may have left only.
pub(super) async fn recall_in_tx(tx: &mut PgConnection, wanted: &Moved) -> sqlx::Result<u64> {
    let mut captures: Vec<Uuid> = wanted.captures.iter().copied().collect();
    if !wanted.refunds.is_empty() {
        let of_refunds: Vec<Uuid> =
            sqlx::query_scalar("SELECT capture_id FROM refund_history WHERE id = ANY ($1)")
                .bind(wanted.refunds.iter().copied().collect::<Vec<Uuid>>())
                .fetch_all(&mut *tx)
                .await?;
        captures.extend(of_refunds);
    }
    let back = sqlx::query(
        "WITH back AS (DELETE FROM capture_history WHERE id = ANY ($1) RETURNING *)
         INSERT INTO captures SELECT * FROM back",
    )
    .bind(&captures)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if back > 0 {
        sqlx::query(
            "WITH back AS (DELETE FROM refund_history WHERE capture_id = ANY ($1) RETURNING *)
             INSERT INTO refunds (id, capture_id, order_id, state, amount, cause, attempts, keys_spent, failures,
                                  retry_action, first_called_at, reference, reason, created_at, settled_at)
             SELECT id, capture_id, order_id, state, amount, cause, attempts, keys_spent, failures, retry_action,
                    first_called_at, reference, reason, created_at, settled_at
             FROM back",
        )
        .bind(&captures)
        .execute(&mut *tx)
        .await?;
    }
    Ok(back)
}
