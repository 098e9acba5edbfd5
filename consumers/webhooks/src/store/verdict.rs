//! What came of an attempt, and when an endpoint is given up.

use super::claim::Due;
use chassis::postgres;
use sqlx::{PgPool, Row};
use std::time::Duration;

/// The endpoint has heard it: it is told no more, and the endpoint is well.
pub(crate) async fn heard(pool: &PgPool, due: &Due) -> sqlx::Result<()> {
    let query = sqlx::query(
        "WITH gone AS (DELETE FROM deliveries WHERE endpoint_id = $1 AND order_id = $2 AND version = $3)
         UPDATE endpoints SET failing_since = NULL, reason = NULL
         WHERE id = $1 AND failing_since IS NOT NULL AND disabled_at IS NULL",
    )
    .bind(due.endpoint)
    .bind(due.order)
    .bind(due.version);
    postgres::read(pool, query).await.map(drop)
}

/// An attempt that was not heard.
pub(crate) struct Failure<'a> {
    /// What went wrong, in words for the endpoint's owner.
    pub(crate) why: &'a str,
    /// How long until it is tried again.
    pub(crate) pause: Duration,
    /// An event that was not heard for so long disables its endpoint.
    pub(crate) disable_after: Duration,
}

/// It was not heard: again after the pause, or the endpoint is disabled; whether it was. A worker that outlived its lease
/// changes nothing: another one is at it.
pub(crate) async fn failed(pool: &PgPool, due: &Due, failure: Failure<'_>) -> sqlx::Result<bool> {
    let query = sqlx::query(
        "WITH tried AS (
             UPDATE deliveries SET attempts = attempts + 1, leased_until = NULL, failing_since = coalesce(failing_since, now()),
                    due_at = now() + $6 * interval '1 millisecond'
             WHERE endpoint_id = $1 AND order_id = $2 AND version = $3 AND leased_until = $4
             RETURNING failing_since, failing_since <= now() - $7 * interval '1 millisecond' AS is_last
         )
         UPDATE endpoints e SET failing_since = coalesce(e.failing_since, now()),
                disabled_at = CASE WHEN t.is_last THEN now() END,
                reason = CASE WHEN t.is_last THEN 'disabled: version ' || $3 || ' of order ' || $2 || ' was not taken since '
                              || to_char(t.failing_since AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
                              || '; at last, ' ELSE '' END || $5
         FROM tried t WHERE e.id = $1 AND e.disabled_at IS NULL
         RETURNING e.disabled_at IS NOT NULL AS is_disabled",
    )
    .bind(due.endpoint)
    .bind(due.order)
    .bind(due.version)
    .bind(due.leased_until)
    .bind(failure.why)
    .bind(failure.pause.as_millis() as f64)
    .bind(failure.disable_after.as_millis() as f64);
    let rows = postgres::read(pool, query).await?;
    rows.first().map_or(Ok(false), |row| row.try_get("is_disabled"))
}

/// Disables endpoints that more than `backlog` events wait for: how many events wait in all, and how many were disabled.
pub(crate) async fn disable_overfull(pool: &PgPool, backlog: i64) -> sqlx::Result<(i64, i64)> {
    let query = sqlx::query(
        "WITH waiting AS (SELECT endpoint_id, count(*) AS events FROM deliveries GROUP BY endpoint_id),
         ended AS (
             UPDATE endpoints e SET disabled_at = now(),
                    reason = 'disabled: ' || w.events || ' events wait for it, and no more than ' || $1 || ' are kept'
             FROM waiting w WHERE e.id = w.endpoint_id AND w.events > $1 AND e.disabled_at IS NULL
             RETURNING e.id
         )
         SELECT (SELECT coalesce(sum(events), 0)::bigint FROM waiting) AS waiting, (SELECT count(*) FROM ended) AS disabled",
    )
    .bind(backlog);
    let rows = postgres::read(pool, query).await?;
    rows.first().map_or(Ok((0, 0)), |row| Ok((row.try_get("waiting")?, row.try_get("disabled")?)))
}

/// Forgets how far orders had come that the log itself has forgotten: how many.
pub(crate) async fn forget(pool: &PgPool, after: Duration) -> sqlx::Result<usize> {
    let query = sqlx::query(
        "DELETE FROM progress WHERE (endpoint_id, order_id) IN (
             SELECT endpoint_id, order_id FROM progress WHERE moved_at < now() - $1 * interval '1 millisecond'
             ORDER BY moved_at LIMIT 10000)
         RETURNING 1",
    )
    .bind(after.as_millis() as f64);
    Ok(postgres::read(pool, query).await?.len())
}
