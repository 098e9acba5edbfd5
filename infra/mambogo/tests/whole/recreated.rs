//! A topic that is deleted and made anew while nobody reads it.

use crate::system::{System, assert_conserved, order_of};
use schemas::topics::Topic;
use std::time::Duration;
use testbed::eventually_within;

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_halts_its_readers_until_an_operator_has_them_begin_anew() {
    let system = System::build(&[]).await;
    let product = system.product(100).await;
    let order = order_of(&product, 1, "CREDIT_CARD");
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    for key in ["a", "b", "c"] {
        let id = client.submit_patiently(key, &order).await;
        assert_eq!(client.settled(&id).await["status"], "CONFIRMED");
    }
    all.stop().await;
    system.topics.delete(Topic::OrderCommands).await;
    system.tool(&["topics"]).await;

    let workers = system.launch(&["work"], &[]);
    eventually_within(Duration::from_secs(60), "a lane has halted", async || {
        workers.log().contains("the topic was recreated")
    })
    .await;
    workers.stop().await;
    let told = system.tool(&["lanes", "begin", "orders", "--dry-run"]).await;
    assert!(told.ends_with("4 lanes would begin anew\n"), "{told}");
    let told = system.tool(&["lanes", "begin", "orders"]).await;
    assert!(told.ends_with("4 lanes begin anew\n"), "{told}");

    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    for n in 0..8 {
        let id = client.submit_patiently(&format!("later-{n}"), &order).await;
        assert_eq!(client.settled(&id).await["status"], "CONFIRMED");
    }
    assert_conserved(&system.database).await;
}
