//! Takes events in: a row for each endpoint of the order's owner, and how far its order has come, in one transaction.

use crate::told::Event;
use chassis::{
    postgres::{self, SessionLimits},
    settings::Secret,
};
use sqlx::{Connection, PgConnection};
use std::{collections::BTreeSet, time::Duration};

/// Longest time for one batch.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that is made when it is needed and given up with the first error.
pub(crate) struct Store {
    url: Secret,
    connection: Option<PgConnection>,
}

impl Store {
    pub(crate) fn new(url: Secret) -> Self {
        Self { url, connection: None }
    }

    /// Which of these owners listens.
    pub(crate) async fn listening(&mut self, owners: &BTreeSet<&str>) -> sqlx::Result<BTreeSet<String>> {
        let mut connection = self.connection().await?;
        let owners: Vec<&str> = owners.iter().copied().collect();
        let found = sqlx::query_scalar(
            "SELECT DISTINCT owner FROM endpoints WHERE owner = ANY ($1) AND disabled_at IS NULL",
        )
        .bind(owners)
        .fetch_all(&mut connection);
        let found: Vec<String> = postgres::within(PATIENCE, found).await?;
        self.connection = Some(connection);
        Ok(found.into_iter().collect())
    }

    /// How many rows these events became: none for a version of an order that was taken before.
    pub(crate) async fn take(&mut self, events: &[Event]) -> sqlx::Result<u64> {
        let mut connection = self.connection().await?;
        let rows = postgres::within(PATIENCE, take(&mut connection, events)).await?;
        self.connection = Some(connection);
        Ok(rows)
    }

    async fn connection(&mut self) -> sqlx::Result<PgConnection> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => postgres::connect(self.url.expose(), "mambogo-webhooks", SessionLimits::WORKER).await,
        }
    }
}

async fn take(connection: &mut PgConnection, events: &[Event]) -> sqlx::Result<u64> {
    let mut tx = connection.begin().await?;
    lock_in_tx(&mut tx, events).await?;
    let rows = insert_in_tx(&mut tx, events).await?;
    tx.commit().await?;
    Ok(rows)
}

/// One batch of an owner at a time: whoever lost a partition, and does not know it yet, sees what its successor took.
async fn lock_in_tx(tx: &mut PgConnection, events: &[Event]) -> sqlx::Result<()> {
    sqlx::query("SELECT id FROM endpoints WHERE owner = ANY ($1) ORDER BY id FOR NO KEY UPDATE")
        .bind(events.iter().map(|event| event.owner.as_str()).collect::<Vec<_>>())
        .execute(tx)
        .await?;
    Ok(())
}

async fn insert_in_tx(tx: &mut PgConnection, events: &[Event]) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "WITH said AS (
             SELECT e.id AS endpoint_id, n.order_id, n.version, n.event_id, n.body
             FROM UNNEST($1::text[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[])
               AS n (owner, order_id, version, event_id, body)
             JOIN endpoints e ON e.owner = n.owner AND e.disabled_at IS NULL
             LEFT JOIN progress p ON p.endpoint_id = e.id AND p.order_id = n.order_id
             WHERE n.version > coalesce(p.version, 0)
         ), moved AS (
             INSERT INTO progress (endpoint_id, order_id, version)
             SELECT endpoint_id, order_id, max(version) FROM said GROUP BY endpoint_id, order_id ORDER BY endpoint_id, order_id
             ON CONFLICT (endpoint_id, order_id) DO UPDATE SET version = excluded.version, moved_at = excluded.moved_at
         )
         INSERT INTO deliveries (endpoint_id, order_id, version, event_id, body)
         SELECT endpoint_id, order_id, version, event_id, body FROM said ORDER BY endpoint_id, order_id, version
         ON CONFLICT (endpoint_id, order_id, version) DO NOTHING",
    )
    .bind(events.iter().map(|event| event.owner.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.order).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.version).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.id).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.body.as_str()).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}
