//! The SQL of the endpoints, on the role of the edge, which cannot read a secret.

use crate::answer::{Endpoint, State};
use chassis::postgres;
use chrono::{DateTime, Utc};
use schemas::{time::Timestamp, view::rfc3339};
use sqlx::{PgPool, Row, postgres::PgRow};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// An endpoint to be added.
pub(crate) struct New {
    pub(crate) id: Uuid,
    pub(crate) owner: Arc<str>,
    pub(crate) url: String,
    pub(crate) secret: String,
}

/// Adds an endpoint in a slot of its owner, unless all `most` are taken; `false` then.
pub(crate) async fn add(pool: &PgPool, new: &New, most: i16) -> sqlx::Result<bool> {
    // a slot that was free, and then was not, has gone to another one of the owner: that cannot be so more often
    for _ in 0..=most {
        let query = sqlx::query(
            "WITH free AS (
                 SELECT n.slot FROM generate_series(1, $5) AS n (slot)
                 WHERE NOT EXISTS (SELECT FROM webhooks.endpoints e WHERE e.owner = $2 AND e.slot = n.slot)
                 ORDER BY n.slot LIMIT 1
             ), added AS (
                 INSERT INTO webhooks.endpoints (id, owner, slot, url, secret) SELECT $1, $2, slot, $3, $4 FROM free
                 ON CONFLICT (owner, slot) DO NOTHING RETURNING slot
             )
             SELECT added.slot IS NOT NULL AS is_added FROM free LEFT JOIN added ON true",
        )
        .bind(new.id)
        .bind(&*new.owner)
        .bind(&new.url)
        .bind(&new.secret)
        .bind(i32::from(most));
        let rows = postgres::read(pool, query).await?;
        let Some(row) = rows.first() else { return Ok(false) };
        if row.try_get("is_added")? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The endpoints of `owner`, oldest first.
pub(crate) async fn of_owner(pool: &PgPool, owner: &str) -> sqlx::Result<Vec<Endpoint>> {
    let query = sqlx::query(
        "SELECT id, url, created_at, failing_since, disabled_at, reason FROM webhooks.endpoints
         WHERE owner = $1 ORDER BY created_at, id",
    );
    postgres::read(pool, query.bind(owner)).await?.iter().map(endpoint).collect()
}

/// An endpoint of `owner`.
pub(crate) async fn one(pool: &PgPool, id: Uuid, owner: &str) -> sqlx::Result<Option<Endpoint>> {
    let query = sqlx::query(
        "SELECT id, url, created_at, failing_since, disabled_at, reason FROM webhooks.endpoints
         WHERE id = $1 AND owner = $2",
    );
    postgres::read(pool, query.bind(id).bind(owner)).await?.first().map(endpoint).transpose()
}

/// Begins again with an endpoint of `owner`: what was tried in vain is due at once, as if it never had been. `false` when
/// there is no such endpoint.
pub(crate) async fn enable(pool: &PgPool, id: Uuid, owner: &str) -> sqlx::Result<bool> {
    let query = sqlx::query(
        "WITH enabled AS (
             UPDATE webhooks.endpoints SET disabled_at = NULL, failing_since = NULL, reason = NULL
             WHERE id = $1 AND owner = $2 RETURNING id
         ), again AS (
             UPDATE webhooks.deliveries d SET failing_since = NULL, due_at = now()
             FROM enabled WHERE d.endpoint_id = enabled.id AND d.failing_since IS NOT NULL
         )
         SELECT id FROM enabled",
    );
    Ok(!postgres::read(pool, query.bind(id).bind(owner)).await?.is_empty())
}

/// Puts a new secret in the place of that of an endpoint of `owner`, which signs as well for `both`: until when. `None` when
/// there is no such endpoint.
pub(crate) async fn replace_secret(
    pool: &PgPool,
    id: Uuid,
    owner: &str,
    secret: &str,
    both: Duration,
) -> sqlx::Result<Option<Timestamp>> {
    let query = sqlx::query("SELECT webhooks.replace_secret($1, $2, $3, make_interval(secs => $4)) AS until");
    let rows = postgres::read(pool, query.bind(id).bind(owner).bind(secret).bind(both.as_secs_f64())).await?;
    let until =
        rows.first().map(|row| row.try_get::<Option<DateTime<Utc>>, _>("until")).transpose()?.flatten();
    Ok(until.map(|until| Timestamp(until.timestamp_millis())))
}

/// Removes an endpoint of `owner`, with all that it was not told; `false` when there is none.
pub(crate) async fn remove(pool: &PgPool, id: Uuid, owner: &str) -> sqlx::Result<bool> {
    let query = sqlx::query("DELETE FROM webhooks.endpoints WHERE id = $1 AND owner = $2 RETURNING 1");
    Ok(!postgres::read(pool, query.bind(id).bind(owner)).await?.is_empty())
}

fn endpoint(row: &PgRow) -> sqlx::Result<Endpoint> {
    let time = |at: DateTime<Utc>| rfc3339(Timestamp(at.timestamp_millis()));
    let failing_since: Option<DateTime<Utc>> = row.try_get("failing_since")?;
    let disabled_at: Option<DateTime<Utc>> = row.try_get("disabled_at")?;
    let state = match (disabled_at, failing_since) {
        (Some(_), _) => State::Disabled,
        (None, Some(_)) => State::Failing,
        (None, None) => State::Active,
    };
    Ok(Endpoint {
        id: row.try_get("id")?,
        url: row.try_get("url")?,
        state,
        created_at: time(row.try_get("created_at")?),
        failing_since: failing_since.map(time),
        disabled_at: disabled_at.map(time),
        reason: row.try_get("reason")?,
    })
}
