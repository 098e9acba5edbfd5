//! Carts on one Redis: their bounds, their merging, and one order a state, whatever is repeated, lost or done at once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "a test says what is wrong by failing; not every stage is used whole"
)]

mod stage;

use axum::{body::Body, http::StatusCode};
use cart_api::config::CartRedis;
use chassis::settings::Secret;
use futures_util::future::join_all;
use serde_json::json;
use stage::{Stage, Who, delivery, product, with};
use testbed::{Proxy, Redis};

const ANN: Who<'_> = Who::User("ann");
const INVALID: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

/// The stage, and the way to the carts' Redis.
async fn set() -> (Stage, Proxy, Redis) {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.url().trim_start_matches("redis://").trim_end_matches("/0")).await;
    let stage = Stage::set(CartRedis::One(Secret::new(proxy.in_url(&redis.url())))).await;
    until_back(&stage).await;
    (stage, proxy, redis)
}

async fn until_back(stage: &Stage) {
    testbed::eventually("carts can be read", async || stage.get(ANN).await.status == StatusCode::OK).await;
}

#[tokio::test]
async fn a_cart_is_filled_changed_and_thrown_away_and_each_change_raises_its_version() {
    let (stage, _proxy, _redis) = set().await;
    let empty = stage.get(ANN).await;
    assert_eq!((empty.version(), empty.lines()), (0, vec![]));
    assert!(empty.body.get("cartId").is_none() && empty.body.get("total").is_none(), "{empty:?}");

    assert_eq!(stage.add(ANN, 2, 3).await.version(), 1);
    assert_eq!(stage.add(ANN, 2, 1).await.lines(), [(2, 4)]);
    let cart = stage.put(ANN, 1, 2).await;
    assert_eq!((cart.version(), cart.lines()), (3, vec![(1, 2), (2, 4)]));
    assert_eq!(cart.body["items"][1]["unitPrice"], json!({"amount": 1_002, "currency": "USD"}));
    assert_eq!(cart.body["total"]["amount"], 2 * 1_001 + 4 * 1_002);
    assert_eq!(cart.header("etag"), format!("\"{}.3\"", cart.body["cartId"].as_str().unwrap()));
    assert_eq!(cart.header("cache-control"), "no-store");

    assert_eq!(stage.put(ANN, 1, 2).await.version(), 3, "what changes nothing is no change");
    assert_eq!(stage.remove(ANN, 9).await.version(), 3);
    assert_eq!(stage.remove(ANN, 1).await.lines(), [(2, 4)]);
    stage.enter(2, 7, true);
    assert_eq!(stage.get(ANN).await.body["total"]["amount"], 28, "prices are those of the moment");
    stage.enter(2, 7, false);
    let unsold = stage.get(ANN).await;
    assert_eq!((&unsold.body["items"][0]["onSale"], unsold.body.get("total")), (&json!(false), None));

    assert_eq!(stage.get(Who::User("bob")).await.lines(), []);
    assert_eq!(stage.clear(ANN).await.status, StatusCode::NO_CONTENT);
    let next = stage.add(ANN, 1, 1).await;
    assert_eq!(next.version(), 1);
    assert_ne!(next.body["cartId"], cart.body["cartId"], "another life, another id");
}

#[tokio::test]
async fn bounds_hold_and_what_is_not_sold_is_refused() {
    let (stage, _proxy, _redis) = set().await;
    for (n, quantity, fields) in [(1, 0, "quantity"), (1, 10_001, "quantity"), (1, -1, "quantity")] {
        for answer in [stage.add(ANN, n, quantity).await, stage.put(ANN, n, quantity).await] {
            assert_eq!((answer.status, answer.fields()), (INVALID, vec![fields.to_owned()]));
        }
    }
    for n in [1_000, 2_000] {
        for answer in [stage.add(ANN, n, 1).await, stage.put(ANN, n, 1).await] {
            assert_eq!((answer.status, answer.fields()), (INVALID, vec!["productId".to_owned()]));
        }
    }
    assert_eq!(stage.add(ANN, 1, 10_000).await.status, StatusCode::OK);
    assert_eq!(stage.add(ANN, 1, 1).await.fields(), ["quantity"]);
    let mut others = Vec::new();
    for first in (2..=110).step_by(10) {
        others.extend(join_all((first..=110.min(first + 9)).map(|n| stage.add(ANN, n, 1))).await);
    }
    let refused: Vec<_> = others.iter().filter(|answer| answer.status != StatusCode::OK).collect();
    assert_eq!(refused.len(), 10, "100 lines and no more: {refused:?}");
    assert!(refused.iter().all(|answer| answer.fields() == ["productId"]), "{refused:?}");
    assert_eq!(stage.put(ANN, 1, 5).await.status, StatusCode::OK, "a full cart can be changed");
    assert_eq!((stage.get(ANN).await.lines().len(), stage.get(ANN).await.version()), (100, 101));
}

#[tokio::test]
async fn a_change_for_another_state_is_refused() {
    let (stage, _proxy, _redis) = set().await;
    let first = stage.add(ANN, 1, 1).await.header("etag");
    let add = |etag: &str| {
        let request = stage.request("POST", "/api/cart/items", ANN).header("if-match", etag);
        stage.send(with(request, &json!({"productId": product(1), "quantity": 1})))
    };
    let at_once = join_all((0..10).map(|_| add(&first))).await;
    let done = at_once.iter().filter(|answer| answer.status == StatusCode::OK).count();
    let stale = at_once.iter().filter(|answer| answer.status == StatusCode::PRECONDITION_FAILED).count();
    assert_eq!((done, stale), (1, 9));
    assert_eq!(stage.get(ANN).await.lines(), [(1, 2)]);
    let clear = |etag: &str| {
        let request = stage.request("DELETE", "/api/cart", ANN).header("if-match", etag);
        stage.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(clear(&first).await.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(clear(&stage.get(ANN).await.header("etag")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(add(&first).await.status, StatusCode::PRECONDITION_FAILED, "that cart is gone");
}

#[tokio::test]
async fn an_add_whose_answers_are_lost_is_made_once() {
    let (stage, proxy, _redis) = set().await;
    stage.add(ANN, 1, 1).await;
    proxy.hold_answers();
    assert_eq!(
        stage.add(ANN, 1, 5).await.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "sent twice, answered never"
    );
    proxy.open();
    until_back(&stage).await;
    let cart = stage.get(ANN).await;
    assert_eq!((cart.lines(), cart.version()), (vec![(1, 6)], 2));
}

#[tokio::test]
async fn a_guest_gets_its_token_from_the_server_and_no_other_token_opens_a_cart() {
    let (stage, _proxy, redis) = set().await;
    assert_eq!(stage.get(Who::Stranger).await.lines(), []);
    let begun = stage.add(Who::Stranger, 1, 2).await;
    let token = begun.header("cart-token");
    assert_eq!(stage.get(Who::Guest(&token)).await.lines(), [(1, 2)]);
    assert!(!stage.add(Who::Guest(&token), 1, 1).await.headers.contains_key("cart-token"));

    let invented = "0123456789abcdef0123456789abcdef";
    assert_eq!(stage.get(Who::Guest(invented)).await.lines(), []);
    let other = stage.add(Who::Guest(invented), 1, 1).await;
    assert_ne!(other.header("cart-token"), invented, "a token is never the client's choice");
    assert_eq!(stage.get(Who::Guest(invented)).await.lines(), []);
    assert_eq!(stage.get(Who::Guest("x")).await.status, StatusCode::BAD_REQUEST);
    for path in ["/api/cart/checkout", "/api/cart/merge"] {
        let request = stage.request("POST", path, Who::Guest(&token));
        assert_eq!(stage.send(with(request, &delivery("x"))).await.status, StatusCode::UNAUTHORIZED);
    }
    let keys = redis.command("EVAL \"return {ok=table.concat(redis.call('KEYS','*'))}\" 0").await;
    assert!(keys.contains("cart:{g") && !keys.contains(&token), "Redis does not hold tokens: {keys}");
}

#[tokio::test]
async fn a_merge_sums_within_bounds_and_only_once_wherever_it_stopped() {
    let (stage, _proxy, redis) = set().await;
    let token = stage.add(Who::Stranger, 1, 9_000).await.header("cart-token");
    stage.add(Who::Guest(&token), 2, 3).await;
    let guest = key_of_guest(&redis).await;
    // what is left where a merge stops before it forgets the guest's cart
    assert_eq!(redis.command(&format!("COPY {guest} kept")).await, ":1");
    let restore = async || assert_eq!(redis.command(&format!("COPY kept {guest} REPLACE")).await, ":1");

    stage.add(ANN, 1, 2_000).await;
    let merged = stage.merge("ann", &token).await;
    assert_eq!((merged.lines(), merged.version()), (vec![(1, 10_000), (2, 3)], 2));
    assert_eq!(merged.body["cut"], json!([product(1)]), "what had no place is named");
    for _ in 0..2 {
        assert_eq!(stage.merge("ann", &token).await.lines(), [(1, 10_000), (2, 3)]);
        restore().await;
    }
    stage.clear(ANN).await;
    assert_eq!(stage.merge("ann", &token).await.lines(), [], "nor into the next cart");
    assert_eq!(stage.get(Who::Guest(&token)).await.lines(), [], "the guest's cart is gone");

    // taken by ann, and stopped there: nobody else sees, changes or merges it
    restore().await;
    assert_eq!(redis.command(&format!("HSET {guest} for somebody")).await, ":1");
    assert_eq!(stage.get(Who::Guest(&token)).await.lines(), []);
    assert_ne!(stage.add(Who::Guest(&token), 3, 1).await.header("cart-token"), token);
    assert_eq!(stage.merge("bob", &token).await.lines(), []);
}

/// The one guest's key.
async fn key_of_guest(redis: &Redis) -> String {
    let key = redis.command("EVAL \"return {ok=redis.call('KEYS','cart:{g*}')[1]}\" 0").await;
    key.strip_prefix('+').unwrap_or_else(|| panic!("{key}")).to_owned()
}

#[tokio::test]
async fn a_double_click_is_one_order_and_so_is_a_late_one() {
    let (stage, _proxy, _redis) = set().await;
    assert_eq!(stage.checkout("ann", "1 Road").await.status, INVALID, "an empty cart buys nothing");
    stage.add(ANN, 1, 2).await;
    let cart = stage.add(ANN, 2, 1).await;
    stage.enter(2, 50, true);
    let clicks = join_all((0..10).map(|_| stage.checkout("ann", "1 Road"))).await;
    let mut orders = Vec::new();
    for click in clicks {
        match click.status {
            StatusCode::ACCEPTED => orders.push(click.body["orderId"].clone()),
            // still in flight
            StatusCode::CONFLICT => assert!(click.headers.contains_key("retry-after")),
            other => panic!("{other}: {click:?}"),
        }
    }
    let late = stage.checkout("ann", "1 Road").await;
    orders.push(late.body["orderId"].clone());
    assert_eq!(late.header("location"), format!("/api/orders/{}", late.body["orderId"].as_str().unwrap()));
    orders.dedup();
    let submits = stage.log.submits();
    assert_eq!((orders.len(), submits.len()), (1, 1));
    assert_eq!(submits[0].total, 2 * 1_001 + 50, "priced when it was accepted, not when it was put in");
    assert_eq!(stage.get(ANN).await.lines(), []);

    let of_state = stage.checkout_request("ann").header("if-match", cart.header("etag"));
    assert_eq!(stage.send(with(of_state, &delivery("1 Road"))).await.body["orderId"], orders[0]);
    assert_eq!(stage.checkout("ann", "2 Road").await.status, INVALID, "another address is another wish");
    stage.add(ANN, 1, 2).await;
    stage.add(ANN, 2, 1).await;
    let next = stage.checkout("ann", "1 Road").await;
    assert_ne!(next.body["orderId"], orders[0], "the same things bought again are another order");
}

#[tokio::test]
async fn what_was_bought_and_not_emptied_is_not_bought_again() {
    let (stage, proxy, _redis) = set().await;
    stage.add(ANN, 1, 2).await;
    stage.log.hold();
    let order = tokio::join!(stage.checkout("ann", "1 Road"), async {
        stage.log.until_waiting().await;
        proxy.cut();
        stage.log.deliver();
    });
    let first = order.0;
    assert_eq!(first.status, StatusCode::ACCEPTED, "the order stands, whatever becomes of the cart");
    proxy.open();
    until_back(&stage).await;
    assert_eq!(stage.get(ANN).await.lines(), [(1, 2)], "as after a crash");
    let other = stage.checkout("ann", "2 Road").await;
    assert_eq!(other.status, INVALID);
    assert!(other.body["detail"].as_str().unwrap().contains(first.body["orderId"].as_str().unwrap()));
    let again = stage.checkout("ann", "1 Road").await;
    assert_eq!((again.status, &again.body["orderId"]), (StatusCode::ACCEPTED, &first.body["orderId"]));
    assert_eq!((stage.log.submits().len(), stage.get(ANN).await.lines()), (1, vec![]));
}

#[tokio::test]
async fn a_cart_that_changed_during_its_checkout_is_not_emptied() {
    let (stage, _proxy, _redis) = set().await;
    stage.add(ANN, 1, 2).await;
    stage.log.hold();
    let (bought, ()) = tokio::join!(stage.checkout("ann", "1 Road"), async {
        stage.log.until_waiting().await;
        assert_eq!(stage.add(ANN, 2, 1).await.status, StatusCode::OK);
        stage.log.deliver();
    });
    assert_eq!(bought.status, StatusCode::ACCEPTED);
    assert_eq!(stage.get(ANN).await.lines(), [(1, 2), (2, 1)], "what the other tab put in is not lost");
    assert_eq!(stage.log.submits()[0].lines.len(), 1);
}

#[tokio::test]
async fn carts_away_are_said_so_and_orders_go_on() {
    let (stage, proxy, _redis) = set().await;
    stage.add(ANN, 1, 2).await;
    proxy.cut();
    testbed::eventually("the carts are away", async || {
        stage.get(ANN).await.status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    assert!(stage.checkout("ann", "1 Road").await.headers.contains_key("retry-after"));
    let body = json!({"items": [{"productId": product(1), "quantity": 1}],
                      "shippingAddress": "1 Road", "paymentMethod": "CREDIT_CARD"});
    let order = stage.request("POST", "/api/orders", ANN).header("idempotency-key", "k");
    assert_eq!(stage.send(with(order, &body)).await.status, StatusCode::ACCEPTED);
    proxy.open();
    until_back(&stage).await;
    assert_eq!(stage.get(ANN).await.lines(), [(1, 2)]);
}

#[tokio::test]
async fn a_cart_that_is_looked_at_lives_on_and_a_forgotten_one_ends() {
    let (stage, _proxy, redis) = set().await;
    let token = stage.add(Who::Stranger, 1, 1).await.header("cart-token");
    let key = key_of_guest(&redis).await;
    let left = async || -> i64 { redis.command(&format!("TTL {key}")).await[1..].parse().unwrap() };
    let week = 7 * 24 * 60 * 60;
    assert!((week - 60..=week).contains(&left().await));
    assert_eq!(redis.command(&format!("EXPIRE {key} 100")).await, ":1");
    stage.get(Who::Guest(&token)).await;
    assert!(left().await > week - 60);
}
