//! Everything about some orders: sets by key, one query a table, put together here and not in SQL.

use super::{Store, millis, unknown};
use crate::{
    case::{Capture, CaptureState, Case, Charge, Hold, HoldState, Order, Refund, lines},
    note::Lanes,
};
use chrono::{DateTime, Utc};
use schemas::{messages::OrderStatus, topics};
use sqlx::{Row, postgres::PgRow};
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
        Ok(cases.into_values().collect())
    }

    async fn add_orders(&mut self, cases: &mut Cases) -> sqlx::Result<()> {
        let rows = sqlx::query(
            "SELECT id, status, version, currency, total, refunded, capture_id, product_ids, quantities, deadline,
                    needs_human IS NOT NULL AS needs_human
             FROM orders WHERE id = ANY ($1)",
        )
        .bind(ids(cases))
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
        let rows = sqlx::query(
            "SELECT order_id, outside, state::text AS state, product_ids, quantities, deadline
             FROM holds WHERE order_id = ANY ($1)",
        )
        .bind(ids(cases))
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
        let keys: BTreeSet<Uuid> = named.chain(strays.iter().copied()).collect();
        let rows = sqlx::query(
            "SELECT id, order_id, state, amount, refunding, refunded, attempts, first_called_at,
                    state IN ('WAITING', 'CALLING')
                        AND NOT EXISTS (SELECT FROM deferred WHERE effect_id = captures.id) AS is_forgotten
             FROM captures WHERE id = ANY ($1) ORDER BY id",
        )
        .bind(keys.into_iter().collect::<Vec<_>>())
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
    cases.keys().copied().collect()
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
