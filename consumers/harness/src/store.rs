//! The machine's own SQL: lanes, outbox, parked records.

mod parked;

use crate::lane::{Destination, Heard, Lane, LastRead};
use chassis::crash::{self, CrashPoint};
use chrono::{DateTime, Utc};
use schemas::{ids::LaneId, time::Timestamp, topics::Topic};
use sqlx::{PgConnection, Row, postgres::PgRow, types::Json};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};
use uuid::Uuid;

/// Which lanes a worker means.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaneSet {
    pub(crate) group: &'static str,
    pub(crate) topic: Topic,
}

/// What a lane's row says while it is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locked {
    /// The lane's partition.
    pub partition: i32,
    /// The fence as it stands.
    pub epoch: i64,
    /// The position.
    pub next_offset: i64,
    /// The last packed row.
    pub outbox_seq: i64,
}

/// One packed row.
pub struct Packed {
    /// The lane that says it.
    pub lane: LaneId,
    /// Its place in the lane's sequence.
    pub seq: i64,
    /// Its records, in the format [`schemas::outbox::FORMAT`].
    pub records: Vec<u8>,
}

/// One record set aside.
pub struct Parking {
    /// Where it lies.
    pub partition: i32,
    /// Where it lies.
    pub offset: i64,
    /// Its key.
    pub key: Vec<u8>,
    /// The lane it came from, and its number there.
    pub source: Option<(Uuid, u64)>,
    /// The log's timestamp.
    pub logged_at: Timestamp,
    /// Its envelope's bytes.
    pub header: Option<Vec<u8>>,
    /// Its payload.
    pub record: Vec<u8>,
    /// Why it was set aside, by name.
    pub cause: &'static str,
    /// Why, in words.
    pub detail: String,
}

pub(crate) fn utc(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

impl LaneSet {
    /// Makes the rows of lanes that are not there yet. `earliest` is each partition's first offset.
    pub(crate) async fn create_missing(
        self,
        connection: &mut PgConnection,
        earliest: &[i64],
        ids: &[Uuid],
    ) -> sqlx::Result<()> {
        let partitions: Vec<i32> = (0..).take(earliest.len()).collect();
        sqlx::query(
            "INSERT INTO lane (consumer_group, topic, partition, id, partitions, next_offset)
             SELECT $1, $2, partition, id, $3, earliest
             FROM UNNEST($4::int[], $5::uuid[], $6::bigint[]) AS new (partition, id, earliest)
             ON CONFLICT (consumer_group, topic, partition) DO NOTHING",
        )
        .bind(self.group)
        .bind(self.topic.name())
        .bind(i32::try_from(earliest.len()).unwrap_or(i32::MAX))
        .bind(partitions)
        .bind(ids)
        .bind(earliest)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// The partition counts that the lanes were made for; one, unless somebody grew the topic.
    pub(crate) async fn partition_counts(self, connection: &mut PgConnection) -> sqlx::Result<Vec<i32>> {
        sqlx::query_scalar(
            "SELECT DISTINCT partitions FROM lane WHERE consumer_group = $1 AND topic = $2 ORDER BY 1",
        )
        .bind(self.group)
        .bind(self.topic.name())
        .fetch_all(connection)
        .await
    }

    /// Raises the fence of these lanes and reads them: from now on every other owner is refused.
    pub(crate) async fn claim(
        self,
        connection: &mut PgConnection,
        partitions: &[i32],
    ) -> sqlx::Result<Vec<Lane>> {
        crash::point_of(self.group, CrashPoint::LaneBefore);
        // one statement; rows are locked in key order, so two claims cannot deadlock
        let rows = sqlx::query(
            "WITH mine AS (
                 SELECT partition FROM lane
                 WHERE consumer_group = $1 AND topic = $2 AND partition = ANY ($3)
                 ORDER BY partition FOR UPDATE
             )
             UPDATE lane SET epoch = epoch + 1 FROM mine
             WHERE consumer_group = $1 AND topic = $2 AND lane.partition = mine.partition
             RETURNING lane.partition, id, epoch, next_offset, read_offset, read_fingerprint, outbox_seq,
                 due_mark, heard, ended, sent,
                 (SELECT coalesce(array_agg(DISTINCT parked.key), '{}') FROM parked
                  WHERE parked.topic = $2 AND parked.partition = lane.partition) AS parked",
        )
        .bind(self.group)
        .bind(self.topic.name())
        .bind(partitions)
        .fetch_all(connection)
        .await?;
        crash::point_of(self.group, CrashPoint::LaneAfter);
        rows.iter().map(read_lane).collect()
    }

    /// Reads lanes as they are, fence untouched: after a commit whose answer was lost.
    pub(crate) async fn read(
        self,
        connection: &mut PgConnection,
        partitions: &[i32],
    ) -> sqlx::Result<Vec<Lane>> {
        let rows = sqlx::query(
            "SELECT partition, id, epoch, next_offset, read_offset, read_fingerprint, outbox_seq,
                 due_mark, heard, ended, sent,
                 (SELECT coalesce(array_agg(DISTINCT parked.key), '{}') FROM parked
                  WHERE parked.topic = $2 AND parked.partition = lane.partition) AS parked
             FROM lane WHERE consumer_group = $1 AND topic = $2 AND partition = ANY ($3)",
        )
        .bind(self.group)
        .bind(self.topic.name())
        .bind(partitions)
        .fetch_all(connection)
        .await?;
        rows.iter().map(read_lane).collect()
    }

    /// Locks the lanes' rows in key order and says where they stand, with the database's time in whole milliseconds.
    pub(crate) async fn lock_in_tx(
        self,
        tx: &mut PgConnection,
        partitions: &[i32],
    ) -> sqlx::Result<(Vec<Locked>, Timestamp)> {
        let rows = sqlx::query(
            "SELECT partition, epoch, next_offset, outbox_seq, date_trunc('milliseconds', clock_timestamp()) AS now
             FROM lane WHERE consumer_group = $1 AND topic = $2 AND partition = ANY ($3)
             ORDER BY partition FOR UPDATE",
        )
        .bind(self.group)
        .bind(self.topic.name())
        .bind(partitions)
        .fetch_all(tx)
        .await?;
        let mut now = Timestamp(0);
        let mut locked = Vec::with_capacity(rows.len());
        for row in &rows {
            now = Timestamp(row.try_get::<DateTime<Utc>, _>("now")?.timestamp_millis());
            locked.push(Locked {
                partition: row.try_get("partition")?,
                epoch: row.try_get("epoch")?,
                next_offset: row.try_get("next_offset")?,
                outbox_seq: row.try_get("outbox_seq")?,
            });
        }
        Ok((locked, now))
    }

    /// Moves the lanes, whose rows this transaction has locked and checked.
    pub(crate) async fn move_in_tx(self, tx: &mut PgConnection, lanes: &[&Lane]) -> sqlx::Result<()> {
        let column = |of: fn(&Lane) -> i64| lanes.iter().map(|lane| of(lane)).collect::<Vec<_>>();
        let heard = lanes.iter().map(|lane| Json(&lane.heard)).collect::<Vec<_>>();
        let sent = lanes.iter().map(|lane| Json(sent_to_json(&lane.sent))).collect::<Vec<_>>();
        sqlx::query(
            "UPDATE lane SET next_offset = new.next_offset, read_offset = new.read_offset,
                 read_fingerprint = new.read_fingerprint, outbox_seq = new.outbox_seq, due_mark = new.due_mark,
                 heard = new.heard, sent = new.sent
             FROM UNNEST($3::int[], $4::bigint[], $5::bigint[], $6::uuid[], $7::bigint[], $8::timestamptz[],
                         $9::jsonb[], $10::jsonb[])
                 AS new (partition, next_offset, read_offset, read_fingerprint, outbox_seq, due_mark, heard, sent)
             WHERE consumer_group = $1 AND topic = $2 AND lane.partition = new.partition",
        )
        .bind(self.group)
        .bind(self.topic.name())
        .bind(lanes.iter().map(|lane| lane.partition).collect::<Vec<_>>())
        .bind(column(|lane| lane.next_offset))
        .bind(lanes.iter().map(|lane| lane.last_read.map(|last| last.offset)).collect::<Vec<_>>())
        .bind(lanes.iter().map(|lane| lane.last_read.map(|last| last.fingerprint)).collect::<Vec<_>>())
        .bind(column(|lane| lane.outbox_seq))
        .bind(lanes.iter().map(|lane| utc(lane.due_mark)).collect::<Vec<_>>())
        .bind(heard)
        .bind(sent)
        .execute(tx)
        .await?;
        Ok(())
    }

    /// Writes the batch's packed rows.
    pub(crate) async fn say_in_tx(self, tx: &mut PgConnection, rows: Vec<Packed>) -> sqlx::Result<()> {
        let sizes: Vec<i32> =
            rows.iter().map(|row| i32::try_from(row.records.len()).unwrap_or(i32::MAX)).collect();
        sqlx::query(
            "INSERT INTO outbox (lane, seq, format, records, size)
             SELECT lane, seq, $1, records, size
             FROM UNNEST($2::uuid[], $3::bigint[], $4::bytea[], $5::int[]) AS new (lane, seq, records, size)",
        )
        .bind(schemas::outbox::FORMAT)
        .bind(rows.iter().map(|row| row.lane.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.seq).collect::<Vec<_>>())
        .bind(rows.into_iter().map(|row| row.records).collect::<Vec<_>>())
        .bind(sizes)
        .execute(tx)
        .await?;
        Ok(())
    }

    /// Sets records aside, in this order: `turn` numbers rows as they are inserted. One that is there already (its offset was read again) stays as it is.
    pub(crate) async fn park_in_tx(self, tx: &mut PgConnection, records: &[Parking]) -> sqlx::Result<()> {
        sqlx::query(
            "INSERT INTO parked (topic, partition, \"offset\", key, source, n, logged_at, header, record, cause, detail)
             SELECT $1, partition, at, key, source, n, logged_at, header, record, cause, detail
             FROM UNNEST($2::int[], $3::bigint[], $4::bytea[], $5::uuid[], $6::bigint[], $7::timestamptz[],
                         $8::bytea[], $9::bytea[], $10::text[], $11::text[]) WITH ORDINALITY
                 AS new (partition, at, key, source, n, logged_at, header, record, cause, detail, place)
             ORDER BY place
             ON CONFLICT (topic, partition, \"offset\") DO NOTHING",
        )
        .bind(self.topic.name())
        .bind(records.iter().map(|record| record.partition).collect::<Vec<_>>())
        .bind(records.iter().map(|record| record.offset).collect::<Vec<_>>())
        .bind(records.iter().map(|record| &record.key[..]).collect::<Vec<_>>())
        .bind(records.iter().map(|record| record.source.map(|(lane, _)| lane)).collect::<Vec<_>>())
        .bind(records.iter().map(|record| record.source.map(|(_, n)| n.cast_signed())).collect::<Vec<_>>())
        .bind(records.iter().map(|record| utc(record.logged_at)).collect::<Vec<_>>())
        .bind(records.iter().map(|record| record.header.as_deref()).collect::<Vec<_>>())
        .bind(records.iter().map(|record| &record.record[..]).collect::<Vec<_>>())
        .bind(records.iter().map(|record| record.cause).collect::<Vec<_>>())
        .bind(records.iter().map(|record| record.detail.replace('\0', "\u{fffd}")).collect::<Vec<_>>())
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// Bytes that wait in the outboxes of these lanes, and the age of the oldest row in seconds.
pub(crate) async fn backlog(connection: &mut PgConnection, lanes: &[Uuid]) -> sqlx::Result<(i64, f64)> {
    let row = sqlx::query(
        "SELECT coalesce(sum(size), 0)::bigint AS bytes,
                coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS age
         FROM outbox WHERE lane = ANY ($1)",
    )
    .bind(lanes)
    .fetch_one(connection)
    .await?;
    Ok((row.try_get("bytes")?, row.try_get("age")?))
}

/// Wakes relays of other processes. Sent after a commit: inside it, NOTIFY would serialise every commit of the server.
pub(crate) async fn notify(connection: &mut PgConnection, schema: &str) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_notify($1, $2)")
        .bind(chassis::wake::CHANNEL)
        .bind(schema)
        .execute(connection)
        .await?;
    Ok(())
}

fn read_lane(row: &PgRow) -> sqlx::Result<Lane> {
    let Json(heard): Json<BTreeMap<LaneId, Heard>> = row.try_get("heard")?;
    let Json(ended): Json<BTreeMap<LaneId, u64>> = row.try_get("ended")?;
    let Json(sent): Json<BTreeMap<String, u64>> = row.try_get("sent")?;
    let parked: Vec<Vec<u8>> = row.try_get("parked")?;
    Ok(Lane {
        id: LaneId(row.try_get("id")?),
        partition: row.try_get("partition")?,
        epoch: row.try_get("epoch")?,
        next_offset: row.try_get("next_offset")?,
        last_read: row
            .try_get::<Option<i64>, _>("read_offset")?
            .zip(row.try_get("read_fingerprint")?)
            .map(|(offset, fingerprint)| LastRead { offset, fingerprint }),
        outbox_seq: row.try_get("outbox_seq")?,
        due_mark: Timestamp(row.try_get::<DateTime<Utc>, _>("due_mark")?.timestamp_millis()),
        heard,
        ended: Arc::new(ended),
        sent: sent_from_json(&sent)?,
        parked: Arc::new(parked.into_iter().collect::<HashSet<_>>()),
        gap_checked: None,
    })
}

fn sent_to_json(sent: &BTreeMap<Destination, u64>) -> BTreeMap<String, u64> {
    sent.iter().map(|(to, n)| (format!("{}/{}", to.topic, to.partition), *n)).collect()
}

fn sent_from_json(sent: &BTreeMap<String, u64>) -> sqlx::Result<BTreeMap<Destination, u64>> {
    let read = |(to, n): (&String, &u64)| {
        let (topic, partition) = to.split_once('/')?;
        let destination = Destination { topic: Topic::from_name(topic)?, partition: partition.parse().ok()? };
        Some((destination, *n))
    };
    // numbering on from a counter that could not be read would give a number twice: better no lane than that
    sent.iter()
        .map(|entry| {
            read(entry).ok_or_else(|| sqlx::Error::Decode(format!("lane.sent holds {:?}", entry.0).into()))
        })
        .collect()
}
