//! The SQL of payments: load what a batch touches, save what it changed. What is put off is in `deferred.rs`.

use crate::books::{Books, Capture, Refund};
use chrono::{DateTime, Utc};
use schemas::{
    ids::{self, EffectId, OrderId},
    messages::{NoticeKind, PaymentCommand},
    money::{Currency, Money},
    time::Timestamp,
};
use sqlx::{PgConnection, Row, postgres::PgRow};
use std::{collections::BTreeSet, str::FromStr};
use uuid::Uuid;

mod deferred;
pub(crate) mod history;

pub use deferred::{Due, is_due, take_due_in_tx};

/// Rows that are not in their tables and may have left for the history.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    captures: BTreeSet<Uuid>,
    /// Named without their capture.
    refunds: BTreeSet<Uuid>,
}

impl Moved {
    /// Of what these commands name, what `books` has not. A capture whose deadline lies behind `cutoff` is younger.
    fn by<'a>(commands: impl Iterator<Item = &'a PaymentCommand>, books: &Books, cutoff: Timestamp) -> Self {
        let mut moved = Self::default();
        for command in commands {
            let capture = match command {
                PaymentCommand::CapturePayment(command) if command.deadline > cutoff => continue,
                PaymentCommand::CapturePayment(command) => command.capture_id,
                PaymentCommand::VoidCapture(command) => command.capture_id,
                PaymentCommand::RefundPayment(command) => command.capture_id,
                PaymentCommand::ProviderNotice(notice) => notice.capture_id,
                PaymentCommand::ResumeEffect(command) => command.effect_id,
                PaymentCommand::RetryRefund(command) => command.refund_id,
            };
            let is_known = books.capture(capture).is_some() || books.refund(capture).is_some();
            if !is_known && !matches!(command, PaymentCommand::RetryRefund(_)) {
                moved.captures.insert(capture.0);
            }
            if !is_known
                && matches!(command, PaymentCommand::RetryRefund(_) | PaymentCommand::ResumeEffect(_))
            {
                moved.refunds.insert(capture.0);
            }
        }
        moved
    }

    fn is_empty(&self) -> bool {
        self.captures.is_empty() && self.refunds.is_empty()
    }
}

/// Loads what a batch of commands touches. What ended before `cutoff` may have left for the history, and comes back first.
///
/// # Errors
/// As [`load_in_tx`].
pub async fn load_batch_in_tx(
    tx: &mut PgConnection,
    commands: &[&PaymentCommand],
    cutoff: Option<Timestamp>,
) -> sqlx::Result<Books> {
    let wanted = || Wanted::by(commands.iter().copied());
    let books = load_in_tx(tx, wanted()).await?;
    let Some(cutoff) = cutoff else { return Ok(books) };
    let moved = Moved::by(commands.iter().copied(), &books, cutoff);
    if moved.is_empty() || history::recall_in_tx(tx, &moved).await? == 0 {
        return Ok(books);
    }
    load_in_tx(tx, wanted()).await
}

/// The keys of the rows a batch touches.
#[derive(Debug, Default)]
pub struct Wanted {
    captures: BTreeSet<Uuid>,
    refunds: BTreeSet<Uuid>,
    /// Captures whose refunds are touched, whichever it is: a notice names a refund by its provider's key.
    refunds_of: BTreeSet<Uuid>,
}

impl Wanted {
    /// What these commands touch.
    pub fn by<'a>(commands: impl Iterator<Item = &'a PaymentCommand>) -> Self {
        let mut wanted = Self::default();
        for command in commands {
            wanted.add(command);
        }
        wanted
    }

    fn add(&mut self, command: &PaymentCommand) {
        match command {
            PaymentCommand::CapturePayment(command) => {
                self.captures.insert(command.capture_id.0);
            }
            PaymentCommand::VoidCapture(command) => {
                self.captures.insert(command.capture_id.0);
                self.refunds.insert(ids::undo_of(command.capture_id).0);
            }
            PaymentCommand::RefundPayment(command) => {
                self.captures.insert(command.capture_id.0);
                self.refunds.insert(command.refund_id.0);
            }
            PaymentCommand::ResumeEffect(command) => {
                self.captures.insert(command.effect_id.0);
                self.refunds.insert(command.effect_id.0);
            }
            PaymentCommand::RetryRefund(command) => {
                self.refunds.insert(command.refund_id.0);
            }
            PaymentCommand::ProviderNotice(notice) => {
                self.captures.insert(notice.capture_id.0);
                match notice.kind {
                    NoticeKind::Captured | NoticeKind::CaptureFailed => {
                        self.refunds.insert(ids::undo_of(notice.capture_id).0);
                    }
                    NoticeKind::Refunded | NoticeKind::RefundFailed => {
                        self.refunds_of.insert(notice.capture_id.0);
                    }
                }
            }
        }
    }
}

/// Loads the rows, refunds first: a refund that is resumed names its capture. They need no locks of their own: whoever
/// writes them holds the row of their lane, as this transaction does.
///
/// # Errors
/// When the database fails, or a row holds what this release does not know.
pub async fn load_in_tx(tx: &mut PgConnection, mut wanted: Wanted) -> sqlx::Result<Books> {
    let mut refunds = Vec::new();
    if !wanted.refunds.is_empty() || !wanted.refunds_of.is_empty() {
        let rows = sqlx::query(
            "SELECT id, capture_id, order_id, state, amount, cause, attempts, keys_spent, failures, retry_action,
                    first_called_at, reference, reason, created_at, settled_at
             FROM refunds WHERE id = ANY($1) OR capture_id = ANY($2)",
        )
        .bind(wanted.refunds.iter().copied().collect::<Vec<Uuid>>())
        .bind(wanted.refunds_of.iter().copied().collect::<Vec<Uuid>>())
        .fetch_all(&mut *tx)
        .await?;
        refunds = rows.iter().map(refund).collect::<sqlx::Result<_>>()?;
    }
    wanted.captures.extend(refunds.iter().map(|refund: &Refund| refund.capture_id.0));
    let keys: Vec<Uuid> = wanted.captures.into_iter().collect();
    let rows = sqlx::query(
        "SELECT id, order_id, state, amount, currency, method, deadline, void_asked, attempts, first_called_at,
                reference, reason, refunding, refunded, created_at, settled_at
         FROM captures WHERE id = ANY($1)",
    )
    .bind(keys)
    .fetch_all(&mut *tx)
    .await?;
    let captures = rows.iter().map(capture).collect::<sqlx::Result<_>>()?;
    Ok(Books::of(captures, refunds))
}

/// Saves what was changed: one statement for the new and one for the changed rows of a table, in key order.
///
/// # Errors
/// When the database fails. A new row that is there already is an error too: somebody else writes our lane.
pub async fn save_in_tx(tx: &mut PgConnection, books: &Books) -> sqlx::Result<()> {
    insert_captures(tx, &books.new_captures(), books).await?;
    update_captures(tx, &books.changed_captures()).await?;
    insert_refunds(tx, &books.new_refunds()).await?;
    update_refunds(tx, &books.changed_refunds()).await?;
    deferred::save_in_tx(tx, books).await
}

async fn insert_captures(tx: &mut PgConnection, rows: &[&Capture], books: &Books) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    // no conflict rule on purpose: the rows were not there under our lanes' locks
    sqlx::query(
        "INSERT INTO captures (id, order_id, state, amount, currency, method, deadline, void_asked, attempts,
                               first_called_at, reference, reason, refunding, refunded, created_at, settled_at,
                               partition)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[],
                              $7::timestamptz[], $8::boolean[], $9::int[], $10::timestamptz[], $11::text[],
                              $12::text[], $13::bigint[], $14::bigint[], $15::timestamptz[], $16::timestamptz[],
                              $17::int[])",
    )
    .bind(column(rows, |row| row.id.0))
    .bind(column(rows, |row| row.order_id.0))
    .bind(column(rows, |row| row.state.as_str()))
    .bind(column(rows, |row| row.amount.amount))
    .bind(column(rows, |row| row.amount.currency.as_str().to_owned()))
    .bind(column(rows, |row| row.method.clone()))
    .bind(column(rows, |row| at(row.deadline)))
    .bind(column(rows, |row| row.void_asked))
    .bind(column(rows, |row| row.attempts))
    .bind(column(rows, |row| row.first_called_at.map(at)))
    .bind(column(rows, |row| row.reference.clone()))
    .bind(column(rows, |row| row.reason.clone()))
    .bind(column(rows, |row| row.refunding))
    .bind(column(rows, |row| row.refunded))
    .bind(column(rows, |row| at(row.created_at)))
    .bind(column(rows, |row| row.settled_at.map(at)))
    .bind(column(rows, |row| books.partition_of(row.order_id)))
    .execute(&mut *tx)
    .await?;
    Ok(())
}

async fn update_captures(tx: &mut PgConnection, rows: &[&Capture]) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let done = sqlx::query(
        "UPDATE captures c
         SET state = u.state, amount = u.amount, currency = u.currency, method = u.method, deadline = u.deadline,
             void_asked = u.void_asked, attempts = u.attempts, first_called_at = u.first_called_at,
             reference = u.reference, reason = u.reason, refunding = u.refunding, refunded = u.refunded,
             settled_at = u.settled_at
         FROM UNNEST($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[], $7::boolean[],
                     $8::int[], $9::timestamptz[], $10::text[], $11::text[], $12::bigint[], $13::bigint[],
                     $14::timestamptz[])
           AS u (id, state, amount, currency, method, deadline, void_asked, attempts, first_called_at, reference,
                 reason, refunding, refunded, settled_at)
         WHERE c.id = u.id",
    )
    .bind(column(rows, |row| row.id.0))
    .bind(column(rows, |row| row.state.as_str()))
    .bind(column(rows, |row| row.amount.amount))
    .bind(column(rows, |row| row.amount.currency.as_str().to_owned()))
    .bind(column(rows, |row| row.method.clone()))
    .bind(column(rows, |row| at(row.deadline)))
    .bind(column(rows, |row| row.void_asked))
    .bind(column(rows, |row| row.attempts))
    .bind(column(rows, |row| row.first_called_at.map(at)))
    .bind(column(rows, |row| row.reference.clone()))
    .bind(column(rows, |row| row.reason.clone()))
    .bind(column(rows, |row| row.refunding))
    .bind(column(rows, |row| row.refunded))
    .bind(column(rows, |row| row.settled_at.map(at)))
    .execute(&mut *tx)
    .await?;
    all_found(done.rows_affected(), rows.len())
}

async fn insert_refunds(tx: &mut PgConnection, rows: &[&Refund]) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    // no conflict rule on purpose, as for captures
    sqlx::query(
        "INSERT INTO refunds (id, capture_id, order_id, state, amount, cause, attempts, keys_spent, failures,
                              retry_action, first_called_at, reference, reason, created_at, settled_at)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::text[], $7::int[],
                              $8::int[], $9::int[], $10::uuid[], $11::timestamptz[], $12::text[], $13::text[],
                              $14::timestamptz[], $15::timestamptz[])",
    )
    .bind(column(rows, |row| row.id.0))
    .bind(column(rows, |row| row.capture_id.0))
    .bind(column(rows, |row| row.order_id.0))
    .bind(column(rows, |row| row.state.as_str()))
    .bind(column(rows, |row| row.amount))
    .bind(column(rows, |row| row.cause.clone()))
    .bind(column(rows, |row| row.attempts))
    .bind(column(rows, |row| row.keys_spent))
    .bind(column(rows, |row| row.failures))
    .bind(column(rows, |row| row.retry_action))
    .bind(column(rows, |row| row.first_called_at.map(at)))
    .bind(column(rows, |row| row.reference.clone()))
    .bind(column(rows, |row| row.reason.clone()))
    .bind(column(rows, |row| at(row.created_at)))
    .bind(column(rows, |row| row.settled_at.map(at)))
    .execute(&mut *tx)
    .await?;
    Ok(())
}

async fn update_refunds(tx: &mut PgConnection, rows: &[&Refund]) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let done = sqlx::query(
        "UPDATE refunds r
         SET state = u.state, amount = u.amount, attempts = u.attempts, keys_spent = u.keys_spent,
             failures = u.failures, retry_action = u.retry_action, first_called_at = u.first_called_at,
             reference = u.reference, reason = u.reason, settled_at = u.settled_at
         FROM UNNEST($1::uuid[], $2::text[], $3::bigint[], $4::int[], $5::int[], $6::int[], $7::uuid[],
                     $8::timestamptz[], $9::text[], $10::text[], $11::timestamptz[])
           AS u (id, state, amount, attempts, keys_spent, failures, retry_action, first_called_at, reference, reason,
                 settled_at)
         WHERE r.id = u.id",
    )
    .bind(column(rows, |row| row.id.0))
    .bind(column(rows, |row| row.state.as_str()))
    .bind(column(rows, |row| row.amount))
    .bind(column(rows, |row| row.attempts))
    .bind(column(rows, |row| row.keys_spent))
    .bind(column(rows, |row| row.failures))
    .bind(column(rows, |row| row.retry_action))
    .bind(column(rows, |row| row.first_called_at.map(at)))
    .bind(column(rows, |row| row.reference.clone()))
    .bind(column(rows, |row| row.reason.clone()))
    .bind(column(rows, |row| row.settled_at.map(at)))
    .execute(&mut *tx)
    .await?;
    all_found(done.rows_affected(), rows.len())
}

fn capture(row: &PgRow) -> sqlx::Result<Capture> {
    Ok(Capture {
        id: EffectId(row.try_get("id")?),
        order_id: OrderId(row.try_get("order_id")?),
        state: named(row, "state")?,
        amount: Money::new(row.try_get("amount")?, named::<Currency>(row, "currency")?),
        method: row.try_get("method")?,
        deadline: millis(row.try_get("deadline")?),
        void_asked: row.try_get("void_asked")?,
        attempts: row.try_get("attempts")?,
        first_called_at: row.try_get::<Option<_>, _>("first_called_at")?.map(millis),
        reference: row.try_get("reference")?,
        reason: row.try_get("reason")?,
        refunding: row.try_get("refunding")?,
        refunded: row.try_get("refunded")?,
        created_at: millis(row.try_get("created_at")?),
        settled_at: row.try_get::<Option<_>, _>("settled_at")?.map(millis),
    })
}

fn refund(row: &PgRow) -> sqlx::Result<Refund> {
    Ok(Refund {
        id: EffectId(row.try_get("id")?),
        capture_id: EffectId(row.try_get("capture_id")?),
        order_id: OrderId(row.try_get("order_id")?),
        state: named(row, "state")?,
        amount: row.try_get("amount")?,
        cause: row.try_get("cause")?,
        attempts: row.try_get("attempts")?,
        keys_spent: row.try_get("keys_spent")?,
        failures: row.try_get("failures")?,
        retry_action: row.try_get("retry_action")?,
        first_called_at: row.try_get::<Option<_>, _>("first_called_at")?.map(millis),
        reference: row.try_get("reference")?,
        reason: row.try_get("reason")?,
        created_at: millis(row.try_get("created_at")?),
        settled_at: row.try_get::<Option<_>, _>("settled_at")?.map(millis),
    })
}

/// A text column whose value has a type of ours.
fn named<T>(row: &PgRow, column: &str) -> sqlx::Result<T>
where
    T: FromStr,
    T::Err: ToString,
{
    row.try_get::<&str, _>(column)?.parse().map_err(|error: T::Err| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: error.to_string().into(),
    })
}

fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// Every time we write is ours or was checked at the door; the fallback is for the type alone.
fn at(time: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(time.0).unwrap_or(DateTime::UNIX_EPOCH)
}

fn millis(time: DateTime<Utc>) -> Timestamp {
    Timestamp(time.timestamp_millis())
}

fn all_found(found: u64, wanted: usize) -> sqlx::Result<()> {
    if usize::try_from(found).is_ok_and(|found| found == wanted) {
        Ok(())
    } else {
        Err(sqlx::Error::RowNotFound)
    }
}
