//! How the document tells of carts.

use crate::answer;
use axum::http::StatusCode;
use ingress::{
    api::{
        About, Answer,
        headers::{self, HeaderParameter},
        shape::{self, Shape},
    },
    problem::Kind,
};
use orders_api::{MAX_LINES, MAX_QUANTITY};

/// Whose cart: on calls that guests may make.
pub(crate) fn of_anybody(about: About) -> About {
    about.header(cart_token(false)).refuses(&[Kind::BadRequest])
}

/// The header that names a guest's cart.
pub(crate) fn cart_token(required: bool) -> HeaderParameter {
    let says = "Names a guest's cart: the `Cart-Token` that came with it. Not looked at where a user's bearer token does.";
    headers::header("Cart-Token", required, says, token())
}

fn token() -> Shape {
    shape::matching("^[0-9a-fA-F]{32}$", 32, 32).example("1c0ffee01c0ffee01c0ffee01c0ffee0")
}

/// What a change may be bound to.
pub(crate) fn if_match(about: About) -> About {
    let says = "The `ETag` of the cart that the change is meant for: 412 when it has changed meanwhile.";
    let tag = shape::matching(r#"^"[!#-~]+"$"#, 3, 200).example("\"4d1f5a0e-9f3e-4a43-8a0b-b3a0e8f5d3c2.3\"");
    about
        .header(headers::header("If-Match", false, says, tag))
        .refuses(&[Kind::BadRequest, Kind::PreconditionFailed])
}

/// The answer of every call that shows a cart.
pub(crate) fn shows_cart(about: About) -> About {
    let token =
        ("Cart-Token", "Names a guest's cart that has just begun; show it with the next calls.", token());
    let cart = Answer::json("The cart, at the prices of this moment.", cart(), answer::example());
    about.answers(StatusCode::OK, cart.with(headers::etag()).with(headers::cache_control()).with(token))
}

/// How many of a product.
pub(crate) fn quantity() -> Shape {
    shape::whole(1, MAX_QUANTITY)
}

fn cart() -> Shape {
    let item = shape::object()
        .must("productId", shape::uuid())
        .must("quantity", quantity())
        .must("onSale", shape::flag())
        .may("unitPrice", shape::money())
        .may("lineTotal", shape::money());
    shape::object()
        .may("cartId", shape::uuid().says("New with every cart; absent where there is none yet."))
        .must("version", shape::whole(0, i64::MAX))
        .must("items", shape::list(item, 0, MAX_LINES))
        .may("total", shape::money())
        .may("cut", shape::list(shape::uuid(), 0, MAX_LINES))
        .says("`total` is what a checkout would cost now, left out where it would be refused; `cut` names products of which a merge left units out.")
        .named("Cart")
}
