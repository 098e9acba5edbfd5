//! The SQL of the catalogue's reads, on the role of the edge. Every page is a walk along an index from its cursor on.

use crate::{
    databases::Lsn,
    product::Product,
    search::read as search,
    wanted::{Sort, Wanted},
};
use chassis::postgres;
use ingress::page::Cursor;
use schemas::{
    ids::ProductId,
    money::Money,
    shelf::{Facts, Stock},
};
use serde::Serialize;
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder, Row, postgres::PgRow};
use std::collections::HashMap;
use uuid::Uuid;

/// A category as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Category {
    #[serde(skip)]
    pub(crate) id: i32,
    pub(crate) slug: String,
    pub(crate) name: String,
}

/// The columns of [`product_of`]; inventory's word where there is one, else what the product was made with.
const COLUMNS: &str = "p.id, p.name, p.description, c.slug, p.price, p.currency, p.is_active, p.version,
    coalesce(s.available, p.stock_quantity) AS available, coalesce(s.version, 0) AS stock_version";
const JOINED: &str = "JOIN catalog.categories c ON c.id = p.category_id
    LEFT JOIN catalog.stock s ON s.product_id = p.id";

/// Active products in the order asked for. `category` is the id of `wanted`'s: the planner is to see how many it has.
pub(crate) async fn page(
    pool: &PgPool,
    wanted: &Wanted,
    category: Option<i32>,
) -> sqlx::Result<Vec<Product>> {
    let mut query = page_query("", wanted, category);
    let rows = postgres::read(pool, query.build()).await?;
    rows.iter().map(product_of).collect()
}

/// How Postgres reads that page. What a recursion asks is only planned when it is run.
pub(crate) async fn page_plan(pool: &PgPool, wanted: &Wanted, category: Option<i32>) -> sqlx::Result<String> {
    let lines = page_query("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ", wanted, category)
        .build()
        .fetch_all(pool)
        .await?;
    let lines = lines.iter().map(|row| row.try_get::<String, _>(0)).collect::<Result<Vec<_>, _>>()?;
    Ok(lines.join("\n"))
}

fn page_query(before: &str, wanted: &Wanted, category: Option<i32>) -> QueryBuilder<Postgres> {
    let order = order_of(wanted.sort);
    let mut query = QueryBuilder::new(before);
    match &wanted.words {
        None => {
            // cut to the page first, joined then
            query.push(format!("SELECT {COLUMNS} FROM (SELECT * FROM catalog.products p WHERE p.is_active"));
            push_filters(&mut query, wanted, category);
            push_after(&mut query, wanted);
            query.push(format!(" ORDER BY {order} LIMIT ")).push_bind(wanted.limit).push(") p");
        }
        Some(words) => {
            search::push_found(&mut query, words, wanted, category);
            query.push(format!(" SELECT {COLUMNS} FROM found JOIN catalog.products p USING (id)"));
        }
    }
    query.push(format!(" {JOINED} ORDER BY {order}"));
    query
}

pub(crate) const fn order_of(sort: Sort) -> &'static str {
    match sort {
        Sort::Id => "p.id",
        Sort::Price => "p.price, p.id",
        Sort::PriceDown => "p.price DESC, p.id DESC",
    }
}

/// All conditions but activity, words and cursor.
pub(crate) fn push_filters(query: &mut QueryBuilder<Postgres>, wanted: &Wanted, category: Option<i32>) {
    if let Some(category) = category {
        query.push(" AND p.category_id = ").push_bind(category);
    }
    if wanted.in_stock {
        query.push(" AND p.stock_quantity > 0");
    }
    if let Some(least) = wanted.min_price {
        query.push(" AND p.price >= ").push_bind(least);
    }
    if let Some(most) = wanted.max_price {
        query.push(" AND p.price <= ").push_bind(most);
    }
}

/// What comes after the cursor.
pub(crate) fn push_after(query: &mut QueryBuilder<Postgres>, wanted: &Wanted) {
    let Some(Cursor { sort, id }) = wanted.after else { return };
    match wanted.sort {
        Sort::Id => query.push(" AND p.id > ").push_bind(id),
        Sort::Price => {
            query.push(" AND (p.price, p.id) > (").push_bind(sort).push(", ").push_bind(id).push(")")
        }
        Sort::PriceDown => {
            query.push(" AND (p.price, p.id) < (").push_bind(sort).push(", ").push_bind(id).push(")")
        }
    };
}

/// Each product, sold or no longer, in the order of the question.
pub(crate) async fn products(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<Option<Product>>> {
    let sql = format!("SELECT {COLUMNS} FROM catalog.products p {JOINED} WHERE p.id = ANY ($1)");
    let rows = postgres::read(pool, sqlx::query(sqlx::AssertSqlSafe(sql)).bind(ids)).await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let product = product_of(row)?;
        found.insert(product.facts.id.0, product);
    }
    // a product may be asked for twice
    Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
}

/// Every category, by name.
pub(crate) async fn categories(pool: &PgPool) -> sqlx::Result<Vec<Category>> {
    let query = sqlx::query("SELECT id, slug, name FROM catalog.categories ORDER BY name, id");
    let rows = postgres::read(pool, query).await?;
    let of = |row: &PgRow| {
        Ok(Category { id: row.try_get("id")?, slug: row.try_get("slug")?, name: row.try_get("name")? })
    };
    rows.iter().map(of).collect()
}

/// Where the primary's log is now.
pub(crate) async fn position(pool: &PgPool) -> sqlx::Result<Option<Lsn>> {
    let rows = postgres::read(pool, sqlx::query("SELECT pg_current_wal_lsn()::text")).await?;
    place(rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?)
}

/// The same, on a connection that has just written.
pub(crate) async fn position_of(connection: &mut PgConnection) -> sqlx::Result<Option<Lsn>> {
    let text = sqlx::query_scalar("SELECT pg_current_wal_lsn()::text").fetch_one(connection).await?;
    place(text)
}

/// How far the replica has followed it; nothing is known of one that has not begun.
pub(crate) async fn replayed(pool: &PgPool) -> sqlx::Result<Option<Lsn>> {
    let rows = postgres::read(pool, sqlx::query("SELECT pg_last_wal_replay_lsn()::text")).await?;
    place(rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?)
}

fn place(text: Option<String>) -> sqlx::Result<Option<Lsn>> {
    let wrong = |text: &str| sqlx::Error::Decode(format!("{text:?} is no place in the log").into());
    text.as_deref().map(|text| text.parse().map_err(|()| wrong(text))).transpose()
}

fn product_of(row: &PgRow) -> sqlx::Result<Product> {
    let currency = row.try_get::<&str, _>("currency")?.parse();
    let currency = currency.map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    let facts = Facts {
        id: ProductId(row.try_get("id")?),
        version: row.try_get("version")?,
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        category: row.try_get("slug")?,
        price: Money::new(row.try_get("price")?, currency),
        active: row.try_get("is_active")?,
    };
    let stock = Stock { version: row.try_get("stock_version")?, available: row.try_get("available")? };
    Ok(Product { facts, stock })
}
