//! `GET /api/products?category=&minPrice=&maxPrice=&inStock=&q=&sort=&cursor=&limit=`: what is on sale, page by page.

use crate::{
    cached,
    product::Product,
    routes::Catalog,
    wanted::{Sort, Wanted},
};
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::Response,
};
use ingress::{
    page::{Cursor, Page},
    problem::{Kind, Problem},
};
use serde_json::value::to_raw_value;

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
    let found = catalog.pages.ask(wanted).await;
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
