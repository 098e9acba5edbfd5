//! The SQL of the sandbox's ledger: key → effect, each call counted.

use super::Behaviour;
use crate::provider::{CaptureRequest, RefundRequest};
use chassis::crash::{self, CrashPoint};
use schemas::{
    ids::EffectId,
    money::{Currency, Money},
};
use sqlx::{PgConnection, PgPool, Row, postgres::PgRow};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use uuid::Uuid;

/// What became of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChargeState {
    None,
    Charged,
    Declined,
}

/// A key, and what it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Charge {
    order_id: Uuid,
    amount: Money,
    method: String,
    pub(super) state: ChargeState,
    pub(super) calls: i32,
}

impl Charge {
    /// What the first call of `request` makes.
    fn first(request: &CaptureRequest) -> Self {
        let state = match charged_on(request) {
            None => ChargeState::Declined,
            Some(1) => ChargeState::Charged,
            Some(_) => ChargeState::None,
        };
        let CaptureRequest { order_id, amount, method, .. } = request;
        Self { order_id: order_id.0, amount: *amount, method: method.clone(), state, calls: 1 }
    }

    /// Whether it is what `request` asks for.
    pub(super) fn is_of(&self, request: &CaptureRequest) -> bool {
        self.order_id == request.order_id.0 && self.amount == request.amount && self.method == request.method
    }
}

/// What became of a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefundState {
    None,
    Refunded,
    Refused,
}

/// A refund's key, and what it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RefundEntry {
    charge: Uuid,
    amount: Money,
    pub(super) state: RefundState,
    calls: i32,
}

impl RefundEntry {
    /// Whether it is what `request` asks for.
    pub(super) fn is_of(&self, request: &RefundRequest) -> bool {
        self.charge == request.capture.0 && self.amount == request.amount
    }
}

/// The provider's books.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    pool: PgPool,
}

impl Ledger {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Charges a set. A key that is there is counted, and charged if this is the call for it; one that comes with another
    /// request changes nothing.
    pub(super) async fn charge(
        &self,
        requests: &[CaptureRequest],
    ) -> sqlx::Result<BTreeMap<EffectId, Charge>> {
        let by_key: BTreeMap<Uuid, &CaptureRequest> = requests.iter().map(|r| (r.key.0, r)).collect();
        crash::point(CrashPoint::ChargeBefore);
        let mut charges = match self.charge_new(by_key.values().copied()).await {
            Ok(charges) => charges,
            // somebody called one of them at the same time
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let known = by_key.values().copied().filter(|request| !charges.contains_key(&request.key));
        let known: Vec<&CaptureRequest> = known.collect();
        if !known.is_empty() {
            charges.extend(self.charge_again(known.into_iter()).await?);
        }
        crash::point(CrashPoint::ChargeAfter);
        Ok(charges)
    }

    /// Charges those whose key was never called: nearly all. One statement and commit. (`ON CONFLICT` would do for all,
    /// at twice the cost: each row is looked up, written with a mark, and written again without it.)
    async fn charge_new(
        &self,
        requests: impl Iterator<Item = &CaptureRequest> + Clone,
    ) -> sqlx::Result<BTreeMap<EffectId, Charge>> {
        let columns = Columns::of(requests.clone());
        let inserted: BTreeSet<Uuid> = sqlx::query_scalar(
            "INSERT INTO charges (key, order_id, amount, currency, method, charged_on, state, charged_at)
             SELECT key, order_id, amount, currency, method, charged_on,
                    CASE WHEN charged_on IS NULL THEN 'DECLINED' WHEN charged_on = 1 THEN 'CHARGED' ELSE 'NONE' END,
                    CASE WHEN charged_on = 1 THEN now() END
             FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::int[])
                    AS t (key, order_id, amount, currency, method, charged_on)
             WHERE NOT EXISTS (SELECT FROM charges AS c WHERE c.key = t.key)
             RETURNING key",
        )
        .bind(columns.key)
        .bind(columns.order_id)
        .bind(columns.amount)
        .bind(columns.currency)
        .bind(columns.method)
        .bind(columns.charged_on)
        .fetch_all(&self.pool)
        .await?
        .into_iter()
        .collect();
        let requests = requests.filter(|request| inserted.contains(&request.key.0));
        Ok(requests.map(|request| (request.key, Charge::first(request))).collect())
    }

    /// Counts a further call of each, or the first of one that is new after all. One statement and commit.
    async fn charge_again(
        &self,
        requests: impl Iterator<Item = &CaptureRequest> + Clone,
    ) -> sqlx::Result<BTreeMap<EffectId, Charge>> {
        let columns = Columns::of(requests);
        let rows = sqlx::query(
            "INSERT INTO charges AS c (key, order_id, amount, currency, method, charged_on, state, charged_at)
             SELECT key, order_id, amount, currency, method, charged_on,
                    CASE WHEN charged_on IS NULL THEN 'DECLINED' WHEN charged_on = 1 THEN 'CHARGED' ELSE 'NONE' END,
                    CASE WHEN charged_on = 1 THEN now() END
             FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::int[])
                    AS t (key, order_id, amount, currency, method, charged_on)
             ORDER BY key
             ON CONFLICT (key) DO UPDATE SET
               calls = c.calls + CASE WHEN (c.order_id, c.amount, c.currency, c.method)
                     = (EXCLUDED.order_id, EXCLUDED.amount, EXCLUDED.currency, EXCLUDED.method) THEN 1 ELSE 0 END,
               refused = c.refused + CASE WHEN (c.order_id, c.amount, c.currency, c.method)
                     = (EXCLUDED.order_id, EXCLUDED.amount, EXCLUDED.currency, EXCLUDED.method) THEN 0 ELSE 1 END,
               state = CASE WHEN c.state = 'NONE' AND c.calls + 1 >= c.charged_on
                             AND (c.order_id, c.amount, c.currency, c.method)
                     = (EXCLUDED.order_id, EXCLUDED.amount, EXCLUDED.currency, EXCLUDED.method)
                       THEN 'CHARGED' ELSE c.state END,
               charged_at = CASE WHEN c.state = 'NONE' AND c.calls + 1 >= c.charged_on
                             AND (c.order_id, c.amount, c.currency, c.method)
                     = (EXCLUDED.order_id, EXCLUDED.amount, EXCLUDED.currency, EXCLUDED.method)
                       THEN now() ELSE c.charged_at END
             RETURNING key, order_id, amount, currency, method, state, calls",
        )
        .bind(columns.key)
        .bind(columns.order_id)
        .bind(columns.amount)
        .bind(columns.currency)
        .bind(columns.method)
        .bind(columns.charged_on)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok((EffectId(row.try_get("key")?), charge(row)?))).collect()
    }

    /// The charge of that key, and how long ago it was first called.
    pub(super) async fn find_charge(&self, key: EffectId) -> sqlx::Result<Option<(Charge, Duration)>> {
        let row = sqlx::query(
            "SELECT order_id, amount, currency, method, state, calls,
                    (extract(epoch FROM now() - created_at) * 1000)::bigint AS age
             FROM charges WHERE key = $1",
        )
        .bind(key.0)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref()
            .map(|row| {
                let age = Duration::from_millis(u64::try_from(row.try_get::<i64, _>("age")?).unwrap_or(0));
                Ok((charge(row)?, age))
            })
            .transpose()
    }

    /// Gives back: counts the call, and moves the money if this is the call for it and enough is left.
    #[expect(clippy::disallowed_methods, reason = "every call to the ledger runs in a task of its own")]
    pub(super) async fn refund(&self, request: &RefundRequest) -> sqlx::Result<RefundEntry> {
        let mut tx = self.pool.begin().await?;
        // the charge is locked first: refunds of one charge come one after the other
        let charged =
            sqlx::query("SELECT amount, currency, method, state FROM charges WHERE key = $1 FOR UPDATE")
                .bind(request.capture.0)
                .fetch_optional(&mut *tx)
                .await?;
        let mut entry = count_refund_in_tx(&mut tx, request).await?;
        let refunded_on = match &charged {
            Some(row) if row.try_get::<&str, _>("state")? == "CHARGED" => {
                let behaviour = Behaviour::of(row.try_get("method")?);
                behaviour.map_or(Some(1), |b| b.refunded_on(row.try_get("amount").unwrap_or(0)))
            }
            // no such charge: refused at the first call
            _ => Some(1),
        };
        let is_time = refunded_on.is_some_and(|on| entry.calls >= on);
        if entry.is_of(request) && entry.state == RefundState::None && is_time {
            entry.state = move_refund_in_tx(&mut tx, request).await?;
        }
        crash::point(CrashPoint::RefundBefore);
        tx.commit().await?;
        crash::point(CrashPoint::RefundAfter);
        Ok(entry)
    }

    /// The refund of that key.
    pub(super) async fn find_refund(&self, key: EffectId) -> sqlx::Result<Option<RefundEntry>> {
        let row = sqlx::query("SELECT charge, amount, currency, state, calls FROM refunds WHERE key = $1")
            .bind(key.0)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(refund).transpose()
    }
}

/// Requests as arrays of one length.
#[derive(Default)]
struct Columns {
    key: Vec<Uuid>,
    order_id: Vec<Uuid>,
    amount: Vec<i64>,
    currency: Vec<String>,
    method: Vec<String>,
    charged_on: Vec<Option<i32>>,
}

impl Columns {
    fn of<'a>(requests: impl Iterator<Item = &'a CaptureRequest>) -> Self {
        let mut columns = Self::default();
        for request in requests {
            columns.key.push(request.key.0);
            columns.order_id.push(request.order_id.0);
            columns.amount.push(request.amount.amount);
            columns.currency.push(request.amount.currency.as_str().to_owned());
            columns.method.push(request.method.clone());
            columns.charged_on.push(charged_on(request));
        }
        columns
    }
}

/// The call that takes the money; none does when it declines.
fn charged_on(request: &CaptureRequest) -> Option<i32> {
    Behaviour::of(&request.method).and_then(|behaviour| behaviour.charged_on(request.amount.amount))
}

async fn count_refund_in_tx(tx: &mut PgConnection, request: &RefundRequest) -> sqlx::Result<RefundEntry> {
    let row = sqlx::query(
        "INSERT INTO refunds AS r (key, charge, amount, currency, state) VALUES ($1, $2, $3, $4, 'NONE')
         ON CONFLICT (key) DO UPDATE SET
           calls = r.calls + CASE WHEN (r.charge, r.amount, r.currency)
                 = (EXCLUDED.charge, EXCLUDED.amount, EXCLUDED.currency) THEN 1 ELSE 0 END,
           refused = r.refused + CASE WHEN (r.charge, r.amount, r.currency)
                 = (EXCLUDED.charge, EXCLUDED.amount, EXCLUDED.currency) THEN 0 ELSE 1 END
         RETURNING charge, amount, currency, state, calls",
    )
    .bind(request.key.0)
    .bind(request.capture.0)
    .bind(request.amount.amount)
    .bind(request.amount.currency.as_str())
    .fetch_one(tx)
    .await?;
    refund(&row)
}

async fn move_refund_in_tx(tx: &mut PgConnection, request: &RefundRequest) -> sqlx::Result<RefundState> {
    let moved = sqlx::query(
        "UPDATE charges SET refunded = refunded + $2
         WHERE key = $1 AND state = 'CHARGED' AND currency = $3 AND refunded + $2 <= amount",
    )
    .bind(request.capture.0)
    .bind(request.amount.amount)
    .bind(request.amount.currency.as_str())
    .execute(&mut *tx)
    .await?;
    let is_moved = moved.rows_affected() == 1;
    let state = if is_moved { "REFUNDED" } else { "REFUSED" };
    sqlx::query("UPDATE refunds SET state = $2, refunded_at = CASE WHEN $3 THEN now() END WHERE key = $1")
        .bind(request.key.0)
        .bind(state)
        .bind(is_moved)
        .execute(tx)
        .await?;
    Ok(if is_moved { RefundState::Refunded } else { RefundState::Refused })
}

fn charge(row: &PgRow) -> sqlx::Result<Charge> {
    Ok(Charge {
        order_id: row.try_get("order_id")?,
        amount: money(row)?,
        method: row.try_get("method")?,
        state: match row.try_get("state")? {
            "CHARGED" => ChargeState::Charged,
            "DECLINED" => ChargeState::Declined,
            _ => ChargeState::None,
        },
        calls: row.try_get("calls")?,
    })
}

fn refund(row: &PgRow) -> sqlx::Result<RefundEntry> {
    Ok(RefundEntry {
        charge: row.try_get("charge")?,
        amount: money(row)?,
        state: match row.try_get("state")? {
            "REFUNDED" => RefundState::Refunded,
            "REFUSED" => RefundState::Refused,
            _ => RefundState::None,
        },
        calls: row.try_get("calls")?,
    })
}

fn money(row: &PgRow) -> sqlx::Result<Money> {
    let currency: Currency = row.try_get::<&str, _>("currency")?.parse().map_err(|error| {
        sqlx::Error::ColumnDecode { index: "currency".to_owned(), source: Box::new(error) }
    })?;
    Ok(Money::new(row.try_get("amount")?, currency))
}
