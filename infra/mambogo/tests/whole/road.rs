//! One order after another down each road there is, from HTTP to its end, on real Kafka, Postgres and Redis.

use crate::system::{System, assert_conserved, order_of};
use reqwest::Method;
use serde_json::{Value, json};
use testbed::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_confirmed_and_every_book_agrees() {
    let system = System::build(&[]).await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let products = system.products(10).await;
    let body = json!({
        "items": [{"productId": products[0], "quantity": 2}, {"productId": products[1], "quantity": 3}],
        "shippingAddress": "1 Harbour Road, Mombasa",
        "paymentMethod": "CREDIT_CARD",
    });
    let before = (system.stock(&products[0]).await, system.stock(&products[1]).await);
    let answer = client.submit("first", &body).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let id = answer.order_id();
    assert_eq!(answer.headers["location"], format!("/api/orders/{id}"));
    assert_eq!(answer.body["statusUrl"], format!("/api/orders/{id}"));
    let order = client.settled(&id).await;
    assert_eq!(order["status"], "CONFIRMED", "{order}");
    let events: Vec<&str> =
        order["timeline"].as_array().unwrap().iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["ACCEPTED", "RESERVED", "CONFIRMED"]);
    assert_eq!(order["items"].as_array().unwrap().len(), 2);
    // the hold is settled a moment after the order
    eventually("the units are sold", async || {
        system.stock(&products[0]).await == (before.0.0 - 2, 0, 2) && system.stock(&products[1]).await.2 == 3
    })
    .await;
    assert_conserved(&system.database).await;
    // another user sees nothing of it
    let stranger = system.client(&all, "mallory").await;
    assert_eq!(stranger.get(&format!("/api/orders/{id}")).await.status, 404);
    // its owner finds it in the list
    let list = client.get("/api/orders?status=CONFIRMED").await;
    assert_eq!(list.body["items"][0]["orderId"], id.as_str(), "{}", list.body);
    let stock = client.get(&format!("/api/inventory/{}", products[0])).await;
    assert_eq!(
        (stock.body["sold"].as_i64(), stock.body["held"].as_i64()),
        (Some(2), Some(0)),
        "{}",
        stock.body
    );
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_payment_and_a_want_beyond_the_stock_are_rejected_with_their_reason() {
    let system = System::build(&[]).await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let product = system.product(10).await;
    system.set_stock(&product, 5).await;
    let declined = client.submit_patiently("declined", &order_of(&product, 5, "SANDBOX_DECLINE")).await;
    let declined = client.settled(&declined).await;
    assert_eq!((&declined["status"], &declined["reason"]), (&json!("REJECTED"), &json!("payment_declined")));
    let greedy = client.submit_patiently("greedy", &order_of(&product, 6, "CREDIT_CARD")).await;
    let greedy = client.settled(&greedy).await;
    assert_eq!((&greedy["status"], &greedy["reason"]), (&json!("REJECTED"), &json!("out_of_stock")));
    assert_conserved(&system.database).await;
    assert_eq!(system.stock(&product).await, (5, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_waits_for_held_units_gets_them_when_they_come_back() {
    let system = System::build(&[("ORDER_DEADLINE", "4s")]).await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let product = system.product(10).await;
    system.set_stock(&product, 1).await;
    // the first holds the only unit for as long as its payment hangs: until its deadline
    let first = client.submit_patiently("first", &order_of(&product, 1, "SANDBOX_TIMEOUT")).await;
    eventually("the unit is held", async || system.stock(&product).await == (0, 1, 0)).await;
    let second = client.submit_patiently("second", &order_of(&product, 1, "CREDIT_CARD")).await;
    assert_ne!(client.order(&second).await["status"], "REJECTED", "held units are not sold out");
    let (first, second) = (client.settled(&first).await, client.settled(&second).await);
    let ends = [&first["status"], &second["status"]].map(|status| status.as_str().unwrap().to_owned());
    assert!(ends.contains(&"CONFIRMED".to_owned()), "the unit was sold to one of them: {ends:?}");
    eventually("it is sold once", async || system.stock(&product).await == (0, 0, 1)).await;
    assert_conserved(&system.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_gives_back_what_it_held_and_its_late_capture_is_refunded() {
    let system = System::build(&[]).await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let product = system.product(10).await;
    let before = system.stock(&product).await;
    // charged at the first call, but we hear of it only when asked again
    let id = client.submit_patiently("late", &order_of(&product, 1, "SANDBOX_TIMEOUT_CHARGED")).await;
    eventually("its unit is held", async || client.order(&id).await["status"] == "RESERVED").await;
    let cancel = client.send(client.request(Method::POST, &format!("/api/orders/{id}/cancel"))).await;
    assert!([200, 202].contains(&cancel.status.as_u16()), "{}: {}", cancel.status, cancel.body);
    assert_eq!(client.settled(&id).await["status"], "CANCELLED");
    eventually("the late capture is refunded and the unit is back", async || {
        let charge: Option<(String, i64, i64)> =
            sqlx::query_as("SELECT state, amount, refunded FROM sandbox.charges")
                .fetch_optional(&mut system.database.connect("audit").await)
                .await
                .unwrap();
        system.stock(&product).await == before
            && charge.is_some_and(|(state, amount, refunded)| state == "CHARGED" && refunded == amount)
    })
    .await;
    assert_conserved(&system.database).await;
    // an order that has ended cannot be cancelled, and says where it stands
    let done = client.submit_patiently("done", &order_of(&product, 1, "CREDIT_CARD")).await;
    assert_eq!(client.settled(&done).await["status"], "CONFIRMED");
    let refused = client.send(client.request(Method::POST, &format!("/api/orders/{done}/cancel"))).await;
    assert_eq!((refused.status.as_u16(), &refused.body["orderStatus"]), (409, &json!("CONFIRMED")));
    assert_conserved(&system.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_past_its_deadline_expires_and_holds_nothing() {
    let system = System::build(&[("ORDER_DEADLINE", "2s")]).await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let product = system.product(20).await;
    let before = system.stock(&product).await;
    let mut ids = Vec::new();
    for i in 0..10 {
        // the payment hangs and was not charged, or was: either way the order has expired by then
        let method = if i % 2 == 0 { "SANDBOX_TIMEOUT" } else { "SANDBOX_TIMEOUT_CHARGED" };
        ids.push(client.submit_patiently(&format!("slow-{i}"), &order_of(&product, 1, method)).await);
    }
    let mut expired = 0;
    for id in &ids {
        let order = client.settled(id).await;
        match order["status"].as_str().unwrap() {
            "EXPIRED" => expired += 1,
            "CONFIRMED" => {}
            other => panic!("{other}: {order}"),
        }
    }
    let confirmed = i64::try_from(ids.len()).unwrap() - expired;
    eventually("nothing is held any more", async || {
        system.stock(&product).await == (before.0 - confirmed, 0, before.2 + confirmed)
    })
    .await;
    assert_conserved(&system.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restock_counts_once_and_sells_what_was_waited_for() {
    let system = System::build(&[]).await;
    let all = system.start(&["all"]).await;
    let keeper = system.client_with(&all, "keeper", &["inventory:write"]).await;
    let client = system.client(&all, "alice").await;
    let product = system.product(10).await;
    system.set_stock(&product, 0).await;
    let body = json!({"productId": product, "delta": 7, "reason": "delivery 4711"});
    assert_eq!(client.post("/api/inventory/adjustments", "d-1", &body).await.status, 403);
    for _ in 0..3 {
        let answer = keeper.post("/api/inventory/adjustments", "d-1", &body).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    eventually("the delivery is there", async || system.stock(&product).await.0 == 7).await;
    let id = client.submit_patiently("buy", &order_of(&product, 7, "PAYPAL")).await;
    assert_eq!(client.settled(&id).await["status"], "CONFIRMED");
    assert_conserved(&system.database).await;
    assert_eq!(system.stock(&product).await, (0, 0, 7), "three deliveries of one note are one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_answered_with_its_field_and_what_to_do() {
    let system = System::build(&[]).await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let product = system.product(10).await;
    let good = order_of(&product, 1, "CREDIT_CARD");
    let changed = |field: &str, value: Value| {
        let mut order = good.clone();
        order[field] = value;
        order
    };
    let unknown = uuid::Uuid::from_u128(1).to_string();
    for (order, status, field) in [
        (changed("items", json!([])), 422, "items"),
        (changed("items", json!([{"productId": product, "quantity": 0}])), 422, "items[0].quantity"),
        (changed("items", json!([{"productId": product, "quantity": 10_001}])), 422, "items[0].quantity"),
        (changed("items", json!([{"productId": unknown, "quantity": 1}])), 422, "items[0].productId"),
        (changed("shippingAddress", json!("")), 422, "shippingAddress"),
        (changed("shippingAddress", json!("x".repeat(501))), 422, "shippingAddress"),
        (changed("paymentMethod", json!("BEADS")), 422, "paymentMethod"),
        (changed("price", json!(1)), 400, "price"),
    ] {
        let answer = client.submit("mistake", &order).await;
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{order}");
        let text = answer.body.to_string();
        // whether an unknown member is malformed or unprocessable, it is refused and named
        assert!(
            answer.status == status || (status == 400 && answer.status == 422),
            "{}: {text} for {order}",
            answer.status
        );
        assert!(text.contains(field), "{text} does not name {field}");
    }
    let keyless = client.send(client.request(Method::POST, "/api/orders").json(&good)).await;
    assert_eq!(keyless.status, 400, "{}", keyless.body);
    let nobody =
        reqwest::Client::new().get(format!("http://{}/api/orders", all.gateway())).send().await.unwrap();
    assert_eq!(nobody.status(), 401);
    let large = changed("shippingAddress", json!("x".repeat(70_000)));
    assert_eq!(client.submit("large", &large).await.status, 413);
    assert_eq!(system.statuses().await, [].into(), "nothing of it became an order");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_says_whether_it_is_ready_and_counts_what_the_shop_asks_for() {
    let system = System::build(&[]).await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let product = system.product(10).await;
    let id = client.submit_patiently("counted", &order_of(&product, 1, "CREDIT_CARD")).await;
    client.settled(&id).await;
    let page = async |path: &str| {
        let answer = reqwest::get(format!("http://{}{path}", all.management())).await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    assert_eq!(page("/health/live").await.0, 200);
    let (status, parts) = page("/health/ready").await;
    assert_eq!(status, 200);
    for part in ["gateway", "relay", "orders", "inventory", "payments", "status"] {
        assert!(parts.contains(&format!("\"{part}\":\"ready\"")), "{part} in {parts}");
    }
    let metrics = page("/metrics").await.1;
    for name in [
        "mambogo_orders_created_total",
        "mambogo_orders_processed_total",
        "mambogo_worker_records_total",
        "mambogo_worker_batch_seconds_bucket",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
}
