//! `DELETE /api/cart`: throws a cart away. What is put in next begins a new one, with another id.

use crate::{
    holder::Visitor,
    if_match::{IfMatch, changed_meanwhile},
    routes::Carts,
    store::Met,
    told,
};
use axum::{extract::State, http::StatusCode};
use ingress::{
    api::{About, Answer},
    problem::Problem,
};

pub(crate) fn about() -> About {
    let about = About::of("clearCart", "Throw the cart away")
        .answers(StatusCode::NO_CONTENT, Answer::empty("It is gone, or never was."));
    told::if_match(told::of_anybody(about))
}

pub(crate) async fn clear(
    State(carts): State<Carts>,
    visitor: Visitor,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let met = match visitor.holder() {
        Some(holder) => carts.store.clear(&holder, if_match.text()).await?,
        None => Met::Gone,
    };
    match met {
        Met::Stale => Err(changed_meanwhile()),
        Met::Gone if if_match.0.is_some() => Err(changed_meanwhile()),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
