//! A client of the gateways: what it sends, and what it hears, an honest silence included.

use crate::Failure;
use reqwest::{RequestBuilder, header};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Mutex, sync::PoisonError, time::Duration};

/// Longest wait for any answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a read asks to be kept until the order's end, seconds.
const WAIT: u32 = 5;

/// An answer, or none.
#[derive(Debug)]
pub(crate) enum Heard {
    /// HTTP status, how long to leave it alone, and the body.
    Answer { status: u16, retry_after: Option<Duration>, body: Value },
    /// The connection was refused or cut, or nothing came in time: nothing is known.
    Silence,
}

/// One for all buyers: they share its connections.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    gateways: Vec<String>,
    token: String,
    heard: Mutex<BTreeMap<u16, u64>>,
}

impl Client {
    /// A client of those gateways.
    ///
    /// # Errors
    /// When the HTTP library cannot begin.
    pub(crate) fn new(gateways: Vec<String>, token: &str) -> Result<Self, Failure> {
        let http =
            reqwest::Client::builder().timeout(PATIENCE).connect_timeout(Duration::from_secs(2)).build()?;
        Ok(Self { http, gateways, token: token.trim().to_owned(), heard: Mutex::default() })
    }

    /// How many answers of each status to a submit there were since this was last asked; 0 is silence.
    pub(crate) fn take_heard(&self) -> BTreeMap<u16, u64> {
        std::mem::take(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `POST /api/orders` at the gateway of that number, counted round.
    pub(crate) async fn submit(&self, gateway: usize, key: &str, body: &Value) -> Heard {
        let request =
            self.http.post(self.at(gateway, "/api/orders")).header("Idempotency-Key", key).json(body);
        let heard = self.hear(request).await;
        let status = if let Heard::Answer { status, .. } = &heard { *status } else { 0 };
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
        heard
    }

    /// `GET /api/orders/{id}`, at once or at its end, by one who has the version `known`.
    pub(crate) async fn read(&self, gateway: usize, id: &str, known: Option<i64>, at_its_end: bool) -> Heard {
        let mut request = self.http.get(self.at(gateway, &format!("/api/orders/{id}")));
        if let Some(version) = known {
            request = request.header(header::IF_NONE_MATCH, format!("\"{version}\""));
        }
        if at_its_end {
            request = request.header("Prefer", format!("wait={WAIT}"));
        }
        self.hear(request).await
    }

    /// `POST /api/orders/{id}/cancel`
    pub(crate) async fn cancel(&self, gateway: usize, id: &str) -> Heard {
        self.hear(self.http.post(self.at(gateway, &format!("/api/orders/{id}/cancel")))).await
    }

    fn at(&self, gateway: usize, path: &str) -> String {
        let gateway = self.gateways.get(gateway % self.gateways.len().max(1));
        format!("{}{path}", gateway.map_or("", String::as_str))
    }

    async fn hear(&self, request: RequestBuilder) -> Heard {
        let Ok(answer) = request.bearer_auth(&self.token).send().await else { return Heard::Silence };
        let status = answer.status().as_u16();
        let seconds =
            answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let Ok(text) = answer.text().await else { return Heard::Silence };
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Heard::Answer { status, retry_after: seconds.map(Duration::from_secs), body }
    }
}
