//! `POST /api/orders`: one order a key. 202 once it is on the log, for this body and no other.

use crate::{intake::Asked, request::SubmitRequest, state::Orders};
use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use ingress::{
    auth::Caller, body::JsonBody, idempotency::IdempotencyKey, prefer::PreferWait, problem::Problem,
};
use schemas::{ids::OrderId, messages::OrderStatus};
use serde::Serialize;

/// The answer: the same for every repeat, but for the status of one that waited.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    order_id: OrderId,
    status: &'static str,
    status_url: String,
}

pub(crate) async fn submit(
    State(orders): State<Orders>,
    caller: Caller,
    key: IdempotencyKey,
    wait: PreferWait,
    JsonBody(json): JsonBody,
) -> Result<Response, Problem> {
    let request = SubmitRequest::read(json, &orders.shared.config)?;
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
            let seen = self.find_end(order, &caller.owner, wait.0).await;
            seen.map_or(OrderStatus::Pending, |seen| seen.status)
        };
        receipt(order, status, wait)
    }
}

fn receipt(order: OrderId, status: OrderStatus, wait: PreferWait) -> Response {
    let status_url = format!("/api/orders/{order}");
    let location = [(header::LOCATION, status_url.clone())];
    let body = Json(Receipt { order_id: order, status: status.as_str(), status_url });
    let mut response = (StatusCode::ACCEPTED, location, body).into_response();
    if let Some(value) = wait.applied().and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert("preference-applied", value);
    }
    response
}
