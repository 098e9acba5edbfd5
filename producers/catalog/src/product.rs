//! `GET /api/products/{id}`: one product, on sale or no longer.

use crate::{cached, routes::Catalog};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use ingress::problem::{Kind, Problem};
use schemas::{
    money::Money,
    shelf::{Facts, Stock},
};
use serde::Serialize;
use uuid::Uuid;

/// A product: what the catalogue says of it, and what inventory says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) facts: Facts,
    pub(crate) stock: Stock,
}

/// A product as clients see it.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    id: Uuid,
    name: &'a str,
    description: &'a str,
    /// The category's slug.
    category: &'a str,
    price: Money,
    /// Units to be had, a projection: inventory has the truth.
    available: i64,
    active: bool,
    /// Grows with every change of all this but `available`.
    version: i64,
}

impl Product {
    pub(crate) fn shown(&self) -> Shown<'_> {
        let Self { facts, stock } = self;
        Shown {
            id: facts.id.0,
            name: &facts.name,
            description: &facts.description,
            category: &facts.category,
            price: facts.price,
            available: stock.available,
            active: facts.active,
            version: facts.version,
        }
    }

    /// Both versions make the tag: it changes when either part does.
    pub(crate) fn tag(&self) -> String {
        format!("\"{}-{}\"", self.facts.version, self.stock.version)
    }
}

pub(crate) async fn product(
    State(catalog): State<Catalog>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let absent = || Problem::new(Kind::NotFound, "there is no such product");
    let id = id.parse().map_err(|_| absent())?;
    let found = catalog.products.ask(id).await;
    let found = found.map_err(|_| Problem::unavailable("the catalogue cannot be read at the moment"))?;
    let product = found.ok_or_else(absent)?;
    let body = serde_json::to_vec(&product.shown());
    let body = body.map_err(|error| Problem::internal("writing a product", &error))?;
    Ok(cached::answer(&headers, &product.tag(), body.into()))
}
