//! The load of a step: orders of every kind, each followed by its client to its end, and what operators and other systems
//! do meanwhile. A promise that is broken is returned, never a panic: the sweep goes on.

use super::{cast::Cast, history::History, plan::Turn, requests::Wire};
use crate::system::{Client, System, order_of, webhook};
use chassis::crash::CrashPoint;
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::BTreeSet, future::Future, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

/// How often a client asks again.
const AGAIN: Duration = Duration::from_millis(100);
/// The first rounds of a step have orders of every kind, then each so many: the others only keep things going.
const FULL: usize = 3;
const ORDERS: &str = "/api/orders";
const SETTLED: [&str; 4] = ["CONFIRMED", "REJECTED", "CANCELLED", "EXPIRED"];

const SERVICES: [&str; 3] = ["orders", "inventory", "payments"];
/// Kind, how it is paid, how it ends.
const BUYS: [(&str, &str, &[&str]); 4] = [
    ("declined", "SANDBOX_DECLINE", &["REJECTED"]),
    ("flaky", "SANDBOX_FLAKY", &["CONFIRMED"]),
    ("silent", "SANDBOX_TIMEOUT", &["CONFIRMED"]),
    ("charged", "SANDBOX_TIMEOUT_CHARGED", &["CONFIRMED"]),
];

type Kept = Result<(), String>;

/// What a step needs that not every round has.
#[derive(Debug, Default)]
pub struct Wants {
    /// Services in which a record is to be parked, and redriven or discarded.
    poison: BTreeSet<&'static str>,
}

impl Wants {
    pub fn of(step: &[Turn]) -> Self {
        use CrashPoint::{ParkAfter, ParkBefore, RedriveAfter, RedriveBefore, RedriveOpened};
        let rare = [ParkBefore, ParkAfter, RedriveOpened, RedriveBefore, RedriveAfter];
        let poison = step.iter().filter(|turn| rare.contains(&turn.place.point));
        Self { poison: poison.map(|turn| turn.place.role).collect() }
    }
}

/// Everybody outside: clients, operators, other systems.
pub struct Shop {
    street: Street,
    lives: JoinSet<Kept>,
    rounds: usize,
    placed: usize,
}

/// What each of them has at hand.
#[derive(Clone)]
struct Street {
    system: Arc<System>,
    client: Client,
    hasty: Client,
    gateway: SocketAddr,
    wire: Arc<Wire>,
    products: Vec<String>,
    history: Arc<History>,
}

impl Shop {
    pub async fn open(system: &Arc<System>, products: Vec<String>, cast: &Cast) -> Self {
        let token = system.tool(&["token", "--user", "sweep", "--scope", "payments:refund"]).await;
        let street = Street {
            system: Arc::clone(system),
            client: Client::new(cast.gateway, token.trim()),
            gateway: cast.gateway,
            hasty: Client::new(cast.hasty.gateway(), token.trim()),
            wire: Arc::new(Wire::open(system)),
            products,
            history: Arc::default(),
        };
        Self { street, lives: JoinSet::new(), rounds: 0, placed: 0 }
    }

    pub fn history(&self) -> &History {
        &self.street.history
    }

    pub fn wire(&self) -> &Wire {
        &self.street.wire
    }

    /// A step begins.
    pub fn begin(&mut self) {
        self.rounds = 0;
        self.placed = 0;
    }

    /// Orders placed since the step began.
    pub fn placed(&self) -> usize {
        self.placed
    }

    /// Places the next orders.
    pub fn round(&mut self, wants: &Wants) {
        self.rounds += 1;
        self.order(|street| street.buy("plain", "CREDIT_CARD", &["CONFIRMED"]));
        if self.rounds > FULL && !self.rounds.is_multiple_of(FULL) {
            return;
        }
        for (kind, method, ends) in BUYS {
            self.order(|street| street.buy(kind, method, ends));
        }
        self.order(Street::cancel);
        self.order(Street::hasty);
        self.order(Street::refund);
        self.order(Street::told);
        self.lives.spawn(self.street.clone().reserve_outside());
        // a record that a service parks is seldom: one of the three a round, and what the step asks for
        let turn = SERVICES[rand::random_range(0..SERVICES.len())];
        for service in SERVICES.into_iter().filter(|it| *it == turn || wants.poison.contains(it)) {
            self.order(|street| street.poison(service));
        }
    }

    fn order<L: Future<Output = Kept> + Send + 'static>(&mut self, life: impl FnOnce(Street) -> L) {
        self.placed += 1;
        self.lives.spawn(life(self.street.clone()));
    }

    /// Waits for all of them; what they were promised and did not get.
    pub async fn lived(&mut self) -> Vec<String> {
        let mut broken = Vec::new();
        while let Some(life) = self.lives.join_next().await {
            match life {
                Ok(Ok(())) => {}
                Ok(Err(promise)) => broken.push(promise),
                Err(panic) => broken.push(format!("a client panicked: {panic}")),
            }
        }
        broken
    }
}

impl Street {
    async fn buy(self, kind: &str, method: &str, ends: &'static [&'static str]) -> Kept {
        self.settled(&self.client, kind, method, ends).await.map(drop)
    }

    /// Cancelled while the provider takes its time: void, and the money back.
    async fn cancel(self) -> Kept {
        let ends = &["CANCELLED", "CONFIRMED"];
        let id = self.place(&self.client, "cancelled", "SANDBOX_SLOW", ends).await?;
        let mut tick = patience();
        loop {
            tick.tick().await;
            let request = self.client.request(Method::POST, &format!("/api/orders/{id}/cancel"));
            match self.client.try_send(request).await.map(|answer| answer.status.as_u16()) {
                Some(202 | 409) => break,
                None | Some(429 | 503) => {}
                Some(status) => return Err(format!("cancelling {id}: {status}")),
            }
        }
        self.end(&self.client, &id).await
    }

    /// Expires while the provider takes its time.
    async fn hasty(self) -> Kept {
        self.settled(&self.hasty, "hasty", "SANDBOX_SLOW", &["EXPIRED", "CONFIRMED"]).await.map(drop)
    }

    /// Confirmed, and a part of it given back at the second try.
    async fn refund(self) -> Kept {
        let id = self.settled(&self.client, "refunded", "SANDBOX_REFUND_FLAKY", &["CONFIRMED"]).await?;
        let (path, body) = (format!("/api/payments/{id}/refund"), json!({"amount": 1, "reason": "swept"}));
        accepted(&self.client, &path, &format!("refund-{id}"), &body).await?;
        let mut tick = patience();
        while self.wire.refunded(&id).await.ok() != Some(1) {
            tick.tick().await;
        }
        Ok(())
    }

    /// The provider's answer is lost, and it tells of the money that it took, until it is heard; and then once more.
    async fn told(self) -> Kept {
        let id = self.place(&self.client, "told", "SANDBOX_TIMEOUT_CHARGED", &["CONFIRMED"]).await?;
        let mut tick = patience();
        let order = loop {
            tick.tick().await;
            if self.wire.is_charged(&id).await.ok() == Some(true)
                && let Some(order) = self.read(&self.client, &id, 0).await?
            {
                break order;
            }
        };
        let (event, mut heard) = (webhook::taken(&order), 0);
        while heard < 2 {
            tick.tick().await;
            match webhook::post(self.gateway, &event, webhook::SECRET).await {
                Some(200) => heard += 1,
                None | Some(429 | 503) => {}
                Some(status) => return Err(format!("a webhook of {id} was answered {status}")),
            }
        }
        self.end(&self.client, &id).await
    }

    /// A record that cannot be read, of an order that has settled: parked, then mended and redriven, or given up.
    async fn poison(self, service: &'static str) -> Kept {
        let id = self.settled(&self.client, "poisoned", "CREDIT_CARD", &["CONFIRMED"]).await?;
        self.wire.poison(service, &id).await?;
        let mut tick = patience();
        while self.wire.is_parked(service, &id).await.ok() != Some(true) {
            tick.tick().await;
        }
        let act = if service == "orders" { "redrive" } else { "discard" };
        while act == "redrive" && self.wire.mend(&id).await.is_err() {
            tick.tick().await;
        }
        let words = ["dlq", act, "--by", "sweep", "--service", service, "--key", &id, "--wait", "5s"];
        // the tool gives up where the worker is dead for long, and is asked again
        while self.wire.is_parked(service, &id).await.ok() != Some(false) {
            if self.system.try_tool(&words).await.is_err() {
                tick.tick().await;
            }
        }
        Ok(())
    }

    /// Another system's reserve, which its deadline gives back.
    async fn reserve_outside(self) -> Kept {
        self.wire.reserve(self.product(), Duration::from_millis(600)).await
    }

    /// Places an order, and waits for its end.
    async fn settled(
        &self,
        client: &Client,
        kind: &str,
        method: &str,
        ends: &'static [&'static str],
    ) -> Result<String, String> {
        let id = self.place(client, kind, method, ends).await?;
        self.end(client, &id).await?;
        Ok(id)
    }

    /// Submits under a new key until there is a 202, and once more: the same order.
    async fn place(
        &self,
        client: &Client,
        kind: &str,
        method: &str,
        ends: &'static [&'static str],
    ) -> Result<String, String> {
        let key = format!("{kind}-{}", chassis::ids::random().simple());
        let order = order_of(self.product(), 1, method);
        let id = accepted(client, ORDERS, &key, &order).await?;
        self.history.accepted(&key, &id, ends)?;
        self.read(client, &id, 0).await?;
        let again = accepted(client, ORDERS, &key, &order).await?;
        self.history.accepted(&key, &again, ends)?;
        Ok(id)
    }

    fn product(&self) -> &str {
        &self.products[rand::random_range(0..self.products.len())]
    }

    /// Reads the order until it is settled.
    async fn end(&self, client: &Client, id: &str) -> Kept {
        let mut tick = patience();
        loop {
            tick.tick().await;
            if let Some(order) = self.read(client, id, 5).await?
                && SETTLED.iter().any(|status| order["status"] == *status)
            {
                return Ok(());
            }
        }
    }

    /// Reads the order, if somebody answers. It was acknowledged, so it is there.
    async fn read(&self, client: &Client, id: &str, wait: u32) -> Result<Option<Value>, String> {
        let request = client.request(Method::GET, &format!("/api/orders/{id}"));
        let answer = client.try_send(request.header("Prefer", format!("wait={wait}"))).await;
        let Some(answer) = answer else { return Ok(None) };
        match answer.status.as_u16() {
            200 => {
                self.history.seen(id, answer.body["version"].as_i64().unwrap_or_default())?;
                Ok(Some(answer.body))
            }
            429 | 503 => Ok(None),
            status => Err(format!("reading {id}: {status} {}", answer.body)),
        }
    }
}

/// Asks until there is a 202, as a patient client does.
async fn accepted(client: &Client, path: &str, key: &str, body: &Value) -> Result<String, String> {
    let mut tick = patience();
    loop {
        tick.tick().await;
        let request = client.request(Method::POST, path).header("Idempotency-Key", key).json(body);
        let Some(answer) = client.try_send(request).await else { continue };
        match answer.status.as_u16() {
            202 => return Ok(answer.order_id()),
            409 | 429 | 503 => {}
            status => return Err(format!("{path} under {key}: {status} {}", answer.body)),
        }
    }
}

fn patience() -> tokio::time::Interval {
    let mut tick = interval(AGAIN);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}
