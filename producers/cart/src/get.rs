//! `GET /api/cart`: what is in it, at the prices of this moment. A guest without a cart sees an empty one.

use crate::{answer::Answer, holder::Visitor, routes::Carts, store::Met, told};
use axum::{extract::State, response::Response};
use ingress::{api::About, problem::Problem};

pub(crate) fn about() -> About {
    let about = About::of("getCart", "What is in the cart").says("A guest without a cart sees an empty one.");
    told::shows_cart(told::of_anybody(about))
}

pub(crate) async fn get_cart(State(carts): State<Carts>, visitor: Visitor) -> Result<Response, Problem> {
    let contents = match visitor.holder() {
        Some(holder) => match carts.store.read(&holder).await? {
            Met::Done(contents, _) => contents,
            _ => Default::default(),
        },
        None => Default::default(),
    };
    Answer { contents, ..Answer::default() }.respond(carts.orders.prices())
}
