//! The SQL of the stock that the catalogue shows: sets, by version.

use chassis::{
    postgres::{self, SessionLimits},
    settings::Secret,
};
use schemas::shelf::Change;
use sqlx::{Connection, PgConnection};
use std::time::Duration;
use uuid::Uuid;

/// Longest time for one set.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most products in one transaction.
const SET: usize = 1_000;

/// A connection that is made when it is needed and given up with the first error.
pub(crate) struct Store {
    url: Secret,
    connection: Option<PgConnection>,
}

impl Store {
    pub(crate) fn new(url: Secret) -> Self {
        Self { url, connection: None }
    }

    /// Writes the stock of each product, where it is newer.
    pub(crate) async fn write<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> sqlx::Result<()> {
        let levels = changes.filter_map(|change| Some((change.id.0, change.stock?)));
        let levels: Vec<_> = levels.collect();
        for set in levels.chunks(SET) {
            let ids: Vec<Uuid> = set.iter().map(|(id, _)| *id).collect();
            let available: Vec<i64> = set.iter().map(|(_, stock)| stock.available).collect();
            let versions: Vec<i64> = set.iter().map(|(_, stock)| stock.version).collect();
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => {
                    postgres::connect(self.url.expose(), "mambogo-catalog", SessionLimits::WORKER).await?
                }
            };
            postgres::within(PATIENCE, write_set(&mut connection, &ids, &available, &versions)).await?;
            self.connection = Some(connection);
        }
        Ok(())
    }
}

/// `ids` are in order.
async fn write_set(
    connection: &mut PgConnection,
    ids: &[Uuid],
    available: &[i64],
    versions: &[i64],
) -> sqlx::Result<()> {
    let mut tx = connection.begin().await?;
    sqlx::query(
        "INSERT INTO stock AS known (product_id, available, version)
         SELECT * FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[])
         ON CONFLICT (product_id) DO UPDATE SET available = excluded.available, version = excluded.version
         WHERE known.version < excluded.version",
    )
    .bind(ids)
    .bind(available)
    .bind(versions)
    .execute(&mut *tx)
    .await?;
    // the column that indexes name follows only when a product sells out or comes back
    sqlx::query(
        "UPDATE products SET stock_quantity = stock.available FROM stock
         WHERE products.id = ANY ($1) AND stock.product_id = products.id
           AND (products.stock_quantity > 0) <> (stock.available > 0)",
    )
    .bind(ids)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
