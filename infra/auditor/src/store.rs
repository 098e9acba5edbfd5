//! The auditor's connections: one to each service's database, opened when first used and again after a failure. All
//! of its SQL stands below; it only reads.

mod cases;
mod lanes;
mod pages;
mod sessions;
pub(crate) mod stock;

pub(crate) use lanes::Desk;
pub(crate) use pages::{Look, Page};
pub(crate) use sessions::Oldest;

use crate::config::{AuditConfig, SourceConfig};
use chassis::postgres::{Session, SessionLimits};
use chrono::{DateTime, Utc};
use schemas::time::Timestamp;
use sqlx::PgConnection;
use std::time::Duration;

/// Stock is compared by one statement over all holds, which may take long; everything else takes milliseconds.
const LIMITS: SessionLimits = SessionLimits {
    idle_in_transaction: Duration::from_secs(5),
    statement: Duration::from_secs(600),
    lock: Duration::from_secs(1),
};

/// A service's database, as the auditor sees it.
pub(crate) struct Database {
    source: SourceConfig,
    connection: Option<PgConnection>,
}

impl Database {
    pub(crate) fn new(source: SourceConfig) -> Self {
        Self { source, connection: None }
    }

    /// The open connection; a new one after [`Self::forget`].
    pub(crate) async fn connection(&mut self) -> sqlx::Result<&mut PgConnection> {
        if self.connection.is_none() {
            let session = Session::new(self.source.url.expose(), "mambogo-auditor", LIMITS)?
                .with(&[("search_path", &self.source.schema)]);
            self.connection = Some(session.connect().await?);
        }
        // it was opened above
        self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// After an error nobody knows what the connection is in the middle of.
    pub(crate) fn forget(&mut self) {
        self.connection = None;
    }
}

/// All books.
pub(crate) struct Store {
    pub(crate) orders: Database,
    pub(crate) inventory: Database,
    pub(crate) payments: Database,
    /// The provider's, where it is the built-in one.
    pub(crate) ledger: Option<Database>,
}

impl Store {
    pub(crate) fn new(config: &AuditConfig) -> Self {
        Self {
            orders: Database::new(config.orders.clone()),
            inventory: Database::new(config.inventory.clone()),
            payments: Database::new(config.payments.clone()),
            ledger: config.ledger.clone().map(Database::new),
        }
    }

    pub(crate) fn forget(&mut self) {
        self.orders.forget();
        self.inventory.forget();
        self.payments.forget();
        if let Some(ledger) = &mut self.ledger {
            ledger.forget();
        }
    }

    /// The time of the orders' database.
    pub(crate) async fn now(&mut self) -> sqlx::Result<Timestamp> {
        let now: DateTime<Utc> =
            sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(self.orders.connection().await?).await?;
        Ok(millis(now))
    }
}

fn millis(time: DateTime<Utc>) -> Timestamp {
    Timestamp(time.timestamp_millis())
}

fn utc(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// A value of a type of ours that this release does not know.
fn unknown(column: &str, value: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: format!("{value:?} is not known").into() }
}
