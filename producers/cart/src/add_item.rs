//! `POST /api/cart/items` `{productId, quantity}`: so many more of a product. A guest without a cart begins one here, and
//! gets its token.

use crate::{
    answer::Answer,
    holder::{CartToken, Holder, Visitor},
    if_match::{IfMatch, changed_meanwhile},
    routes::Carts,
    store::{Change, Met},
    told,
};
use axum::{extract::State, response::Response};
use ingress::{
    api::{About, example, shape},
    body::JsonBody,
    form::{Findings, Form},
    problem::{FieldError, Problem},
};
use orders_api::{MAX_LINES, MAX_QUANTITY};
use schemas::ids::ProductId;
use serde_json::json;

pub(crate) fn about() -> About {
    let body = shape::object().must("productId", shape::uuid()).must("quantity", told::quantity()).closed();
    let about = About::of("addToCart", "Put so many more of a product into the cart")
        .says("A guest without a cart begins one, and gets its `Cart-Token`.")
        .body(body, json!({"productId": example::PRODUCT, "quantity": 2}));
    told::shows_cart(told::if_match(told::of_anybody(about)))
}

pub(crate) async fn add_item(
    State(carts): State<Carts>,
    visitor: Visitor,
    if_match: IfMatch,
    JsonBody(json): JsonBody,
) -> Result<Response, Problem> {
    let mut findings = Findings::default();
    let change = Form::open(json, "", &mut findings).and_then(|mut form| {
        let product = form.parsed("productId", "a product's id (a UUID)", &mut findings);
        let quantity = quantity(&mut form, &mut findings);
        form.done(&mut findings);
        Some(Change::Add(product?, quantity?))
    });
    change_and_answer(&carts, &visitor, findings.finish(change)?, &if_match).await
}

/// The field `quantity`.
pub(crate) fn quantity(form: &mut Form, findings: &mut Findings) -> Option<i32> {
    let quantity = form.whole("quantity", 1, MAX_QUANTITY, findings)?;
    i32::try_from(quantity).ok()
}

/// Makes a change that puts something into a cart, and answers with the cart.
pub(crate) async fn change_and_answer(
    carts: &Carts,
    visitor: &Visitor,
    change: Change,
    if_match: &IfMatch,
) -> Result<Response, Problem> {
    if let Change::Set(product, _) | Change::Add(product, _) = change {
        on_sale(carts, product)?;
    }
    let (met, token) = put_in(carts, visitor, change, if_match).await?;
    let contents = match met {
        Met::Done(contents, _) => contents,
        Met::Stale | Met::Gone => return Err(changed_meanwhile()),
        Met::TooManyUnits => {
            return Err(refused("quantity", format!("makes more than {MAX_QUANTITY} of this product")));
        }
        Met::TooManyLines => {
            return Err(refused("productId", format!("is one more than the {MAX_LINES} lines of a cart")));
        }
    };
    Answer { contents, token, cut: None }.respond(carts.orders.prices())
}

/// A guest whose token stands for no cart gets another token: tokens are drawn here and nowhere else.
async fn put_in(
    carts: &Carts,
    visitor: &Visitor,
    change: Change,
    if_match: &IfMatch,
) -> Result<(Met, Option<CartToken>), Problem> {
    let is_user = matches!(visitor, Visitor::User(_));
    if let Some(holder) = visitor.holder() {
        let met = carts.store.change(&holder, change, if_match.text(), is_user).await?;
        if met != Met::Gone || if_match.0.is_some() {
            return Ok((met, None));
        }
    }
    let token = CartToken::draw();
    let met = carts.store.change(&Holder::Guest(token), change, if_match.text(), true).await?;
    Ok((met, Some(token)))
}

fn on_sale(carts: &Carts, product: ProductId) -> Result<(), Problem> {
    let found = carts.orders.prices().look_up([product])?;
    if found.iter().flatten().any(|price| price.is_active) {
        return Ok(());
    }
    Err(refused("productId", "is not a product on sale"))
}

fn refused(field: &str, message: impl Into<String>) -> Problem {
    Problem::invalid(vec![FieldError::new(field, message)])
}
