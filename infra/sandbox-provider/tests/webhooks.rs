//! Webhooks as their receiver sees them: signed, sent until they are taken, late and twice where that was asked for.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use bytes::Bytes;
use chassis::{clock::Clock, settings::Secret};
use sandbox_provider::ProviderConfig;
use schemas::{time::Timestamp, webhook_signature};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use testbed::eventually;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "whsec_test";

/// What came with a good signature; the first try of all is refused.
#[derive(Clone, Default)]
struct Receiver {
    tries: Arc<Mutex<usize>>,
    events: Arc<Mutex<Vec<Value>>>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = headers[webhook_signature::HEADER].to_str().unwrap();
    let now = Timestamp(Clock::system().now_millis());
    let tolerance = webhook_signature::TOLERANCE;
    webhook_signature::verify(SECRET.as_bytes(), header, &body, now, tolerance).unwrap();
    let mut tries = receiver.tries.lock().unwrap();
    *tries += 1;
    if *tries == 1 {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    receiver.events.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
    StatusCode::OK
}

#[tokio::test]
async fn what_happened_is_told_signed_until_it_is_taken_and_as_often_as_asked_for() {
    let (hooks, listener) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (hook, api) = (hooks.local_addr().unwrap(), listener.local_addr().unwrap());
    let (receiver, stop) = (Receiver::default(), CancellationToken::new());
    let _stop = stop.clone().drop_guard();
    let router = Router::new().route("/hook", post(receive)).with_state(receiver.clone());
    tokio::spawn(async move { axum::serve(hooks, router).await });
    let config = ProviderConfig {
        webhook_url: Some(format!("http://{hook}/hook")),
        webhook_secret: Secret::new(SECRET),
        ..ProviderConfig::default()
    };
    tokio::spawn(sandbox_provider::serve(listener, config, Clock::system(), stop));
    let http = reqwest::Client::new();
    let faults = json!({ "refundFailsLater": 1.0, "webhooks": { "delayMs": [1, 50], "duplicates": 2 } });
    let set = http.put(format!("http://{api}/_sandbox/faults")).json(&faults).send().await.unwrap();
    assert_eq!(set.status(), 200);
    let call = async |path: &str, key: &str, form: &[(&str, &str)]| -> Value {
        let request = http.post(format!("http://{api}/v1/{path}")).bearer_auth("sk_test_1");
        request.header("Idempotency-Key", key).form(form).send().await.unwrap().json().await.unwrap()
    };
    let metadata = ("metadata[order_id]", "o-1");
    let paid = call(
        "payment_intents",
        "k1",
        &[("amount", "700"), ("currency", "usd"), ("payment_method", "pm_1"), metadata],
    )
    .await;
    let id = paid["id"].as_str().unwrap();
    let back = call("refunds", "k2", &[("payment_intent", id), ("amount", "200"), metadata]).await;
    assert_eq!(back["status"], "succeeded", "{back}");
    let told = || {
        let mut told: Vec<String> = receiver
            .events
            .lock()
            .unwrap()
            .iter()
            .map(|event| {
                format!(
                    "{} {} {}",
                    event["type"].as_str().unwrap(),
                    event["data"]["object"]["status"].as_str().unwrap(),
                    event["data"]["object"]["metadata"]["order_id"].as_str().unwrap()
                )
            })
            .collect();
        told.sort();
        told
    };
    eventually("each is told three times", async || told().len() == 9).await;
    let each = [
        "payment_intent.succeeded succeeded o-1",
        "refund.failed failed o-1",
        "refund.updated succeeded o-1",
    ];
    assert_eq!(told(), each.iter().flat_map(|line| [*line; 3]).collect::<Vec<_>>());
    let ids: std::collections::BTreeSet<String> =
        receiver.events.lock().unwrap().iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(ids.len(), 3, "a repeat is the same event: {ids:?}");
    let ledger: Value =
        http.get(format!("http://{api}/_sandbox/ledger")).send().await.unwrap().json().await.unwrap();
    assert_eq!(ledger["totals"]["refunded"]["usd"], 0, "what failed later did not go back: {ledger}");
    assert_eq!(ledger["webhooks"], json!({"taken": 9, "givenUp": 0, "dropped": 0, "toCome": 0}));
}

#[tokio::test]
async fn the_same_seed_and_calls_meet_the_same_faults() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (api, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let _stop = stop.clone().drop_guard();
        tokio::spawn(sandbox_provider::serve(listener, ProviderConfig::default(), Clock::system(), stop));
        let http = reqwest::Client::new();
        let faults = json!({ "error500": 0.2, "error429": 0.2, "decline": 0.3 });
        http.put(format!("http://{api}/_sandbox/faults")).json(&faults).send().await.unwrap();
        let mut statuses = Vec::new();
        for key in 0..40 {
            let request = http.post(format!("http://{api}/v1/payment_intents")).bearer_auth("sk_test_1");
            let form = [("amount", "700"), ("currency", "usd"), ("payment_method", "pm_1")];
            let answer = request.header("Idempotency-Key", key.to_string()).form(&form).send().await.unwrap();
            statuses.push(answer.status().as_u16());
        }
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
    for status in [200, 402, 429, 500] {
        assert!(runs[0].contains(&status), "{status} in {runs:?}");
    }
}
