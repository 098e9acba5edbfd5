//! `GET /api/inventory/{productId}`: what is free, held and sold.

use crate::{read::Levels, routes::Inventory};
use axum::{
    Json,
    extract::{Path, State},
};
use ingress::problem::{Kind, Problem};

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
