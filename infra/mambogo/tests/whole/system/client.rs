//! A client of the gateway.

use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};

#[derive(Clone)]
pub struct Client {
    base: String,
    token: String,
    http: reqwest::Client,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Client {
    pub fn new(gateway: SocketAddr, token: &str) -> Self {
        // idle connections are the gateway's to close
        let builder = reqwest::Client::builder().timeout(Duration::from_secs(40)).pool_idle_timeout(None);
        let http = builder.build().unwrap();
        Self { base: format!("http://{gateway}"), token: token.to_owned(), http }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    /// Sends it; `None` when no answer came (the gateway is down).
    pub async fn try_send(&self, request: RequestBuilder) -> Option<Answer> {
        let answer = request.send().await.ok()?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await.ok()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Some(Answer { status, headers, body })
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.expect("the gateway answers")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).header("Idempotency-Key", key).json(body)).await
    }

    /// Submits an order under `key`.
    pub async fn submit(&self, key: &str, order: &Value) -> Answer {
        self.post("/api/orders", key, order).await
    }

    /// Submits until it is accepted, as a patient client does after 409, 429 and 503; returns the order's id.
    pub async fn submit_patiently(&self, key: &str, order: &Value) -> String {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        for _ in 0..600 {
            let request =
                self.request(Method::POST, "/api/orders").header("Idempotency-Key", key).json(order);
            match self.try_send(request).await {
                Some(answer) if answer.status == 202 => return answer.order_id(),
                Some(answer) => {
                    assert!(
                        [409, 429, 503].contains(&answer.status.as_u16()),
                        "{}: {}",
                        answer.status,
                        answer.body
                    );
                }
                None => {}
            }
            tick.tick().await;
        }
        panic!("{key} was not accepted in a minute");
    }

    /// The order, which must be there.
    pub async fn order(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/orders/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Waits for the order's end and returns it.
    pub async fn settled(&self, id: &str) -> Value {
        for _ in 0..20 {
            let request = self.request(Method::GET, &format!("/api/orders/{id}")).header("Prefer", "wait=10");
            let Some(answer) = self.try_send(request).await else {
                tokio::time::interval(Duration::from_millis(200)).tick().await;
                continue;
            };
            let status = answer.body["status"].as_str().unwrap_or_default();
            if answer.status == 200 && !["PENDING", "RESERVED"].contains(&status) {
                return answer.body;
            }
        }
        panic!("order {id} did not settle");
    }
}

impl Answer {
    pub fn order_id(&self) -> String {
        self.body["orderId"].as_str().unwrap_or_else(|| panic!("no orderId in {}", self.body)).to_owned()
    }
}

/// An order of `quantity` of one product, paid by `method`.
pub fn order_of(product: &str, quantity: i64, method: &str) -> Value {
    json!({
        "items": [{"productId": product, "quantity": quantity}],
        "shippingAddress": "1 Harbour Road, Mombasa",
        "paymentMethod": method,
    })
}
