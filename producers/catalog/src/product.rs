//! `GET /api/products/{id}`: one product, on sale or no longer.

use crate::{cached, read_after, routes::Catalog};
use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use ingress::{
    api::{
        About, Answer, example,
        shape::{self, Shape},
    },
    problem::{Kind, Problem},
};
use schemas::{
    ids::ProductId,
    money::{Currency, Money},
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

/// How the document tells of a product.
pub(crate) fn told() -> Shape {
    let available = "Units to be had, a projection: inventory has the truth.";
    let version = "Grows with every change of all this but `available`.";
    shape::object()
        .must("id", shape::uuid())
        .must("name", shape::text())
        .must("description", shape::text())
        .must("category", shape::text().says("The category's slug."))
        .must("price", shape::money())
        .must("available", shape::whole(0, i64::MAX).says(available))
        .must("active", shape::flag().says("Whether it is on sale."))
        .must("version", shape::whole(0, i64::MAX).says(version))
        .named("Product")
}

/// What the catalogue says of the product that the document shows.
pub(crate) fn told_facts() -> Facts {
    Facts {
        id: ProductId(example::PRODUCT),
        version: 1,
        name: "Halden Slim Cap".to_owned(),
        description: "A cap of birch cloth.".to_owned(),
        category: "hats".to_owned(),
        price: Money::new(2_390, Currency::USD),
        active: true,
    }
}

/// The product that it shows.
pub(crate) fn told_example() -> serde_json::Value {
    let product = Product { facts: told_facts(), stock: Stock { available: 98, version: 7 } };
    serde_json::to_value(product.shown()).unwrap_or_default()
}

pub(crate) fn about() -> About {
    let found = Answer::json("The product.", told(), told_example());
    let about = About::of("getProduct", "One product, on sale or no longer")
        .path("id", "The product.", shape::uuid())
        .answers(StatusCode::OK, cached::told(found))
        .refuses(&[Kind::NotFound]);
    cached::told_again(about)
}

pub(crate) async fn product(
    State(catalog): State<Catalog>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let absent = || Problem::new(Kind::NotFound, "there is no such product");
    let id: ProductId = id.parse().map_err(|_| absent())?;
    let found = match read_after::of(&headers)? {
        None => catalog.products.get(id).await,
        Some(after) => catalog.products.get_after(id, after).await,
    };
    let found = found.map_err(|_| Problem::unavailable("the catalogue cannot be read at the moment"))?;
    let held = found.ok_or_else(absent)?;
    Ok(cached::answer(&headers, &held.tag, held.body.clone()))
}
