//! The seeded catalogue: products with plausible names, prices and stock. The same seed gives the same shop on every
//! machine; a product's id depends on its number alone.

mod random;
mod words;

use random::SplitMix64;
use schemas::{ids::ProductId, money::Currency};
use sqlx::{Connection, PgConnection};
use std::fmt;
use uuid::Uuid;
use words::{CATEGORIES, Category, FINISHES, MAKERS, PROMISES, QUALITIES};

/// Products written in one transaction.
const SET: u32 = 1_000;

/// Namespace of product ids (a random UUID, pinned).
const NAMESPACE: Uuid = Uuid::from_u128(0x6f3d_1c52_9a0e_4b7d_8c41_5e2f_7a90_b3d6);

/// What seeding has added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Report {
    /// Categories that were not there.
    pub(crate) categories: u64,
    /// Products that were not in the catalogue.
    pub(crate) products: u64,
    /// Products that had no stock row.
    pub(crate) stocked: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { categories, products, stocked } = self;
        if *self == Self::default() {
            return f.write_str("the catalogue is seeded already");
        }
        write!(f, "seeded {products} products, {categories} new categories, stock for {stocked}")
    }
}

/// The id of the product of that number, from 1: UUIDv5 of a fixed namespace and the number in decimal.
fn product_id(number: u32) -> ProductId {
    ProductId(Uuid::new_v5(&NAMESPACE, number.to_string().as_bytes()))
}

/// One seeded product.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Product {
    id: Uuid,
    /// From 1.
    category: i32,
    name: String,
    description: String,
    /// Cents.
    price: i64,
    stock: i64,
}

/// Adds the products 1 to `count`, and their categories and stock, as `seed` makes them. What is there already
/// stays as it is, stock that was sold included, so running it again changes nothing. `connection` is the
/// administrator's: the rows belong to two services. With `stock`, each product has that many units instead of some.
///
/// # Errors
/// When a statement fails; the sets of 1,000 before it stay.
pub(crate) async fn run(
    connection: &mut PgConnection,
    count: u32,
    seed: u64,
    stock: Option<i64>,
) -> sqlx::Result<Report> {
    let mut report = Report { categories: add_categories(connection).await?, ..Report::default() };
    let mut first = 1;
    while first <= count {
        let last = count.min(first.saturating_add(SET - 1));
        let mut products: Vec<Product> = (first..=last).map(|number| product(number, seed)).collect();
        if let Some(units) = stock {
            products.iter_mut().for_each(|product| product.stock = units);
        }
        products.sort_unstable_by_key(|product| product.id);
        let mut tx = connection.begin().await?;
        report.products += add_products_in_tx(&mut tx, &products).await?;
        report.stocked += add_stock_in_tx(&mut tx, &products).await?;
        tx.commit().await?;
        first = last.saturating_add(1);
    }
    // plans made while statistics say "empty" are bad ones
    sqlx::query("ANALYZE catalog.categories, catalog.products, inventory.products")
        .execute(connection)
        .await?;
    Ok(report)
}

/// A product is drawn from its own numbers: how many others there are changes nothing about it.
fn product(number: u32, seed: u64) -> Product {
    let mut random = SplitMix64::of(seed, u64::from(number));
    let place = random.below(CATEGORIES.len() as u64);
    let category = usize::try_from(place).ok().and_then(|place| CATEGORIES.get(place));
    let nouns = category.map_or(&[][..], |category| category.nouns);
    let (maker, quality) = (random.pick(MAKERS), random.pick(QUALITIES));
    let (noun, finish) = (random.pick(nouns), random.pick(FINISHES));
    let promise = random.pick(PROMISES);
    Product {
        id: product_id(number).0,
        category: i32::try_from(place).unwrap_or(0) + 1,
        name: format!("{maker} {quality} {noun}, {finish}"),
        description: format!("{quality} {} by {maker}, in {finish}. {promise}", noun.to_lowercase()),
        price: price(&mut random, category),
        stock: stock(&mut random),
    }
}

/// Cents, most of them towards the lower end of the category's range, ending as prices do.
fn price(random: &mut SplitMix64, category: Option<&Category>) -> i64 {
    let (low, high) = category.map_or((1, 100), |category| category.dollars);
    let span = high - low;
    let place = random.below(1_000).min(random.below(1_000));
    let cents = (low * 1_000 + span * place) / 1_000 * 100 + random.pick(&[99, 95, 90, 50, 49, 0]);
    i64::try_from(cents).unwrap_or(i64::MAX)
}

/// Most products are well stocked, one in twenty is scarce, one in a hundred is sold out.
fn stock(random: &mut SplitMix64) -> i64 {
    let units = match random.below(100) {
        0 => 0,
        1..=5 => random.between(1, 9),
        _ => random.between(50, 5_000),
    };
    i64::try_from(units).unwrap_or(0)
}

async fn add_categories(connection: &mut PgConnection) -> sqlx::Result<u64> {
    let ids: Vec<i32> = (1..).take(CATEGORIES.len()).collect();
    let slugs: Vec<&str> = CATEGORIES.iter().map(|category| category.slug).collect();
    let names: Vec<&str> = CATEGORIES.iter().map(|category| category.name).collect();
    let added = sqlx::query(
        "INSERT INTO catalog.categories (id, slug, name)
         SELECT * FROM UNNEST($1::int[], $2::text[], $3::text[])
         ON CONFLICT DO NOTHING",
    )
    .bind(ids)
    .bind(slugs)
    .bind(names)
    .execute(connection)
    .await?;
    Ok(added.rows_affected())
}

async fn add_products_in_tx(tx: &mut PgConnection, products: &[Product]) -> sqlx::Result<u64> {
    let added = sqlx::query(
        "INSERT INTO catalog.products (id, category_id, name, description, price, currency, stock_quantity)
         SELECT id, category_id, name, description, price, $7, stock
         FROM UNNEST($1::uuid[], $2::int[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
              AS new (id, category_id, name, description, price, stock)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(products.iter().map(|product| product.id).collect::<Vec<_>>())
    .bind(products.iter().map(|product| product.category).collect::<Vec<_>>())
    .bind(products.iter().map(|product| product.name.as_str()).collect::<Vec<_>>())
    .bind(products.iter().map(|product| product.description.as_str()).collect::<Vec<_>>())
    .bind(products.iter().map(|product| product.price).collect::<Vec<_>>())
    .bind(products.iter().map(|product| product.stock).collect::<Vec<_>>())
    .bind(Currency::USD.as_str())
    .execute(tx)
    .await?;
    Ok(added.rows_affected())
}

async fn add_stock_in_tx(tx: &mut PgConnection, products: &[Product]) -> sqlx::Result<u64> {
    let added = sqlx::query(
        "INSERT INTO inventory.products (id, available, initial)
         SELECT id, stock, stock FROM UNNEST($1::uuid[], $2::bigint[]) AS new (id, stock)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(products.iter().map(|product| product.id).collect::<Vec<_>>())
    .bind(products.iter().map(|product| product.stock).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(added.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_product_is_the_same_for_ever() {
        assert_eq!(product_id(1).to_string(), "74e37c9d-87ec-5ad9-8a50-3b94cf756db2");
        assert_eq!(
            product(1, 1),
            Product {
                id: product_id(1).0,
                category: 7,
                name: "Brightwater Everyday Floor Pump, sand".to_owned(),
                description: "Everyday floor pump by Brightwater, in sand. Comes with a five-year guarantee."
                    .to_owned(),
                price: 26_300,
                stock: 3_235,
            }
        );
        assert_ne!(product(1, 1), product(1, 2), "another seed, another shop");
    }

    #[test]
    fn the_shop_is_plausible() {
        let products: Vec<Product> = (1..=10_000).map(|number| product(number, 1)).collect();
        let of = |category: i32| products.iter().filter(|p| p.category == category).count();
        let categories = i32::try_from(CATEGORIES.len()).unwrap();
        assert!((36..=44).contains(&categories), "{categories}");
        assert!((1..=categories).all(|category| of(category) > 150), "every category is filled");
        for product in &products {
            let (low, high) = CATEGORIES[usize::try_from(product.category - 1).unwrap()].dollars;
            let dollars = u64::try_from(product.price).unwrap() / 100;
            assert!((low..=high).contains(&dollars), "{product:?}");
            assert!((0..=5_000).contains(&product.stock), "{product:?}");
        }
        let names: HashSet<_> = products.iter().map(|product| &product.name).collect();
        assert!(names.len() > 9_900, "names repeat: {}", names.len());
        let ids: HashSet<_> = products.iter().map(|product| product.id).collect();
        assert_eq!(ids.len(), products.len());
        let sold_out = products.iter().filter(|product| product.stock == 0).count();
        assert!((50..200).contains(&sold_out), "{sold_out}");
    }

    #[tokio::test]
    async fn seeding_again_changes_nothing() {
        let database = testbed::Database::create().await;
        let mut connection = PgConnection::connect(&database.admin_url()).await.unwrap();
        let categories = u64::try_from(CATEGORIES.len()).unwrap();
        let report = run(&mut connection, 1_500, 1, None).await.unwrap();
        assert_eq!(report, Report { categories, products: 1_500, stocked: 1_500 });
        sqlx::query("UPDATE inventory.products SET available = available - 1, sold = 1 WHERE available > 0")
            .execute(&mut connection)
            .await
            .unwrap();
        let before = fingerprint(&mut connection).await;
        assert_eq!(run(&mut connection, 1_500, 1, None).await.unwrap(), Report::default());
        assert_eq!(run(&mut connection, 1_500, 2, None).await.unwrap(), Report::default());
        assert_eq!(fingerprint(&mut connection).await, before);
        let more = run(&mut connection, 1_501, 1, None).await.unwrap();
        assert_eq!(more, Report { categories: 0, products: 1, stocked: 1 });
        let mut edge = database.connect("edge").await;
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM catalog.products JOIN catalog.categories c ON c.id = category_id",
        )
        .fetch_one(&mut edge)
        .await
        .unwrap();
        assert_eq!(count, 1_501);
    }

    async fn fingerprint(connection: &mut PgConnection) -> String {
        sqlx::query_scalar(
            "SELECT md5(string_agg(p::text || i::text, ',' ORDER BY p.id))
             FROM catalog.products p JOIN inventory.products i USING (id)",
        )
        .fetch_one(connection)
        .await
        .unwrap()
    }
}
