//! `POST /api/cart/merge`: after a login, what the guest had put together is in the user's cart. The bearer token says
//! whose, `Cart-Token` which guest's. Asked again, it adds nothing.

use crate::{
    answer::Answer,
    holder::{Brought, Holder},
    routes::Carts,
    store::Met,
    told,
};
use axum::{extract::State, response::Response};
use ingress::{
    api::About,
    auth::Caller,
    problem::{Kind, Problem},
};

pub(crate) fn about() -> About {
    let about = About::of("mergeCart", "Take a guest's cart into the user's, after a login")
        .says("Asked again, it adds nothing. What would pass the bounds of a cart is left out, and named.")
        .header(told::cart_token(true))
        .refuses(&[Kind::BadRequest, Kind::Invalid]);
    told::shows_cart(about)
}

pub(crate) async fn merge(
    State(carts): State<Carts>,
    caller: Caller,
    Brought(guest): Brought,
) -> Result<Response, Problem> {
    let merged = carts.store.merge(&Holder::User(caller.owner), guest).await?;
    let (contents, cut) = match merged {
        Met::Done(contents, cut) => (contents, cut),
        Met::TooManyLines => {
            return Err(Problem::new(
                Kind::Invalid,
                "too many carts were merged into this one within a week",
            ));
        }
        other => return Err(Problem::internal("merging a cart", &format!("{other:?}"))),
    };
    Answer { contents, cut: Some(cut), token: None }.respond(carts.orders.prices())
}
