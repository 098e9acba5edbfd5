//! The SQL of one source: its lanes, its outbox, its leases.
//!
//! Nothing here waits for the disk (`synchronous_commit` off): a delete that is lost is a row sent again, once the
//! connection that was lost with it is back. Reads go by
//! the key alone (`lane`, `seq`), whatever the planner believes of the table's size.

use crate::{
    config::SourceConfig,
    leases::{Shares, share},
    plan::{Row, Span, Want},
};
use chassis::{
    crash::{self, CrashPoint},
    postgres::{Session, SessionLimits},
};
use schemas::{ids::LaneId, outbox};
use sqlx::{AssertSqlSafe, PgConnection, Row as _, SqlSafeStr, SqlStr};
use std::{collections::BTreeSet, time::Duration};
use uuid::Uuid;

/// Longest wait for a statement, connecting included: a server that is frozen answers nothing, not even an error.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was read of one lane.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) lane: LaneId,
    pub(crate) after: i64,
    pub(crate) rows: Vec<Row>,
    /// Whether the bounds left rows behind.
    pub(crate) more: bool,
    /// How long each row had waited.
    pub(crate) waited: Vec<f64>,
}

/// A connection to one source, made when it is needed and given up with the first error.
pub(crate) struct Store {
    schema: String,
    session: Session,
    connection: Option<PgConnection>,
    sql: Statements,
}

struct Statements {
    read: SqlStr,
    delete: SqlStr,
    lanes: SqlStr,
    join: SqlStr,
    members: SqlStr,
    take: SqlStr,
    give_back: SqlStr,
    leave: SqlStr,
}

impl Statements {
    /// `schema` is one that the settings have let through: letters, digits and `_`.
    fn of(schema: &str) -> Self {
        let sql = |text: &str| AssertSqlSafe(text.replace("{schema}", schema)).into_sql_str();
        Self {
            // `total - size` is what lies before a row: the first is always read
            read: sql("SELECT found.lane, found.seq, found.format, found.records,
                        extract(epoch FROM clock_timestamp() - found.created_at)::float8 AS waited
                 FROM unnest($1::uuid[], $2::int8[]) AS wanted(lane, after)
                 CROSS JOIN LATERAL (
                   SELECT head.*, sum(head.size) OVER (ORDER BY head.seq) AS total
                   FROM (SELECT lane, seq, format, records, size, created_at
                         FROM {schema}.outbox
                         WHERE outbox.lane = wanted.lane AND outbox.seq > wanted.after
                         ORDER BY seq LIMIT $3) AS head
                 ) AS found
                 WHERE found.total - found.size < $4
                 ORDER BY found.lane, found.seq"),
            delete: sql("DELETE FROM {schema}.outbox
                 USING unnest($1::uuid[], $2::int8[], $3::int8[]) AS done(lane, first, last)
                 WHERE outbox.lane = done.lane AND outbox.seq BETWEEN done.first AND done.last"),
            // lanes that there are, and lanes that are gone and left rows: one step of the index for each
            lanes: sql("WITH RECURSIVE left_rows(lane) AS (
                   (SELECT lane FROM {schema}.outbox ORDER BY lane LIMIT 1)
                   UNION ALL
                   SELECT (SELECT outbox.lane FROM {schema}.outbox WHERE outbox.lane > left_rows.lane
                           ORDER BY outbox.lane LIMIT 1)
                   FROM left_rows WHERE left_rows.lane IS NOT NULL
                 )
                 SELECT id AS lane FROM {schema}.lane
                 UNION SELECT lane FROM left_rows WHERE lane IS NOT NULL"),
            // a member's own row names itself as the lane
            join: sql("INSERT INTO {schema}.relay_lease (lane, holder, expires_at)
                 VALUES ($1, $1, clock_timestamp() + $2 * interval '1 ms')
                 ON CONFLICT (lane) DO UPDATE SET expires_at = excluded.expires_at"),
            members: sql("SELECT lane AS member FROM {schema}.relay_lease
                 WHERE lane = holder AND expires_at > clock_timestamp()"),
            take: sql("INSERT INTO {schema}.relay_lease AS held (lane, holder, expires_at)
                 SELECT wanted.lane, $1, clock_timestamp() + $2 * interval '1 ms'
                 FROM unnest($3::uuid[]) AS wanted(lane)
                 ON CONFLICT (lane) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
                 WHERE held.holder = excluded.holder OR held.expires_at <= clock_timestamp()
                 RETURNING lane"),
            give_back: sql("DELETE FROM {schema}.relay_lease
                 WHERE (holder = $1 AND lane <> $1 AND lane <> ALL ($2::uuid[]))
                    OR expires_at < clock_timestamp() - interval '1 minute'"),
            leave: sql("DELETE FROM {schema}.relay_lease WHERE holder = $1"),
        }
    }
}

impl Store {
    /// # Errors
    /// When the URL does not read.
    pub(crate) fn new(source: &SourceConfig) -> sqlx::Result<Self> {
        let session = Session::new(source.url.expose(), "mambogo relay", SessionLimits::WORKER)?.with(&[
            ("synchronous_commit", "off"),
            // tables that were empty a minute ago have statistics that say so
            ("enable_seqscan", "off"),
            ("enable_bitmapscan", "off"),
        ]);
        let sql = Statements::of(&source.schema);
        Ok(Self { schema: source.schema.clone(), session, connection: None, sql })
    }

    /// Reads the rows wanted: of each lane at most `rows`, and no more once `bytes` are reached.
    pub(crate) async fn read(&mut self, wants: &[Want], rows: u32, bytes: usize) -> sqlx::Result<Vec<Read>> {
        let sql = self.sql.read.clone();
        let budget = i64::try_from(bytes).unwrap_or(i64::MAX);
        let lanes: Vec<Uuid> = wants.iter().map(|want| want.lane.0).collect();
        let after: Vec<i64> = wants.iter().map(|want| want.after).collect();
        let query = sqlx::query(sql).bind(lanes).bind(after).bind(i64::from(rows)).bind(budget);
        let found = self.run(async |connection| query.fetch_all(connection).await).await?;
        let mut reads: Vec<Read> = wants
            .iter()
            .map(|want| Read {
                lane: want.lane,
                after: want.after,
                rows: Vec::new(),
                more: false,
                waited: Vec::new(),
            })
            .collect();
        for row in found {
            let lane = LaneId(row.try_get("lane")?);
            if let Some(read) = reads.iter_mut().find(|read| read.lane == lane) {
                read.waited.push(row.try_get("waited")?);
                read.rows.push(unpack(&row)?);
            }
        }
        for read in &mut reads {
            let taken: usize = read.rows.iter().map(|row| row.size).sum();
            read.more = read.rows.len() >= usize::try_from(rows).unwrap_or(usize::MAX) || taken >= bytes;
        }
        Ok(reads)
    }

    /// Deletes rows; returns how many there were.
    pub(crate) async fn delete(&mut self, spans: &[Span]) -> sqlx::Result<u64> {
        let sql = self.sql.delete.clone();
        // in key order: two relays that delete the same rows must not wait for each other
        let mut spans = spans.to_vec();
        spans.sort_by_key(|span| (span.lane, span.first));
        let lanes: Vec<Uuid> = spans.iter().map(|span| span.lane.0).collect();
        let first: Vec<i64> = spans.iter().map(|span| span.first).collect();
        let last: Vec<i64> = spans.iter().map(|span| span.last).collect();
        let query = sqlx::query(sql).bind(lanes).bind(first).bind(last);
        crash::point(CrashPoint::DeleteBefore);
        let deleted = self.run(async |connection| query.execute(connection).await).await?.rows_affected();
        crash::point(CrashPoint::DeleteAfter);
        Ok(deleted)
    }

    /// Every lane that there is, all of them ours.
    pub(crate) async fn all_lanes(&mut self) -> sqlx::Result<Shares> {
        let sql = self.sql.lanes.clone();
        let all = self.ids(sqlx::query(sql)).await?.into_iter().map(LaneId).collect::<BTreeSet<_>>();
        Ok(Shares { held: all.clone(), all })
    }

    /// Renews the leases of member `me`, takes what became free of its share, and gives back the rest.
    pub(crate) async fn lease(&mut self, me: Uuid, time: Duration) -> sqlx::Result<Shares> {
        let millis = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        crash::point(CrashPoint::LeaseBefore);
        let join = sqlx::query(self.sql.join.clone()).bind(me).bind(millis);
        self.run(async |connection| join.execute(connection).await).await?;
        let members = self.ids(sqlx::query(self.sql.members.clone())).await?.into_iter().collect();
        let all = self.all_lanes().await?.all;
        let wanted = share(&self.schema, me, &members, &all);
        let wanted: Vec<Uuid> = wanted.into_iter().map(|lane| lane.0).collect();
        let give_back = sqlx::query(self.sql.give_back.clone()).bind(me).bind(wanted.clone());
        self.run(async |connection| give_back.execute(connection).await).await?;
        let take = sqlx::query(self.sql.take.clone()).bind(me).bind(millis).bind(wanted);
        let held = self.ids(take).await?.into_iter().map(LaneId).collect();
        crash::point(CrashPoint::LeaseAfter);
        Ok(Shares { all, held })
    }

    /// Gives all leases of member `me` back.
    pub(crate) async fn leave(&mut self, me: Uuid) -> sqlx::Result<()> {
        let leave = sqlx::query(self.sql.leave.clone()).bind(me);
        crash::point(CrashPoint::LeaveBefore);
        self.run(async |connection| leave.execute(connection).await).await?;
        crash::point(CrashPoint::LeaveAfter);
        Ok(())
    }

    async fn ids(&mut self, query: Query) -> sqlx::Result<BTreeSet<Uuid>> {
        let rows = self.run(async |connection| query.fetch_all(connection).await).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    }

    async fn run<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        let done = tokio::time::timeout(PATIENCE, async {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                empty => empty.insert(self.session.connect().await?),
            };
            statement(connection).await
        });
        let done = done.await.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
        if done.is_err() {
            // whatever state it is in: it is not used again
            self.connection = None;
        }
        done
    }
}

type Query = sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn unpack(row: &sqlx::postgres::PgRow) -> sqlx::Result<Row> {
    let packed: &[u8] = row.try_get("records")?;
    let records = outbox::unpack(row.try_get("format")?, packed).map_err(|error| error.to_string());
    Ok(Row { seq: row.try_get("seq")?, size: packed.len(), records })
}
