//! `POST /api/cart/checkout` `{shippingAddress, paymentMethod}`: the cart becomes an order, with the answer of
//! `POST /api/orders`.
//!
//! The key is the cart's id and version, so a double click, two tabs, or a repeat after a crash make one order. The cart is
//! emptied afterwards, unless somebody has changed it meanwhile; an emptied cart remembers its order, so that a repeat that
//! comes late is told the same.

use crate::{
    contents::{Contents, State as CartState},
    holder::Holder,
    if_match::{IfMatch, changed_meanwhile},
    metrics,
    routes::Carts,
    store::Met,
    told,
};
use axum::{extract::State, http::StatusCode, response::Response};
use ingress::{
    api::{About, Answer, headers},
    auth::Caller,
    body::JsonBody,
    prefer::PreferWait,
    problem::{Kind, Problem},
    trace,
};
use orders_api::{Delivery, told as orders_told};
use serde_json::json;

pub(crate) fn about() -> About {
    let example = json!({"shippingAddress": "1 Harbour Road, Mombasa", "paymentMethod": "CREDIT_CARD"});
    let receipt = Answer::json(
        "The order is accepted, now or by an earlier click.",
        orders_told::receipt(),
        orders_told::receipt_example(),
    );
    let about = About::of("checkOut", "Make the cart an order")
        .says("The cart's id and version are the key: a double click, two tabs or a repeat are one order.")
        .header(headers::prefer_wait())
        .body(orders_told::delivery(), example)
        .answers(StatusCode::ACCEPTED, receipt.with(headers::location()).with(headers::preference_applied()))
        .refuses(&[Kind::InFlight, Kind::KeyReused]);
    told::if_match(about)
}

pub(crate) async fn checkout(
    State(carts): State<Carts>,
    caller: Caller,
    wait: PreferWait,
    if_match: IfMatch,
    JsonBody(json): JsonBody,
) -> Result<Response, Problem> {
    let delivery = carts.orders.read_delivery(json)?;
    let buying =
        Buying { holder: Holder::User(caller.owner.clone()), carts, caller, delivery, if_match, wait };
    // in a task of its own: a client that goes away leaves no cart that was bought and not emptied
    let bought = trace::spawn(buying.check_out()).await;
    bought.map_err(|error| Problem::internal("checking out", &error))?
}

struct Buying {
    holder: Holder,
    carts: Carts,
    caller: Caller,
    delivery: Delivery,
    if_match: IfMatch,
    wait: PreferWait,
}

impl Buying {
    async fn check_out(self) -> Result<Response, Problem> {
        let contents = match self.carts.store.read(&self.holder).await? {
            Met::Done(contents, _) => contents,
            _ => Contents::default(),
        };
        let named = self.if_match.0.as_deref();
        match contents.state {
            Some(state) if named.is_some_and(|named| named != state.to_string()) => Err(changed_meanwhile()),
            Some(state) if !contents.lines.is_empty() => self.buy(state, &contents).await,
            _ => self.bought_before(&contents).await,
        }
    }

    async fn buy(self, state: CartState, contents: &Contents) -> Result<Response, Problem> {
        let Self { holder, carts, caller, delivery, wait, .. } = self;
        let (key, hash) = (state.to_string(), delivery.hash().to_string());
        let order = carts.orders.order_of_checkout(&caller, &key);
        let taken = carts.orders.check_out(&caller, &key, &contents.lines, delivery).await;
        taken.map_err(|problem| match problem.kind {
            Kind::KeyReused => Problem {
                detail: format!(
                    "this cart became order {order} already, with another address or payment method; change the cart \
                     or clear it to buy once more"
                ),
                ..problem
            },
            _ => problem,
        })?;
        if carts.store.empty(&holder, state, order, &hash).await.is_err() {
            // it is still that state, so the next checkout finds this order
            ::metrics::counter!(metrics::NOT_EMPTIED).increment(1);
            tracing::warn!(%order, "a cart was checked out and could not be emptied");
        }
        Ok(carts.orders.receipt(&caller, order, wait).await)
    }

    /// Nothing is in the cart: this may be the second click.
    async fn bought_before(self, contents: &Contents) -> Result<Response, Problem> {
        let named = self.if_match.0.as_deref();
        let before = contents.checked_out.as_ref().filter(|before| {
            named.is_none_or(|named| named == before.of)
                && before.delivery == self.delivery.hash().to_string()
        });
        match before {
            Some(before) => Ok(self.carts.orders.receipt(&self.caller, before.order, self.wait).await),
            None if named.is_some() => Err(changed_meanwhile()),
            None => Err(Problem::new(Kind::Invalid, "the cart is empty")),
        }
    }
}
