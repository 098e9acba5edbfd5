//! The SQL of a search: the first few products of an order that hold the words, however many or few do.
//!
//! Neither plain way is short for every word: a walk along the order passes most products before it finds twenty with a
//! seldom word, and the index of words hands out a frequent word's products all at once, to be sorted. So a search takes
//! two bounded ways, one after the other. It walks a few hundred products from the cursor on, which fills a page with
//! any word of one product in twenty-five. From there it goes on shelf by shelf: the order is cut into 64 shelves, and
//! the index holds each word once a shelf, so that a shelf's products with all the words are one short list of it, and
//! an empty shelf costs a look. It ends with the shelf that fills the page. Each step says which products it takes and
//! in which order: the page is right whatever the planner thinks of the words.

use crate::{
    read::{order_of, push_after, push_filters},
    wanted::{Sort, Wanted},
};
use sqlx::{Postgres, QueryBuilder};

/// Products walked along the order before the index of words is asked.
const WALK: i64 = 500;

/// How an order is cut into shelves.
struct Shelves {
    /// The shelf of a product, as the index has it.
    of: &'static str,
    /// From shelf to shelf.
    step: &'static str,
    last: i32,
    /// The order backwards.
    back: &'static str,
    /// What follows the last product walked.
    beyond: &'static str,
}

impl Shelves {
    const fn of(sort: Sort) -> Self {
        const PRICE: &str = "catalog.price_shelf(p.price)";
        match sort {
            Sort::Id => Self {
                of: "catalog.id_shelf(p.id)",
                step: "1",
                last: 63,
                back: "p.id DESC",
                beyond: "p.id > page.id",
            },
            Sort::Price => Self {
                of: PRICE,
                step: "1",
                last: 65,
                back: "p.price DESC, p.id DESC",
                beyond: "(p.price, p.id) > (page.price, page.id)",
            },
            Sort::PriceDown => Self {
                of: PRICE,
                step: "-1",
                last: 0,
                back: "p.price, p.id",
                beyond: "(p.price, p.id) < (page.price, page.id)",
            },
        }
    }
}

/// Adds `WITH found`: the ids of the page.
pub(crate) fn push_found(
    query: &mut QueryBuilder<Postgres>,
    words: &str,
    wanted: &Wanted,
    category: Option<i32>,
) {
    let (order, shelves) = (order_of(wanted.sort), Shelves::of(wanted.sort));
    let Shelves { of, step, last, back, .. } = &shelves;

    query.push("WITH RECURSIVE walked AS MATERIALIZED (SELECT p.id, p.price, p.search @@ ");
    push_words(query, words);
    query.push(" AS matches FROM catalog.products p WHERE p.is_active");
    push_filters(query, wanted, category);
    push_after(query, wanted);
    query.push(format!(" ORDER BY {order} LIMIT {WALK}), "));

    query.push(format!("page AS ((SELECT {of} - ({step}) AS shelf, p.price, p.id, "));
    query.push(format!("ARRAY(SELECT p.id FROM walked p WHERE matches ORDER BY {order} LIMIT "));
    query
        .push_bind(wanted.limit)
        .push(format!(") AS ids, (SELECT count(*) = {WALK} FROM walked) AND numnode("));
    push_words(query, words);
    query.push(format!(") > 0 AS goes_on FROM walked p ORDER BY {back} LIMIT 1) UNION ALL "));

    query.push(format!("SELECT page.shelf + ({step}), page.price, page.id, page.ids || ARRAY("));
    push_shelf(query, words, wanted, category, &shelves);
    query.push(" - cardinality(page.ids)), true FROM page WHERE goes_on AND cardinality(page.ids) < ");
    query.push_bind(wanted.limit).push(format!(" AND page.shelf <> {last}), "));
    // each step holds what the one before held
    query.push("found AS (SELECT unnest(ids) AS id FROM (SELECT ids FROM page ORDER BY cardinality(ids) DESC LIMIT 1) most)");
}

/// The products of the shelf after `page.shelf` that hold the words, up to how many fill a page.
fn push_shelf(
    query: &mut QueryBuilder<Postgres>,
    words: &str,
    wanted: &Wanted,
    category: Option<i32>,
    shelves: &Shelves,
) {
    let Shelves { of, step, beyond, .. } = shelves;
    query.push("WITH hit AS MATERIALIZED (SELECT p.id, p.price FROM catalog.products p WHERE p.is_active ");
    // what the index finds: all that may match, and what may not is left out below
    query.push(format!("AND catalog.shelved(p.search, p.category_id, {of}) @@ catalog.on_shelf("));
    push_words(query, words);
    query.push(", ").push_bind(category).push(format!(", page.shelf + ({step})) "));
    query.push(format!("AND {of} = page.shelf + ({step}) AND p.search @@ "));
    push_words(query, words);
    push_filters(query, wanted, category);
    // asked of what was found: the planner would ask the order's index for all of the shop beyond
    query.push(format!(") SELECT p.id FROM hit p WHERE {beyond} ORDER BY {} LIMIT ", order_of(wanted.sort)));
    query.push_bind(wanted.limit);
}

fn push_words(query: &mut QueryBuilder<Postgres>, words: &str) {
    query.push("websearch_to_tsquery('english', ").push_bind(words.to_owned()).push(")");
}
