//! `POST /api/inventory/adjustments`: adds units to a product, or takes free ones away. 202 once the command is on the
//! log; it is applied once, however often it is sent.

use crate::{metrics, routes::Inventory};
use axum::{
    Json,
    extract::State,
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
    problem::{Kind, Problem},
};
use schemas::{
    ids::{self, EffectId, ProductId},
    messages::{AdjustStock, BodyHash},
    time::Timestamp,
};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

/// Separates keys of this endpoint from those of others.
const SCOPE: &str = "adjustments";
/// Most units one adjustment moves.
const MAX_DELTA: i64 = 1_000_000_000;
/// Longest reason, in characters.
const MAX_REASON: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Adjustment {
    product: ProductId,
    delta: i64,
    reason: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    adjustment_id: EffectId,
    product_id: ProductId,
    delta: i64,
}

pub(crate) fn about() -> About {
    let (product, delta) = (ProductId(example::PRODUCT), 100);
    let adjustment_id = EffectId(example::EFFECT);
    let receipt = Receipt { adjustment_id, product_id: product, delta };
    let delta_shape = || {
        let (added, taken) = (shape::whole(1, MAX_DELTA), shape::whole(-MAX_DELTA, -1));
        shape::either([added.says("Units to add."), taken.says("Units to take away.")])
    };
    let body = shape::object()
        .must("productId", shape::uuid())
        .must("delta", delta_shape())
        .must("reason", shape::words(MAX_REASON))
        .closed();
    let answer = shape::object()
        .must("adjustmentId", shape::uuid())
        .must("productId", shape::uuid())
        .must("delta", delta_shape());
    About::of("adjustStock", "Add units to a product, or take free ones away")
        .says("Applied once, however often it is sent. Units that are held or sold are never taken away.")
        .header(headers::idempotency_key())
        .body(body, json!({"productId": product, "delta": delta, "reason": "delivery 4711"}))
        .answers(
            StatusCode::ACCEPTED,
            Answer::json("On the log.", answer, serde_json::to_value(receipt).unwrap_or_default())
                .with(headers::location()),
        )
        .refuses(&[Kind::KeyReused])
}

pub(crate) async fn adjust(
    State(inventory): State<Inventory>,
    caller: Caller,
    key: IdempotencyKey,
    JsonBody(json): JsonBody,
) -> Result<Response, Problem> {
    let asked = read(json)?;
    let id = EffectId(ids::order_id(&inventory.config.namespace, &caller.owner, SCOPE, key.as_str()).0);
    if !inventory.keys.stands_for(id, hash(&asked)).await {
        count("key_reused");
        return Err(Problem::new(Kind::KeyReused, "this idempotency key stands for another adjustment"));
    }
    let body = AdjustStock {
        adjustment_id: id,
        product_id: asked.product,
        delta: asked.delta,
        reason: asked.reason,
        requested_by: caller.owner.to_string(),
    };
    let now = Timestamp(inventory.clock.now_millis());
    let command = Command::new(asked.product.0, ids::message_id(id.0, "adjust"), now, None, &body)?;
    if let Err(error) = inventory.log.send(command).await {
        count("unavailable");
        return Err(unavailable(&error));
    }
    count("accepted");
    let location = [(header::LOCATION, format!("/api/inventory/{}", asked.product))];
    let receipt = Receipt { adjustment_id: id, product_id: asked.product, delta: asked.delta };
    Ok((StatusCode::ACCEPTED, location, Json(receipt)).into_response())
}

fn read(json: Body) -> Result<Adjustment, Problem> {
    let mut findings = Findings::default();
    let adjustment = Form::open(json, "", &mut findings).and_then(|mut form| {
        let product = form.parsed("productId", "a product's id (a UUID)", &mut findings);
        let delta = form.whole("delta", -MAX_DELTA, MAX_DELTA, &mut findings);
        let reason = form.words("reason", MAX_REASON, &mut findings);
        form.done(&mut findings);
        if delta == Some(0) {
            findings.add("delta", "must not be 0");
        }
        Some(Adjustment { product: product?, delta: delta?, reason: reason? })
    });
    findings.finish(adjustment)
}

fn hash(adjustment: &Adjustment) -> BodyHash {
    let mut hash = Sha256::new();
    hash.update(b"mambogo adjust 1");
    hash.update(adjustment.product.0.as_bytes());
    hash.update(adjustment.delta.to_be_bytes());
    hash.update(adjustment.reason.as_bytes());
    BodyHash(hash.finalize().into())
}

fn unavailable(error: &SendError) -> Problem {
    tracing::warn!(%error, "an adjustment was not acknowledged");
    match error {
        SendError::NotSent(_) => Problem::unavailable("the adjustment could not be taken; nothing was done"),
        SendError::Unknown(_) => Problem::unavailable(
            "it is not known whether the adjustment was taken; repeat it with the same key",
        ),
    }
}

fn count(outcome: &'static str) {
    ::metrics::counter!(metrics::ADJUSTMENTS, "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: &serde_json::Value) -> Vec<String> {
        let json = Body::parse(value.to_string().as_bytes()).unwrap();
        read(json)
            .map_or_else(|problem| problem.errors.into_iter().map(|error| error.field).collect(), |_| vec![])
    }

    #[test]
    fn each_bad_field_is_named() {
        let id = "00000000-0000-0000-0000-00000000000a";
        assert!(fields(&json!({"productId": id, "delta": -5, "reason": "stock count"})).is_empty());
        let bad = json!({"productId": 7, "delta": 0, "reason": "", "price": 1});
        assert_eq!(fields(&bad), ["productId", "reason", "price", "delta"]);
        let bad = json!({"productId": id, "delta": 1_000_000_001, "reason": "x".repeat(201)});
        assert_eq!(fields(&bad), ["delta", "reason"]);
    }
}
