//! Payments: what is parked there runs through both its transactions, and what is given up leaves no call open.

use super::{causes, command, edit, envelope, parked, publisher, shown};
use crate::system::{System, assert_conserved, order_of};
use schemas::{
    ids::{EffectId, OrderId},
    messages::ResumeEffect,
    topics::{self, Topic},
    wire,
};
use serde_json::{Value, json};
use sqlx::Row;
use testbed::eventually;

/// State of an order's capture, and how often the provider has charged for the order.
async fn capture(system: &System, order: &str) -> Option<(String, i64)> {
    let mut audit = system.database.connect("audit").await;
    sqlx::query_as(
        "SELECT state, (SELECT count(*) FROM sandbox.charges
                         WHERE charges.order_id = captures.order_id AND charges.state = 'CHARGED')
         FROM payments.captures WHERE order_id = $1::text::uuid",
    )
    .bind(order)
    .fetch_optional(&mut audit)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_capture_runs_once_through_both_transactions_and_one_given_up_is_still_known() {
    // a call that brought no answer is not asked again before somebody does something
    let system = System::build(&[("PAYMENT_RETRY_FIRST", "10m"), ("PAYMENT_RETRY_LONGEST", "10m")]).await;
    let edge = system.start(&["serve"]).await;
    let _others = system.start(&["work", "orders", "inventory", "status"]).await;
    let client = system.client(&edge, "alice").await;
    let product = system.product(3).await;

    // poison comes before the capture: it has no relay yet that could bring it
    let id = client.submit_patiently("poisoned", &order_of(&product, 1, "CREDIT_CARD")).await;
    let order: OrderId = id.parse().unwrap();
    let poison = command(Topic::PaymentCommands, order, [0, 0, 0, 4, 0xb1, 0xff].to_vec());
    publisher(&system).send(&poison).unwrap().await.unwrap();
    let _relay = system.start(&["relay"]).await;
    let payments = system.start(&["work", "payments"]).await;
    eventually("the capture waits behind the poison", async || {
        causes(&system, "payments").await == ["decode", "behind"]
    })
    .await;
    assert_eq!(client.order(&id).await["status"], "RESERVED");
    let audit: Value = serde_json::from_str(&system.tool(&["audit", "--json"]).await).unwrap();
    assert_eq!((&audit["drift"], &audit["unproved"]), (&json!([]), &json!([])), "parked explains it");
    let repair = format!("mambogo dlq redrive --by NAME --service payments --key {id}");
    assert_eq!(
        (&audit["attention"][0]["kind"], &audit["attention"][0]["repair"]),
        (&json!("parked"), &json!(repair))
    );

    // the poison should have been this very capture
    let lie = parked(&system, "payments").await;
    let (mut record, place) = shown(&system, "payments", &id, lie[0].1).await;
    let (behind, _) = shown(&system, "payments", &id, lie[1].1).await;
    record["value"] = behind["value"].clone();
    let printed = edit(&system, &record, &place).await.unwrap();
    assert!(printed.contains("done, ran 2"), "{printed}");
    assert_eq!(client.settled(&id).await["status"], "CONFIRMED");
    assert_eq!(capture(&system, &id).await, Some(("CAPTURED".to_owned(), 1)), "once, though both asked");

    // a call without an answer, whose reminder is parked
    let id = client.submit_patiently("given-up", &order_of(&product, 1, "SANDBOX_TIMEOUT_CHARGED")).await;
    eventually("it is called, and not known", async || {
        capture(&system, &id).await.is_some_and(|(state, _)| state == "CALLING")
            && system.tool(&["audit", "--json"]).await.contains("\"drift\":[]")
    })
    .await;
    payments.stop().await;
    park_its_reminder(&system, &id).await;
    let payments = system.start(&["work", "payments"]).await;
    let printed = system.tool(&["dlq", "discard", "--by", "amina", "--key", &id]).await;
    assert!(printed.contains("done, ran 0, discarded 1"), "{printed}");
    assert_eq!(client.settled(&id).await["status"], "CONFIRMED", "its outcome is asked for all the same");
    assert_conserved(&system.database).await;
    payments.stop().await;
}

/// As if the reminder had been sent and could not be applied.
async fn park_its_reminder(system: &System, order: &str) {
    let mut admin = system.database.connect_admin().await;
    let row = sqlx::query(
        "DELETE FROM payments.deferred WHERE order_id = $1::text::uuid RETURNING effect_id, partition",
    )
    .bind(order)
    .fetch_one(&mut admin)
    .await
    .unwrap();
    let order_id: OrderId = order.parse().unwrap();
    let resume = ResumeEffect { order_id, effect_id: EffectId(row.get("effect_id")) };
    sqlx::query(
        "INSERT INTO payments.parked (topic, partition, \"offset\", key, logged_at, header, record, cause, detail)
         VALUES ('payment.commands', $1, -1, $2, now(), $3, $4, 'panic', '')",
    )
    .bind(row.get::<i32, _>("partition"))
    .bind(&topics::key(order_id.0)[..])
    .bind(envelope().to_bytes())
    .bind(wire::encode(&resume).unwrap())
    .execute(&mut admin)
    .await
    .unwrap();
}
