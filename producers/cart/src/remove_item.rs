//! `DELETE /api/cart/items/{productId}`: none of a product. Taking out what is not in the cart changes nothing.

use crate::{
    answer::Answer,
    holder::Visitor,
    if_match::{IfMatch, changed_meanwhile},
    routes::Carts,
    store::{Change, Met},
    told,
};
use axum::{
    extract::{Path, State},
    response::Response,
};
use ingress::{
    api::{About, shape},
    problem::{Kind, Problem},
};

pub(crate) fn about() -> About {
    let about = About::of("removeFromCart", "Have none of a product in the cart")
        .path("productId", "The product.", shape::uuid())
        .refuses(&[Kind::NotFound]);
    told::shows_cart(told::if_match(told::of_anybody(about)))
}

pub(crate) async fn remove_item(
    State(carts): State<Carts>,
    visitor: Visitor,
    if_match: IfMatch,
    Path(product): Path<String>,
) -> Result<Response, Problem> {
    let product = product.parse().map_err(|_| Problem::new(Kind::NotFound, "there is no such product"))?;
    let met = match visitor.holder() {
        Some(holder) => carts.store.change(&holder, Change::Remove(product), if_match.text(), false).await?,
        None => Met::Gone,
    };
    let contents = match met {
        Met::Done(contents, _) => contents,
        // nothing is in a cart that is not there
        Met::Gone if if_match.0.is_none() => Default::default(),
        _ => return Err(changed_meanwhile()),
    };
    Answer { contents, ..Answer::default() }.respond(carts.orders.prices())
}
