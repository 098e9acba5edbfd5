//! Many orders in one call: each is judged as if it had come alone.
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

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::{Value, json};
use stage::{Answer, Fate, PRODUCT, Stage};

fn order(key: &str, quantity: i32) -> Value {
    json!({
        "idempotencyKey": key, "items": [{"productId": PRODUCT, "quantity": quantity}],
        "shippingAddress": "1 Harbour Road", "paymentMethod": "CREDIT_CARD"
    })
}

fn request(stage: &Stage, body: String) -> Request<Body> {
    stage
        .request("POST", "/api/orders/batch", "ann")
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap()
}

async fn submit(stage: &Stage, orders: &[Value]) -> Answer {
    stage.call(request(stage, json!({"orders": orders}).to_string())).await
}

/// Submits and returns the results of a call that was taken.
async fn results(stage: &Stage, orders: &[Value]) -> Vec<Value> {
    let answer = submit(stage, orders).await;
    assert_eq!(answer.status, StatusCode::MULTI_STATUS, "{}", answer.body);
    let results = answer.body["results"].as_array().unwrap().clone();
    assert_eq!(results.len(), orders.len());
    results
}

fn statuses(results: &[Value]) -> Vec<u64> {
    results.iter().map(|result| result["status"].as_u64().unwrap()).collect()
}

/// Until every one of `orders` is answered 202: a machine under load may be late.
async fn until_accepted(stage: &Stage, orders: &[Value]) -> Vec<Value> {
    let mut last = Vec::new();
    testbed::eventually("all are accepted", async || {
        last = results(stage, orders).await;
        last.iter().all(|result| result["status"] == 202)
    })
    .await;
    last
}

#[tokio::test]
async fn one_bad_order_spoils_no_other() {
    let stage = Stage::set().await;
    stage.until_proved().await;
    let before = stage.log.commands().len();
    let mut unknown_product = order("c", 1);
    unknown_product["items"][0]["productId"] = json!("00000000-0000-0000-0000-0000000000ff");
    let mut extra = order("d", 1);
    extra["price"] = json!(1);
    let orders = [
        order("a", 1),
        order("b", 0),
        unknown_product,
        extra,
        order("", 1),
        order("e f", 1),
        json!(7),
        order("g", 2),
    ];
    let results = results(&stage, &orders).await;
    assert_eq!(statuses(&results), [202, 422, 422, 422, 422, 422, 422, 202], "{results:#?}");
    assert_eq!(stage.log.commands().len(), before + 2, "the good ones are on the log");
    assert_eq!(results[1]["idempotencyKey"], "b");
    assert_eq!(results[1]["problem"]["errors"][0]["field"], "items[0].quantity");
    assert_eq!(results[3]["problem"]["errors"][0]["field"], "price");
    assert_eq!(results[5]["problem"]["errors"][0]["field"], "idempotencyKey");
    assert!(results[6].get("idempotencyKey").is_none());
    assert_eq!(results[7]["orderStatus"], "PENDING");
    let path = results[7]["statusUrl"].as_str().unwrap();
    let read = stage.get(path, "ann").await;
    assert_eq!((read.status, &read.body["items"][0]["quantity"]), (StatusCode::OK, &json!(2)));
}

#[tokio::test]
async fn a_repeat_is_the_same_orders_whether_in_bulk_or_alone() {
    let stage = Stage::set().await;
    stage.until_proved().await;
    let before = stage.log.commands().len();
    let orders: Vec<Value> = (1..=500).map(|n| order(&format!("k{n}"), n)).collect();
    let first = until_accepted(&stage, &orders).await;
    assert_eq!(stage.log.commands().len(), before + 500);
    assert_eq!(until_accepted(&stage, &orders).await, first);
    let alone = stage.post("k7", 7).await;
    assert_eq!((alone.status, &alone.body["orderId"]), (StatusCode::ACCEPTED, &first[6]["orderId"]));
    assert_eq!(stage.log.commands().len(), before + 500, "nothing was said twice");
    let others: Vec<Value> = (1..=3).map(|n| order(&format!("k{n}"), if n == 2 { 2 } else { 900 })).collect();
    let judged = results(&stage, &others).await;
    assert_eq!(statuses(&judged), [422, 202, 422]);
    assert_eq!(judged[0]["problem"]["type"], "urn:mambogo:problem:idempotency-key-reused");
}

#[tokio::test]
async fn one_key_twice_in_a_call_is_one_order() {
    let stage = Stage::set().await;
    stage.until_proved().await;
    let before = stage.log.commands().len();
    let orders = [order("k", 1), order("j", 3), order("k", 1), order("k", 2)];
    let results = results(&stage, &orders).await;
    assert_eq!(statuses(&results), [202, 202, 202, 422], "{results:#?}");
    assert_eq!(results[0], results[2]);
    assert_eq!(stage.log.commands().len(), before + 2);
}

#[tokio::test]
async fn an_order_in_flight_elsewhere_is_told_to_come_again_and_the_rest_is_taken() {
    let stage = Stage::set().await;
    stage.until_proved().await;
    stage.log.set(Fate::Held);
    let (app, first) = (stage.app(), stage.submit("k", 7));
    let first = tokio::spawn(async move { Stage::send(app, first).await });
    stage.log.until_held().await;
    stage.log.set(Fate::Acknowledged);
    let results = results(&stage, &[order("a", 1), order("k", 7), order("b", 1)]).await;
    assert_eq!(statuses(&results), [202, 409, 202]);
    assert!(results[1]["retryAfter"].as_u64().unwrap() >= 1);
    stage.log.deliver();
    assert_eq!(first.await.unwrap().status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn one_record_that_is_not_handed_over_is_given_back_alone() {
    let stage = Stage::set().await;
    stage.until_proved().await;
    stage.log.set(Fate::QueueFullFor(13));
    let judged = results(&stage, &[order("a", 1), order("b", 13), order("c", 2)]).await;
    assert_eq!(statuses(&judged), [202, 503, 202]);
    assert!(judged[1]["retryAfter"].as_u64().unwrap() >= 1);
    let judged = results(&stage, &[order("a", 1), order("b", 14), order("c", 3)]).await;
    assert_eq!(statuses(&judged), [202, 202, 422], "b's key is free for another body, c's is not");
}

#[tokio::test]
async fn without_redis_the_rows_decide() {
    let mut stage = Stage::set().await;
    stage.until_proved().await;
    stage.redis.stop();
    let orders = [order("a", 1), order("b", 0), order("c", 2)];
    let waiting = results(&stage, &orders).await;
    assert_eq!(statuses(&waiting), [503, 422, 503], "nobody has made the rows");
    stage
        .working(testbed::eventually("with the rows there, all is told", async || {
            statuses(&results(&stage, &orders).await) == [202, 422, 202]
        }))
        .await;
    let other = results(&stage, &[order("a", 9), order("c", 2)]).await;
    assert_eq!(statuses(&other), [422, 202]);
}

#[tokio::test]
async fn the_call_itself_is_bounded() {
    let stage = Stage::set().await;
    let many: Vec<Value> = (0..501).map(|n| order(&n.to_string(), 1)).collect();
    for orders in [&[][..], &many] {
        let refused = submit(&stage, orders).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refused.body["errors"][0]["field"], "orders");
    }
    let unknown = stage.call(request(&stage, json!({"orders": [order("a", 1)], "x": 1}).to_string())).await;
    assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY);
    let long = stage.call(request(&stage, " ".repeat((1 << 20) + 1))).await;
    assert_eq!(long.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(stage.log.commands().is_empty());
}

#[tokio::test]
async fn a_call_that_finds_no_room_is_refused_before_its_body_is_parsed() {
    let stage = Stage::with_room(2).await;
    stage.until_proved().await;
    stage.log.set(Fate::Held);
    let pair =
        |n: i32| json!({"orders": [order(&format!("a{n}"), n), order(&format!("b{n}"), n)]}).to_string();
    let first = tokio::spawn(Stage::send(stage.app(), request(&stage, pair(1))));
    stage.log.until_held().await;
    let broken = || stage.call(request(&stage, "{".to_owned()));
    assert_eq!(broken().await.status, StatusCode::BAD_REQUEST, "nobody waits yet: it is read");
    let mut n = 1;
    testbed::eventually("as many wait as may be under way", async || {
        n += 1;
        let (waits, unread) = tokio::join!(stage.call(request(&stage, pair(n))), broken());
        assert_eq!(
            statuses(waits.body["results"].as_array().unwrap()),
            [503, 503],
            "no room was made in time"
        );
        unread.status == StatusCode::SERVICE_UNAVAILABLE && unread.headers.contains_key("retry-after")
    })
    .await;
    stage.log.deliver();
    let first = first.await.unwrap();
    assert_eq!(statuses(first.body["results"].as_array().unwrap()), [202, 202]);
    stage.log.set(Fate::Acknowledged);
    until_accepted(&stage, &[order("a2", 2), order("b2", 2)]).await;
}
