//! Claims what is due: under a lease, so that what a worker had in hand when it died is due again.

use chassis::postgres;
use chrono::{DateTime, Utc};
use sqlx::{PgPool, Row, postgres::PgRow};
use std::time::Duration;
use uuid::Uuid;

/// A delivery that this worker has for the time of its lease.
#[derive(Debug, Clone)]
pub(crate) struct Due {
    pub(crate) endpoint: Uuid,
    pub(crate) order: Uuid,
    pub(crate) version: i64,
    pub(crate) event: Uuid,
    pub(crate) body: String,
    pub(crate) attempts: i32,
    pub(crate) leased_until: DateTime<Utc>,
    pub(crate) url: String,
    secret: String,
    old_secret: Option<String>,
}

impl Due {
    /// What signs it: the endpoint's secret, and for a while the one before.
    pub(crate) fn secrets(&self) -> Vec<&[u8]> {
        std::iter::once(&self.secret).chain(&self.old_secret).map(String::as_bytes).collect()
    }
}

/// How an endpoint did last. Those in trouble get calls of their own, so that they never hold up the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It took what it was sent last.
    Well,
    /// It did not.
    InTrouble,
}

/// Takes at most `most` that are due, so that no endpoint has more than `each` under way: of an order the first that was not
/// heard; of an endpoint those that are due longest; each endpoint's first before any endpoint's second.
pub(crate) async fn claim(
    pool: &PgPool,
    standing: Standing,
    each: i64,
    most: i64,
    lease: Duration,
) -> sqlx::Result<Vec<Due>> {
    // the endpoints that anything waits for are found by steps along the key, not by reading all that waits
    let query = sqlx::query(
        "WITH RECURSIVE waiting AS (
             (SELECT endpoint_id AS id FROM deliveries ORDER BY endpoint_id LIMIT 1)
             UNION ALL
             SELECT (SELECT d.endpoint_id FROM deliveries d WHERE d.endpoint_id > w.id ORDER BY d.endpoint_id LIMIT 1)
             FROM waiting w WHERE w.id IS NOT NULL
         ), ready AS (
             SELECT d.*, e.url, e.secret, CASE WHEN e.old_until > now() THEN e.old_secret END AS old_secret,
                    row_number() OVER (PARTITION BY e.id ORDER BY d.due_at) AS place
             FROM waiting w
             JOIN endpoints e ON e.id = w.id AND e.disabled_at IS NULL AND (e.failing_since IS NOT NULL) = $1
             CROSS JOIN LATERAL (
                 SELECT d.endpoint_id, d.order_id, d.version, d.due_at FROM deliveries d
                 WHERE d.endpoint_id = e.id AND d.due_at <= now() AND (d.leased_until IS NULL OR d.leased_until <= now())
                   AND NOT EXISTS (SELECT FROM deliveries b WHERE b.endpoint_id = d.endpoint_id
                                   AND b.order_id = d.order_id AND b.version < d.version)
                 ORDER BY d.due_at
                 LIMIT greatest(0, $2 - (SELECT count(*) FROM deliveries l WHERE l.endpoint_id = e.id AND l.leased_until > now()))
             ) d
             ORDER BY place, d.due_at LIMIT $3
         )
         UPDATE deliveries d SET leased_until = now() + $4 * interval '1 millisecond'
         FROM ready r
         WHERE d.endpoint_id = r.endpoint_id AND d.order_id = r.order_id AND d.version = r.version
           AND (d.leased_until IS NULL OR d.leased_until <= now())
         RETURNING d.endpoint_id, d.order_id, d.version, d.event_id, d.body, d.attempts, d.leased_until, r.url, r.secret,
             r.old_secret",
    )
    .bind(standing == Standing::InTrouble)
    .bind(each)
    .bind(most)
    .bind(lease.as_millis() as f64);
    postgres::read(pool, query).await?.iter().map(due).collect()
}

fn due(row: &PgRow) -> sqlx::Result<Due> {
    Ok(Due {
        endpoint: row.try_get("endpoint_id")?,
        order: row.try_get("order_id")?,
        version: row.try_get("version")?,
        event: row.try_get("event_id")?,
        body: row.try_get("body")?,
        attempts: row.try_get("attempts")?,
        leased_until: row.try_get("leased_until")?,
        url: row.try_get("url")?,
        secret: row.try_get("secret")?,
        old_secret: row.try_get("old_secret")?,
    })
}
