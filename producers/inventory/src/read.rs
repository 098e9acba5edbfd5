//! The SQL of the inventory endpoints: reads only, on the role of the edge.

use chassis::postgres;
use schemas::{
    ids::{OrderId, ProductId},
    messages::StockLine,
    time::Timestamp,
};
use serde::Serialize;
use sqlx::{
    PgPool, Row,
    types::chrono::{DateTime, Utc},
};
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

/// Where a reserve stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldState {
    /// Others hold the units.
    Waiting,
    /// The units are held.
    Held,
    /// There are not so many units.
    Rejected,
    /// Given back, run out, or sold.
    Ended,
}

impl HoldState {
    /// Whether it holds nothing and never will.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Rejected | Self::Ended)
    }
}

/// A reserve's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) state: HoldState,
    pub(crate) deadline: Timestamp,
    pub(crate) lines: Vec<StockLine>,
}

/// The reserve of each of `orders`, in the order of the question.
pub(crate) async fn holds(pool: &PgPool, orders: &[OrderId]) -> sqlx::Result<Vec<Option<Hold>>> {
    let query = sqlx::query(
        "SELECT order_id, state::text AS state, deadline, product_ids, quantities
         FROM inventory.holds WHERE order_id = ANY ($1)",
    )
    .bind(orders.iter().map(|order| order.0).collect::<Vec<Uuid>>());
    let rows = postgres::read(pool, query).await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let state = match row.try_get("state")? {
            "waiting" => HoldState::Waiting,
            "held" => HoldState::Held,
            "rejected" => HoldState::Rejected,
            _ => HoldState::Ended,
        };
        let deadline: DateTime<Utc> = row.try_get("deadline")?;
        let (products, quantities): (Vec<Uuid>, Vec<i32>) =
            (row.try_get("product_ids")?, row.try_get("quantities")?);
        let lines = products.into_iter().zip(quantities);
        let lines = lines.map(|(product, quantity)| StockLine { product_id: ProductId(product), quantity });
        let hold = Hold { state, deadline: Timestamp(deadline.timestamp_millis()), lines: lines.collect() };
        found.insert(OrderId(row.try_get("order_id")?), hold);
    }
    Ok(orders.iter().map(|order| found.get(order).cloned()).collect())
}
