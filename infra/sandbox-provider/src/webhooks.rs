//! What the provider tells by itself: signed as Stripe signs, late and more than once where the faults say so.

use chassis::{clock::Clock, settings::Secret};
use reqwest::{Client, header::CONTENT_TYPE, redirect};
use schemas::{time::Timestamp, webhook_signature};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

/// Deliveries waited for or under way; what comes beyond them is dropped and counted.
const MOST: usize = 50_000;

/// Deliveries under way.
const AT_ONCE: usize = 32;

/// So often one is tried, with waits that double.
const TRIES: u32 = 10;
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Longest time for the receiver to take one.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Webhooks {
    sender: Option<Arc<Sender>>,
}

struct Sender {
    client: Client,
    url: String,
    secret: Secret,
    clock: Clock,
    places: Arc<Semaphore>,
    at_once: Semaphore,
    taken: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
}

impl Webhooks {
    pub(crate) fn new(url: Option<&str>, secret: Secret, clock: Clock) -> Result<Self, String> {
        let Some(url) = url else { return Ok(Self { sender: None }) };
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| format!("no HTTP client could be made: {error}"))?;
        let (places, at_once) = (Arc::new(Semaphore::new(MOST)), Semaphore::new(AT_ONCE));
        let (taken, refused, dropped) = Default::default();
        let sender =
            Sender { client, url: url.to_owned(), secret, clock, places, at_once, taken, refused, dropped };
        Ok(Self { sender: Some(Arc::new(sender)) })
    }

    /// Sends an event after a while.
    pub(crate) fn send(&self, event: String, delay: Duration) {
        let Some(sender) = &self.sender else { return };
        let Ok(place) = Arc::clone(&sender.places).try_acquire_owned() else {
            sender.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let sender = Arc::clone(sender);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            sender.deliver(event).await;
            drop(place);
        });
    }

    /// Taken, given up, dropped, and still to come.
    pub(crate) fn counts(&self) -> Value {
        let Some(sender) = &self.sender else { return Value::Null };
        json!({
            "taken": sender.taken.load(Ordering::Relaxed),
            "givenUp": sender.refused.load(Ordering::Relaxed),
            "dropped": sender.dropped.load(Ordering::Relaxed),
            "toCome": MOST - sender.places.available_permits(),
        })
    }
}

impl Sender {
    async fn deliver(&self, event: String) {
        let mut wait = FIRST_WAIT;
        for _ in 0..TRIES {
            if self.try_once(&event).await {
                self.taken.fetch_add(1, Ordering::Relaxed);
                return;
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(tries = TRIES, "a webhook was given up: its receiver did not take it");
    }

    /// Each try has a signature of its own time.
    async fn try_once(&self, event: &str) -> bool {
        let Ok(_turn) = self.at_once.acquire().await else { return false };
        let now = Timestamp(self.clock.now_millis());
        let signature = webhook_signature::sign(self.secret.expose().as_bytes(), now, event.as_bytes());
        let request = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(webhook_signature::HEADER, signature)
            .body(event.to_owned());
        request.send().await.is_ok_and(|answer| answer.status().is_success())
    }
}
