//! Whatever somebody puts on a topic: each kind of garbage is set aside unchanged with its cause, orders flow past it,
//! and nobody's terminal or log obeys it.

use crate::system::{Client, System, assert_conserved, order_of};
use chassis::settings::Environment;
use publisher::{Destination, OutboundRecord, Publisher, PublisherConfig};
use schemas::{
    envelope::{Envelope, HEADER},
    ids::{EffectId, MessageId, OrderId, ProductId},
    messages::{
        BodyHash, CapturePayment, DeadlinePassed, PricedLine, ReserveStock, StockLine, SubmitOrder,
        VoidCapture,
    },
    money::Currency,
    time::Timestamp,
    topics::{self, Topic},
    wire,
};
use std::{collections::BTreeMap, fmt::Write};
use testbed::eventually;
use uuid::Uuid;

/// A terminal that printed this raw would clear itself and forge a line.
const ESCAPES: &str = "\u{1b}[2J\u{9b}31m\r\nforged\u{202e}";

/// The topics that somebody of ours reads, with the service and its dead letters.
const DOORS: [(Topic, &str, &str); 3] = [
    (Topic::OrderCommands, "orders", "orders.dlq"),
    (Topic::InventoryCommands, "inventory", "inventory.dlq"),
    (Topic::PaymentCommands, "payments", "payments.dlq"),
];

/// One thing wrong, and the cause it is parked with; none when it cannot be parked.
struct Garbage {
    key: Vec<u8>,
    header: Option<Vec<u8>>,
    payload: Vec<u8>,
    cause: Option<&'static str>,
}

fn envelope() -> Vec<u8> {
    let message = MessageId(chassis::ids::random());
    let at = Timestamp(1_700_000_000_000);
    Envelope { message, causation: message, occurred_at: at, deadline: None, source: None }.to_bytes()
}

/// A message of the topic, and one of another, both well-formed.
fn messages(topic: Topic, order: Uuid) -> (Vec<u8>, Vec<u8>) {
    let order_id = OrderId(order);
    let order_message = wire::encode(&DeadlinePassed { order_id, deadline: Timestamp(1) }).unwrap();
    let void = VoidCapture { order_id, capture_id: EffectId(Uuid::from_u128(1)) };
    let payment_message = wire::encode(&void).unwrap();
    match topic {
        Topic::OrderCommands => (order_message, payment_message),
        Topic::InventoryCommands => (wire::encode(&reserve(order, 1)).unwrap(), order_message),
        _ => (payment_message, order_message),
    }
}

fn reserve(order: Uuid, quantity: i32) -> ReserveStock {
    ReserveStock {
        order_id: OrderId(order),
        accepted_at: Timestamp(1_700_000_000_000),
        deadline: Timestamp(1_700_000_900_000),
        lines: vec![StockLine { product_id: ProductId(Uuid::from_u128(5)), quantity }],
    }
}

/// Well-formed, and impossible.
fn impossible(topic: Topic, order: Uuid) -> (Vec<u8>, &'static str) {
    let (order_id, deadline) = (OrderId(order), Timestamp(1_700_000_900_000));
    match topic {
        Topic::OrderCommands => {
            let submit = SubmitOrder {
                order_id,
                owner: "issuer\nmallory".to_owned(),
                body_hash: BodyHash([7; 32]),
                accepted_at: Timestamp(1_700_000_000_000),
                deadline,
                currency: Currency::USD,
                total: -5_000,
                lines: vec![PricedLine {
                    product_id: ProductId(Uuid::from_u128(5)),
                    quantity: -5,
                    unit_price: 1_000,
                }],
                shipping_address: ESCAPES.to_owned(),
                payment_method: "CREDIT_CARD".to_owned(),
            };
            (wire::encode(&submit).unwrap(), "invalid_order")
        }
        Topic::InventoryCommands => (wire::encode(&reserve(order, 0)).unwrap(), "invalid_reserve"),
        _ => {
            let capture = CapturePayment {
                order_id,
                capture_id: EffectId(Uuid::from_u128(2)),
                amount: -1,
                currency: Currency::USD,
                payment_method: ESCAPES.to_owned(),
                deadline,
            };
            (wire::encode(&capture).unwrap(), "amount")
        }
    }
}

fn garbage(topic: Topic) -> Vec<Garbage> {
    let mut all = Vec::new();
    let mut add = |cause, change: &dyn Fn(&mut Garbage, Uuid)| {
        let order = chassis::ids::random();
        let mut it = Garbage {
            key: topics::key(order).to_vec(),
            header: Some(envelope()),
            payload: messages(topic, order).0,
            cause,
        };
        change(&mut it, order);
        all.push(it);
    };
    add(None, &|it, _| it.key = vec![]);
    add(None, &|it, _| it.key = ESCAPES.as_bytes().to_vec());
    add(None, &|it, _| it.key = vec![0xff; 900]);
    add(Some("envelope"), &|it, _| it.header = None);
    add(Some("envelope"), &|it, _| it.header.as_mut().unwrap().truncate(20));
    add(Some("unknown_envelope"), &|it, _| it.header.as_mut().unwrap()[0] = 9);
    add(Some("decode"), &|it, _| it.payload = vec![]);
    add(Some("decode"), &|it, _| it.payload = ESCAPES.as_bytes().to_vec());
    add(Some("decode"), &|it, _| it.payload = vec![0xa5; 900_000]);
    add(Some("decode"), &|it, _| it.payload[0] = 7);
    add(Some("decode"), &|it, _| it.payload.truncate(9));
    add(Some("decode"), &|it, _| it.payload.push(0));
    add(Some("decode"), &|it, order| it.payload = messages(topic, order).1);
    add(Some("unknown_schema"), &|it, _| it.payload[1..5].copy_from_slice(&999_999_u32.to_be_bytes()));
    add(Some(impossible(topic, Uuid::nil()).1), &|it, order| it.payload = impossible(topic, order).0);
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn assert_harmless(what: &str, text: &str) {
    let obeyed = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!text.chars().any(obeyed), "{what} holds what a terminal obeys");
    assert!(!text.lines().any(|line| line.starts_with("forged")), "{what} has a forged line:\n{text}");
}

async fn parked(system: &System, service: &str) -> BTreeMap<String, i64> {
    let mut audit = system.database.connect("audit").await;
    let sql = format!("SELECT cause, count(*) FROM {service}.parked GROUP BY cause");
    let rows: Vec<(String, i64)> =
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&mut audit).await.unwrap();
    rows.into_iter().collect()
}

async fn confirm(client: &Client, product: &str, key: &str) {
    let id = client.submit_patiently(key, &order_of(product, 1, "CREDIT_CARD")).await;
    assert_eq!(client.settled(&id).await["status"], "CONFIRMED", "{key}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_of_each_kind_on_each_topic_is_set_aside_with_its_cause_and_orders_flow_past_it() {
    let system = System::build(&[]).await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let product = system.product(20).await;
    let settings = Environment::of(system.settings().clone());
    let publisher = Publisher::start(PublisherConfig::from_environment(&settings, "test").unwrap()).unwrap();
    let send = async |topic: Topic, partition: Option<i32>, it: &Garbage| {
        let destination = partition.map_or(Destination::ByKey, Destination::Partition);
        let (key, payload) = (it.key.clone(), it.payload.clone());
        let headers = it.header.iter().map(|bytes| (HEADER.to_owned(), bytes.clone())).collect();
        publisher.send(&OutboundRecord { topic, destination, key, payload, headers }).unwrap().await.unwrap();
    };
    let mut sent = Vec::new();
    for (topic, service, dlq) in DOORS {
        let garbage = garbage(topic);
        for it in &garbage {
            // what has no key lies in each partition's way
            let partitions = if it.cause.is_none() { 0..4 } else { 0..1 };
            for partition in partitions {
                send(topic, it.cause.is_none().then_some(partition), it).await;
            }
        }
        confirm(&client, &product, &format!("after-garbage-for-{service}")).await;
        sent.push((service, dlq, garbage));
    }
    // the view's worker parks nothing: it says so, and passes over
    for it in garbage(Topic::PaymentCommands) {
        send(Topic::OrderEvents, None, &it).await;
    }
    confirm(&client, &product, "after-garbage-for-the-view").await;

    for (service, dlq, garbage) in &sent {
        let mut causes: BTreeMap<String, i64> = BTreeMap::new();
        for cause in garbage.iter().filter_map(|it| it.cause) {
            *causes.entry(cause.to_owned()).or_default() += 1;
        }
        eventually(&format!("all garbage of {service} is parked"), async || {
            parked(&system, service).await.values().sum::<i64>() >= causes.values().sum()
        })
        .await;
        assert_eq!(parked(&system, service).await, causes, "{service}");
        // its copy is unchanged: bytes that cannot be read are printed whole
        let letters = system.tool(&["replay", "--topic", dlq]).await;
        assert_harmless(dlq, &letters);
        let (keyless, keyed): (Vec<_>, Vec<_>) = garbage.iter().partition(|it| it.cause.is_none());
        assert_eq!(letters.lines().count(), keyless.len() * 4 + keyed.len(), "{dlq}");
        for it in keyed.iter().filter(|it| matches!(it.cause, Some("decode" | "unknown_schema"))) {
            let payload = format!("\"payload\":\"{}\"", hex(&it.payload));
            let (key, cause) = (String::from_utf8(it.key.clone()).unwrap(), it.cause.unwrap());
            let is_there = |line: &str| {
                // one of another topic can be read, and is printed so
                let is_whole = line.contains(&payload) || line.contains("\"value\":");
                is_whole && line.contains(&key) && line.contains(cause)
            };
            assert!(letters.lines().any(is_there), "{dlq}: {cause}, {} bytes", it.payload.len());
        }
    }
    for arguments in [&["dlq", "list"][..], &["replay", "--topic", "all"]] {
        assert_harmless(arguments[0], &system.tool(arguments).await);
    }
    let mut audit = system.database.connect("audit").await;
    let (partition, offset): (i32, i64) =
        sqlx::query_as("SELECT partition, \"offset\" FROM orders.parked WHERE cause = 'invalid_order'")
            .fetch_one(&mut audit)
            .await
            .unwrap();
    let shown = system.tool(&["dlq", "show", "orders", &partition.to_string(), &offset.to_string()]).await;
    assert_harmless("dlq show", &shown);
    assert!(shown.contains("forged"), "the record is shown: {shown}");

    let log = all.log();
    assert_harmless("the log", &log);
    let says = |level: &str, what: &str| log.lines().any(|line| line.contains(level) && line.contains(what));
    assert!(says("ERROR", "schema id 999999 is not known to this release"), "{log}");
    let metrics =
        reqwest::get(format!("http://{}/metrics", all.management())).await.unwrap().text().await.unwrap();
    for service in ["orders", "inventory", "payments"] {
        let counted = format!(
            "mambogo_worker_rejected_records_total{{group=\"{service}\",cause=\"unknown_schema\"}} 1"
        );
        assert!(metrics.contains(&counted), "{counted}");
    }
    all.is_ready().await;
    assert_conserved(&system.database).await;
    all.stop().await;
}
