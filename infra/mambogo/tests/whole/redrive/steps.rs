//! Many parked records at once: a frozen selection, growing steps, a stop at the first relapse, and two operators.

use super::{UNREADABLE, causes, edit, envelope, shown};
use crate::system::System;
use schemas::{
    ids::{OrderId, ProductId},
    messages::{BodyHash, PricedLine, SubmitOrder},
    money::Currency,
    time::Timestamp,
    topics, wire,
};
use serde_json::json;
use testbed::eventually;
use uuid::Uuid;

const KEYS: usize = 40;
/// Of the third step: after 1 and 5, among the next 25.
const BAD: usize = 10;

fn submit(order: Uuid, product: &str) -> SubmitOrder {
    let now = Timestamp(chassis::clock::Clock::system().now_millis());
    SubmitOrder {
        order_id: OrderId(order),
        owner: "issuer\ntest".to_owned(),
        body_hash: BodyHash([7; 32]),
        accepted_at: now,
        deadline: now.plus(std::time::Duration::from_secs(900)),
        currency: Currency::USD,
        total: 100,
        lines: vec![PricedLine {
            product_id: ProductId(product.parse().unwrap()),
            quantity: 1,
            unit_price: 100,
        }],
        shipping_address: "1 Harbour Road".to_owned(),
        payment_method: "CREDIT_CARD".to_owned(),
    }
}

/// Parks submits of so many orders, one of them unreadable, as an older release would have. Their ids, in key order.
async fn park(system: &System) -> Vec<Uuid> {
    let product = system.product(1).await;
    let all = (0_u128..).map(|n| Uuid::new_v5(&Uuid::nil(), &n.to_be_bytes()));
    let mut orders: Vec<Uuid> =
        all.filter(|id| topics::partition_of(&topics::key(*id), 4) == 0).take(KEYS).collect();
    orders.sort();
    let mut admin = system.database.connect_admin().await;
    for (n, order) in orders.iter().enumerate() {
        let good = wire::encode(&submit(*order, &product)).unwrap();
        sqlx::query(
            "INSERT INTO orders.parked (topic, partition, \"offset\", key, logged_at, header, record, cause, detail)
             VALUES ('order.commands', 0, $1, $2, now(), $3, $4, 'decode', '')",
        )
        .bind(i64::try_from(n).unwrap())
        .bind(&topics::key(*order)[..])
        .bind(envelope().to_bytes())
        .bind(if n == BAD { UNREADABLE.to_vec() } else { good })
        .execute(&mut admin)
        .await
        .unwrap();
    }
    orders
}

/// Orders there are; parked records by attempts; offsets that ran, with repeats.
async fn books(system: &System) -> (i64, Vec<(i32, i64)>, Vec<i64>) {
    let mut audit = system.database.connect("audit").await;
    let orders =
        sqlx::query_scalar("SELECT count(*) FROM orders.orders").fetch_one(&mut audit).await.unwrap();
    let parked =
        sqlx::query_as("SELECT attempts, count(*) FROM orders.parked GROUP BY attempts ORDER BY attempts")
            .fetch_all(&mut audit)
            .await
            .unwrap();
    let ran = sqlx::query_scalar("SELECT unnest(ran) FROM orders.parked_action ORDER BY 1")
        .fetch_all(&mut audit)
        .await
        .unwrap();
    (orders, parked, ran)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selection_is_redriven_in_steps_until_its_fault_comes_again_and_each_record_runs_once() {
    let system = System::build(&[]).await;
    let orders = park(&system).await;
    let process = system.start(&["work", "orders"]).await;
    let redrive = ["dlq", "redrive", "--by", "amina", "--cause", "decode", "--rate", "1000"];

    let dry = system.tool(&[&redrive[..], &["--dry-run"]].concat()).await;
    assert!(dry.contains("40 records of 40 keys"), "{dry}");
    let selection = dry.split([' ', ':']).nth(1).unwrap();
    let frozen = [&redrive[..], &["--selection", selection]].concat();
    let error = system.try_tool(&frozen).await.unwrap_err();
    assert!(error.contains("stopped: decode came again; 9 keys were not touched"), "{error}");
    // steps of 1, 5 and 25: all but the bad one ran; it was tried twice by now, the rest once
    let (made, parked, ran) = books(&system).await;
    assert_eq!((made, parked, ran.len()), (30, vec![(1, 9), (2, 1)], 30));
    let error = system.try_tool(&frozen).await.unwrap_err();
    assert!(error.contains("the selection is another one by now"));
    assert_eq!(books(&system).await.2, ran, "a selection that has changed does nothing");

    // again: the bad one comes first now, and nothing else is touched
    let error = system.try_tool(&redrive).await.unwrap_err();
    assert!(error.contains("9 keys were not touched"));
    let bad = orders[BAD].to_string();
    let (mut record, place) = shown(&system, "orders", &bad, i64::try_from(BAD).unwrap()).await;
    let product = system.product(1).await;
    let mended = wire::encode(&submit(orders[BAD], &product)).unwrap();
    record["value"] = serde_json::to_value(replay::readable(&mended).unwrap()).unwrap();
    record["schema"] = json!(1001);
    let mut other = record.clone();
    other["origin"] = json!("order.commands/0/11");
    let error = edit(&system, &other, &place).await.unwrap_err();
    assert!(error.contains("order.commands/0/10 is selected"), "an edit names its record");
    let printed = edit(&system, &record, &place).await.unwrap();
    assert!(printed.contains("done, ran 1"), "{printed}");

    // the rest, by two operators at once
    let second = redrive.map(|word| if word == "amina" { "bo" } else { word });
    let (first, second) = tokio::join!(system.try_tool(&redrive), system.try_tool(&second));
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    eventually("nothing is parked", async || causes(&system, "orders").await.is_empty()).await;
    let (made, _, ran) = books(&system).await;
    let each_once: Vec<i64> = (0..i64::try_from(KEYS).unwrap()).collect();
    assert_eq!((made, ran), (40, each_once));
    let history = system.tool(&["dlq", "history"]).await;
    assert_eq!(history.lines().filter(|line| line.contains("failed_again")).count(), 2, "{history}");
    assert_eq!(history.lines().filter(|line| line.contains(" edit ")).count(), 1, "{history}");
    process.stop().await;
}
