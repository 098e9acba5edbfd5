//! The SQL of the catalogue: reads only, on the role of the edge.

use schemas::money::Money;
use serde::Serialize;
use sqlx::{PgPool, Row, postgres::PgRow};
use std::collections::HashMap;
use uuid::Uuid;

/// A product as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Product {
    pub(crate) id: Uuid,
    name: String,
    description: String,
    /// The category's slug.
    category: String,
    price: Money,
    /// Units to be had, a projection: inventory has the truth.
    available: i64,
    active: bool,
}

/// Which page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) category: Option<String>,
    /// Minor units, inclusive.
    pub(crate) max_price: Option<i64>,
    pub(crate) after: Option<Uuid>,
    pub(crate) limit: i64,
}

/// Active products in the order of their ids.
pub(crate) async fn page(pool: &PgPool, wanted: &Wanted) -> sqlx::Result<Vec<Product>> {
    let rows = sqlx::query(
        "SELECT p.id, p.name, p.description, c.slug, p.price, p.currency, p.stock_quantity, p.is_active
         FROM catalog.products p JOIN catalog.categories c ON c.id = p.category_id
         WHERE p.is_active
           AND ($1::text IS NULL OR p.category_id = (SELECT id FROM catalog.categories WHERE slug = $1))
           AND ($2::bigint IS NULL OR p.price <= $2)
           AND ($3::uuid IS NULL OR p.id > $3)
         ORDER BY p.id LIMIT $4",
    )
    .bind(&wanted.category)
    .bind(wanted.max_price)
    .bind(wanted.after)
    .bind(wanted.limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(product_of).collect()
}

/// Each product, sold or no longer, in the order of the question.
pub(crate) async fn products(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<Option<Product>>> {
    let rows = sqlx::query(
        "SELECT p.id, p.name, p.description, c.slug, p.price, p.currency, p.stock_quantity, p.is_active
         FROM catalog.products p JOIN catalog.categories c ON c.id = p.category_id
         WHERE p.id = ANY ($1)",
    )
    .bind(ids)
    .fetch_all(pool)
    .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let product = product_of(row)?;
        found.insert(product.id, product);
    }
    Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
}

fn product_of(row: &PgRow) -> sqlx::Result<Product> {
    let currency = row.try_get::<&str, _>("currency")?.parse();
    let currency = currency.map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Product {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        category: row.try_get("slug")?,
        price: Money::new(row.try_get("price")?, currency),
        available: row.try_get("stock_quantity")?,
        active: row.try_get("is_active")?,
    })
}
