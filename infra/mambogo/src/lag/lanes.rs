//! What the services' own tables say: positions, outboxes, parked records.

use super::{Reader, Waiting};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::BTreeMap;

/// A lane's position and what it has waiting.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) next_offset: i64,
    pub(super) waiting: Waiting,
}

/// The lanes of a group by partition; none for a group without.
pub(super) async fn read(audit: &mut PgConnection, reader: Reader) -> sqlx::Result<BTreeMap<i32, Lane>> {
    let Some(schema) = reader.schema else { return Ok(BTreeMap::new()) };
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT lane.partition, lane.next_offset, said.rows, said.bytes, said.seconds,
                (SELECT count(*) FROM {schema}.parked
                 WHERE parked.topic = lane.topic AND parked.partition = lane.partition) AS parked
         FROM {schema}.lane,
              LATERAL (SELECT count(*) AS rows, coalesce(sum(size), 0)::bigint AS bytes,
                              coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS seconds
                       FROM {schema}.outbox WHERE outbox.lane = lane.id) said
         WHERE lane.consumer_group = $1 AND lane.topic = $2
         ORDER BY lane.partition"
    )))
    .bind(reader.group)
    .bind(reader.topic.name())
    .fetch_all(audit)
    .await?;
    rows.iter()
        .map(|row| {
            let waiting = Waiting {
                outbox_rows: row.try_get("rows")?,
                outbox_bytes: row.try_get("bytes")?,
                outbox_seconds: row.try_get("seconds")?,
                parked: row.try_get("parked")?,
            };
            Ok((row.try_get("partition")?, Lane { next_offset: row.try_get("next_offset")?, waiting }))
        })
        .collect()
}
