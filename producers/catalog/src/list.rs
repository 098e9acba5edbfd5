//! `GET /api/products?category=&maxPrice=&cursor=&limit=`: what is on sale, page by page.

use crate::{read::Wanted, routes::Catalog};
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderName, header},
};
use ingress::{
    page::{self, Cursor, Page},
    problem::{Kind, Problem},
};
use serde::Deserialize;
use serde_json::value::to_raw_value;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Parameters {
    category: Option<String>,
    max_price: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

pub(crate) async fn list(
    State(catalog): State<Catalog>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<([(HeaderName, &'static str); 1], Json<Page>), Problem> {
    let Query(parameters) = parameters.map_err(|error| Problem::new(Kind::BadRequest, error.body_text()))?;
    let limit = page::limit(parameters.limit.as_deref())?;
    let wanted = read(parameters, limit)?;
    let found = catalog.pages.ask(wanted).await;
    let mut found = found.map_err(|_| Problem::unavailable("the catalogue cannot be read at the moment"))?;
    let has_more = found.len() as i64 > limit;
    found.truncate(usize::try_from(limit).unwrap_or_default());
    let last = found.last().filter(|_| has_more);
    let next_cursor = last.map(|product| Cursor { sort: 0, id: product.id }.to_text());
    let items = found.iter().map(to_raw_value).collect::<Result<_, _>>();
    let items = items.map_err(|error| Problem::internal("writing a page", &error))?;
    Ok(([(header::CACHE_CONTROL, "public, max-age=5")], Json(Page { items, next_cursor })))
}

fn read(parameters: Parameters, limit: i64) -> Result<Wanted, Problem> {
    let max_price = parameters.max_price.map(|text| {
        let price: Option<i64> = text.parse().ok().filter(|price| *price >= 0);
        price.ok_or_else(|| Problem::bad_parameter("maxPrice", "must be a whole number of minor units"))
    });
    let category = parameters.category.filter(|slug| !slug.is_empty());
    if category.as_ref().is_some_and(|slug| slug.len() > 100 || slug.contains('\0')) {
        return Err(Problem::bad_parameter("category", "must be a category's slug"));
    }
    Ok(Wanted {
        category,
        max_price: max_price.transpose()?,
        after: parameters.cursor.map(|text| Cursor::parse(&text)).transpose()?.map(|cursor| cursor.id),
        // one more than the page shows whether there is another
        limit: limit + 1,
    })
}
