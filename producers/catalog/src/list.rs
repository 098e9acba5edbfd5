//! `GET /api/products?category=&minPrice=&maxPrice=&inStock=&q=&sort=&cursor=&limit=`: what is on sale, page by page.

use crate::{
    cached,
    product::{self, Product},
    read_after,
    routes::Catalog,
    wanted::{MAX_SLUG, MAX_WORDS, Sort, Wanted},
};
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use ingress::{
    api::{About, Answer, shape},
    page::{Cursor, Page},
    problem::{Kind, Problem},
};
use serde_json::{json, value::to_raw_value};

pub(crate) fn about() -> About {
    let example = json!({"items": [product::told_example()], "nextCursor": null});
    let found = Answer::json("A page.", shape::page(product::told()), example);
    let price = || shape::whole(0, i64::MAX);
    let words = shape::matching(r"^[^\x00-\x1f\x7f-\x9f]*$", 0, MAX_WORDS);
    let about = About::of("listProducts", "What is on sale, page by page")
        .says("Prices are bounded only in lists by price. A parameter that is not told here is refused.")
        .query("category", "Only of this category: its slug.", shape::matching(r"^[^\x00]*$", 0, MAX_SLUG))
        .query("minPrice", "Only at this price or above, in minor units; not above `maxPrice`.", price())
        .query("maxPrice", "Only at this price or below, in minor units.", price())
        .query("inStock", "`true`: only what can be bought now.", shape::flag())
        .query("q", "Words that name or description hold, as in search boxes.", words)
        .query(
            "sort",
            "By id, or the cheapest, or the dearest first.",
            shape::choice(["id", "price", "-price"]),
        )
        .query("cursor", "The `nextCursor` of the page before.", shape::cursor())
        .query("limit", "Products on a page.", shape::limit())
        .answers(StatusCode::OK, cached::told(found));
    cached::told_again(about)
}

pub(crate) async fn list(
    State(catalog): State<Catalog>,
    headers: HeaderMap,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(pairs) = parameters.map_err(|error| Problem::new(Kind::BadRequest, error.body_text()))?;
    let mut wanted = Wanted::read(pairs)?;
    let (limit, sort) = (wanted.limit, wanted.sort);
    // one more than the page shows whether there is another
    wanted.limit += 1;
    let after = read_after::of(&headers)?;
    let found = catalog.pages.ask((wanted, after)).await;
    let found = found.map_err(|_| Problem::unavailable("the catalogue cannot be read at the moment"))?;
    let page = page(found, limit, sort).map_err(|error| Problem::internal("writing a page", &error))?;
    let body = serde_json::to_vec(&page).map_err(|error| Problem::internal("writing a page", &error))?;
    let tag = cached::tag_of(&body);
    Ok(cached::answer(&headers, &tag, body.into()))
}

fn page(mut found: Vec<Product>, limit: i64, sort: Sort) -> serde_json::Result<Page> {
    let has_more = found.len() as i64 > limit;
    found.truncate(usize::try_from(limit).unwrap_or_default());
    let last = found.last().filter(|_| has_more);
    let next_cursor = last.map(|product| {
        let by = if sort == Sort::Id { 0 } else { product.facts.price.amount };
        Cursor { sort: by, id: product.facts.id.0 }.to_text()
    });
    let items = found.iter().map(|product| to_raw_value(&product.shown())).collect::<Result<_, _>>()?;
    Ok(Page { items, next_cursor })
}
