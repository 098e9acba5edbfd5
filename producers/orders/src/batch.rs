//! `POST /api/orders/batch`: up to 500 orders in one call, each with its own key. A verdict an order (207): one bad
//! order spoils no other. Each is accepted exactly as if it had come alone.

use crate::{intake::Asked, request::SubmitRequest, state::Orders, told};
use axum::{Json, extract::State, http::StatusCode};
use ingress::{
    api::{About, Answer as Told, shape},
    auth::Caller,
    body::{Json as Body, UnreadJson},
    form::{Findings, Form},
    idempotency::IdempotencyKey,
    problem::{Kind, Problem},
};
use schemas::{
    ids::OrderId,
    messages::{BodyHash, OrderStatus},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Most orders of a call.
const MAX_ORDERS: usize = 500;
/// Longest body, in bytes: 500 orders of a few lines and a long address each.
const MAX_BODY: usize = 1 << 20;

#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    /// One an order, in their order.
    results: Vec<Entry>,
}

/// One order's verdict; `status` is the HTTP status that it would have got alone.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    status: u16,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
enum Outcome {
    #[serde(rename_all = "camelCase")]
    Accepted { order_id: OrderId, order_status: &'static str, status_url: String },
    #[serde(rename_all = "camelCase")]
    Refused {
        problem: Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
}

/// What was read of one order of the call.
struct Read {
    key: Option<IdempotencyKey>,
    /// The place among those that are asked for, or what is wrong with it.
    asked: Result<usize, Problem>,
}

pub(crate) fn about() -> About {
    let mut order = told::submit_example();
    if let Some(fields) = order.as_object_mut() {
        fields.insert("idempotencyKey".to_owned(), json!("batch-7-1"));
    }
    let key = Some("batch-7-1".to_owned());
    let (status, outcome) = accepted(told::ORDER);
    let accepted = Entry { idempotency_key: key.clone(), status, outcome };
    let (status, outcome) = refused(&Problem::example(Kind::KeyReused));
    let refused = Entry { idempotency_key: key, status, outcome };
    let example = serde_json::to_value(Answer { results: vec![accepted, refused] }).unwrap_or_default();
    let orders = shape::object().must("orders", shape::list(told::keyed_submit(), 1, MAX_ORDERS)).closed();
    About::of("submitOrders", "Submit up to 500 orders, each with its own key")
        .says("Each is taken as if it had come alone: one bad order spoils no other. 422 is for the list as a whole.")
        .body(orders, json!({ "orders": [order] }))
        .answers(StatusCode::MULTI_STATUS, Told::json("A verdict an order, in their order.", verdicts(), example))
}

fn verdicts() -> shape::Shape {
    let key = || shape::text().says("As it was given; absent where it does not read.");
    let status = || shape::whole(200, 599).says("The HTTP status that the order would have got alone.");
    let accepted = shape::object()
        .may("idempotencyKey", key())
        .must("status", status())
        .must("orderId", shape::uuid())
        .must("orderStatus", told::status())
        .must("statusUrl", shape::text());
    let refused = shape::object()
        .may("idempotencyKey", key())
        .must("status", status())
        .must("problem", shape::problem())
        .may("retryAfter", shape::whole(1, 86_400).says("Seconds, as the header `Retry-After`."));
    shape::object().must("results", shape::list(shape::either([accepted, refused]), 1, MAX_ORDERS))
}

pub(crate) async fn submit_batch(
    State(orders): State<Orders>,
    caller: Caller,
    body: UnreadJson<MAX_BODY>,
) -> Result<(StatusCode, Json<Answer>), Problem> {
    orders.shared.room.check()?;
    let (read, asked) = orders.read_batch(&caller, list(body.read()?)?);
    let ids: Vec<OrderId> = asked.iter().map(|asked| asked.order).collect();
    let verdicts = orders.take_in(&caller, asked).await;
    let outcomes: Vec<(u16, Outcome)> = ids
        .into_iter()
        .zip(verdicts)
        .map(|(order, verdict)| match verdict {
            Ok(_) => accepted(order),
            Err(problem) => refused(&problem),
        })
        .collect();
    let results = read.into_iter().map(|read| read.entry(&outcomes)).collect();
    Ok((StatusCode::MULTI_STATUS, Json(Answer { results })))
}

impl Orders {
    /// Reads each order by itself. Those that say the same under the same key are one: it is asked for once, and its
    /// verdict is that of each.
    fn read_batch(&self, caller: &Caller, list: Vec<Body>) -> (Vec<Read>, Vec<Asked>) {
        let mut asked: Vec<Asked> = Vec::with_capacity(list.len());
        let mut places: HashMap<(OrderId, BodyHash), usize> = HashMap::with_capacity(list.len());
        let mut one = |json: Body| match SubmitRequest::read_keyed(json, &self.shared.config) {
            (Some(key), Ok(request)) => {
                let order = self.order_of(caller, &key);
                let place = *places.entry((order, request.hash())).or_insert_with(|| {
                    asked.push(Asked { order, request });
                    asked.len() - 1
                });
                Read { key: Some(key), asked: Ok(place) }
            }
            (key, Ok(_)) => Read { key, asked: Err(Problem::internal("reading an order", &"it has no key")) },
            (key, Err(problem)) => Read { key, asked: Err(problem) },
        };
        let read = list.into_iter().map(&mut one).collect();
        (read, asked)
    }
}

/// The orders of the call; here a fault refuses the whole call.
fn list(json: Body) -> Result<Vec<Body>, Problem> {
    let mut findings = Findings::default();
    let list = Form::open(json, "", &mut findings).and_then(|mut form| {
        let list = form.list("orders", &mut findings);
        form.done(&mut findings);
        list
    });
    if list.as_ref().is_some_and(|list| list.is_empty() || list.len() > MAX_ORDERS) {
        findings.add("orders", format!("must have 1 to {MAX_ORDERS} orders"));
    }
    findings.finish(list)
}

impl Read {
    fn entry(self, outcomes: &[(u16, Outcome)]) -> Entry {
        let (status, outcome) = match self.asked {
            Ok(place) => outcomes.get(place).cloned().unwrap_or_else(|| {
                refused(&Problem::internal("answering an order", &"its verdict is missing"))
            }),
            Err(problem) => refused(&problem),
        };
        Entry { idempotency_key: self.key.map(|key| key.as_str().to_owned()), status, outcome }
    }
}

fn accepted(order_id: OrderId) -> (u16, Outcome) {
    let status_url = format!("/api/orders/{order_id}");
    let order_status = OrderStatus::Pending.as_str();
    (StatusCode::ACCEPTED.as_u16(), Outcome::Accepted { order_id, order_status, status_url })
}

fn refused(problem: &Problem) -> (u16, Outcome) {
    let retry_after = problem.retry_after_seconds();
    let body = serde_json::to_value(problem.body()).unwrap_or_default();
    (problem.kind.status().as_u16(), Outcome::Refused { problem: body, retry_after })
}
