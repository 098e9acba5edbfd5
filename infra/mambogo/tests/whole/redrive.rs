//! What is parked, from the poison on the log to the operator's tools and back: in order, in steps, once.

mod payments;
mod steps;

use crate::system::{System, order_of};
use chassis::settings::Environment;
use publisher::{Destination, OutboundRecord, Publisher, PublisherConfig};
use schemas::{
    envelope::{Envelope, HEADER},
    ids::{EffectId, MessageId, OrderId},
    messages::RefundOrder,
    time::Timestamp,
    topics::{self, Topic},
    wire,
};
use serde_json::{Value, json};
use testbed::eventually;

/// A `SubmitOrder` and a `CapturePayment` by their schema ids, with a body that is none.
const UNREADABLE: [u8; 6] = [0, 0, 0, 3, 0xea, 0xff];

fn envelope() -> Envelope {
    let message = MessageId(chassis::ids::random());
    Envelope { message, causation: message, occurred_at: Timestamp(0), deadline: None, source: None }
}

fn command(topic: Topic, order: OrderId, payload: Vec<u8>) -> OutboundRecord {
    OutboundRecord {
        topic,
        destination: Destination::ByKey,
        key: topics::key(order.0).to_vec(),
        payload,
        headers: vec![(HEADER.to_owned(), envelope().to_bytes())],
    }
}

fn publisher(system: &System) -> Publisher {
    let settings = Environment::of(system.settings().clone());
    Publisher::start(PublisherConfig::from_environment(&settings, "test").unwrap()).unwrap()
}

/// Cause and offset of what is parked in a service, in order.
async fn parked(system: &System, service: &str) -> Vec<(String, i64)> {
    let mut audit = system.database.connect("audit").await;
    let sql = format!("SELECT cause, \"offset\" FROM {service}.parked ORDER BY partition, \"offset\"");
    sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&mut audit).await.unwrap()
}

async fn causes(system: &System, service: &str) -> Vec<String> {
    parked(system, service).await.into_iter().map(|(cause, _)| cause).collect()
}

/// The record as `dlq show` prints it, and its place as arguments that select it.
async fn shown(system: &System, service: &str, order: &str, offset: i64) -> (Value, Vec<String>) {
    let partition = topics::partition_of(order.as_bytes(), 4).to_string();
    let offset = offset.to_string();
    let printed = system.tool(&["dlq", "show", service, &partition, &offset]).await;
    let arguments = ["--service", service, "--partition", &partition, "--offset", &offset];
    (serde_json::from_str(&printed).unwrap(), arguments.map(str::to_owned).to_vec())
}

/// `dlq redrive --edit` of one record.
async fn edit(system: &System, record: &Value, place: &[String]) -> Result<String, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), record.to_string()).unwrap();
    let path = file.path().to_str().unwrap();
    let mut arguments = vec!["dlq", "redrive", "--by", "amina", "--edit", path];
    arguments.extend(place.iter().map(String::as_str));
    system.try_tool(&arguments).await
}

fn refund(order: OrderId, amount: i64) -> RefundOrder {
    let refund_id = EffectId(chassis::ids::random());
    let reason = "goodwill".to_owned();
    RefundOrder { order_id: order, refund_id, amount, requested_by: "test".to_owned(), reason }
}

/// What was refunded, in the order of the timeline.
async fn refunds(client: &crate::system::Client, order: &str) -> Vec<String> {
    let order = client.order(order).await;
    let lines = order["timeline"].as_array().unwrap().iter().filter(|line| line["event"] == "REFUNDED");
    lines.map(|line| line["detail"].as_str().unwrap().split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_between_two_good_records_of_an_order_delays_no_other_and_redrive_puts_it_right() {
    let system = System::build(&[]).await;
    let process = system.start(&["all"]).await;
    let client = system.client(&process, "alice").await;
    let product = system.product(3).await;
    let mut ids = Vec::new();
    for key in ["poisoned", "another"] {
        let id = client.submit_patiently(key, &order_of(&product, 1, "CREDIT_CARD")).await;
        assert_eq!(client.settled(&id).await["status"], "CONFIRMED");
        ids.push(id);
    }
    let [poisoned, another]: [OrderId; 2] = [ids[0].parse().unwrap(), ids[1].parse().unwrap()];

    // good, poison, good; and one of another order
    let good = |order, amount| wire::encode(&refund(order, amount)).unwrap();
    let publisher = publisher(&system);
    for (order, payload) in [
        (poisoned, good(poisoned, 1)),
        (poisoned, [0, 0, 0, 3, 0xec, 0xff].to_vec()),
        (poisoned, good(poisoned, 3)),
        (another, good(another, 4)),
    ] {
        publisher.send(&command(Topic::OrderCommands, order, payload)).unwrap().await.unwrap();
    }
    eventually("the poison is parked, and what comes after it of the order", async || {
        causes(&system, "orders").await == ["decode", "behind"]
    })
    .await;
    eventually("the other order's is done", async || refunds(&client, &ids[1]).await == ["4"]).await;
    assert_eq!(refunds(&client, &ids[0]).await, ["1"], "the first is done, the third waits in its place");

    let listed = system.tool(&["dlq", "list"]).await;
    assert!(listed.contains("decode") && listed.contains(&ids[0]), "{listed}");
    let at = parked(&system, "orders").await[0].1;
    let (mut record, place) = shown(&system, "orders", &ids[0], at).await;
    assert_eq!(
        (&record["cause"], &record["schema"], &record["value"]),
        (&json!("decode"), &json!(1004), &json!(null))
    );
    // what it should have said; first with a mistake
    let mut value = serde_json::to_value(refund(poisoned, 2)).unwrap();
    value["amount"] = json!("two");
    record["value"] = value.clone();
    let error = edit(&system, &record, &place).await.unwrap_err();
    assert!(error.contains("amount: \"two\" is not a whole number"));
    value["amount"] = json!(2);
    record["value"] = value;
    let printed = edit(&system, &record, &place).await.unwrap();
    assert!(printed.contains("done, ran 2"), "{printed}");
    eventually("all three are done", async || refunds(&client, &ids[0]).await.len() == 3).await;
    assert_eq!(refunds(&client, &ids[0]).await, ["1", "2", "3"], "in their order");
    assert_eq!(causes(&system, "orders").await, Vec::<String>::new());
    let history = system.tool(&["dlq", "history", "--json", "--key", &ids[0]]).await;
    let action: Value = serde_json::from_str(history.trim()).unwrap();
    assert_eq!(
        (&action["requestedBy"], &action["result"], &action["edited"]["amount"]),
        (&json!("amina"), &json!("done"), &json!(2))
    );
    assert!(
        action["original"].as_str().unwrap().contains("cannot be read"),
        "the original is kept: {action}"
    );
    crate::system::assert_conserved(&system.database).await;
    process.stop().await;
}
