//! `POST /api/orders`: one order a key. 202 once it is on the log, for this body and no other.

use crate::{
    accept::{Accepted, Submitted},
    metrics,
    request::SubmitRequest,
    state::Orders,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use ingress::{
    auth::Caller,
    body::JsonBody,
    idempotency::IdempotencyKey,
    prefer::PreferWait,
    problem::{Kind, Problem},
};
use schemas::{
    ids::{self, OrderId},
    messages::{OrderStatus, SubmitOrder},
};
use serde::Serialize;

/// Separates keys of this endpoint from those of others.
const SCOPE: &str = "orders";

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
    let order = ids::order_id(&orders.shared.config.namespace, &caller.owner, SCOPE, key.as_str());
    // in a task of its own: a client that goes away does not leave a claim half-way
    let work = tokio::spawn({
        let (orders, caller) = (orders.clone(), caller.clone());
        async move { orders.submit(order, &caller, &request).await }
    });
    let outcome = work.await.unwrap_or_else(|error| Err(Problem::internal("accepting an order", &error)));
    count(&outcome);
    outcome?;
    let status = if wait.0.is_zero() {
        OrderStatus::Pending
    } else {
        // the order is accepted, whatever becomes of the waiting
        let seen = orders.find_end(order, &caller.owner, wait.0).await;
        seen.map_or(OrderStatus::Pending, |seen| seen.status)
    };
    Ok(receipt(order, status, wait))
}

impl Orders {
    async fn submit(
        &self,
        order: OrderId,
        caller: &Caller,
        request: &SubmitRequest,
    ) -> Result<Accepted, Problem> {
        let hash = request.hash();
        let priced = match self.shared.prices.price(&request.lines) {
            Ok(priced) => priced,
            // what is no longer sold may have been when this key was first used
            Err(problem) => {
                let submitted = Submitted { order, owner: caller.owner.clone(), hash };
                return self.accepted_before(&submitted).await?.ok_or(problem);
            }
        };
        let now = self.now();
        let submit = SubmitOrder {
            order_id: order,
            owner: caller.owner.to_string(),
            body_hash: hash,
            accepted_at: now,
            deadline: now.plus(self.shared.config.deadline),
            currency: priced.total.currency,
            total: priced.total.amount,
            lines: priced.lines,
            shipping_address: request.shipping_address.clone(),
            payment_method: request.payment_method.clone(),
        };
        self.accept(&submit).await
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

fn count(outcome: &Result<Accepted, Problem>) {
    let name = match outcome {
        Ok(Accepted::Now) => "accepted",
        Ok(Accepted::Before) => "repeated",
        Err(problem) => match problem.kind {
            Kind::KeyReused => "key_reused",
            Kind::InFlight => "in_flight",
            Kind::Invalid => "invalid",
            _ => "unavailable",
        },
    };
    ::metrics::counter!(metrics::SUBMITS, "outcome" => name).increment(1);
}
