//! Everything about some orders: sets by key, one query a table, put together here and not in SQL. What is not in its table
//! is looked for in the history; a row that comes back between the two questions looks missing, and is looked at again as
//! every suspect is.

use super::{Store, millis, unknown};
use crate::{
    case::{Capture, CaptureState, Case, Charge, Hold, HoldState, Order, Refund, lines},
    note::Lanes,
};
use chrono::{DateTime, Utc};
use schemas::{messages::OrderStatus, topics};
use sqlx::{AssertSqlSafe, Row, postgres::PgRow};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

type Cases = BTreeMap<Uuid, Case>;

impl Store {
    /// The cases of these orders. `strays` are captures and charges that were found by themselves.
    pub(crate) async fn cases(&mut self, ids: &[Uuid], strays: &[Uuid]) -> sqlx::Result<Vec<Case>> {
        let mut cases: Cases = ids.iter().map(|id| (*id, Case::of(*id))).collect();
        self.add_orders(&mut cases).await?;
        self.add_holds(&mut cases).await?;
        self.add_captures(&mut cases, strays).await?;
        self.add_refunds(&mut cases).await?;
        self.add_charges(&mut cases).await?;
        self.add_left(&mut cases).await?;
        Ok(cases.into_values().collect())
    }

    async fn add_orders(&mut self, cases: &mut Cases) -> sqlx::Result<()> {
        for table in ["orders", "every_order"] {
            let missing = ids_of(cases, |case| case.order.is_none());
            if !missing.is_empty() {
                self.add_orders_of(table, missing, cases).await?;
            }
        }
        Ok(())
    }

    /// Of an order that moved once, what is not there has left with its month: it was compared while it was.
    async fn add_left(&mut self, cases: &mut Cases) -> sqlx::Result<()> {
        let missing = ids_of(cases, Case::lacks_a_part);
        if missing.is_empty() {
            return Ok(());
        }
        let left: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM kept_key WHERE id = ANY ($1)")
            .bind(missing)
            .fetch_all(self.orders.connection().await?)
            .await?;
        for id in left {
            at(cases, id, |case| case.has_left = true);
        }
        Ok(())
    }

    async fn add_orders_of(&mut self, table: &str, ids: Vec<Uuid>, cases: &mut Cases) -> sqlx::Result<()> {
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT id, status, version, currency, total, refunded, capture_id, product_ids, quantities, deadline,
                    needs_human IS NOT NULL AS needs_human
             FROM {table} WHERE id = ANY ($1)"
        )))
        .bind(ids)
        .fetch_all(self.orders.connection().await?)
        .await?;
        for row in &rows {
            let status: &str = row.try_get("status")?;
            let order = Order {
                status: OrderStatus::from_name(status).ok_or_else(|| unknown("status", status))?,
                version: row.try_get("version")?,
                currency: row.try_get("currency")?,
                total: row.try_get("total")?,
                refunded: row.try_get("refunded")?,
                capture: row.try_get("capture_id")?,
                lines: lines_of(row)?,
                deadline: millis(row.try_get("deadline")?),
                needs_human: row.try_get("needs_human")?,
            };
            at(cases, row.try_get("id")?, |case| case.order = Some(order));
        }
        Ok(())
    }

    async fn add_holds(&mut self, cases: &mut Cases) -> sqlx::Result<()> {
        for table in ["holds", "hold_history"] {
            let missing = ids_of(cases, |case| case.hold.is_none());
            if !missing.is_empty() {
                self.add_holds_of(table, missing, cases).await?;
            }
        }
        Ok(())
    }

    async fn add_holds_of(&mut self, table: &str, ids: Vec<Uuid>, cases: &mut Cases) -> sqlx::Result<()> {
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT order_id, outside, state::text AS state, product_ids, quantities, deadline
             FROM {table} WHERE order_id = ANY ($1)"
        )))
        .bind(ids)
        .fetch_all(self.inventory.connection().await?)
        .await?;
        for row in &rows {
            let state: &str = row.try_get("state")?;
            let hold = Hold {
                outside: row.try_get("outside")?,
                state: HoldState::from_name(state).ok_or_else(|| unknown("state", state))?,
                lines: lines_of(row)?,
                deadline: millis(row.try_get("deadline")?),
            };
            at(cases, row.try_get("order_id")?, |case| case.hold = Some(hold));
        }
        Ok(())
    }

    async fn add_captures(&mut self, cases: &mut Cases, strays: &[Uuid]) -> sqlx::Result<()> {
        let named = cases.values().filter_map(|case| case.order.as_ref()?.capture);
        let mut keys: BTreeSet<Uuid> = named.chain(strays.iter().copied()).collect();
        for table in ["captures", "capture_history"] {
            if keys.is_empty() {
                break;
            }
            self.add_captures_of(table, &mut keys, cases).await?;
        }
        Ok(())
    }

    /// Those found leave `keys`.
    async fn add_captures_of(
        &mut self,
        table: &str,
        keys: &mut BTreeSet<Uuid>,
        cases: &mut Cases,
    ) -> sqlx::Result<()> {
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT id, order_id, state, amount, refunding, refunded, attempts, first_called_at,
                    state IN ('WAITING', 'CALLING')
                        AND NOT EXISTS (SELECT FROM deferred WHERE effect_id = c.id) AS is_forgotten
             FROM {table} c WHERE id = ANY ($1) ORDER BY id"
        )))
        .bind(keys.iter().copied().collect::<Vec<_>>())
        .fetch_all(self.payments.connection().await?)
        .await?;
        for row in &rows {
            let state: &str = row.try_get("state")?;
            let capture = Capture {
                id: row.try_get("id")?,
                state: match state {
                    "WAITING" | "CALLING" => CaptureState::Unknown,
                    "CAPTURED" => CaptureState::Captured,
                    "DECLINED" | "VOIDED" => CaptureState::Ended,
                    _ => return Err(unknown("state", state)),
                },
                amount: row.try_get("amount")?,
                refunding: row.try_get("refunding")?,
                refunded: row.try_get("refunded")?,
                attempts: row.try_get("attempts")?,
                first_called_at: row.try_get::<Option<DateTime<Utc>>, _>("first_called_at")?.map(millis),
                is_forgotten: row.try_get("is_forgotten")?,
            };
            keys.remove(&capture.id);
            at(cases, row.try_get("order_id")?, |case| case.captures.push(capture));
        }
        Ok(())
    }

    /// Refunds under way or failed, of captures that have any.
    async fn add_refunds(&mut self, cases: &mut Cases) -> sqlx::Result<()> {
        let captures = cases.values().flat_map(|case| &case.captures);
        let with = captures.filter(|c| c.refunding > 0 || c.state == CaptureState::Unknown).map(|c| c.id);
        let keys: Vec<Uuid> = with.collect();
        if keys.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query(
            "SELECT id, order_id, state, attempts, first_called_at,
                    state <> 'FAILED'
                        AND NOT EXISTS (SELECT FROM deferred WHERE effect_id = refunds.id) AS is_forgotten
             FROM refunds WHERE capture_id = ANY ($1) AND state IN ('WAITING', 'CALLING', 'FAILED') ORDER BY id",
        )
        .bind(keys)
        .fetch_all(self.payments.connection().await?)
        .await?;
        for row in &rows {
            let refund = Refund {
                id: row.try_get("id")?,
                attempts: row.try_get("attempts")?,
                has_failed: row.try_get::<&str, _>("state")? == "FAILED",
                first_called_at: row.try_get::<Option<DateTime<Utc>>, _>("first_called_at")?.map(millis),
                is_forgotten: row.try_get("is_forgotten")?,
            };
            at(cases, row.try_get("order_id")?, |case| case.refunds.push(refund));
        }
        Ok(())
    }

    async fn add_charges(&mut self, cases: &mut Cases) -> sqlx::Result<()> {
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        let rows = sqlx::query(
            "SELECT key, order_id, state = 'CHARGED' AS is_charged, amount, refunded
             FROM charges WHERE order_id = ANY ($1) ORDER BY key",
        )
        .bind(ids(cases))
        .fetch_all(ledger.connection().await?)
        .await?;
        for case in cases.values_mut() {
            case.charges = Some(Vec::new());
        }
        for row in &rows {
            let charge = Charge {
                key: row.try_get("key")?,
                is_charged: row.try_get("is_charged")?,
                amount: row.try_get("amount")?,
                refunded: row.try_get("refunded")?,
            };
            at(cases, row.try_get("order_id")?, |case| case.charges.get_or_insert_default().push(charge));
        }
        Ok(())
    }

    /// Adds which services have parked records of these keys: read for the few that something is wrong with.
    pub(crate) async fn add_parked(&mut self, lanes: &Lanes, cases: &mut [&mut Case]) -> sqlx::Result<()> {
        let partitions: Vec<i32> = cases.iter().map(|case| lanes.partition_of(case.id)).collect();
        let keys: Vec<Vec<u8>> = cases.iter().map(|case| topics::key(case.id).to_vec()).collect();
        for (service, topic, database) in self.with_lanes() {
            let rows: Vec<Vec<u8>> = sqlx::query_scalar(
                "SELECT DISTINCT parked.key FROM parked
                 JOIN UNNEST($2::int[], $3::bytea[]) AS wanted (partition, key) USING (partition, key)
                 WHERE topic = $1",
            )
            .bind(topic.name())
            .bind(&partitions)
            .bind(&keys)
            .fetch_all(database.connection().await?)
            .await?;
            for case in cases.iter_mut().filter(|case| rows.iter().any(|key| key[..] == topics::key(case.id)))
            {
                case.parked.push(service);
            }
        }
        Ok(())
    }
}

fn ids(cases: &Cases) -> Vec<Uuid> {
    ids_of(cases, |_| true)
}

fn ids_of(cases: &Cases, of: impl Fn(&Case) -> bool) -> Vec<Uuid> {
    cases.values().filter(|case| of(case)).map(|case| case.id).collect()
}

/// A row whose order was not asked for is left out.
fn at(cases: &mut Cases, id: Uuid, put: impl FnOnce(&mut Case)) {
    if let Some(case) = cases.get_mut(&id) {
        put(case);
    }
}

fn lines_of(row: &PgRow) -> sqlx::Result<crate::case::Lines> {
    let products: Vec<Uuid> = row.try_get("product_ids")?;
    Ok(lines(&products, &row.try_get::<Vec<i32>, _>("quantities")?))
}
