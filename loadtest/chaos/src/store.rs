//! The runner's SQL: it fills the shelf, ends sessions, and reads what the audit leaves to others.

use crate::{Failure, instance::Instance, order::Shelf, provider::Charge};
use sqlx::{Connection, PgConnection, Row};
use std::{collections::HashMap, time::Duration};

/// Units of a product of which there is plenty: more than any run can buy.
const PLENTY: i64 = 10_000_000;
/// And of one that is to sell out.
const FEW: i64 = 150;

async fn connect(instance: &Instance, url: &str) -> Result<PgConnection, Failure> {
    let connecting = PgConnection::connect(instance.setting(url)?);
    let connected = tokio::time::timeout(Duration::from_secs(10), connecting).await;
    Ok(connected.map_err(|_| "Postgres does not answer within 10 s")??)
}

/// Sets the stock of a fresh catalogue: the last three products are scarce, all others plenty, the first of them hot.
///
/// # Errors
/// When the database refuses.
pub(crate) async fn fill_shelf(instance: &Instance) -> Result<Shelf, Failure> {
    let mut admin = connect(instance, "ADMIN_DATABASE_URL").await?;
    let mut products: Vec<String> =
        sqlx::query_scalar("SELECT id::text FROM catalog.products WHERE is_active ORDER BY id")
            .fetch_all(&mut admin)
            .await?;
    let mut shelf =
        Shelf { scarce: products.split_off(products.len().saturating_sub(3)), ..Shelf::default() };
    shelf.hot = products.first().cloned().ok_or("the catalogue is empty")?;
    shelf.plenty = products;
    sqlx::query(
        "UPDATE inventory.products SET available = CASE WHEN id::text = ANY ($1) THEN $2 ELSE $3 END,
                initial = CASE WHEN id::text = ANY ($1) THEN $2 ELSE $3 END, held = 0, sold = 0, restocked = 0",
    )
    .bind(&shelf.scarce)
    .bind(FEW)
    .bind(PLENTY)
    .execute(&mut admin)
    .await?;
    Ok(shelf)
}

/// Ends every session of ours, as a failover or an operator does; how many.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn end_sessions(instance: &Instance) -> Result<i64, Failure> {
    let mut admin = connect(instance, "ADMIN_DATABASE_URL").await?;
    let ended = sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE usename LIKE 'mambogo\\_%' AND usename <> 'mambogo_admin'",
    );
    Ok(ended.fetch_one(&mut admin).await?)
}

/// What is still under way or was set aside, one line for each table that is not empty.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn left_behind(instance: &Instance) -> Result<Vec<String>, Failure> {
    let mut audit = connect(instance, "AUDIT_DATABASE_URL").await?;
    let rows = sqlx::query(
        "SELECT place, count FROM (
           SELECT 'orders.outbox' AS place, count(*) FROM orders.outbox
           UNION ALL SELECT 'inventory.outbox', count(*) FROM inventory.outbox
           UNION ALL SELECT 'payments.outbox', count(*) FROM payments.outbox
           UNION ALL SELECT 'payments.deferred', count(*) FROM payments.deferred
           UNION ALL SELECT 'orders.parked', count(*) FROM orders.parked
           UNION ALL SELECT 'inventory.parked', count(*) FROM inventory.parked
           UNION ALL SELECT 'payments.parked', count(*) FROM payments.parked) AS places
         WHERE count > 0",
    )
    .fetch_all(&mut audit)
    .await?;
    let line = |row: &sqlx::postgres::PgRow| -> Result<String, Failure> {
        Ok(format!("{} rows in {}", row.try_get::<i64, _>("count")?, row.try_get::<String, _>("place")?))
    };
    rows.iter().map(line).collect()
}

/// Status and version of each of those orders that is there.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn orders(
    instance: &Instance,
    ids: &[&str],
) -> Result<HashMap<String, (String, i64)>, Failure> {
    let mut audit = connect(instance, "AUDIT_DATABASE_URL").await?;
    let rows = sqlx::query(
        "SELECT id::text, status, version FROM orders.orders WHERE id = ANY ($1::text[]::uuid[])",
    )
    .bind(ids)
    .fetch_all(&mut audit)
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get("id")?, (row.try_get("status")?, row.try_get("version")?))))
        .collect()
}

/// What payments have captured, with what went back of it: effect, order, amount, refunded.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn captured(instance: &Instance) -> Result<Vec<Charge>, Failure> {
    let mut audit = connect(instance, "AUDIT_DATABASE_URL").await?;
    let rows = sqlx::query(
        "SELECT id::text, order_id::text, amount, refunded FROM payments.captures WHERE state = 'CAPTURED'",
    )
    .fetch_all(&mut audit)
    .await?;
    let charge = |row: &sqlx::postgres::PgRow| -> Result<Charge, Failure> {
        Ok(Charge {
            effect: row.try_get("id")?,
            order: row.try_get("order_id")?,
            amount: row.try_get("amount")?,
            refunded: row.try_get("refunded")?,
        })
    };
    rows.iter().map(charge).collect()
}
