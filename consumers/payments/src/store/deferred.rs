//! The SQL of what is put off: saved with a batch, found and taken away when it is due.

use super::{at, column, millis};
use crate::books::{Books, Deferral};
use schemas::{
    ids::{EffectId, OrderId},
    time::Timestamp,
};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

/// Most reminders sent at once.
const DUE_AT_ONCE: i64 = 1_000;

/// Deletes what is settled, and writes what is put off.
pub(super) async fn save_in_tx(tx: &mut PgConnection, books: &Books) -> sqlx::Result<()> {
    if !books.forgotten().is_empty() {
        let keys: Vec<Uuid> = books.forgotten().iter().map(|effect| effect.0).collect();
        sqlx::query("DELETE FROM deferred WHERE effect_id = ANY($1)").bind(keys).execute(&mut *tx).await?;
    }
    if books.deferrals().is_empty() {
        return Ok(());
    }
    let rows: Vec<(&EffectId, &Deferral)> = books.deferrals().iter().collect();
    // a command that came twice defers its effect twice: the newer due time counts
    sqlx::query(
        "INSERT INTO deferred (effect_id, partition, due_at, order_id, attempt)
         SELECT * FROM UNNEST($1::uuid[], $2::int[], $3::timestamptz[], $4::uuid[], $5::int[])
         ON CONFLICT (effect_id) DO UPDATE
         SET partition = EXCLUDED.partition, due_at = EXCLUDED.due_at, attempt = EXCLUDED.attempt",
    )
    .bind(column(&rows, |(effect, _)| effect.0))
    .bind(column(&rows, |(_, row)| row.partition))
    .bind(column(&rows, |(_, row)| at(row.due_at)))
    .bind(column(&rows, |(_, row)| row.order_id.0))
    .bind(column(&rows, |(_, row)| row.attempt))
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// Whether anything of these partitions is due.
///
/// # Errors
/// When the database fails.
pub async fn is_due(connection: &mut PgConnection, partitions: &[i32]) -> sqlx::Result<bool> {
    let row = sqlx::query(
        "SELECT EXISTS (SELECT FROM deferred WHERE partition = ANY($1) AND due_at <= now()) AS due",
    )
    .bind(partitions)
    .fetch_one(connection)
    .await?;
    row.try_get("due")
}

/// A deferral whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The effect.
    pub effect: EffectId,
    /// Its order.
    pub order_id: OrderId,
    /// When it was due.
    pub due_at: Timestamp,
}

/// Takes what is due away, the earliest first, at most 1,000.
///
/// # Errors
/// When the database fails.
pub async fn take_due_in_tx(tx: &mut PgConnection, partition: i32, now: Timestamp) -> sqlx::Result<Vec<Due>> {
    let rows = sqlx::query(
        "DELETE FROM deferred
         WHERE effect_id IN (SELECT effect_id FROM deferred WHERE partition = $1 AND due_at <= $2
                             ORDER BY due_at, effect_id LIMIT $3)
         RETURNING effect_id, order_id, due_at",
    )
    .bind(partition)
    .bind(at(now))
    .bind(DUE_AT_ONCE)
    .fetch_all(tx)
    .await?;
    let mut due: Vec<Due> = rows
        .iter()
        .map(|row| {
            Ok(Due {
                effect: EffectId(row.try_get("effect_id")?),
                order_id: OrderId(row.try_get("order_id")?),
                due_at: millis(row.try_get("due_at")?),
            })
        })
        .collect::<sqlx::Result<_>>()?;
    due.sort_by_key(|due| (due.due_at, due.effect));
    Ok(due)
}
