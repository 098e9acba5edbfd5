//! Whether a pooler stands before Postgres that we cannot work through. Our connections have state of their own: limits,
//! prepared statements, `LISTEN`. A pooler in transaction mode hands each transaction to another session of the server,
//! which has the state of others; one in session mode is as good as none.

use crate::postgres::within;
use sqlx::{Connection, PgConnection, Row, raw_sql};
use std::time::Duration;

/// SQLSTATE `protocol_violation`, with which pgbouncer refuses what it does not know.
const REFUSED: &str = "08P01";

/// Longest time for both connections and their answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why we do not start.
#[derive(Debug, thiserror::Error)]
pub enum PoolerError {
    /// Two statements of one connection ran in two sessions, or those of two connections in one.
    #[error(
        "a pooler gives this database's sessions away between transactions, and ours have state (limits, prepared \
         statements, LISTEN): set pool_mode = session for this user and database, or connect to Postgres itself"
    )]
    Shared,
    /// What every client of ours says when it connects is refused.
    #[error(
        "a pooler refuses our connections: {0}; pgbouncer needs pool_mode = session and \
         ignore_startup_parameters = extra_float_digits"
    )]
    Refused(String),
}

/// Looks whether connections to `url` have sessions of their own. A server that is away, or says nothing within 5 s, passes:
/// it is waited for later.
///
/// # Errors
/// [`PoolerError`].
pub async fn check(url: &str) -> Result<(), PoolerError> {
    match within(PATIENCE, is_shared(url)).await {
        Ok(true) => Err(PoolerError::Shared),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(REFUSED) => {
            Err(PoolerError::Refused(error.message().to_owned()))
        }
        Ok(false) | Err(_) => Ok(()),
    }
}

/// A second connection takes a session in a transaction: where sessions are shared, it gets the first one's, or the first
/// one gets another.
async fn is_shared(url: &str) -> sqlx::Result<bool> {
    let (mut first, mut second) = (PgConnection::connect(url).await?, PgConnection::connect(url).await?);
    let before = session(&mut first).await?;
    raw_sql("BEGIN").execute(&mut second).await?;
    let other = session(&mut second).await?;
    let after = session(&mut first).await?;
    raw_sql("ROLLBACK").execute(&mut second).await?;
    Ok(before == other || before != after)
}

async fn session(connection: &mut PgConnection) -> sqlx::Result<String> {
    raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get_unchecked(0)
}
