//! Each list that can be asked for is a walk along an index, whatever the page: shown by Postgres's own plans.

use crate::{
    read,
    wanted::{Sort, Wanted},
};
use ingress::page::Cursor;
use sqlx::PgPool;
use uuid::Uuid;

/// 40,000 products in 20 categories; one in 20 sold out, one word in half of them, one in 40.
const FILL: &str =
    "INSERT INTO products (id, category_id, name, description, price, currency, stock_quantity)
    SELECT gen_random_uuid(), 900 + n % 20, 'Pump ' || CASE WHEN n % 2 = 0 THEN 'red' ELSE 'blue' END,
           CASE WHEN n % 1000 = 0 THEN 'rare' ELSE 'plain' END, 100 + n * 7919 % 50000, 'USD',
           CASE WHEN n % 20 = 0 THEN 0 ELSE 5 END
    FROM generate_series(1, 40000) n";

async fn filled() -> (testbed::Database, PgPool) {
    let database = testbed::Database::create().await;
    // statistics are the owner's to gather, and tables are the administrator's
    let mut owner = database.connect_admin().await;
    sqlx::query("SET search_path TO catalog").execute(&mut owner).await.unwrap();
    let categories = "INSERT INTO categories (id, slug, name)
        SELECT n, 'c' || n, 'C' || n FROM generate_series(900, 919) n";
    for sql in [categories, FILL, "ANALYZE products", "ANALYZE categories"] {
        sqlx::query(sql).execute(&mut owner).await.unwrap();
    }
    let limits = chassis::postgres::PoolLimits { min: 0, max: 2, ..Default::default() };
    let session = chassis::postgres::SessionLimits::EDGE;
    let edge = chassis::postgres::pool(&database.url("edge"), "test", session, limits).unwrap();
    (database, edge)
}

/// The part of a plan that finds the page: what is joined to it may be sorted once more.
fn below_limit(plan: &str) -> String {
    let depth = |line: &str| line.find(|c: char| c.is_alphabetic()).unwrap_or_default();
    let mut lines = plan.lines().skip_while(|line| !line.contains("Limit "));
    let top = depth(lines.next().unwrap());
    lines.take_while(|line| depth(line) > top).collect()
}

#[tokio::test]
async fn every_list_walks_an_index() {
    let (_database, edge) = filled().await;
    let after = |sort| Some(Cursor { sort, id: Uuid::from_u128(u128::MAX / 2) });
    let plain = Wanted { limit: 21, ..Wanted::default() };
    let priced = Wanted { sort: Sort::Price, ..plain.clone() };
    let down = Wanted { sort: Sort::PriceDown, ..plain.clone() };
    let cases = [
        (plain.clone(), None, "products_pkey"),
        (Wanted { after: after(0), ..plain.clone() }, None, "products_pkey"),
        (plain.clone(), Some(907), "products_of_category"),
        (Wanted { after: after(0), ..plain.clone() }, Some(907), "products_of_category"),
        (priced.clone(), None, "products_by_price"),
        (Wanted { after: after(20_000), ..priced.clone() }, None, "products_by_price"),
        (Wanted { max_price: Some(30_000), ..down.clone() }, None, "products_by_price"),
        (Wanted { after: after(20_000), ..down.clone() }, None, "products_by_price"),
        (
            Wanted { min_price: Some(49_000), in_stock: true, ..priced.clone() },
            None,
            "products_in_stock_by_price",
        ),
        (Wanted { after: after(20_000), in_stock: true, ..down }, None, "products_in_stock_by_price"),
        (Wanted { min_price: Some(49_000), ..priced.clone() }, Some(907), "products_of_category_by_price"),
    ];
    for (wanted, category, index) in cases {
        let plan = read::page_plan(&edge, &wanted, category).await.unwrap();
        assert!(plan.contains(&format!(" {index} ")), "{wanted:?} does not walk {index}:\n{plan}");
        assert!(!plan.contains("Seq Scan on products"), "{wanted:?} reads the whole table:\n{plan}");
        assert!(!below_limit(&plan).contains("Sort"), "{wanted:?} sorts:\n{plan}");
    }
}

#[tokio::test]
async fn a_search_gathers_by_the_index_of_words_and_walks_only_where_there_is_much() {
    let (_database, edge) = filled().await;
    for words in ["rare", "red", "nothing of the kind"] {
        for sort in [Sort::Id, Sort::Price, Sort::PriceDown] {
            let wanted = Wanted { words: Some(words.to_owned()), sort, limit: 21, ..Wanted::default() };
            let plan = read::page_plan(&edge, &wanted, None).await.unwrap();
            // one of every two has `red`: any way to the first few of them is short
            let is_short = words == "red" || plan.contains("products_search");
            assert!(is_short, "{wanted:?} looks at every product:\n{plan}");
            assert!(plan.matches("One-Time Filter").count() == 2, "{wanted:?} does both:\n{plan}");
        }
    }
}

#[tokio::test]
async fn pages_of_every_order_hold_each_product_once() {
    let (_database, edge) = filled().await;
    let sorts = [Sort::Id, Sort::Price, Sort::PriceDown];
    // walked to, walked to among many that match, and gathered
    let searches = [(None, 907, 2_000), (Some("rare or plain"), 907, 2_000), (Some("rare"), 900, 40)];
    for (sort, (words, category, count)) in
        sorts.into_iter().flat_map(|sort| searches.map(|search| (sort, search)))
    {
        let words = words.map(str::to_owned);
        let mut wanted =
            Wanted { sort, limit: if count > 100 { 100 } else { 15 }, words, ..Wanted::default() };
        let mut seen = Vec::new();
        loop {
            let page = read::page(&edge, &wanted, Some(category)).await.unwrap();
            let Some(last) = page.last() else { break };
            wanted.after = Some(Cursor { sort: last.facts.price.amount, id: last.facts.id.0 });
            seen.extend(page.iter().map(|product| (product.facts.price.amount, product.facts.id.0)));
        }
        assert_eq!(seen.len(), count, "{sort:?}");
        let mut sorted = seen.clone();
        sorted.sort_unstable_by_key(|(price, id)| match sort {
            Sort::Id => (0, *id),
            Sort::Price => (*price, *id),
            Sort::PriceDown => (-*price, Uuid::from_u128(!id.as_u128())),
        });
        sorted.dedup();
        assert_eq!(sorted, seen, "{sort:?}");
    }
}
