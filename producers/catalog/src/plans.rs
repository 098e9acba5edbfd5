//! Each list that can be asked for is a walk along an index, whatever the page: shown by Postgres's own plans.

use crate::{
    read,
    wanted::{Sort, Wanted},
};
use chassis::{postgres::PoolLimits, settings::Secret};
use ingress::{config::PoolConfig, page::Cursor};
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
    let limits = PoolLimits { min: 0, max: 2, ..Default::default() };
    let edge = crate::pool(&PoolConfig { url: Secret::new(database.url("edge")), limits }).unwrap();
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
        (plain.clone(), Some("c907"), "products_of_category"),
        (Wanted { after: after(0), ..plain.clone() }, Some("c907"), "products_of_category"),
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
        (Wanted { min_price: Some(49_000), ..priced.clone() }, Some("c907"), "products_of_category_by_price"),
    ];
    for (wanted, category, index) in cases {
        let wanted = Wanted { category: category.map(str::to_owned), ..wanted };
        let plan = read::page_plan(&edge, &wanted).await.unwrap();
        assert!(plan.contains(&format!(" {index} ")), "{wanted:?} does not walk {index}:\n{plan}");
        assert!(!plan.contains("Seq Scan on products"), "{wanted:?} reads the whole table:\n{plan}");
        assert!(!below_limit(&plan).contains("Sort"), "{wanted:?} sorts:\n{plan}");
    }
}

#[tokio::test]
async fn a_search_walks_an_index_for_a_while_and_then_asks_that_of_words() {
    let (_database, edge) = filled().await;
    for words in ["rare", "red", "nothing of the kind", "-red"] {
        for (sort, walk, shelves) in [
            (Sort::Id, "products_pkey", "products_boxes_by_id"),
            (Sort::Price, "products_by_price", "products_boxes_by_price"),
            (Sort::PriceDown, "products_by_price", "products_boxes_by_price"),
        ] {
            let wanted = Wanted { words: Some(words.to_owned()), sort, limit: 21, ..Wanted::default() };
            let plan = read::page_plan(&edge, &wanted).await.unwrap();
            for index in [walk, shelves] {
                assert!(plan.contains(&format!(" {index} ")), "{wanted:?} does not use {index}:\n{plan}");
            }
            assert!(!plan.contains("Seq Scan on products"), "{wanted:?} looks at every product:\n{plan}");
            assert!(!plan.contains("Join Filter"), "{wanted:?} compares each with each:\n{plan}");
        }
    }
}

/// The names of that search, as a plain reading of the question finds them.
async fn plainly(edge: &PgPool, words: &str, category: Option<&str>, order: &str) -> Vec<Uuid> {
    let sql = format!(
        "SELECT id FROM catalog.products p WHERE is_active AND search @@ websearch_to_tsquery('english', $1)
         AND ($2 IS NULL OR category_id = (SELECT id FROM catalog.categories WHERE slug = $2)) AND stock_quantity > 0 AND price >= 300 ORDER BY {order}"
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(words).bind(category).fetch_all(edge).await.unwrap()
}

#[tokio::test]
async fn a_search_finds_what_a_plain_reading_of_the_question_finds() {
    let (database, edge) = filled().await;
    let mut owner = database.connect_admin().await;
    let odd = "UPDATE catalog.products SET is_active = price % 7 <> 0, description = description ||
        CASE WHEN price % 50 = 1 THEN ' O''Brien''s ''fine'' C:\\dir well-known 17: 17:/903 '
             WHEN price % 50 = 2 THEN ' fine dir ' || repeat('x', 600) || ' end' ELSE '' END ||
        CASE WHEN price > 40000 THEN ' dear' ELSE '' END";
    sqlx::query(odd).execute(&mut owner).await.unwrap();
    let searches = [
        "rare",
        "rare blue",
        "rare -blue",
        "-rare",
        "-plain",
        "-\"pump red\" rare",
        "\"pump red\" rare",
        "\"red pump\"",
        "rare or fine",
        "rare or -plain",
        "O'Brien",
        "'fine'",
        "\\dir",
        "well-known",
        "17:/903",
        "the",
        "fine fine",
        "end",
        // nowhere at first, and then everywhere
        "dear",
        ":*",
        "! & | ( <-> )",
        "\"",
        "17: or 18:",
    ];
    for words in searches {
        for sort in [Sort::Id, Sort::Price, Sort::PriceDown] {
            for category in [None, Some("c900"), Some("c907"), Some("none")] {
                let (min_price, in_stock) = (Some(300), true);
                let words_of = Some(words.to_owned());
                let category_of = category.map(str::to_owned);
                let wanted = Wanted {
                    category: category_of,
                    words: words_of,
                    sort,
                    min_price,
                    in_stock,
                    limit: 30,
                    ..Wanted::default()
                };
                let first = read::page(&edge, &wanted).await.unwrap();
                let plain = plainly(&edge, words, category, read::order_of(sort)).await;
                let expected: Vec<Uuid> = plain.iter().copied().take(30).collect();
                let ids =
                    |page: &[crate::product::Product]| page.iter().map(|p| p.facts.id.0).collect::<Vec<_>>();
                assert_eq!(ids(&first), expected, "{words} {sort:?} {category:?}");
                let Some(last) = first.get(19) else { continue };
                let after = Some(Cursor { sort: last.facts.price.amount, id: last.facts.id.0 });
                let second = read::page(&edge, &Wanted { after, ..wanted }).await.unwrap();
                let expected: Vec<Uuid> = plain.into_iter().skip(20).take(30).collect();
                assert_eq!(ids(&second), expected, "{words} {sort:?} {category:?}, from 20");
            }
        }
    }
}

#[tokio::test]
async fn pages_of_every_order_hold_each_product_once() {
    let (_database, edge) = filled().await;
    let sorts = [Sort::Id, Sort::Price, Sort::PriceDown];
    // a list, a search that is walked to, and one that goes from shelf to shelf
    let searches =
        [(None, "c907", 2_000), (Some("rare or plain"), "c907", 2_000), (Some("rare"), "c900", 40)];
    for (sort, (words, category, count)) in
        sorts.into_iter().flat_map(|sort| searches.map(|search| (sort, search)))
    {
        let words = words.map(str::to_owned);
        let (category, limit) = (Some(category.to_owned()), if count > 100 { 100 } else { 15 });
        let mut wanted = Wanted { category, sort, limit, words, ..Wanted::default() };
        let mut seen = Vec::new();
        loop {
            let page = read::page(&edge, &wanted).await.unwrap();
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
