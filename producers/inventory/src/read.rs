//! The SQL of the inventory endpoints: reads only, on the role of the edge.

use chassis::postgres;
use schemas::ids::ProductId;
use serde::Serialize;
use sqlx::{PgPool, Row};
use std::collections::HashMap;
use uuid::Uuid;

/// A product's stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Levels {
    pub(crate) product_id: ProductId,
    pub(crate) available: i64,
    pub(crate) held: i64,
    pub(crate) sold: i64,
    pub(crate) version: i64,
}

/// The stock of each product, in the order of the question.
pub(crate) async fn levels(pool: &PgPool, products: &[ProductId]) -> sqlx::Result<Vec<Option<Levels>>> {
    let query =
        sqlx::query("SELECT id, available, held, sold, version FROM inventory.products WHERE id = ANY ($1)")
            .bind(products.iter().map(|product| product.0).collect::<Vec<Uuid>>());
    let rows = postgres::read(pool, query).await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let product_id = ProductId(row.try_get("id")?);
        let levels = Levels {
            product_id,
            available: row.try_get("available")?,
            held: row.try_get("held")?,
            sold: row.try_get("sold")?,
            version: row.try_get("version")?,
        };
        found.insert(product_id, levels);
    }
    // a product may be asked for twice
    Ok(products.iter().map(|product| found.get(product).cloned()).collect())
}
