//! `PUT /api/products/{id}`: adds a product under an id that the caller draws. The same product sent again is there
//! already; another one under its id is refused.

use crate::{
    change::{self, refused},
    product, read_after,
    revision::{self, Revision},
    routes::Catalog,
    store::Order,
};
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use ingress::{
    api::{About, Answer, headers, shape},
    auth::Caller,
    body::JsonBody,
    problem::{Kind, Problem},
};
use schemas::ids::ProductId;
use serde_json::json;

pub(crate) fn about() -> About {
    let price = json!({"amount": 2_390, "currency": "USD"});
    let body = json!({"name": "Halden Slim Cap", "description": "A cap of birch cloth.", "category": "hats", "price": price});
    let example = || serde_json::to_value(product::told_facts()).unwrap_or_default();
    let added = Answer::json("Added; on sale with the next delivery.", revision::told_facts(), example());
    let there = Answer::json("It was there already, the same.", revision::told_facts(), example());
    About::of("addProduct", "Add a product under an id of your own")
        .path("id", "Drawn by the caller.", shape::uuid())
        .says("Sent again it changes nothing. An id that another product has, or this one in a later version, is refused.")
        .body(revision::told(true), body)
        .answers(
            StatusCode::CREATED,
            added.with(headers::etag()).with(headers::location()).with(read_after::given()),
        )
        .answers(StatusCode::OK, there.with(headers::etag()).with(headers::location()))
        .refuses(&[Kind::PreconditionFailed])
}

pub(crate) async fn create(
    State(catalog): State<Catalog>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(json): JsonBody,
) -> Result<Response, Problem> {
    let id: ProductId = id.parse().map_err(|_| Problem::bad_parameter("id", "must be a UUID"))?;
    let facts = Revision::read_new(json, id)?;
    let writer = catalog.writer.as_ref().ok_or_else(change::read_only)?;
    let made = writer.write(Order::Add(facts), caller.owner.to_string()).await.map_err(refused)?;
    // no place: it had been added before
    let status = if made.place.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, change::told(&made)?).into_response())
}
