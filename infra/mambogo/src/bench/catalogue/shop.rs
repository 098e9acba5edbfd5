//! A shop of a million products, and what people ask of it: filled by sets, in the database, from the seeded one; what is
//! asked is drawn from its own products, so that words come as often as products hold them.

use super::Failure;
use ingress::page::Cursor;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use std::{fmt::Write, sync::Arc, time::Instant};
use uuid::Uuid;

/// Products asked for again and again that the process holds; it has room for 1,000.
const IN_PROCESS: usize = 500;
/// Products asked for in turn, many more than the process holds.
const IN_REDIS: usize = 20_000;
/// Products that many ask for at once, and nobody before.
const RUSHED: usize = 10;
/// Ids that are read.
const IDS: i64 = 400_000;
/// Products whose words, categories and prices are asked for.
const SAMPLE: i64 = 5_000;

/// Copies of the seeded products, each with an id, a price and a word of its own. $1: the copies.
const FILL: &str = "
INSERT INTO catalog.products (id, category_id, name, description, price, currency, stock_quantity)
SELECT md5(p.id::text || n)::uuid, category_id, name || ' ' || n, description || ' Batch ' || n || '.',
       greatest(1, price + (n * 7919 + ascii(p.id::text)) % (price / 5 + 1) - price / 10), currency, stock_quantity
FROM catalog.products p, generate_series(1, $1) n
ON CONFLICT DO NOTHING";

/// Fills the catalogue up to about `products`, and says how many there are. Its indexes are made anew behind the rows: one by one, the rows of a
/// million products would be in four times as long.
pub(super) async fn fill(admin: &mut PgConnection, products: i64) -> Result<i64, Failure> {
    let there: i64 =
        sqlx::query_scalar("SELECT count(*) FROM catalog.products").fetch_one(&mut *admin).await?;
    let copies = products.checked_div(there).ok_or("the catalogue is empty; run mambogo seed first")? - 1;
    if copies < 1 {
        return Ok(there);
    }
    let begun = Instant::now();
    let mut tx = admin.begin().await?;
    sqlx::query("SET LOCAL search_path TO catalog").execute(&mut *tx).await?;
    sqlx::query("SET LOCAL maintenance_work_mem TO '512MB'").execute(&mut *tx).await?;
    let indexes = sqlx::query(
        "SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS made FROM pg_index
         WHERE indrelid = 'catalog.products'::regclass AND NOT indisprimary",
    )
    .fetch_all(&mut *tx)
    .await?;
    for index in &indexes {
        let drop = format!("DROP INDEX {}", index.try_get::<&str, _>("name")?);
        sqlx::query(AssertSqlSafe(drop)).execute(&mut *tx).await?;
    }
    let made = sqlx::query(FILL).bind(copies).execute(&mut *tx).await?.rows_affected();
    for index in &indexes {
        let made = index.try_get::<String, _>("made")?;
        sqlx::query(AssertSqlSafe(made)).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    sqlx::query("VACUUM ANALYZE catalog.products").execute(&mut *admin).await?;
    sqlx::query("CHECKPOINT").execute(&mut *admin).await?;
    println!("  the catalogue was filled in {} s", begun.elapsed().as_secs());
    Ok(there + i64::try_from(made)?)
}

/// A product that stands for what people look for.
#[derive(Debug)]
struct Sought {
    id: Uuid,
    category: String,
    price: i64,
    words: Vec<String>,
}

/// What there is to ask for. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Shop {
    ids: Arc<[Uuid]>,
    sought: Arc<[Sought]>,
}

impl Shop {
    /// In another order each time: what the run before left in Redis is cold to none of its successors.
    pub(super) async fn read(admin: &mut PgConnection) -> sqlx::Result<Self> {
        let ids: Vec<Uuid> =
            sqlx::query_scalar("SELECT id FROM catalog.products ORDER BY md5(id::text || $2) LIMIT $1")
                .bind(IDS)
                .bind(chassis::ids::random().to_string())
                .fetch_all(&mut *admin)
                .await?;
        let sample = ids.get(..usize::try_from(SAMPLE).unwrap_or_default()).unwrap_or(&ids);
        let rows = sqlx::query(
            "SELECT p.id, c.slug, p.price, p.name FROM catalog.products p
             JOIN catalog.categories c ON c.id = p.category_id WHERE p.id = ANY ($1) ORDER BY p.id",
        )
        .bind(sample)
        .fetch_all(admin)
        .await?;
        let of = |row: &sqlx::postgres::PgRow| {
            let name: &str = row.try_get("name")?;
            let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
            Ok(Sought {
                id: row.try_get("id")?,
                category: row.try_get("slug")?,
                price: row.try_get("price")?,
                words: words.map(str::to_owned).collect(),
            })
        };
        let sought: Vec<Sought> = rows.iter().map(of).collect::<sqlx::Result<_>>()?;
        Ok(Self { ids: ids.into(), sought: sought.into() })
    }

    /// How many products are found in the process, and how many more in Redis; fewer in a small shop.
    pub(super) fn held(&self) -> (usize, usize) {
        (IN_PROCESS.min(self.ids.len() / 20), IN_REDIS.min(self.ids.len() / 4))
    }

    /// A product that the process holds once it was asked for.
    pub(super) fn of_process(&self, number: u64) -> String {
        self.product(number, 0, self.held().0)
    }

    /// A product that only Redis still holds when its turn comes again.
    pub(super) fn of_redis(&self, number: u64) -> String {
        let (process, redis) = self.held();
        self.product(number, process, redis)
    }

    /// A product that nobody asked for before, until all were.
    pub(super) fn cold(&self, number: u64) -> String {
        let (process, redis) = self.held();
        let first = RUSHED + process + redis;
        self.product(number, process + redis, self.ids.len().saturating_sub(first))
    }

    /// The product of that rush.
    pub(super) fn rushed(&self, rush: u64) -> String {
        self.product(rush, self.ids.len().saturating_sub(RUSHED), RUSHED)
    }

    fn product(&self, number: u64, first: usize, count: usize) -> String {
        let place = usize::try_from(number).unwrap_or_default() % count.max(1);
        format!("/api/products/{}", self.ids.get(first + place).copied().unwrap_or_default())
    }

    /// A list: each order, with and without a category, a price range, stock, and a page from the middle.
    pub(super) fn list(&self, number: u64) -> String {
        let mut path = String::from("/api/products?");
        self.push_rest(&mut path, number);
        path
    }

    /// The same for words of a product's name: one of them, two, all, or one without another.
    pub(super) fn search(&self, number: u64) -> String {
        let words = self.sought(number).map_or(&[][..], |sought| &sought.words);
        let at = |place: u64| {
            let place = usize::try_from(place).unwrap_or_default() % words.len().max(1);
            words.get(place).map_or("", String::as_str)
        };
        let asked = match number % 4 {
            0 | 1 => at(number / 4).to_owned(),
            2 => format!("{}+{}", at(number / 4), at(number / 4 + 1)),
            _ if number % 8 == 3 => words.join("+"),
            _ => format!("{}+-{}", at(number / 4), at(number / 4 + 1)),
        };
        let mut path = format!("/api/products?q={asked}&");
        self.push_rest(&mut path, number / 8);
        path
    }

    fn push_rest(&self, path: &mut String, number: u64) {
        let Some(Sought { id, category, price, .. }) = self.sought(number) else { return };
        let sort = ["id", "price", "-price"].get(usize::try_from(number % 3).unwrap_or_default());
        let sort = sort.copied().unwrap_or("id");
        path.push_str("sort=");
        path.push_str(sort);
        if number.is_multiple_of(2) {
            path.push_str("&category=");
            path.push_str(category);
        }
        if number.is_multiple_of(5) {
            path.push_str("&inStock=true");
        }
        let by = if sort == "id" { 0 } else { *price };
        if number.is_multiple_of(7) && sort != "id" {
            // writing to a string cannot fail
            let _ = write!(path, "&minPrice={}&maxPrice={}", price / 2, price * 2);
        }
        if number % 4 == 1 {
            path.push_str("&cursor=");
            path.push_str(&Cursor { sort: by, id: *id }.to_text());
        }
    }

    fn sought(&self, number: u64) -> Option<&Sought> {
        let place = usize::try_from(number).unwrap_or_default() % self.sought.len().max(1);
        self.sought.get(place)
    }
}
