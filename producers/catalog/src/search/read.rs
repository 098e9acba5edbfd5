//! The SQL of a search: the first few products of an order that hold the words, however many or few do.
//!
//! Neither plain way is short for every word: a walk along the order passes most products before it finds twenty with a
//! seldom word, and the index of words hands out a frequent word's products all at once, to be sorted. So a search takes
//! bounded ways, one after the other. It walks a few products from the cursor on, which nearly fills a page with a word
//! that half of them hold. From there it goes on box by box: the order is cut into some thousand boxes, and the index
//! holds each word once a box, so that a box's products with all the words are one short list of it. Where boxes turn
//! out to be nearly empty it takes shelves of 64 of them, and where those are, all the rest at once: the index knows
//! those as well. It ends where the page is full. Each step says which products it takes and in which order: the page is
//! right whatever the planner thinks of the words.

use crate::{
    read::{after, filters, order_of},
    wanted::{Sort, Wanted},
};

/// Products walked along the order before the index of words is asked.
const WALK: i64 = 50;
/// Looks into boxes before what they held is judged: the walk may have ended near the end of the first. Of shelves, one.
const LOOKS: i64 = 2;
/// Products found a look, below which the next is wider: a look costs as much as reading some twenty products.
const WORTH: i64 = 2;

/// How an order is cut into boxes.
struct Boxes {
    /// The box of a product, as the index has it.
    of: &'static str,
    /// The box before that of `p`, in this order.
    before: &'static str,
    /// The box after `page.box`.
    next: &'static str,
    /// The last box of the shelf of the one after `page.box`.
    shelf_end: &'static str,
    /// The last box of all.
    end: &'static str,
    /// The widest look: 1 a shelf, 2 all the rest. Prices are crowded here and sparse there, so that empty shelves say
    /// nothing of those that follow.
    widest: i64,
    /// Whether boxes after `page.box` may hold what is wanted.
    more: &'static str,
    /// That a product is in none of the boxes up to `page.box`.
    ahead: &'static str,
    /// The order backwards.
    back: &'static str,
    /// What follows the last product walked.
    beyond: &'static str,
}

impl Boxes {
    const fn of(sort: Sort) -> Self {
        match sort {
            Sort::Id => Self {
                of: "catalog.id_box(p.id)",
                before: "catalog.id_box(p.id) - 1",
                next: "page.box + 1",
                shelf_end: "(page.box + 1) | 63",
                end: "1023",
                widest: 2,
                more: "page.box < 1023",
                ahead: "catalog.id_box(p.id) > page.box",
                back: "p.id DESC",
                beyond: "p.id > page.id",
            },
            Sort::Price => Self {
                of: "catalog.price_box(p.price)",
                before: "catalog.price_box(p.price) - 1",
                next: "page.box + 1",
                shelf_end: "(page.box + 1) | 63",
                end: "2049",
                widest: 1,
                more: "page.box < catalog.price_box($3)",
                ahead: "catalog.price_box(p.price) > page.box",
                back: "p.price DESC, p.id DESC",
                beyond: "(p.price, p.id) > (page.price, page.id)",
            },
            Sort::PriceDown => Self {
                of: "catalog.price_box(p.price)",
                before: "catalog.price_box(p.price) + 1",
                next: "page.box - 1",
                shelf_end: "(page.box - 1) & ~63",
                end: "0",
                widest: 1,
                more: "page.box > catalog.price_box(greatest($2, 1))",
                ahead: "catalog.price_box(p.price) < page.box",
                back: "p.price, p.id",
                beyond: "(p.price, p.id) < (page.price, page.id)",
            },
        }
    }
}

/// `WITH found`: the ids of the page. Its arguments are those of [`crate::read`].
pub(crate) fn found(wanted: &Wanted) -> String {
    let Boxes { of, before, next, shelf_end, end, widest, more, ahead, back, beyond } =
        Boxes::of(wanted.sort);
    let (order, filters, after) = (order_of(wanted.sort), filters(wanted), after(wanted));
    let category = match wanted.category {
        Some(_) => "(SELECT id FROM catalog.categories WHERE slug = $1)",
        None => "NULL",
    };
    // the index knows categories a shelf: one of them has about as many products as a box
    let narrowest = i64::from(wanted.category.is_some());
    format!(
        "WITH RECURSIVE asked AS MATERIALIZED (
             SELECT words, catalog.in_box(words, {category}) AS form
             FROM (SELECT websearch_to_tsquery('english', $7) AS words OFFSET 0) given),
         walked AS MATERIALIZED (
             SELECT p.id, p.price, p.search @@ (SELECT words FROM asked) AS matches FROM catalog.products p
             WHERE p.is_active{filters}{after} ORDER BY {order} LIMIT {WALK}),
         page AS (
             (SELECT {before} AS box, {narrowest} AS width, 0 AS looks, cardinality(first.ids) AS had, p.price, p.id, first.ids,
                     (SELECT count(*) = {WALK} FROM walked) AND (SELECT numnode(words) FROM asked) > 0 AS goes_on
              FROM walked p,
                   (SELECT ARRAY(SELECT p.id FROM walked p WHERE matches ORDER BY {order} LIMIT $6) AS ids OFFSET 0) first
              ORDER BY {back} LIMIT 1)
             UNION ALL
             SELECT CASE width.now WHEN 0 THEN {next} WHEN 1 THEN {shelf_end} ELSE {end} END, width.now,
                    CASE WHEN width.now = page.width THEN page.looks + 1 ELSE 1 END,
                    CASE WHEN width.now = page.width THEN page.had ELSE cardinality(page.ids) END, page.price, page.id,
                    page.ids || ARRAY(
                 WITH hit AS MATERIALIZED (
                     SELECT p.id, p.price, p.category_id, p.stock_quantity FROM catalog.products p
                     WHERE p.is_active
                       AND catalog.boxed(p.search, p.category_id, {of}) @@ replace((SELECT form FROM asked), chr(1),
                           CASE width.now WHEN 0 THEN ({next})::text WHEN 1 THEN '~' || (({next}) >> 6) ELSE '' END
                       )::tsquery
                       AND p.search @@ (SELECT words FROM asked))
                 -- asked of what was found: there are indexes for these, and none is as short
                 SELECT p.id FROM hit p WHERE {ahead} AND {beyond}{filters}
                 ORDER BY {order} LIMIT $6 - cardinality(page.ids)), true
             FROM page, LATERAL (
                 SELECT page.width + (page.looks >= {LOOKS} - page.width AND page.width < {widest}
                                      AND cardinality(page.ids) - page.had < {WORTH} * page.looks)::int AS now
                 OFFSET 0) width
             WHERE page.goes_on AND cardinality(page.ids) < $6 AND {more}),
         found AS (
             SELECT unnest(ids) AS id FROM (SELECT ids FROM page ORDER BY cardinality(ids) DESC LIMIT 1) most)"
    )
}
