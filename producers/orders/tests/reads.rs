//! Reading, waiting, cancelling and listing, as a client sees them.
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
use schemas::messages::OrderStatus;
use stage::{Stage, submit_body};
use std::time::{Duration, Instant};

#[tokio::test]
async fn nobody_sees_an_order_of_others_and_404_is_a_proof() {
    let stage = Stage::set().await;
    stage.until_proved().await;
    let posted = stage.post("k", 7).await;
    let path = posted.body["statusUrl"].as_str().unwrap().to_owned();
    assert_eq!(posted.headers["location"], path.as_str());
    assert_eq!(stage.get(&path, "ann").await.status, StatusCode::OK);
    // the lane has not passed the topic's end: whether there is such an order is not known yet
    let unknown = "/api/orders/00000000-0000-0000-0000-000000000001";
    for (user, path) in [("bob", path.as_str()), ("ann", unknown)] {
        let answer = stage.get(path, user).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{user} {path}");
        assert!(answer.headers.contains_key("retry-after"));
    }
    stage.work().await;
    let others = stage.get(&path, "bob").await;
    let absent = stage.get(unknown, "ann").await;
    assert_eq!((others.status, &others.body), (StatusCode::NOT_FOUND, &absent.body));
    assert_eq!(stage.get("/api/orders/nonsense", "ann").await.body, absent.body);
    let cancel = stage.request("POST", &format!("{path}/cancel"), "bob").body(Body::empty()).unwrap();
    assert_eq!(stage.call(cancel).await.body, absent.body);
}

#[tokio::test]
async fn a_version_that_is_known_is_not_sent_again() {
    let stage = Stage::set().await;
    let posted = stage.working(stage.post("k", 7)).await;
    let path = posted.body["statusUrl"].as_str().unwrap().to_owned();
    let read = stage.get(&path, "ann").await;
    let etag = read.headers["etag"].clone();
    assert_eq!(etag, "\"1\"");
    let again = stage.request("GET", &path, "ann").header("if-none-match", etag).body(Body::empty()).unwrap();
    assert_eq!(stage.call(again).await.status, StatusCode::NOT_MODIFIED);
}

/// A gateway that alone is cut off from Redis tells from Postgres what Redis has not heard yet.
#[tokio::test]
async fn a_reader_that_names_its_version_is_never_told_an_older_one() {
    let stage = Stage::set().await;
    let posted = stage.working(stage.post("k", 7)).await;
    let id = posted.body["orderId"].as_str().unwrap().to_owned();
    let path = format!("/api/orders/{id}");
    stage.publish(&stage.state(&id, 2, OrderStatus::Reserved)).await;
    let row = id.parse::<uuid::Uuid>().unwrap();
    let elsewhere =
        "UPDATE orders SET status = 'RESERVED', version = 2, shipping_address = 'elsewhere' WHERE id = $1";
    sqlx::query(elsewhere).bind(row).execute(&stage.worker).await.unwrap();
    testbed::eventually("Redis alone is believed", async || {
        let told = stage.get(&path, "ann").await;
        told.status == StatusCode::OK && told.body["shippingAddress"] != "elsewhere"
    })
    .await;
    let confirm = "UPDATE orders SET status = 'CONFIRMED', version = 3 WHERE id = $1";
    sqlx::query(confirm).bind(row).execute(&stage.worker).await.unwrap();
    assert_eq!(stage.get(&path, "ann").await.body["status"], "RESERVED");
    let ask = |tag: &str, name: &str| {
        let request = stage.request("GET", &path, "ann").header(name, tag);
        request.body(Body::empty()).unwrap()
    };
    let known = stage.call(ask("\"3\"", "if-none-match")).await;
    assert_eq!(known.status, StatusCode::NOT_MODIFIED, "told of version 3 elsewhere: {:?}", known.body);
    // what was found is in Redis now: whoever names nothing reads it, too
    assert_eq!(stage.get(&path, "ann").await.body["status"], "CONFIRMED");
}

#[tokio::test]
async fn who_waits_is_told_at_once() {
    let stage = Stage::set().await;
    stage.until_proved().await;
    let id = stage.post("k", 7).await.body["orderId"].as_str().unwrap().to_owned();
    let path = format!("/api/orders/{id}");
    let wait = |seconds: u32| {
        let request = stage.request("GET", &path, "ann").header("prefer", format!("wait={seconds}"));
        stage.call(request.body(Body::empty()).unwrap())
    };
    // a publisher that starts once somebody waits
    let publish = async {
        testbed::eventually("somebody waits", async || stage.is_waited_for(&id).await).await;
        stage.publish(&stage.state(&id, 2, OrderStatus::Reserved)).await;
        stage.publish(&stage.state(&id, 3, OrderStatus::Confirmed)).await;
    };
    let began = Instant::now();
    let (answer, ()) = tokio::join!(wait(20), publish);
    assert_eq!((answer.status, &answer.body["status"]), (StatusCode::OK, &"CONFIRMED".into()));
    assert_eq!(answer.headers["preference-applied"], "wait=20");
    assert!(began.elapsed() < Duration::from_secs(10));
    // an older event that comes late changes nothing
    stage.publish(&stage.state(&id, 2, OrderStatus::Reserved)).await;
    assert_eq!(stage.get(&path, "ann").await.body["version"], 3);

    let mut open = stage.submit("k2", 7);
    open.headers_mut().insert("prefer", "wait=1".parse().unwrap());
    let answer = stage.call(open).await;
    assert_eq!((answer.status, &answer.body["status"]), (StatusCode::ACCEPTED, &"PENDING".into()));
}

#[tokio::test]
async fn a_status_does_not_go_backwards_after_a_flush() {
    let stage = Stage::set().await;
    let posted = stage.working(stage.post("k", 7)).await;
    let id = posted.body["orderId"].as_str().unwrap().to_owned();
    let path = format!("/api/orders/{id}");
    let confirm = "UPDATE orders SET status = 'CONFIRMED', version = 3 WHERE id = $1";
    sqlx::query(confirm).bind(id.parse::<uuid::Uuid>().unwrap()).execute(&stage.worker).await.unwrap();
    stage.redis.flush().await;
    // the status worker lags: it writes what happened before
    stage.publish(&stage.state(&id, 2, OrderStatus::Reserved)).await;
    assert_eq!(stage.get(&path, "ann").await.body["status"], "CONFIRMED");
    // another gateway, whose proof stands, reads Redis alone: what was told is there before it is told
    assert_eq!(stage.version_in_redis(&id).await, 3);
}

#[tokio::test]
async fn an_order_is_read_though_redis_takes_no_write() {
    let stage = Stage::set().await;
    let posted = stage.working(stage.post("k", 7)).await;
    let id = posted.body["orderId"].as_str().unwrap().to_owned();
    let path = format!("/api/orders/{id}");
    let confirm = "UPDATE orders SET status = 'CONFIRMED', version = 3 WHERE id = $1";
    sqlx::query(confirm).bind(id.parse::<uuid::Uuid>().unwrap()).execute(&stage.worker).await.unwrap();
    stage.redis.flush().await;
    stage.publish(&stage.state(&id, 2, OrderStatus::Reserved)).await;
    // full, and it evicts nothing: it answers reads and refuses every write
    stage.redis.command("CONFIG SET maxmemory 1").await;
    for _ in 0..2 {
        let read = stage.get(&path, "ann").await;
        assert_eq!((read.status, &read.body["status"]), (StatusCode::OK, &"CONFIRMED".into()));
    }
    assert_eq!(stage.version_in_redis(&id).await, 2, "nothing was written");
    stage.redis.command("CONFIG SET maxmemory 0").await;
    testbed::eventually("the next read puts it right", async || {
        assert_eq!(stage.get(&path, "ann").await.body["status"], "CONFIRMED");
        stage.version_in_redis(&id).await == 3
    })
    .await;
}

#[tokio::test]
async fn a_cancel_tells_its_verdict() {
    let stage = Stage::set().await;
    let cancel = async |id: &str| {
        let request = stage.request("POST", &format!("/api/orders/{id}/cancel"), "ann");
        stage.call(request.body(Body::empty()).unwrap()).await
    };
    let posted = stage.working(stage.post("open", 7)).await;
    let open = posted.body["orderId"].as_str().unwrap().to_owned();
    let answer = cancel(&open).await;
    assert_eq!((answer.status, &answer.body["status"]), (StatusCode::ACCEPTED, &"PENDING".into()));
    stage.publish(&stage.state(&open, 2, OrderStatus::Cancelled)).await;
    let answer = cancel(&open).await;
    assert_eq!((answer.status, &answer.body["status"]), (StatusCode::ACCEPTED, &"CANCELLED".into()));

    let posted = stage.working(stage.post("done", 7)).await;
    let done = posted.body["orderId"].as_str().unwrap().to_owned();
    stage.publish(&stage.state(&done, 3, OrderStatus::Confirmed)).await;
    let answer = cancel(&done).await;
    assert_eq!((answer.status, &answer.body["orderStatus"]), (StatusCode::CONFLICT, &"CONFIRMED".into()));
    assert_eq!(answer.body["status"], 409);
}

#[tokio::test]
async fn an_order_is_listed_for_its_owner_page_by_page() {
    let stage = Stage::set().await;
    for n in 0..3 {
        stage.working(stage.post(&format!("k{n}"), 1 + n)).await;
    }
    stage.work().await;
    let first = stage.get("/api/orders?limit=2&status=PENDING", "ann").await;
    assert_eq!(first.body["items"].as_array().unwrap().len(), 2);
    let cursor = first.body["nextCursor"].as_str().unwrap();
    let second = stage.get(&format!("/api/orders?limit=2&cursor={cursor}"), "ann").await;
    assert_eq!(second.body["items"].as_array().unwrap().len(), 1);
    assert!(second.body["nextCursor"].is_null());
    assert!(stage.get("/api/orders", "bob").await.body["items"].as_array().unwrap().is_empty());
    for bad in ["status=DONE", "cursor=x", "limit=0", "limit=101"] {
        let answer = stage.get(&format!("/api/orders?{bad}"), "ann").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
        assert_eq!(answer.body["errors"][0]["field"], bad.split('=').next().unwrap());
    }
}

#[tokio::test]
async fn each_bad_request_has_its_problem() {
    let stage = Stage::set().await;
    let post = || stage.request("POST", "/api/orders", "ann").header("content-type", "application/json");
    let keyed = || post().header("idempotency-key", "k");
    let body = |quantity: i64| Body::from(submit_body(quantity));
    let cases = [
        (Request::post("/api/orders").body(body(1)).unwrap(), 401),
        (post().body(body(1)).unwrap(), 400),
        (post().header("idempotency-key", "a b").body(body(1)).unwrap(), 400),
        (keyed().header("x-idempotency-key", "other").body(body(1)).unwrap(), 400),
        (keyed().body(Body::from("{")).unwrap(), 400),
        (keyed().body(Body::from(vec![b' '; 65 * 1024])).unwrap(), 413),
        (keyed().header("content-encoding", "gzip").body(body(1)).unwrap(), 415),
        (keyed().body(body(0)).unwrap(), 422),
        (stage.request("PUT", "/api/orders", "ann").body(Body::empty()).unwrap(), 405),
    ];
    for (request, status) in cases {
        let answer = stage.call(request).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
    }
    let unsold = submit_body(1).replace(stage::PRODUCT, "00000000-0000-0000-0000-0000000000ff");
    let answer = stage.call(keyed().body(Body::from(unsold)).unwrap()).await;
    assert_eq!(answer.status.as_u16(), 422);
    assert_eq!(answer.body["errors"][0]["field"], "items[0].productId");
    assert!(stage.log.commands().is_empty(), "nothing of this reached the log");
}
