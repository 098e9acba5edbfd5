//! The sessions of a service's database: how long the oldest transaction has been open. A transaction that somebody forgot
//! holds locks that lanes wait for, and keeps dead rows from being cleaned up.

use super::Store;
use schemas::topics;
use sqlx::Row;

/// Ages of a database's oldest transactions, in seconds; 0 where there are none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Oldest {
    /// Whose database it is.
    pub(crate) service: &'static str,
    /// Since the oldest open transaction began.
    pub(crate) open: f64,
    /// Since the session that has said nothing longest, inside its transaction, said its last.
    pub(crate) idle: f64,
}

impl Store {
    /// The oldest transactions of clients, but for the one that asks.
    pub(crate) async fn oldest_transactions(&mut self) -> sqlx::Result<[Oldest; 3]> {
        let mut found = [topics::ORDERS_GROUP, topics::INVENTORY_GROUP, topics::PAYMENTS_GROUP]
            .map(|service| Oldest { service, open: 0.0, idle: 0.0 });
        for (oldest, database) in
            found.iter_mut().zip([&mut self.orders, &mut self.inventory, &mut self.payments])
        {
            let row = sqlx::query(
                "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 AS open,
                        coalesce(max(extract(epoch FROM clock_timestamp() - state_change))
                                 FILTER (WHERE state LIKE 'idle in transaction%'), 0)::float8 AS idle
                 FROM pg_stat_activity
                 WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
            )
            .fetch_one(database.connection().await?)
            .await?;
            oldest.open = row.try_get("open")?;
            oldest.idle = row.try_get("idle")?;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AuditConfig;
    use chassis::settings::Secret;
    use sqlx::Executor;
    use testbed::{Database, eventually};

    async fn orders(store: &mut Store) -> (f64, f64) {
        let [orders, _, _] = store.oldest_transactions().await.unwrap();
        (orders.open, orders.idle)
    }

    #[tokio::test]
    async fn a_transaction_that_somebody_forgot_is_seen_by_its_age_whoever_opened_it() {
        let database = Database::create().await;
        let mut store = Store::new(&AuditConfig::new(&Secret::new(database.url("audit"))));
        assert_eq!(orders(&mut store).await, (0.0, 0.0));
        let mut stray = database.connect("inventory").await;
        stray.execute("BEGIN; SELECT count(*) FROM lane").await.unwrap();
        eventually("both ages grow", async || {
            let (open, idle) = orders(&mut store).await;
            open > 0.2 && idle > 0.1 && open >= idle
        })
        .await;
        stray.execute("COMMIT").await.unwrap();
        eventually("it is gone", async || orders(&mut store).await == (0.0, 0.0)).await;
    }
}
