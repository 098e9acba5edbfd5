//! What the system stands on goes away, one part after the other and in each way there is. Every process stays alive
//! and says what is missing, every client is answered within its budget, nothing that was accepted is lost, no key
//! becomes two orders, and all goes on by itself.

use crate::system::{Client, Process, System, assert_conserved, order_of};
use futures_util::future::join_all;
use serde_json::Value;
use std::time::{Duration, Instant};
use testbed::{Proxy, eventually, eventually_within};

/// No request may take longer, whatever is away: delivery time-out, waiting for the row, and the questions before them,
/// on a machine that has other things to do.
const BUDGET: Duration = Duration::from_secs(20);

type Way<'a> = &'a dyn Fn(&Proxy);

/// A process that reaches each part through a proxy.
struct Stage {
    system: System,
    kafka: Proxy,
    postgres: Proxy,
    redis: Proxy,
    all: Process,
    client: Client,
    product: String,
}

impl Stage {
    async fn build() -> Self {
        let system = System::build(&[]).await;
        let host = |url: &str| url.rsplit(['@', '/']).nth(1).unwrap().to_owned();
        let settings = system.settings();
        let (database, memory) = (host(&settings["ORDERS_DATABASE_URL"]), host(&settings["REDIS_URL"]));
        let kafka = Proxy::to_broker(&settings["KAFKA_BROKERS"]).await;
        let (postgres, redis) = (Proxy::to(&database).await, Proxy::to(&memory).await);
        let proxied: Vec<(String, String)> = settings
            .iter()
            .filter_map(|(key, value)| match key.as_str() {
                "KAFKA_BROKERS" => Some((key.clone(), kafka.address().to_string())),
                "REDIS_URL" => Some((key.clone(), redis.in_url(value))),
                // its own books are the provider's, and it is not away
                "SANDBOX_DATABASE_URL" | "ADMIN_DATABASE_URL" | "AUDIT_DATABASE_URL" => None,
                _ if key.ends_with("_DATABASE_URL") => Some((key.clone(), postgres.in_url(value))),
                _ => None,
            })
            .collect();
        let short = [("KAFKA_DELIVERY_TIMEOUT", "2s"), ("WORKER_BATCH_TIMEOUT", "3s")];
        let proxied: Vec<(&str, &str)> =
            proxied.iter().map(|(key, value)| (key.as_str(), value.as_str())).chain(short).collect();
        let all = system.launch(&["all"], &proxied);
        all.is_ready().await;
        system.is_proved(&all).await;
        let client = system.client(&all, "patient").await;
        let product = system.product(500).await;
        Self { system, kafka, postgres, redis, all, client, product }
    }

    fn order(&self) -> Value {
        order_of(&self.product, 1, "CREDIT_CARD")
    }

    /// Waits until the process says that it is not ready, and names `part`. It is alive all the same.
    async fn names(&self, part: &str) {
        let health = |what: &str| format!("http://{}/health/{what}", self.all.management());
        eventually_within(
            Duration::from_secs(60),
            &format!("it is not ready and names {part}"),
            async || {
                let answer = reqwest::get(health("ready")).await.unwrap();
                answer.status() == 503 && answer.text().await.unwrap().contains(part)
            },
        )
        .await;
        assert_eq!(reqwest::get(health("live")).await.unwrap().status(), 200);
    }

    /// One order a key, each within its budget: its id when it was accepted.
    async fn submit(&self, what: &str, count: usize) -> Vec<Option<String>> {
        let order = self.order();
        join_all((0..count).map(|n| {
            let (key, order) = (format!("{what}-{n}"), &order);
            async move {
                let began = Instant::now();
                let answer = self.client.submit(&key, order).await;
                assert!(began.elapsed() < BUDGET, "{key} took {:?}", began.elapsed());
                if answer.status == 202 {
                    return Some(answer.order_id());
                }
                assert_eq!(answer.status, 503, "{key}: {}", answer.body);
                assert!(answer.headers.contains_key("retry-after"), "{key}: {:?}", answer.headers);
                assert_eq!(answer.headers["content-type"], "application/problem+json");
                None
            }
        }))
        .await
    }

    /// The same keys again, until each is accepted and confirmed.
    async fn settle(&self, what: &str, before: &[Option<String>]) {
        for (n, before) in before.iter().enumerate() {
            let id = self.client.submit_patiently(&format!("{what}-{n}"), &self.order()).await;
            assert!(before.as_ref().is_none_or(|before| *before == id), "{what}-{n} became another order");
            assert_eq!(self.client.settled(&id).await["status"], "CONFIRMED", "{what}-{n}");
        }
    }

    /// Each key is one order: the one of the warm-up besides.
    async fn end(self, keys: i64) {
        self.all.is_ready().await;
        assert_eq!(self.system.statuses().await.values().sum::<i64>(), keys + 1);
        assert_conserved(&self.system.database).await;
        self.all.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_clients_are_told_in_time_and_no_key_becomes_two_orders() {
    let stage = Stage::build().await;
    for (what, refuse) in [("cut", Proxy::cut as fn(&Proxy)), ("unanswered", Proxy::hold_answers)] {
        let running = stage.submit(&format!("before-{what}"), 10).await;
        refuse(&stage.kafka);
        let refused = stage.submit(what, 20).await;
        assert!(refused.iter().all(Option::is_none), "{what}: no 202 without an acknowledgement");
        stage.names("Kafka").await;
        stage.kafka.open();
        // what was on its way with an unknown outcome may be on the log: the same key settles it
        stage.settle(what, &refused).await;
        stage.settle(&format!("before-{what}"), &running).await;
        stage.all.is_ready().await;
    }
    stage.end(60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_told_to_stop_while_everything_is_away_stops_in_time() {
    let stage = Stage::build().await;
    let running = stage.submit("before", 10).await;
    assert!(running.iter().all(Option::is_some));
    for part in [&stage.kafka, &stage.postgres, &stage.redis] {
        part.cut();
    }
    stage.names("Postgres").await;
    stage.all.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_workers_wait_alive_and_go_on_by_themselves() {
    let stage = Stage::build().await;
    for (what, refuse) in
        [("cut", Proxy::cut as fn(&Proxy)), ("held", Proxy::hold), ("silent", Proxy::silence)]
    {
        let running = stage.submit(&format!("before-{what}"), 10).await;
        refuse(&stage.postgres);
        let meanwhile = stage.submit(what, 5).await;
        // connections that have fallen silent are given up, and new ones work
        if what != "silent" {
            stage.names("Postgres").await;
        }
        stage.postgres.open();
        stage.settle(&format!("before-{what}"), &running).await;
        stage.settle(what, &meanwhile).await;
        stage.all.is_ready().await;
    }
    stage.end(45).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_it_is_slower_and_never_wrong() {
    let stage = Stage::build().await;
    let ways: [(&str, Way); 3] = [
        ("cut", &Proxy::cut),
        ("silent", &Proxy::silence),
        ("slow", &|proxy| proxy.slow(Duration::from_secs(5))),
    ];
    for (what, refuse) in ways {
        refuse(&stage.redis);
        let accepted = stage.submit(what, 5).await;
        let other = order_of(&stage.product, 2, "CREDIT_CARD");
        for (n, id) in accepted.iter().enumerate() {
            let key = format!("{what}-{n}");
            let id = id.as_ref().unwrap_or_else(|| panic!("{key}: orders are taken without Redis"));
            let began = Instant::now();
            let repeated = stage.client.submit(&key, &stage.order()).await;
            assert_eq!((repeated.status.as_u16(), &repeated.order_id()), (202, id), "{key}");
            assert_eq!(stage.client.submit(&key, &other).await.status, 422, "{key} with another body");
            let read = stage.client.get(&format!("/api/orders/{id}")).await;
            assert_eq!(read.status, 200, "{key}: {}", read.body);
            assert!(began.elapsed() < 3 * BUDGET, "{key} took {:?}", began.elapsed());
        }
        if what != "silent" {
            stage.names("edis").await;
        }
        stage.settle(what, &accepted).await;
        stage.redis.open();
        stage.all.is_ready().await;
    }
    // its memory is gone while it is away, and the views with it
    let id = stage.client.submit_patiently("flushed", &stage.order()).await;
    let before = stage.client.settled(&id).await;
    stage.system.redis.flush().await;
    eventually("the order reads as before", async || {
        let read = stage.client.get(&format!("/api/orders/{id}")).await;
        assert!(read.status == 200 || read.status == 503, "{}", read.body);
        assert!(read.status == 503 || read.body["version"] == before["version"], "{}", read.body);
        read.status == 200
    })
    .await;
    stage.end(16).await;
}
