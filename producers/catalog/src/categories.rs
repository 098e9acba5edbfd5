//! `GET /api/categories`: every category, by name.

use crate::{cached, routes::Catalog};
use axum::{extract::State, http::HeaderMap, response::Response};
use ingress::problem::Problem;
use serde_json::json;

pub(crate) async fn categories(
    State(catalog): State<Catalog>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = catalog.categories.ask(()).await;
    let found = found.map_err(|_| Problem::unavailable("the catalogue cannot be read at the moment"))?;
    let body = serde_json::to_vec(&json!({ "items": *found }));
    let body = body.map_err(|error| Problem::internal("writing the categories", &error))?;
    let tag = cached::tag_of(&body);
    Ok(cached::answer(&headers, &tag, body.into()))
}
