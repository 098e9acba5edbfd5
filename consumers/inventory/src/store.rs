//! Inventory's SQL. Locks are taken in one order: lane rows (by the machine), product rows by id, hold rows by id;
//! never out of it. What the locks turn out not to cover is left to a `WalkQueue`.

mod due;
pub(crate) mod history;
mod load;
mod queues;
mod save;

pub(crate) use due::{due_in_tx, is_due};
pub(crate) use load::load_in_tx;
pub(crate) use save::save_in_tx;

use chrono::{DateTime, Utc};
use schemas::time::Timestamp;

/// A time as the database takes it.
fn to_sql(time: Timestamp) -> sqlx::Result<DateTime<Utc>> {
    DateTime::from_timestamp_millis(time.0)
        .ok_or_else(|| sqlx::Error::Encode(format!("{} ms is out of range", time.0).into()))
}

fn from_sql(time: DateTime<Utc>) -> Timestamp {
    Timestamp(time.timestamp_millis())
}
