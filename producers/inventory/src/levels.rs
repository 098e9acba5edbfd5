//! `GET /api/inventory/{productId}`: what is free, held and sold.

use crate::{read::Levels, routes::Inventory};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use ingress::{
    api::{About, Answer, example, shape},
    problem::{Kind, Problem},
};
use schemas::ids::ProductId;

pub(crate) fn about() -> About {
    let product_id = ProductId(example::PRODUCT);
    let example = Levels { product_id, available: 98, held: 2, sold: 12, version: 7 };
    let units = |says: &str| shape::whole(0, i64::MAX).says(says);
    let levels = shape::object()
        .must("productId", shape::uuid())
        .must("available", units("Free to be had."))
        .must("held", units("Held by orders that are not settled."))
        .must("sold", units("Sold."))
        .must("version", units("Grows with every change."));
    let example = serde_json::to_value(example).unwrap_or_default();
    About::of("getStock", "What is free, held and sold of a product")
        .path("productId", "The product.", shape::uuid())
        .answers(StatusCode::OK, Answer::json("Its stock.", levels.named("Stock"), example))
        .refuses(&[Kind::NotFound])
}

pub(crate) async fn levels(
    State(inventory): State<Inventory>,
    Path(id): Path<String>,
) -> Result<Json<Levels>, Problem> {
    let absent = || Problem::new(Kind::NotFound, "there is no such product");
    let product = id.parse().map_err(|_| absent())?;
    let found = inventory.levels.ask(product).await;
    let found = found.map_err(|_| Problem::unavailable("the stock cannot be read at the moment"))?;
    found.map(Json).ok_or_else(absent)
}
