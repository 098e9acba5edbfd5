//! A client is told of its order at an endpoint of its own, from its registration to the order's end.

use crate::system::{System, order_of};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use chassis::clock::Clock;
use reqwest::Method;
use schemas::{
    time::Timestamp,
    webhook_signature::{self, TOLERANCE},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use testbed::eventually;
use tokio::net::TcpListener;

/// Signature and body of each request.
type Heard = Arc<Mutex<Vec<(String, Bytes)>>>;

/// Takes every second request only.
async fn take(State(heard): State<Heard>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut heard = heard.lock().unwrap();
    heard.push((headers["mambogo-signature"].to_str().unwrap().to_owned(), body));
    if heard.len() % 2 == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_of_its_order_at_its_endpoint_in_order_though_the_processes_die() {
    let heard = Heard::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/orders", listener.local_addr().unwrap());
    let app = Router::new().route("/orders", post(take)).with_state(heard.clone());
    let _receiver = tokio::spawn(async move { axum::serve(listener, app).await });

    let settings = [("WEBHOOK_ALLOW_LOOPBACK", "on"), ("WEBHOOK_RETRY_FIRST", "2s")];
    let system = System::build(&settings).await;
    let mut all = system.start(&["all"]).await;
    let client = system.client(&all, "ann").await;
    let register = client.request(Method::POST, "/api/webhooks").json(&json!({ "url": url }));
    let made = client.send(register).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let id = client.submit_patiently("k", &order_of(&system.product(10).await, 1, "CREDIT_CARD")).await;
    assert_eq!(client.settled(&id).await["status"], "CONFIRMED");
    eventually("the first is refused", async || !heard.lock().unwrap().is_empty()).await;
    let path = format!("/api/webhooks/{}", made.body["id"].as_str().unwrap());
    eventually("its owner sees that", async || client.get(&path).await.body["state"] == "failing").await;
    all.kill();

    let again = system.start(&["all"]).await;
    let client = system.client(&again, "ann").await;
    let last = client.order(&id).await;
    let orders = || -> Vec<Value> {
        let heard = heard.lock().unwrap();
        heard.iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
    };
    // each version twice, the last one too: the first time it is refused
    let versions = last["version"].as_i64().unwrap();
    let all_twice = usize::try_from(2 * versions).unwrap();
    eventually("all is told", async || orders().len() >= all_twice).await;
    eventually("the endpoint is well", async || client.get(&path).await.body["state"] == "active").await;
    let told = orders();
    let order_of_versions: Vec<_> =
        told.iter().map(|told| told["order"]["version"].as_i64().unwrap()).collect();
    assert_eq!(order_of_versions, (1..=versions).flat_map(|version| [version, version]).collect::<Vec<_>>());
    assert_eq!(told.last().unwrap()["order"], last, "what is told is what is shown");
    let ids: BTreeMap<&str, i64> = told
        .iter()
        .zip(&order_of_versions)
        .map(|(told, version)| (told["id"].as_str().unwrap(), *version))
        .collect();
    assert_eq!(ids.len() * 2, told.len(), "a repeat has the same id");
    let (secret, now) = (made.body["secret"].as_str().unwrap(), Timestamp(Clock::system().now_millis()));
    for (signature, body) in heard.lock().unwrap().iter() {
        assert!(webhook_signature::verify(secret.as_bytes(), signature, body, now, TOLERANCE).is_ok());
    }
}
