//! `GET /api/categories`: every category, by name.

use crate::{cached, routes::Catalog};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use ingress::{
    api::{About, Answer, shape},
    problem::Problem,
};
use serde_json::json;

/// Most categories that the document speaks of.
const MOST: usize = 100_000;

pub(crate) fn about() -> About {
    let category = shape::object().must("slug", shape::text()).must("name", shape::text());
    let all = shape::object().must("items", shape::list(category, 0, MOST));
    let found = Answer::json("All of them.", all, json!({"items": [{"slug": "hats", "name": "Hats"}]}));
    let about = About::of("listCategories", "Every category, by name");
    cached::told_again(about.answers(StatusCode::OK, cached::told(found)))
}

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
