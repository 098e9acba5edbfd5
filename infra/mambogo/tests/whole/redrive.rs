//! A poison record between two good ones of an order: the order waits in its place, others pass, redrive puts it right.

use crate::system::{System, order_of};
use chassis::settings::Environment;
use publisher::{Destination, OutboundRecord, Publisher, PublisherConfig};
use schemas::{
    envelope::{Envelope, HEADER},
    ids::{MessageId, OrderId},
    messages::CancelOrder,
    time::Timestamp,
    topics::{self, Topic},
    wire,
};
use testbed::eventually;

fn command(order: OrderId, payload: Vec<u8>) -> OutboundRecord {
    let message = MessageId(chassis::ids::random());
    let envelope =
        Envelope { message, causation: message, occurred_at: Timestamp(0), deadline: None, source: None };
    OutboundRecord {
        topic: Topic::OrderCommands,
        destination: Destination::ByKey,
        key: topics::key(order.0).to_vec(),
        payload,
        headers: vec![(HEADER.to_owned(), envelope.to_bytes())],
    }
}

async fn parked(system: &System) -> Vec<String> {
    let mut audit = system.database.connect("audit").await;
    sqlx::query_scalar("SELECT cause FROM orders.parked ORDER BY \"offset\"")
        .fetch_all(&mut audit)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_delays_its_own_order_in_its_place_and_redrive_puts_it_right() {
    let system = System::build(&[]).await;
    let process = system.start(&["all"]).await;
    let client = system.client(&process, "alice").await;
    let product = system.product(3).await;
    let id = client.submit_patiently("poisoned", &order_of(&product, 1, "CREDIT_CARD")).await;
    assert_eq!(client.settled(&id).await["status"], "CONFIRMED");
    let before = client.order(&id).await["version"].clone();

    let settings = Environment::of(system.settings().clone());
    let publisher = Publisher::start(PublisherConfig::from_environment(&settings, "test").unwrap()).unwrap();
    let order: OrderId = id.parse().unwrap();
    let cancel = CancelOrder { order_id: order, requested_by: "test".to_owned(), reason: None };
    let good = wire::encode(&cancel).unwrap();
    for payload in [vec![0, 0, 0, 3, 0xea, 0xff], good.clone()] {
        publisher.send(&command(order, payload)).unwrap().await.unwrap();
    }
    eventually("the poison is parked, and what comes after it of the order", async || {
        parked(&system).await == ["decode", "behind"]
    })
    .await;
    assert_eq!(client.order(&id).await["version"], before, "the order waits in its place");
    let other = client.submit_patiently("another", &order_of(&product, 1, "CREDIT_CARD")).await;
    assert_eq!(client.settled(&other).await["status"], "CONFIRMED", "others pass");

    let listed = system.tool(&["dlq", "list"]).await;
    assert!(listed.contains("decode") && listed.contains(&id), "{listed}");
    let dry = system.tool(&["dlq", "redrive", "--by", "test", "--dry-run"]).await;
    assert!(dry.contains("1 records of 1 keys"), "{dry}");
    // a release that reads it is simulated by a record that can be read
    let mut admin = system.database.connect_admin().await;
    sqlx::query("UPDATE orders.parked SET record = $1 WHERE cause = 'decode'")
        .bind(good)
        .execute(&mut admin)
        .await
        .unwrap();
    let selection = dry.split([' ', ':']).nth(1).unwrap();
    let done = system.tool(&["dlq", "redrive", "--by", "test", "--selection", selection]).await;
    assert!(done.contains("done, ran 2"), "{done}");
    assert_eq!(parked(&system).await, Vec::<String>::new());
    eventually("both have been seen to", async || {
        client.order(&id).await["version"].as_i64() > before.as_i64()
    })
    .await;
    let again = system.tool(&["dlq", "redrive", "--by", "test"]).await;
    assert!(again.contains("0 records of 0 keys"), "{again}");
    process.stop().await;
}
