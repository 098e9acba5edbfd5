//! What the services' tables say about the history's months, and how one is made or dropped.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};
use std::fmt;

const SERVICES: [&str; 3] = ["orders", "inventory", "payments"];

/// A month of a service.
#[derive(Debug, Clone)]
pub(super) struct Month {
    pub(super) service: &'static str,
    /// Its first moment.
    begin: DateTime<Utc>,
    pub(super) name: String,
    /// How many months ago.
    pub(super) age: i64,
    /// As far as statistics know.
    rows: i64,
    mebibytes: i64,
    pub(super) has_left: bool,
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.has_left { "left" } else { "here" };
        let Self { service, name, rows, mebibytes, .. } = self;
        write!(f, "{service:<10} {name:<8} {rows:>12} {mebibytes:>10}  {state}")
    }
}

/// Every month there is or was, by service, the oldest first.
pub(super) async fn months(admin: &mut PgConnection) -> sqlx::Result<Vec<Month>> {
    let mut months = Vec::new();
    for service in SERVICES {
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT month, to_char(month AT TIME ZONE 'UTC', 'YYYY-MM') AS name, dropped_at IS NOT NULL AS has_left,
                    (extract(year FROM age(this, here)) * 12 + extract(month FROM age(this, here)))::bigint AS age,
                    coalesce(sum(greatest(part.reltuples, 0)), 0)::bigint AS rows,
                    (coalesce(sum(pg_total_relation_size(part.oid)), 0) / 1048576)::bigint AS mebibytes
             FROM {service}.history_month
             CROSS JOIN LATERAL (SELECT month AT TIME ZONE 'UTC' AS here,
                                        date_trunc('month', now() AT TIME ZONE 'UTC') AS this) AS utc
             LEFT JOIN pg_class AS part ON part.relnamespace = '{service}'::regnamespace AND part.relkind = 'r'
                 AND part.relispartition AND part.relname LIKE '%history_' || to_char(here, 'YYYY_MM')
             GROUP BY month, dropped_at, here, this ORDER BY month"
        )))
        .fetch_all(&mut *admin)
        .await?;
        for row in &rows {
            months.push(Month {
                service,
                begin: row.try_get("month")?,
                name: row.try_get("name")?,
                age: row.try_get("age")?,
                rows: row.try_get("rows")?,
                mebibytes: row.try_get("mebibytes")?,
                has_left: row.try_get("has_left")?,
            });
        }
    }
    Ok(months)
}

/// Makes this month and the next.
pub(super) async fn make(admin: &mut PgConnection) -> sqlx::Result<()> {
    for service in SERVICES {
        let make = format!(
            "SELECT {service}.make_history(now()), {service}.make_history(now() + interval '1 month')"
        );
        admin.execute(AssertSqlSafe(make)).await?;
    }
    Ok(())
}

/// Drops a month; 55P03 when somebody reads it for too long.
pub(super) async fn drop_month(admin: &mut PgConnection, month: &Month) -> sqlx::Result<()> {
    admin.execute("SET lock_timeout = '1s'").await?;
    sqlx::query(AssertSqlSafe(format!("SELECT {}.drop_history($1)", month.service)))
        .bind(month.begin)
        .execute(admin)
        .await?;
    Ok(())
}
