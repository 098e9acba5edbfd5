//! Deadlines of outside owners. An order's own deadline is the saga's to watch.

use super::{from_sql, to_sql};
use crate::{answer, metrics};
use harness::{record::Out, service::Context};
use schemas::{ids::OrderId, time::Timestamp};
use sqlx::{PgConnection, Row};

/// Whether a reserve of an outside owner is due in one of these lanes (partition, due mark). Also tells how many wait.
pub(crate) async fn is_due(connection: &mut PgConnection, lanes: &[(i32, Timestamp)]) -> sqlx::Result<bool> {
    let partitions: Vec<i32> = lanes.iter().map(|(partition, _)| *partition).collect();
    let marks = lanes.iter().map(|(_, mark)| to_sql(*mark)).collect::<sqlx::Result<Vec<_>>>()?;
    let row = sqlx::query(
        "SELECT EXISTS (
                  SELECT FROM unnest($1::int[], $2::timestamptz[]) AS lane (partition, mark)
                  JOIN holds AS h ON h.partition = lane.partition AND h.deadline > lane.mark
                  WHERE h.outside AND h.deadline <= date_trunc('milliseconds', clock_timestamp())
                ) AS due,
                (SELECT count(*) FROM (SELECT FROM waiters LIMIT $3) AS counted) AS waiters",
    )
    .bind(partitions)
    .bind(marks)
    .bind(metrics::MOST_WAITERS_COUNTED)
    .fetch_one(connection)
    .await?;
    metrics::waiters(row.try_get("waiters")?);
    row.try_get("due")
}

/// Says the release of each reserve of an outside owner whose deadline lies between `mark` and now, at most `limit`
/// and ties, and where the mark goes. The state read here is a hint; the release itself decides.
pub(crate) async fn due_in_tx(
    tx: &mut PgConnection,
    context: &Context,
    partition: i32,
    mark: Timestamp,
    limit: usize,
    out: &mut Out,
) -> sqlx::Result<Timestamp> {
    let rows = sqlx::query(
        "SELECT order_id, deadline, state IN ('waiting', 'held') AS open
         FROM holds
         WHERE outside AND partition = $1 AND deadline > $2 AND deadline <= $3
         ORDER BY deadline
         FETCH FIRST ($4) ROWS WITH TIES",
    )
    .bind(partition)
    .bind(to_sql(mark)?)
    .bind(to_sql(context.now)?)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(tx)
    .await?;
    for row in &rows {
        if row.try_get("open")? {
            let release = answer::overdue(OrderId(row.try_get("order_id")?))
                .map_err(|rejection| sqlx::Error::Encode(rejection.detail.into()))?;
            out.send_from(partition, release);
        }
    }
    match rows.last() {
        Some(last) if rows.len() >= limit => Ok(from_sql(last.try_get("deadline")?)),
        _ => Ok(mark.max(context.now)),
    }
}
