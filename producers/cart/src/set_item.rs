//! `PUT /api/cart/items/{productId}` `{quantity}`: so many of a product, whatever there was. Repeating it changes nothing.

use crate::{
    add_item::{change_and_answer, quantity},
    holder::Visitor,
    if_match::IfMatch,
    routes::Carts,
    store::Change,
    told,
};
use axum::{
    extract::{Path, State},
    response::Response,
};
use ingress::{
    api::{About, shape},
    body::JsonBody,
    form::{Findings, Form},
    problem::Problem,
};
use schemas::ids::ProductId;
use serde_json::json;

pub(crate) fn about() -> About {
    let about = About::of("setCartItem", "Have so many of a product in the cart, whatever there was")
        .path("productId", "The product.", shape::uuid())
        .body(shape::object().must("quantity", told::quantity()).closed(), json!({"quantity": 3}));
    told::shows_cart(told::if_match(told::of_anybody(about)))
}

pub(crate) async fn set_item(
    State(carts): State<Carts>,
    visitor: Visitor,
    if_match: IfMatch,
    Path(product): Path<String>,
    JsonBody(json): JsonBody,
) -> Result<Response, Problem> {
    let mut findings = Findings::default();
    let product: Option<ProductId> = product.parse().ok();
    if product.is_none() {
        findings.add("productId", "must be a product's id (a UUID)");
    }
    let quantity = Form::open(json, "", &mut findings).and_then(|mut form| {
        let quantity = quantity(&mut form, &mut findings);
        form.done(&mut findings);
        quantity
    });
    let (product, quantity) = findings.finish(product.zip(quantity))?;
    change_and_answer(&carts, &visitor, Change::Set(product, quantity), &if_match).await
}
