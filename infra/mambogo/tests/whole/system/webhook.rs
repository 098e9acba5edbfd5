//! The payment provider as far as it calls us by itself: events named as the sandbox names things, signed as Stripe signs.

use schemas::{
    ids::{self, EffectId, OrderId},
    time::Timestamp,
    webhook_signature,
};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// What `STRIPE_WEBHOOK_SECRET` is set to where events are to be believed.
pub const SECRET: &str = "whsec_test";

/// An event about what was called with `key`.
pub fn event(kind: &str, order: &str, key: EffectId, amount: i64, status: &str) -> Value {
    let order: OrderId = order.parse().unwrap();
    let metadata =
        json!({"order_id": order, "capture_id": ids::effect_id(order, "capture"), "effect_key": key});
    let object = json!({"id": format!("sandbox-{}", key.0.simple()), "amount": amount, "currency": "usd",
                        "status": status, "metadata": metadata});
    json!({"id": format!("evt_{kind}_{key}"), "type": kind, "data": {"object": object}})
}

/// The order's money, as a client reads the order, has been taken.
pub fn taken(order: &Value) -> Value {
    let id = order["orderId"].as_str().unwrap();
    let capture = ids::effect_id(id.parse().unwrap(), "capture");
    event("payment_intent.succeeded", id, capture, order["total"]["amount"].as_i64().unwrap(), "succeeded")
}

/// Sends it once; the status of the answer, if there was one.
pub async fn post(gateway: SocketAddr, event: &Value, secret: &str) -> Option<u16> {
    let body = event.to_string();
    let now = Timestamp(chassis::clock::Clock::system().now_millis());
    let signature = webhook_signature::sign(secret.as_bytes(), now, body.as_bytes());
    let request = reqwest::Client::new()
        .post(format!("http://{gateway}/api/payments/webhooks"))
        .header(webhook_signature::HEADER, signature)
        .body(body);
    request.send().await.ok().map(|answer| answer.status().as_u16())
}
