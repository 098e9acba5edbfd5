//! `POST /api/orders`: one order a key. 202 once it is on the log, for this body and no other.

use crate::{intake::Asked, look::NO_VERSION, request::SubmitRequest, state::Orders, told};
use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use ingress::{
    api::{About, Answer, headers},
    auth::Caller,
    body::UnreadJson,
    idempotency::IdempotencyKey,
    prefer::PreferWait,
    problem::{Kind, Problem},
};
use schemas::{ids::OrderId, messages::OrderStatus};
use serde::Serialize;

/// The answer: the same for every repeat, but for the status of one that waited.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    order_id: OrderId,
    status: &'static str,
    status_url: String,
}

impl Receipt {
    pub(crate) fn of(order: OrderId, status: OrderStatus) -> Self {
        Self { order_id: order, status: status.as_str(), status_url: format!("/api/orders/{order}") }
    }
}

pub(crate) fn about() -> About {
    About::of("submitOrder", "Submit an order")
        .says(
            "A 202 is a promise: the order is on the log, and can be read from then on. It is priced now, and settled \
             behind this call: stock is reserved, the payment taken. One key stands for one order.",
        )
        .header(headers::idempotency_key())
        .header(headers::prefer_wait())
        .body(told::submit(), told::submit_example())
        .answers(
            StatusCode::ACCEPTED,
            Answer::json("Accepted, now or by an earlier request.", told::receipt(), told::receipt_example())
                .with(headers::location())
                .with(headers::preference_applied()),
        )
        .refuses(&[Kind::InFlight, Kind::KeyReused])
}

pub(crate) async fn submit(
    State(orders): State<Orders>,
    caller: Caller,
    key: IdempotencyKey,
    wait: PreferWait,
    body: UnreadJson,
) -> Result<Response, Problem> {
    orders.shared.room.check()?;
    let request = SubmitRequest::read(body.read()?, &orders.shared.config)?;
    let order = orders.order_of(&caller, &key);
    orders.take_in_one(&caller, Asked { order, request }).await?;
    Ok(orders.receipt(&caller, order, wait).await)
}

impl Orders {
    /// The answer of this endpoint for an order that is accepted, whatever becomes of the waiting.
    pub async fn receipt(&self, caller: &Caller, order: OrderId, wait: PreferWait) -> Response {
        let status = if wait.0.is_zero() {
            OrderStatus::Pending
        } else {
            let seen = self.find_end(order, &caller.owner, NO_VERSION, wait.0).await;
            seen.map_or(OrderStatus::Pending, |seen| seen.status)
        };
        receipt(order, status, wait)
    }
}

fn receipt(order: OrderId, status: OrderStatus, wait: PreferWait) -> Response {
    let receipt = Receipt::of(order, status);
    let location = [(header::LOCATION, receipt.status_url.clone())];
    let mut response = (StatusCode::ACCEPTED, location, Json(receipt)).into_response();
    if let Some(value) = wait.applied().and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert("preference-applied", value);
    }
    response
}
