//! A client of the gateway: the calls that load consists of, and what of their answers is looked at.

use crate::{
    connection::{Answer, NoAnswer, Pool},
    stream::Events,
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header, request::Builder};
use http_body_util::Full;
use schemas::messages::OrderStatus;
use serde::Deserialize;
use std::{
    net::SocketAddr,
    ops::ControlFlow,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use uuid::Uuid;

/// A client with one user's token. Calls beyond its connections wait for a free one.
#[derive(Debug)]
pub struct Client {
    pool: Pool,
    authorization: HeaderValue,
    host: HeaderValue,
    patience: Duration,
    calls: AtomicU64,
}

/// What was said to a submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubmitAnswer {
    /// The HTTP status; 0 when no answer came, and nothing is known of the order.
    pub status: u16,
    /// The order, where it was accepted.
    pub id: Option<Uuid>,
    /// When to come again, where that was said.
    pub retry_after: Option<Duration>,
}

/// What was said to a read or a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadAnswer {
    /// The HTTP status; 0 when no answer came.
    pub status: u16,
    /// Where the order stands.
    pub order_status: Option<OrderStatus>,
    /// The order's version.
    pub version: Option<i32>,
    /// When to come again, where that was said.
    pub retry_after: Option<Duration>,
}

impl ReadAnswer {
    fn of(status: u16, view: Option<View<'_>>) -> Self {
        Self {
            status,
            order_status: view.as_ref().and_then(|view| OrderStatus::from_name(view.status)),
            version: view.and_then(|view| view.version),
            retry_after: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    order_id: Uuid,
}

#[derive(Deserialize)]
struct View<'a> {
    #[serde(borrow)]
    status: &'a str,
    version: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    items: Vec<Product>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Product {
    id: Uuid,
}

#[derive(Deserialize)]
struct Batch {
    results: Vec<Result>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Result {
    status: u16,
    order_id: Option<Uuid>,
    retry_after: Option<u64>,
}

impl Client {
    /// A client of the gateway at `address`, with a bearer `token`, at most `connections` at once, and `patience` for
    /// each answer beyond what the call asks to wait. `None` when the token cannot stand in a header.
    #[must_use]
    pub fn new(address: SocketAddr, token: &str, connections: usize, patience: Duration) -> Option<Self> {
        let authorization = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        let host = HeaderValue::from_str(&address.to_string()).ok()?;
        let (pool, calls) = (Pool::new(address, connections), AtomicU64::new(0));
        Some(Self { pool, authorization, host, patience, calls })
    }

    /// Submits one order under `key`.
    pub async fn submit(&self, key: &str, body: Bytes) -> SubmitAnswer {
        let request = self.request(Method::POST, "/api/orders").header("idempotency-key", key);
        let answer = self.send(json(request, body), self.patience).await;
        let id = match &answer {
            Ok(answer) if answer.status == StatusCode::ACCEPTED => {
                serde_json::from_slice(&answer.body).ok().map(|receipt: Receipt| receipt.order_id)
            }
            _ => None,
        };
        SubmitAnswer { status: status(&answer), id, retry_after: retry_after(&answer) }
    }

    /// Submits several orders in one call: `orders` are their keys and bodies. One answer an order, in their order;
    /// where the call as a whole was refused, its answer for each.
    pub async fn submit_batch(&self, orders: &[(String, Bytes)]) -> Vec<SubmitAnswer> {
        let request = self.request(Method::POST, "/api/orders/batch");
        let answer = self.send(json(request, batch(orders)), self.patience).await;
        let results = answer.as_ref().ok().filter(|answer| answer.status == StatusCode::MULTI_STATUS);
        let results = results.and_then(|answer| serde_json::from_slice::<Batch>(&answer.body).ok());
        match results {
            Some(batch) if batch.results.len() == orders.len() => {
                let of = |result: Result| SubmitAnswer {
                    status: result.status,
                    id: result.order_id,
                    retry_after: result.retry_after.map(Duration::from_secs),
                };
                batch.results.into_iter().map(of).collect()
            }
            _ => {
                // a list that does not fit what was sent says nothing of any order
                let status = Some(status(&answer)).filter(|status| *status != 207).unwrap_or(0);
                let one = SubmitAnswer { status, id: None, retry_after: retry_after(&answer) };
                vec![one; orders.len()]
            }
        }
    }

    /// Reads an order; with `wait`, the answer comes at the order's end or after so many seconds.
    pub async fn read(&self, order: Uuid, wait: Option<u8>) -> ReadAnswer {
        let mut request = self.request(Method::GET, &format!("/api/orders/{order}"));
        let mut patience = self.patience;
        if let Some(seconds) = wait {
            request = request.header("prefer", format!("wait={seconds}"));
            patience += Duration::from_secs(seconds.into());
        }
        let answer = self.send(request.body(Full::default()), patience).await;
        Self::view(&answer)
    }

    /// Reads an order's states as server-sent events, each told to `hear`, to its end, the stream's, or for `patience`. What
    /// was answered, with the last state.
    pub async fn watch(
        &self,
        order: Uuid,
        patience: Duration,
        mut hear: impl FnMut(&ReadAnswer),
    ) -> ReadAnswer {
        let request = self.request(Method::GET, &format!("/api/orders/{order}/events"));
        let request = request.header(header::ACCEPT, "text/event-stream").body(Full::default());
        let (mut events, mut last) = (Events::default(), None);
        let listened = async {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let heard = self.pool.listen(request.map_err(|_| NoAnswer)?, patience, |arrived| {
                events.take(arrived, |data| {
                    let state = ReadAnswer::of(StatusCode::OK.as_u16(), serde_json::from_slice(data).ok());
                    hear(&state);
                    last = Some(state);
                });
                match last.and_then(|state| state.order_status) {
                    Some(end) if end.is_terminal() => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            });
            heard.await
        };
        let answer = listened.await;
        let refused =
            ReadAnswer { retry_after: retry_after(&answer), ..ReadAnswer::of(status(&answer), None) };
        last.unwrap_or(refused)
    }

    /// Asks for an order's cancellation.
    pub async fn cancel(&self, order: Uuid) -> ReadAnswer {
        let request = self.request(Method::POST, &format!("/api/orders/{order}/cancel"));
        let answer = self.send(request.body(Full::default()), self.patience).await;
        Self::view(&answer)
    }

    /// Reads `path`: the HTTP status, 0 when no whole answer came.
    pub async fn get(&self, path: &str) -> u16 {
        status(&self.send(self.request(Method::GET, path).body(Full::default()), self.patience).await)
    }

    /// The ids of products that are sold, at most `most`, page by page, in the catalogue's order.
    ///
    /// # Errors
    /// What was answered instead.
    pub async fn products(&self, most: usize) -> std::result::Result<Vec<Uuid>, String> {
        let mut found: Vec<Uuid> = Vec::new();
        let mut cursor = String::new();
        while found.len() < most {
            let path = format!("/api/products?limit=100{cursor}");
            let request = self.request(Method::GET, &path).body(Full::default());
            let answer = self.send(request, self.patience).await.map_err(|_| "no answer".to_owned())?;
            let page: Page = serde_json::from_slice(&answer.body)
                .map_err(|_| format!("{} to GET {path}", answer.status.as_u16()))?;
            found.extend(page.items.into_iter().map(|product| product.id));
            let Some(next) = page.next_cursor else { break };
            cursor = format!("&cursor={next}");
        }
        found.truncate(most);
        Ok(found)
    }

    /// HTTP calls made until now.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn view(answer: &std::result::Result<Answer, NoAnswer>) -> ReadAnswer {
        let view = answer.as_ref().ok().filter(|answer| answer.status.is_success());
        let view: Option<View<'_>> = view.and_then(|answer| serde_json::from_slice(&answer.body).ok());
        ReadAnswer { retry_after: retry_after(answer), ..ReadAnswer::of(status(answer), view) }
    }

    fn request(&self, method: Method, path: &str) -> Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, &self.authorization)
    }

    async fn send(
        &self,
        request: http::Result<Request<Full<Bytes>>>,
        patience: Duration,
    ) -> std::result::Result<Answer, NoAnswer> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        // a key that cannot stand in a header is never sent
        self.pool.call(request.map_err(|_| NoAnswer)?, patience).await
    }
}

fn json(request: Builder, body: Bytes) -> http::Result<Request<Full<Bytes>>> {
    request.header(header::CONTENT_TYPE, "application/json").body(Full::new(body))
}

fn status(answer: &std::result::Result<Answer, NoAnswer>) -> u16 {
    answer.as_ref().map_or(0, |answer| answer.status.as_u16())
}

fn retry_after(answer: &std::result::Result<Answer, NoAnswer>) -> Option<Duration> {
    answer.as_ref().ok().and_then(|answer| answer.retry_after)
}

/// `{"orders":[{"idempotencyKey":"…", …}, …]}`, each order's own members after its key.
fn batch(orders: &[(String, Bytes)]) -> Bytes {
    let length: usize = orders.iter().map(|(key, body)| key.len() + body.len() + 24).sum();
    let mut text = Vec::with_capacity(length + 16);
    text.extend_from_slice(b"{\"orders\":[");
    for (index, (key, body)) in orders.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(b"{\"idempotencyKey\":\"");
        text.extend_from_slice(key.as_bytes());
        text.extend_from_slice(b"\",");
        // the body is an object: what follows its brace goes on here
        text.extend_from_slice(body.get(1..).unwrap_or_default());
    }
    text.extend_from_slice(b"]}");
    Bytes::from(text)
}
