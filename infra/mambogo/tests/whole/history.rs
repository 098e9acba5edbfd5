//! Orders that leave for the history under real processes: a worker dies on either side of the commit that moves them, a
//! client asks for its old orders and repeats its old keys, an operator gives money back, and at last the month leaves.

use crate::system::{System, order_of};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use testbed::eventually_within;

const SOON: Duration = Duration::from_secs(60);

/// Three weeks go by for all that is in the books.
async fn grow_old(system: &System) {
    let mut admin = system.database.connect_admin().await;
    let back = "interval '21 days'";
    for statement in [
        format!(
            "UPDATE orders.orders SET accepted_at = accepted_at - {back}, deadline = deadline - {back}, updated_at = updated_at - {back}"
        ),
        format!(
            "UPDATE inventory.holds SET accepted_at = accepted_at - {back}, deadline = deadline - {back}, changed_at = changed_at - {back}"
        ),
        format!(
            "UPDATE payments.captures SET created_at = created_at - {back}, deadline = deadline - {back}, settled_at = settled_at - {back}"
        ),
        format!(
            "UPDATE payments.refunds SET created_at = created_at - {back}, settled_at = settled_at - {back}"
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut admin).await.unwrap();
    }
}

/// Orders, holds and captures where they are worked on, and in the history.
async fn places(system: &System) -> [i64; 6] {
    let counts: (i64, i64, i64, i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM orders.orders), (SELECT count(*) FROM inventory.holds),
                (SELECT count(*) FROM payments.captures), (SELECT count(*) FROM orders.history),
                (SELECT count(*) FROM inventory.hold_history), (SELECT count(*) FROM payments.capture_history)",
    )
    .fetch_one(&mut system.database.connect("audit").await)
    .await
    .unwrap();
    [counts.0, counts.1, counts.2, counts.3, counts.4, counts.5]
}

async fn books_agree(system: &System) {
    let report = system.tool(&["audit", "--full", "--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["drift"], &report["unproved"]), (&json!([]), &json!([])), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_orders_leave_through_crashes_and_their_keys_stand_for_ever() {
    let system = System::build(&[]).await;
    let others = [
        system.start(&["serve"]).await,
        system.start(&["relay"]).await,
        system.start(&["work", "status"]).await,
    ];
    let [edge, ..] = &others;
    let workers = system.start(&["work", "orders", "inventory", "payments"]).await;
    let client = system.client(edge, "alice").await;
    let product = system.product(1).await;
    system.set_stock(&product, 100).await;
    let (paid, declined) = (order_of(&product, 2, "CREDIT_CARD"), order_of(&product, 1, "SANDBOX_DECLINE"));
    let mut ids = Vec::new();
    for (key, order) in [("one", &paid), ("two", &paid), ("three", &declined)] {
        let id = client.submit_patiently(key, order).await;
        client.settled(&id).await;
        ids.push(id);
    }
    eventually_within(SOON, "the last settle is heard", async || system.stock(&product).await == (96, 0, 4))
        .await;
    workers.stop().await;
    grow_old(&system).await;

    // the first commit of each new worker is the one that moves: one dies before it, and the next one after it
    for (service, moved) in [("payments", [0, 0, 3]), ("orders", [3, 0, 3]), ("inventory", [3, 3, 3])] {
        for place in ["commit.before", "commit.after"].map(|step| format!("{service}.{step}")) {
            let mut dying = system.launch(&["work", service], &[("CRASH_AT", &place)]);
            let has_died = async || dying.ended().is_some();
            eventually_within(SOON, &place, has_died).await;
            assert!(dying.log().contains(&format!("crash point {place}")), "{}", dying.log());
            books_agree(&system).await;
        }
        assert_eq!(places(&system).await[3..], moved);
    }
    let workers = system.start(&["work", "orders", "inventory", "payments"]).await;
    eventually_within(SOON, "all has moved", async || places(&system).await == [0, 0, 0, 3, 3, 3]).await;
    books_agree(&system).await;

    // Redis has forgotten them: what is told comes from the history
    system.redis.flush().await;
    for (id, status) in ids.iter().zip(["CONFIRMED", "CONFIRMED", "REJECTED"]) {
        assert_eq!(client.order(id).await["status"], status);
    }
    let list = client.get("/api/orders").await;
    assert_eq!(list.body["items"].as_array().map(Vec::len), Some(3), "{}", list.body);
    assert_eq!(client.submit_patiently("one", &paid).await, ids[0], "a key stands for its order");
    assert_eq!(client.submit("one", &declined).await.status, 422);
    let cancel = client.request(Method::POST, &format!("/api/orders/{}/cancel", ids[0]));
    assert_eq!(client.send(cancel).await.status, 409, "it is confirmed");
    let operator = system.client_with(edge, "olga", &["payments:refund"]).await;
    let refund = json!({"amount": 1, "reason": "late"});
    let answer = operator.post(&format!("/api/payments/{}/refund", ids[1]), "r", &refund).await;
    assert!(answer.status.is_success(), "{}: {}", answer.status, answer.body);
    eventually_within(SOON, "money goes back", async || {
        client.order(&ids[1]).await["refunded"]["amount"] == 1
    })
    .await;
    books_agree(&system).await;

    // what nobody named is still there, and leaves with its month
    let mut admin = system.database.connect_admin().await;
    for service in ["orders", "inventory", "payments"] {
        let drop = format!("SELECT {service}.drop_history(month) FROM {service}.history_month");
        sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&mut admin).await.unwrap();
    }
    system.redis.flush().await;
    assert_eq!(client.submit_patiently("three", &declined).await, ids[2]);
    assert_eq!(client.submit("three", &paid).await.status, 422);
    assert_eq!(client.get(&format!("/api/orders/{}", ids[2])).await.status, 404, "its row has left");
    books_agree(&system).await;
    assert_eq!(system.stock(&product).await, (96, 0, 4));
    workers.stop().await;
}
