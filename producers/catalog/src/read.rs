//! The SQL of the catalogue's reads, on the role of the edge. Every page is a walk along an index from its cursor on.

use crate::{
    databases::Lsn,
    product::Product,
    search::read as search,
    wanted::{Sort, Wanted},
};
use chassis::postgres;
use schemas::{
    ids::ProductId,
    money::Money,
    shelf::{Facts, Stock},
};
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row, postgres::PgRow};
use std::collections::HashMap;
use uuid::Uuid;

/// A category as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Category {
    pub(crate) slug: String,
    pub(crate) name: String,
}

/// The columns of [`product_of`]; inventory's word where there is one, else what the product was made with.
const COLUMNS: &str = "p.id, p.name, p.description, c.slug, p.price, p.currency, p.is_active, p.version,
    coalesce(s.available, p.stock_quantity) AS available, coalesce(s.version, 0) AS stock_version";
const JOINED: &str = "JOIN catalog.categories c ON c.id = p.category_id
    LEFT JOIN catalog.stock s ON s.product_id = p.id";

/// What sessions of the catalogue are told. Its statements are few, and each is written for one index: they are planned
/// once, since planning costs as much as running them, and so that no count of rows, made while a table was empty, leads
/// past the index.
pub(crate) const SESSION: &[(&str, &str)] = &[
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];

/// Active products in the order asked for.
pub(crate) async fn page(pool: &PgPool, wanted: &Wanted) -> sqlx::Result<Vec<Product>> {
    let (price, id) = place_of(wanted);
    let query = sqlx::query(AssertSqlSafe(page_sql(wanted)))
        .bind(&wanted.category)
        .bind(wanted.min_price.unwrap_or(0))
        .bind(wanted.max_price.unwrap_or(i64::MAX))
        .bind(price)
        .bind(id)
        .bind(wanted.limit)
        .bind(&wanted.words);
    let rows = postgres::read(pool, query).await?;
    rows.iter().map(product_of).collect()
}

/// How Postgres reads that page, by the plan that it keeps for all such pages.
pub(crate) async fn page_plan(pool: &PgPool, wanted: &Wanted) -> sqlx::Result<String> {
    let text = |text: &Option<String>| match text {
        Some(text) => format!("'{}'", text.replace('\'', "''")),
        None => "NULL".to_owned(),
    };
    let (price, id) = place_of(wanted);
    let prepare =
        format!("PREPARE page (text, bigint, bigint, bigint, uuid, bigint, text) AS {}", page_sql(wanted));
    let explain = format!(
        "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE page ({}, {}, {}, {price}, '{id}', {}, {})",
        text(&wanted.category),
        wanted.min_price.unwrap_or(0),
        wanted.max_price.unwrap_or(i64::MAX),
        wanted.limit,
        text(&wanted.words)
    );
    let mut connection = pool.acquire().await?;
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await?;
    let lines = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut *connection).await?;
    sqlx::raw_sql("DEALLOCATE page").execute(&mut *connection).await?;
    let lines = lines.iter().map(|row| row.try_get::<String, _>(0)).collect::<Result<Vec<_>, _>>()?;
    Ok(lines.join("\n"))
}

/// Price and id of the cursor; what stands for them where there is none is not read.
fn place_of(wanted: &Wanted) -> (i64, Uuid) {
    wanted.after.map_or_else(Default::default, |after| (after.sort, after.id))
}

/// The statement of a page: one for each kind of question, whatever its values. Its arguments: $1 the category's slug, $2 and
/// $3 the bounds of the price, $4 and $5 the cursor's price and id, $6 how many, $7 the words.
fn page_sql(wanted: &Wanted) -> String {
    let order = order_of(wanted.sort);
    let page = match &wanted.words {
        // cut to the page first, joined then
        None => format!(
            "SELECT {COLUMNS} FROM (
                 SELECT * FROM catalog.products p WHERE p.is_active{}{} ORDER BY {order} LIMIT $6) p",
            filters(wanted),
            after(wanted)
        ),
        Some(_) => {
            format!(
                "{} SELECT {COLUMNS} FROM found JOIN catalog.products p USING (id)",
                search::found(wanted)
            )
        }
    };
    format!("{page} {JOINED} ORDER BY {order}")
}

pub(crate) const fn order_of(sort: Sort) -> &'static str {
    match sort {
        Sort::Id => "p.id",
        Sort::Price => "p.price, p.id",
        Sort::PriceDown => "p.price DESC, p.id DESC",
    }
}

/// All conditions but activity, words and cursor.
pub(crate) fn filters(wanted: &Wanted) -> String {
    let mut filters = String::new();
    if wanted.category.is_some() {
        filters += " AND p.category_id = (SELECT id FROM catalog.categories WHERE slug = $1)";
    }
    if wanted.in_stock {
        filters += " AND p.stock_quantity > 0";
    }
    if wanted.sort != Sort::Id || wanted.min_price.or(wanted.max_price).is_some() {
        filters += " AND p.price >= $2 AND p.price <= $3";
    }
    filters
}

/// What comes after the cursor.
pub(crate) const fn after(wanted: &Wanted) -> &'static str {
    match (wanted.after, wanted.sort) {
        (None, _) => "",
        (Some(_), Sort::Id) => " AND p.id > $5",
        (Some(_), Sort::Price) => " AND (p.price, p.id) > ($4, $5)",
        (Some(_), Sort::PriceDown) => " AND (p.price, p.id) < ($4, $5)",
    }
}

/// Each product, sold or no longer, in the order of the question.
pub(crate) async fn products(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<Option<Product>>> {
    let sql = format!("SELECT {COLUMNS} FROM catalog.products p {JOINED} WHERE p.id = ANY ($1)");
    let rows = postgres::read(pool, sqlx::query(AssertSqlSafe(sql)).bind(ids)).await?;
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
    let query = sqlx::query("SELECT slug, name FROM catalog.categories ORDER BY name, id");
    let rows = postgres::read(pool, query).await?;
    let of = |row: &PgRow| Ok(Category { slug: row.try_get("slug")?, name: row.try_get("name")? });
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
