//! One buyer, as a patient client is: it repeats what was not answered, under the same key, leaves the server alone as
//! long as it is asked to, and follows its order to the end, at whichever gateway answers. It notices what should
//! never be.

use crate::{
    client::{Client, Heard},
    order::Order,
    pulse::Pulse,
    verdict::{Findings, Invariant},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// A buyer gives up after this time, and that is a violation: no fault here lasts so long.
const GIVES_UP: Duration = Duration::from_secs(240);
/// First wait after silence; it doubles up to the longest, and is jittered.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// What a buyer can reach.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) client: Client,
    pub(crate) pulse: Pulse,
    pub(crate) findings: Arc<Findings>,
    /// One gateway alone was cut off from Redis: it tells what the other cannot know, so only a buyer that names its
    /// version is promised not to read an earlier one.
    pub(crate) is_split: AtomicBool,
}

/// What a buyer knows in the end.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    /// Its idempotency key.
    pub(crate) key: String,
    /// The order's id, once there was a 202.
    pub(crate) id: Option<String>,
    /// The last status and version it read.
    pub(crate) status: String,
    pub(crate) version: i64,
    /// Submits that it sent.
    pub(crate) attempts: u32,
}

/// One buyer at work.
struct Buyer {
    shop: Arc<Shop>,
    order: Order,
    random: StdRng,
    began: Instant,
    turn: usize,
    wait: Duration,
    life: Life,
}

/// Buys, and tells what became of it.
pub(crate) async fn buy(shop: Arc<Shop>, order: Order) -> Life {
    let life = Life { key: order.key.clone(), id: None, status: String::new(), version: 0, attempts: 0 };
    let random = StdRng::seed_from_u64(order.seed);
    let turn = order.gateway;
    let began = Instant::now();
    let mut buyer = Buyer { shop, order, random, began, turn, wait: FIRST_WAIT, life };
    buyer.shop.pulse.begun();
    if let Some(id) = buyer.submit().await {
        buyer.follow(&id).await;
    }
    buyer.life
}

impl Buyer {
    /// Submits until there is a 202.
    async fn submit(&mut self) -> Option<String> {
        if self.order.twice {
            let (shop, key, body) = (Arc::clone(&self.shop), self.order.key.clone(), self.order.body.clone());
            let other = self.turn + 1;
            // its answer does not matter: there is one order, whoever is answered
            tokio::spawn(async move { shop.client.submit(other, &key, &body).await });
        }
        while !self.is_late() {
            self.life.attempts += 1;
            match self.shop.client.submit(self.turn, &self.order.key, &self.order.body).await {
                Heard::Answer { status: 202, body, .. } => return self.accepted(&body),
                Heard::Answer { status: 409 | 429 | 503, retry_after: Some(after), .. } => {
                    self.rest(Some(after)).await;
                }
                Heard::Answer { status, body, .. } => {
                    self.found(Invariant::Answers, format!("a submit was answered {status} {body}"));
                    self.rest(None).await;
                }
                Heard::Silence => self.rest(None).await,
            }
        }
        self.found(Invariant::Settled, format!("not accepted within {GIVES_UP:?}"));
        None
    }

    fn accepted(&mut self, body: &Value) -> Option<String> {
        let id = body.get("orderId").and_then(Value::as_str).map(str::to_owned);
        if id.is_none() {
            self.found(Invariant::Answers, format!("a 202 without an order id: {body}"));
        }
        self.life.id.clone_from(&id);
        self.wait = FIRST_WAIT;
        id
    }

    /// Reads until the order's end; cancels and changes its mind on the way, if that is its plan.
    async fn follow(&mut self, id: &str) {
        if self.order.looks_at_once {
            self.look(id, false).await;
        }
        if let Some(other) = self.order.other_body.take() {
            self.change_mind(&other).await;
        }
        if let Some(after) = self.order.cancels_after.take() {
            tokio::time::sleep(after).await;
            self.cancel(id).await;
        }
        while !is_end(&self.life.status) {
            if self.is_late() {
                let what = format!("accepted and not settled within {GIVES_UP:?}: {}", self.life.status);
                return self.found(Invariant::Settled, what);
            }
            self.look(id, true).await;
        }
        self.shop.pulse.settled();
        // once more, at the other gateway: the end is the end there too
        self.look(id, false).await;
    }

    /// One read, and what it says of the ones before.
    async fn look(&mut self, id: &str, at_its_end: bool) {
        let known = (self.order.names_versions && self.life.version > 0).then_some(self.life.version);
        match self.shop.client.read(self.turn, id, known, at_its_end).await {
            Heard::Answer { status: 200, body, .. } => {
                self.heard();
                self.read(&body, known.is_some());
            }
            Heard::Answer { status: 304, .. } if known.is_some() => self.heard(),
            Heard::Answer { status: 429 | 503, retry_after: Some(after), .. } => self.rest(Some(after)).await,
            Heard::Answer { status: 404, .. } => {
                self.found(Invariant::Reads, "404 after 202".to_owned());
                self.rest(None).await;
            }
            Heard::Answer { status, body, .. } => {
                self.found(Invariant::Answers, format!("a read was answered {status} {body}"));
                self.rest(None).await;
            }
            Heard::Silence => self.rest(None).await,
        }
    }

    fn heard(&mut self) {
        self.wait = FIRST_WAIT;
        self.turn += 1;
    }

    fn read(&mut self, body: &Value, named: bool) {
        let status = body.get("status").and_then(Value::as_str).unwrap_or_default().to_owned();
        let version = body.get("version").and_then(Value::as_i64).unwrap_or_default();
        let (before, last) = (self.life.version, self.life.status.clone());
        let is_promised = named || !self.shop.is_split.load(Ordering::Acquire);
        if version < before && is_promised {
            self.found(Invariant::Reads, format!("read {status} ({version}) after {last} ({before})"));
        }
        if is_end(&last) && status != last && is_promised {
            self.found(Invariant::Reads, format!("the end changed from {last} to {status}"));
        }
        if version >= before {
            (self.life.version, self.life.status) = (version, status);
        }
    }

    async fn cancel(&mut self, id: &str) {
        // one attempt: whether it is heard makes no difference to what has to hold
        match self.shop.client.cancel(self.turn, id).await {
            Heard::Answer { status: 404, .. } => {
                self.found(Invariant::Reads, "a cancel was answered 404 after 202".to_owned());
            }
            Heard::Answer { status: 500..=502 | 504.., body, .. } => {
                self.found(Invariant::Answers, format!("a cancel was answered {body}"));
            }
            Heard::Answer { .. } | Heard::Silence => {}
        }
    }

    /// Another body under a key that has an order: never a 202.
    async fn change_mind(&mut self, other: &Value) {
        if let Heard::Answer { status: 202, body, .. } =
            self.shop.client.submit(self.turn + 1, &self.order.key, other).await
        {
            self.found(Invariant::Once, format!("another body under its key was answered 202 {body}"));
        }
    }

    /// Leaves the server alone: at least as long as it asks, and longer each time.
    async fn rest(&mut self, asked: Option<Duration>) {
        self.turn += 1;
        let wait = asked.unwrap_or_default().max(self.wait);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        tokio::time::sleep(wait.mul_f64(self.random.random_range(0.8..1.3))).await;
    }

    fn is_late(&self) -> bool {
        self.began.elapsed() > GIVES_UP
    }

    fn found(&self, invariant: Invariant, what: String) {
        let id = self.life.id.as_deref().unwrap_or("not known");
        self.shop.findings.add(invariant, format!("order {id}, key {}: {what}", self.life.key));
    }
}

/// Whether nothing more becomes of an order.
pub(crate) fn is_end(status: &str) -> bool {
    !matches!(status, "" | "PENDING" | "RESERVED")
}
