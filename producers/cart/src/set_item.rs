//! `PUT /api/cart/items/{productId}` `{quantity}`: so many of a product, whatever there was. Repeating it changes nothing.

use crate::{
    add_item::{change_and_answer, quantity},
    holder::Visitor,
    if_match::IfMatch,
    routes::Carts,
    store::Change,
};
use axum::{
    extract::{Path, State},
    response::Response,
};
use ingress::{
    body::JsonBody,
    form::{Findings, Form},
    problem::Problem,
};
use schemas::ids::ProductId;

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
