//! One order per key: with Redis there, emptied or stopped at the worst moment, while no row exists yet.

use crate::system::{Client, Process, System, assert_conserved, order_of};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};
use testbed::{eventually, eventually_within};

/// What happens to Redis.
#[derive(Clone, Copy, PartialEq)]
enum Loss {
    Flushed,
    Stopped,
}

/// A system whose orders worker can be taken away on its own.
struct Parted {
    system: System,
    edge: Process,
    orders: Option<Process>,
    _others: [Process; 2],
}

impl Parted {
    async fn start() -> Self {
        let system = System::build(&[]).await;
        let edge = system.start(&["serve"]).await;
        let others = [
            system.start(&["relay"]).await,
            system.start(&["work", "inventory", "payments", "status"]).await,
        ];
        let orders = Some(system.start(&["work", "orders"]).await);
        Self { system, edge, orders, _others: others }
    }

    async fn resume_orders(&mut self) {
        self.orders = Some(self.system.start(&["work", "orders"]).await);
    }
}

async fn orders_in(system: &System) -> Vec<(String, i32)> {
    sqlx::query_as("SELECT id::text, quantities[1] FROM orders.orders ORDER BY accepted_at")
        .fetch_all(&mut system.database.connect("audit").await)
        .await
        .unwrap()
}

/// Posts until the answer is neither "in flight" nor "try again".
async fn definite(client: &Client, key: &str, order: &Value) -> (StatusCode, Value) {
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    for _ in 0..300 {
        let answer = client.submit(key, order).await;
        if ![409, 503].contains(&answer.status.as_u16()) {
            return (answer.status, answer.body);
        }
        tick.tick().await;
    }
    panic!("no definite answer for {key} within a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_identical_posts_at_once_are_one_order_with_one_answer() {
    let system = System::build(&[]).await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let product = system.product(10).await;
    let order = order_of(&product, 1, "CREDIT_CARD");
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (client, order) = (client.clone(), order.clone());
        posts.spawn(async move {
            let first = client.submit("same", &order).await;
            assert!([202, 409].contains(&first.status.as_u16()), "{}: {}", first.status, first.body);
            if first.status == 409 {
                assert!(first.headers.contains_key("retry-after"));
            }
            let (status, body) = definite(&client, "same", &order).await;
            assert_eq!(status, 202, "{body}");
            body["orderId"].as_str().unwrap().to_owned()
        });
    }
    let ids: BTreeSet<String> = posts.join_all().await.into_iter().collect();
    assert_eq!(ids.len(), 1);
    let id = ids.first().unwrap();
    client.settled(id).await;
    assert_eq!(orders_in(&system).await, [(id.clone(), 1)]);
    // the other header names the same key; another body under it is refused; another user is somebody else
    let again = client.request(Method::POST, "/api/orders").header("X-Idempotency-Key", "same").json(&order);
    assert_eq!(client.send(again).await.order_id(), *id);
    let other = client.submit("same", &order_of(&product, 2, "CREDIT_CARD")).await;
    assert_eq!(other.status, 422, "{}", other.body);
    let bob = system.client(&all, "bob").await;
    assert_ne!(bob.submit("same", &order).await.order_id(), *id);
    assert_conserved(&system.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_redis_gives_no_second_202_and_no_404() {
    lose_redis_while_no_row_exists(Loss::Flushed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_redis_gives_no_second_202_and_no_404() {
    lose_redis_while_no_row_exists(Loss::Stopped).await;
}

async fn lose_redis_while_no_row_exists(loss: Loss) {
    let mut parted = Parted::start().await;
    let client = parted.system.client(&parted.edge, "alice").await;
    let product = parted.system.product(100).await;
    let (mine, other) = (order_of(&product, 1, "CREDIT_CARD"), order_of(&product, 2, "CREDIT_CARD"));
    parted.system.is_proved(&parted.edge).await;

    // no worker: what is accepted now has no row
    parted.orders.take().unwrap().kill();
    let accepted = client.submit("key", &mine).await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    let id = accepted.order_id();
    assert_eq!(client.order(&id).await["status"], "PENDING");
    match loss {
        Loss::Flushed => parted.system.redis.flush().await,
        Loss::Stopped => parted.system.redis.stop(),
    }

    // two bodies under the accepted key, and under a new one, all at once
    let mut posts = tokio::task::JoinSet::new();
    for n in 0..40 {
        let key = if n % 4 < 2 { "key" } else { "new" };
        let (client, is_mine) = (client.clone(), n % 2 == 0);
        let order = if is_mine { mine.clone() } else { other.clone() };
        posts.spawn(async move {
            let answer = client.submit(key, &order).await;
            assert!(
                [409, 422, 503].contains(&answer.status.as_u16()),
                "{key}: {} {}",
                answer.status,
                answer.body
            );
            if answer.status == 503 {
                assert!(answer.headers.contains_key("retry-after"), "{}", answer.body);
            }
        });
    }
    // a reader meanwhile may be asked to come back, and is never told that there is no such order
    for _ in 0..5 {
        let read = client.get(&format!("/api/orders/{id}")).await;
        assert!([200, 503].contains(&read.status.as_u16()), "{}: {}", read.status, read.body);
    }
    posts.join_all().await;
    assert_eq!(orders_in(&parted.system).await.len(), 1, "no worker, no row");

    if loss == Loss::Stopped {
        parted.system.redis.restart().await;
    }
    parted.resume_orders().await;
    assert_eq!(definite(&client, "key", &mine).await.1["orderId"], id.as_str(), "the first answer again");
    let (refused, body) = definite(&client, "key", &other).await;
    assert_eq!(refused, 422, "{body}");
    // of the two bodies under the new key one has won, and stays
    let verdicts = [definite(&client, "new", &mine).await, definite(&client, "new", &other).await];
    let accepted = verdicts.iter().filter(|(status, _)| *status == 202).count();
    let refused = verdicts.iter().filter(|(status, _)| *status == 422).count();
    assert_eq!((accepted, refused), (1, 1), "{verdicts:?}");
    client.settled(&id).await;
    let rows = orders_in(&parted.system).await;
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(rows.contains(&(id.clone(), 1)), "the body of the 202: {rows:?}");
    assert_conserved(&parted.system.database).await;
    // and the quick road comes back by itself
    eventually_within(Duration::from_secs(60), "a miss in Redis is a proof again", async || {
        parted.edge.metric("mambogo_orders_claims_proved").await == Some(1.0)
    })
    .await;
    let quick = client.submit("after", &mine).await;
    assert_eq!(quick.status, 202, "{}", quick.body);
    eventually("it settles", async || client.order(&quick.order_id()).await["status"] == "CONFIRMED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_never_goes_backwards_when_redis_is_emptied() {
    let system = System::build(&[]).await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let product = system.product(100).await;
    let mut ids = Vec::new();
    for n in 0..30 {
        let id = client.submit_patiently(&format!("order-{n}"), &order_of(&product, 1, "CREDIT_CARD")).await;
        client.settled(&id).await;
        ids.push(id);
        if n % 10 == 9 {
            system.redis.flush().await;
            for id in &ids {
                assert_eq!(client.order(id).await["status"], "CONFIRMED", "seen as confirmed before");
            }
        }
    }
}
