//! Late and duplicate answers of the provider, and what needs a human: by webhooks at the public port, and by the
//! operator's tools. Named by the cases of the fault catalogue.

use crate::system::{
    Client, Process, System, assert_conserved, order_of,
    webhook::{self, SECRET, taken},
};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row;
use testbed::eventually;

/// The provider as far as it calls us: it signs, and sends again and again.
struct Provider<'a> {
    edge: &'a Process,
}

impl Provider<'_> {
    async fn post(&self, event: &Value, secret: &str) -> u16 {
        webhook::post(self.edge.gateway(), event, secret).await.unwrap()
    }

    /// Tells three times of one thing, all at once.
    async fn tell(&self, event: &Value) {
        let answers =
            tokio::join!(self.post(event, SECRET), self.post(event, SECRET), self.post(event, SECRET));
        assert_eq!(answers, (200, 200, 200), "{event}");
    }
}

async fn number(system: &System, sql: &'static str) -> i64 {
    let mut audit = system.database.connect("audit").await;
    sqlx::query(sql).fetch_one(&mut audit).await.unwrap().get(0)
}

fn events(order: &Value) -> Vec<&str> {
    let lines = order["timeline"].as_array().unwrap();
    lines.iter().map(|line| line["event"].as_str().unwrap()).collect()
}

/// Submits, and waits until the provider was called and its answer is lost.
async fn unanswered(system: &System, client: &Client, key: &str, product: &str) -> Value {
    let before = number(system, "SELECT count(*) FROM sandbox.charges").await;
    let id = client.submit_patiently(key, &order_of(product, 1, "SANDBOX_TIMEOUT_CHARGED")).await;
    eventually("the money is taken and nobody knows", async || {
        number(system, "SELECT count(*) FROM sandbox.charges").await > before
            && client.order(&id).await["status"] == "RESERVED"
    })
    .await;
    client.order(&id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_40_41_46_a_webhook_races_the_answer_and_the_cancel_and_money_moves_once() {
    // the call is made again so late that the webhook wins
    let settings = [("STRIPE_WEBHOOK_SECRET", SECRET), ("PAYMENT_RETRY_FIRST", "12s")];
    let system = System::build(&settings).await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let provider = Provider { edge: &all };
    let product = system.product(20).await;

    let raced = unanswered(&system, &client, "raced", &product).await;
    assert_eq!(provider.post(&taken(&raced), "whsec_other").await, 400, "nobody else may say so");
    provider.tell(&taken(&raced)).await;
    let raced = client.settled(raced["orderId"].as_str().unwrap()).await;
    assert_eq!(events(&raced), ["ACCEPTED", "RESERVED", "CONFIRMED"]);

    // the answer first, the webhook after it
    let id = client.submit_patiently("prompt", &order_of(&product, 1, "CREDIT_CARD")).await;
    let prompt = client.settled(&id).await;
    provider.tell(&taken(&prompt)).await;

    // cancelled while the answer is out: what then turns out to have been taken goes back
    let late = unanswered(&system, &client, "late", &product).await;
    let late_id = late["orderId"].as_str().unwrap();
    client.send(client.request(Method::POST, &format!("/api/orders/{late_id}/cancel"))).await;
    assert_eq!(client.settled(late_id).await["status"], "CANCELLED");
    provider.tell(&taken(&late)).await;

    // declined, and taken all the same
    let id = client.submit_patiently("declined", &order_of(&product, 1, "SANDBOX_DECLINE")).await;
    let declined = client.settled(&id).await;
    assert_eq!(declined["status"], "REJECTED");
    let mut admin = system.database.connect_admin().await;
    let taken_late =
        "UPDATE sandbox.charges SET state = 'CHARGED', method = 'CREDIT_CARD' WHERE state = 'DECLINED'";
    sqlx::query(taken_late).execute(&mut admin).await.unwrap();
    provider.tell(&taken(&declined)).await;

    for (order, status) in [(late_id, "CANCELLED"), (id.as_str(), "REJECTED")] {
        eventually("the money goes back, and the timeline says so", async || {
            events(&client.order(order).await).contains(&"PAYMENT_RETURNED")
        })
        .await;
        assert_eq!(client.order(order).await["status"], status, "an end is an end");
    }
    eventually("nothing is to be called any more", async || {
        number(&system, "SELECT count(*) FROM payments.deferred").await == 0
    })
    .await;
    assert_conserved(&system.database).await;
    assert_eq!(number(&system, "SELECT count(*) FROM payments.parked").await, 0);
    assert_eq!(number(&system, "SELECT sum(refunded)::bigint FROM sandbox.charges").await, {
        let total = |order: &Value| order["total"]["amount"].as_i64().unwrap();
        total(&late) + total(&declined)
    });
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_44_a_refund_that_fails_for_good_is_listed_retried_once_a_failure_and_resolved() {
    let settings = [("PAYMENT_REFUND_ATTEMPTS", "2"), ("STRIPE_WEBHOOK_SECRET", SECRET)];
    let system = System::build(&settings).await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let operator = system.client_with(&all, "amina", &["payments:refund"]).await;
    let product = system.product(20).await;
    let id = client.submit_patiently("bought", &order_of(&product, 1, "SANDBOX_REFUND_FAILS")).await;
    let order = client.settled(&id).await;
    assert_eq!(order["status"], "CONFIRMED");
    let path = format!("/api/payments/{id}/refund");
    let body = json!({"amount": 1, "reason": "scratched"});
    assert_eq!(client.post(&path, "r", &body).await.status, 403);
    for _ in 0..3 {
        let answer = operator.post(&path, "r", &body).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    let nowhere = format!("/api/payments/{}/refund", uuid::Uuid::from_u128(1));
    assert_eq!(operator.post(&nowhere, "r", &body).await.status, 404);
    assert_eq!(operator.post(&path, "s", &json!({"amount": 0, "reason": "x"})).await.status, 422);

    eventually("the gauge alarms", async || all.metric("mambogo_orders_needing_a_human").await == Some(1.0))
        .await;
    let listed = system.tool(&["orders", "needs-human"]).await;
    assert!(listed.contains(&id) && listed.contains("refund: sandbox: 503 (2 attempts)"), "{listed}");
    assert!(all.log().contains("a human is needed"), "it is alarmed");
    let retry = ["orders", "retry", &id, "--by", "amina", "--reason", "the bank answers again"];
    let error = system.try_tool(&retry).await.unwrap_err();
    assert!(error.contains("still need a human"), "it fails again: {error}");

    let mut admin = system.database.connect_admin().await;
    sqlx::query("UPDATE sandbox.charges SET method = 'CREDIT_CARD'").execute(&mut admin).await.unwrap();
    let done = system.tool(&retry).await;
    assert!(done.contains("done, asked by amina"), "{done}");
    assert_eq!(system.tool(&["orders", "needs-human", "--json"]).await, "");
    let again = system.try_tool(&retry).await.unwrap_err();
    assert!(again.contains("nothing of order"), "{again}");
    eventually("the alarm is over", async || all.metric("mambogo_orders_needing_a_human").await == Some(0.0))
        .await;
    assert_conserved(&system.database).await;
    assert_eq!(number(&system, "SELECT sum(refunded)::bigint FROM sandbox.charges").await, 1);
    let actions: Value = {
        let mut audit = system.database.connect("audit").await;
        sqlx::query_scalar("SELECT actions FROM orders.orders WHERE actions IS NOT NULL")
            .fetch_one(&mut audit)
            .await
            .unwrap()
    };
    let outcomes: Vec<_> =
        actions.as_array().unwrap().iter().map(|it| it["result"]["outcome"].clone()).collect();
    assert_eq!(outcomes, ["failed_again", "done"], "{actions}");
    assert_eq!(events(&client.order(&id).await), ["ACCEPTED", "RESERVED", "CONFIRMED", "REFUNDED"]);
    all.stop().await;
}
