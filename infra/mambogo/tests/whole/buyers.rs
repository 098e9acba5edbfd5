//! A thousand buyers for a hundred units.

use crate::system::{System, assert_conserved, order_of};
use std::collections::BTreeMap;

const BUYERS: usize = 1_000;
const UNITS: i64 = 100;

/// All buy at once, each one unit; `method` chooses how the n-th pays. Returns how many orders ended how.
async fn rush(system: &System, method: impl Fn(usize) -> &'static str) -> (String, BTreeMap<String, usize>) {
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "crowd").await;
    let product = system.product(1).await;
    system.set_stock(&product, UNITS).await;
    let mut buyers = tokio::task::JoinSet::new();
    for n in 0..BUYERS {
        let (client, order) = (client.clone(), order_of(&product, 1, method(n)));
        buyers.spawn(async move {
            let id = client.submit_patiently(&format!("buyer-{n}"), &order).await;
            client.settled(&id).await["status"].as_str().unwrap().to_owned()
        });
    }
    let mut ends = BTreeMap::new();
    for end in buyers.join_all().await {
        *ends.entry(end).or_insert(0) += 1;
    }
    assert_conserved(&system.database).await;
    (product, ends)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_of_a_thousand_buyers_get_the_hundred_units() {
    let system = System::build(&[("ORDER_DEADLINE", "60s")]).await;
    let (product, ends) = rush(&system, |_| "CREDIT_CARD").await;
    assert_eq!(ends, BTreeMap::from([("CONFIRMED".to_owned(), 100), ("REJECTED".to_owned(), 900)]));
    assert_eq!(system.stock(&product).await, (0, 0, UNITS));
}

#[tokio::test(flavor = "multi_thread")]
async fn units_of_buyers_who_cannot_pay_go_to_those_who_wait() {
    let system = System::build(&[("ORDER_DEADLINE", "60s")]).await;
    // a fifth of all buyers, those who come first among them, are declined
    let (product, ends) = rush(&system, |n| if n % 5 == 0 { "SANDBOX_DECLINE" } else { "CREDIT_CARD" }).await;
    assert_eq!(ends, BTreeMap::from([("CONFIRMED".to_owned(), 100), ("REJECTED".to_owned(), 900)]));
    assert_eq!(system.stock(&product).await, (0, 0, UNITS));
}
