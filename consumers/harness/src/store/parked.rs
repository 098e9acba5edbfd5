//! Parked records that are to run again, or to go: read, deleted, and what was done about them written down.

use super::LaneSet;
use crate::{
    judge::UNKNOWN_SCHEMA,
    record::Record,
    redrive::{Action, Concluded, Head, Unknown},
};
use chrono::{DateTime, Utc};
use schemas::{
    envelope::{Envelope, EnvelopeError},
    time::Timestamp,
};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

impl LaneSet {
    /// Whether an action was done before.
    pub(crate) async fn was_done(self, connection: &mut PgConnection, action: Uuid) -> sqlx::Result<bool> {
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM parked_action WHERE action = $1)")
            .bind(action)
            .fetch_one(connection)
            .await
    }

    /// The first `first` parked records of a key and all that `action` names, in the order in which they were
    /// parked; and how many are.
    pub(crate) async fn heads(
        self,
        connection: &mut PgConnection,
        partition: i32,
        key: &[u8],
        action: &Action,
        first: usize,
    ) -> sqlx::Result<(Vec<Head>, i64)> {
        let rows = sqlx::query(
            "SELECT \"offset\", cause, octet_length(record) AS size FROM parked
             WHERE topic = $1 AND partition = $2 AND key = $3 AND (\"offset\" = ANY ($4) OR \"offset\" IN (
                 SELECT \"offset\" FROM parked WHERE topic = $1 AND partition = $2 AND key = $3
                 ORDER BY turn LIMIT $5))
             ORDER BY turn",
        )
        .bind(self.topic.name())
        .bind(partition)
        .bind(key)
        .bind(action.named.iter().copied().collect::<Vec<_>>())
        .bind(i64::try_from(first).unwrap_or(i64::MAX))
        .fetch_all(&mut *connection)
        .await?;
        let heads = rows
            .iter()
            .map(|row| {
                let size: i32 = row.try_get("size")?;
                Ok(Head {
                    offset: row.try_get("offset")?,
                    cause: row.try_get("cause")?,
                    size: usize::try_from(size).unwrap_or(0),
                })
            })
            .collect::<sqlx::Result<Vec<_>>>()?;
        let parked = sqlx::query_scalar(
            "SELECT count(*) FROM parked WHERE topic = $1 AND partition = $2 AND key = $3",
        )
        .bind(self.topic.name())
        .bind(partition)
        .bind(key)
        .fetch_one(connection)
        .await?;
        Ok((heads, parked))
    }

    /// Parked records as they were read from the log, in the order in which they were parked.
    pub(crate) async fn parked(
        self,
        connection: &mut PgConnection,
        partition: i32,
        offsets: &[i64],
    ) -> sqlx::Result<Vec<Record>> {
        let rows = sqlx::query(
            "SELECT \"offset\", key, logged_at, header, record FROM parked
             WHERE topic = $1 AND partition = $2 AND \"offset\" = ANY ($3) ORDER BY turn",
        )
        .bind(self.topic.name())
        .bind(partition)
        .bind(offsets)
        .fetch_all(connection)
        .await?;
        rows.iter()
            .map(|row| {
                let header: Option<Vec<u8>> = row.try_get("header")?;
                let envelope = header.as_deref().map_or(Err(EnvelopeError::Missing), Envelope::from_bytes);
                Ok(Record {
                    topic: self.topic,
                    partition,
                    offset: row.try_get("offset")?,
                    timestamp: Timestamp(row.try_get::<DateTime<Utc>, _>("logged_at")?.timestamp_millis()),
                    key: row.try_get("key")?,
                    envelope,
                    header,
                    payload: row.try_get("record")?,
                    traceparent: None,
                })
            })
            .collect()
    }

    /// Records of these lanes that were parked because their schema was not known, `most` at most.
    pub(crate) async fn unknown_in_tx(
        self,
        tx: &mut PgConnection,
        partitions: &[i32],
        most: usize,
    ) -> sqlx::Result<Vec<Unknown>> {
        let rows = sqlx::query(
            "SELECT partition, \"offset\", attempts, key, substring(record FROM 1 FOR 5) AS beginning FROM parked
             WHERE topic = $1 AND partition = ANY ($2) AND cause = $3
             ORDER BY partition, turn LIMIT $4",
        )
        .bind(self.topic.name())
        .bind(partitions)
        .bind(UNKNOWN_SCHEMA)
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(tx)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Unknown {
                    partition: row.try_get("partition")?,
                    offset: row.try_get("offset")?,
                    attempts: row.try_get("attempts")?,
                    key: row.try_get("key")?,
                    beginning: row.try_get("beginning")?,
                })
            })
            .collect()
    }

    /// Deletes what has run or is discarded, keeps why one failed again, and writes the action down.
    pub(crate) async fn conclude_in_tx(self, tx: &mut PgConnection, done: &Concluded) -> sqlx::Result<()> {
        if done.is_repeat {
            return Ok(());
        }
        let (partition, offset) = done.place;
        let gone: Vec<i64> = done.ran.iter().chain(&done.discarded).copied().collect();
        sqlx::query("DELETE FROM parked WHERE topic = $1 AND partition = $2 AND \"offset\" = ANY ($3)")
            .bind(self.topic.name())
            .bind(partition)
            .bind(gone)
            .execute(&mut *tx)
            .await?;
        if let Some((offset, rejection)) = &done.relapse {
            sqlx::query(
                "UPDATE parked SET attempts = attempts + 1, cause = $4, detail = $5
                 WHERE topic = $1 AND partition = $2 AND \"offset\" = $3",
            )
            .bind(self.topic.name())
            .bind(partition)
            .bind(offset)
            .bind(rejection.cause)
            .bind(text(&rejection.detail))
            .execute(&mut *tx)
            .await?;
        }
        let action = &done.action;
        sqlx::query(
            "INSERT INTO parked_action (action, topic, partition, \"offset\", key, what, requested_by, reason, selection,
                 named, ran, discarded, stopped_at, cause, detail, result, remaining, original, edited, next_action)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
        )
        .bind(action.id)
        .bind(self.topic.name())
        .bind(partition)
        .bind(offset)
        .bind(&done.key)
        .bind(action.what.as_str())
        .bind(text(&action.requested_by))
        .bind(action.reason.as_deref().map(text))
        .bind(action.selection.as_deref().map(text))
        .bind(action.named.iter().copied().collect::<Vec<_>>())
        .bind(&done.ran)
        .bind(&done.discarded)
        .bind(done.relapse.as_ref().map(|(offset, _)| *offset))
        .bind(done.relapse.as_ref().map(|(_, rejection)| rejection.cause))
        .bind(done.relapse.as_ref().map(|(_, rejection)| text(&rejection.detail)))
        .bind(done.result)
        .bind(done.remaining)
        .bind(done.original.as_deref())
        .bind(action.edited.as_deref().filter(|_| done.original.is_some()))
        .bind(done.next_id())
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// What a text column holds: no NUL, 1,000 characters at most.
pub(super) fn text(words: &str) -> String {
    words.chars().take(1_000).map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect()
}
