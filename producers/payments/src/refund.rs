//! `POST /api/payments/{orderId}/refund`: an operator gives money of a confirmed order back. 202 once the command is on
//! the log; it is done once, however often it is sent. What comes of it stands on the order's timeline.

use crate::{metrics, routes::Payments};
use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use ingress::{
    api::{About, Answer, example, headers, shape},
    auth::Caller,
    body::{Json as Body, JsonBody},
    form::{Findings, Form},
    idempotency::IdempotencyKey,
    log::{Command, SendError},
    problem::{FieldError, Kind, Problem},
};
use schemas::{
    ids::{self, EffectId, OrderId},
    messages::{BodyHash, OrderState, OrderStatus, RefundOrder},
    money::Currency,
};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

/// Longest reason, in characters.
const MAX_REASON: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    amount: i64,
    reason: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    refund_id: EffectId,
    order_id: OrderId,
    amount: i64,
    currency: Currency,
    status_url: String,
}

pub(crate) fn about() -> About {
    let order = OrderId(example::ORDER);
    let refund_id = EffectId(example::EFFECT);
    let status_url = format!("/api/orders/{order}");
    let receipt = Receipt { refund_id, order_id: order, amount: 500, currency: Currency::USD, status_url };
    let amount = || shape::whole(1, i64::MAX).says("In minor units of the order's currency.");
    let body = shape::object().must("amount", amount()).must("reason", shape::words(MAX_REASON)).closed();
    let answer = shape::object()
        .must("refundId", shape::uuid())
        .must("orderId", shape::uuid())
        .must("amount", amount())
        .must("currency", shape::text())
        .must("statusUrl", shape::text());
    About::of("refundOrder", "Give money of a confirmed order back")
        .says("Done once, however often it is sent. What comes of it stands on the order's timeline.")
        .path("orderId", "The order, of any client.", shape::uuid())
        .header(headers::idempotency_key())
        .body(body, json!({"amount": 500, "reason": "scratched"}))
        .answers(
            StatusCode::ACCEPTED,
            Answer::json("On the log.", answer, serde_json::to_value(receipt).unwrap_or_default())
                .with(headers::location()),
        )
        .refuses(&[Kind::NotFound, Kind::Conflict, Kind::KeyReused])
}

pub(crate) async fn refund(
    State(payments): State<Payments>,
    caller: Caller,
    Path(order): Path<String>,
    key: IdempotencyKey,
    JsonBody(json): JsonBody,
) -> Result<Response, Problem> {
    let order: OrderId = order.parse().map_err(|_| Problem::no_such_order())?;
    let asked = read(json)?;
    let found = payments.orders.find_anybodys(order).await?;
    check(&asked, &found).inspect_err(|_| count("refused"))?;
    // of this order: under another one, the same key is another refund
    let id = ids::effect_id(order, &format!("refund\n{}\n{}", caller.owner, key.as_str()));
    if !payments.keys.stands_for(id, hash(&asked)).await {
        count("key_reused");
        return Err(Problem::new(Kind::KeyReused, "this idempotency key stands for another refund"));
    }
    let amount = asked.amount;
    let (requested_by, reason) = (caller.owner.to_string(), asked.reason);
    let body = RefundOrder { order_id: order, refund_id: id, amount, requested_by, reason };
    let command = Command::new(order.0, ids::message_id(id.0, "refund-order"), payments.now(), None, &body)?;
    if let Err(error) = payments.log.send(command).await {
        count("unavailable");
        return Err(unavailable(&error));
    }
    count("accepted");
    let status_url = format!("/api/orders/{order}");
    let location = [(header::LOCATION, status_url.clone())];
    let receipt = Receipt { refund_id: id, order_id: order, amount, currency: found.currency, status_url };
    Ok((StatusCode::ACCEPTED, location, Json(receipt)).into_response())
}

fn read(json: Body) -> Result<Asked, Problem> {
    let mut findings = Findings::default();
    let asked = Form::open(json, "", &mut findings).and_then(|mut form| {
        let amount = form.whole("amount", 1, i64::MAX, &mut findings);
        let reason = form.words("reason", MAX_REASON, &mut findings);
        form.done(&mut findings);
        Some(Asked { amount: amount?, reason: reason? })
    });
    findings.finish(asked)
}

/// What can be said without the saga, and stays true: whether the rest is still there to give back is its to decide.
fn check(asked: &Asked, order: &OrderState) -> Result<(), Problem> {
    if order.status != OrderStatus::Confirmed {
        let detail = format!("the order is {}: nothing of it can be given back", order.status);
        return Err(Problem::new(Kind::Conflict, detail).with_order_status(order.status));
    }
    if asked.amount > order.total {
        let most =
            format!("must be at most the order's total of {} {}", order.total, order.currency.as_str());
        return Err(Problem::invalid(vec![FieldError::new("amount", most)]));
    }
    Ok(())
}

fn hash(asked: &Asked) -> BodyHash {
    let mut hash = Sha256::new();
    hash.update(b"mambogo refund 1");
    hash.update(asked.amount.to_be_bytes());
    hash.update(asked.reason.as_bytes());
    BodyHash(hash.finalize().into())
}

fn unavailable(error: &SendError) -> Problem {
    tracing::warn!(%error, "a refund was not acknowledged");
    match error {
        SendError::NotSent(_) => Problem::unavailable("the refund could not be taken; nothing was done"),
        SendError::Unknown(_) => {
            Problem::unavailable("it is not known whether the refund was taken; repeat it with the same key")
        }
    }
}

fn count(outcome: &'static str) {
    ::metrics::counter!(metrics::REFUNDS, "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_bad_field_is_named() {
        let fields = |value: serde_json::Value| -> Vec<String> {
            let asked = read(Body::parse(value.to_string().as_bytes()).unwrap());
            asked.err().into_iter().flat_map(|problem| problem.errors).map(|error| error.field).collect()
        };
        assert!(fields(json!({"amount": 1, "reason": "broken on arrival"})).is_empty());
        assert_eq!(
            fields(json!({"amount": 0, "reason": "", "currency": "USD"})),
            ["amount", "reason", "currency"]
        );
        for amount in [json!(-1), json!(1.5), json!("1"), json!(9_223_372_036_854_775_808_u64), json!(null)] {
            assert_eq!(fields(json!({"amount": amount, "reason": "x"})), ["amount"], "{amount}");
        }
    }
}
