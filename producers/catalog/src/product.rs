//! `GET /api/products/{id}`: one product, on sale or no longer.

use crate::{read::Product, routes::Catalog};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderName, header},
};
use ingress::problem::{Kind, Problem};

pub(crate) async fn product(
    State(catalog): State<Catalog>,
    Path(id): Path<String>,
) -> Result<([(HeaderName, &'static str); 1], Json<Product>), Problem> {
    let absent = || Problem::new(Kind::NotFound, "there is no such product");
    let id = id.parse().map_err(|_| absent())?;
    let found = catalog.products.ask(id).await;
    let found = found.map_err(|_| Problem::unavailable("the catalogue cannot be read at the moment"))?;
    let product = found.ok_or_else(absent)?;
    Ok(([(header::CACHE_CONTROL, "public, max-age=5")], Json(product)))
}
