//! A database that is taken back to an earlier state, as by a restore or by a replica that lacks the last commits, while
//! the log, the provider and the clients know of what came after it.

use crate::system::{
    System, assert_agree, order_of,
    webhook::{self, SECRET, taken},
};
use auditor::AuditConfig;
use chassis::settings::Secret;
use testbed::{Database, eventually};

/// Rows that wait in all outboxes.
async fn unsent(database: &Database) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM orders.outbox) + (SELECT count(*) FROM inventory.outbox)
                    + (SELECT count(*) FROM payments.outbox)";
    sqlx::query_scalar(sql).fetch_one(&mut database.connect("audit").await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_that_lost_commits_renewed_lanes_decide_anew_what_the_log_holds() {
    let mut system = System::build(&[("STRIPE_WEBHOOK_SECRET", SECRET)]).await;
    let [lucky, steady]: [String; 2] = system.products(5).await[..2].to_vec().try_into().unwrap();
    system.set_stock(&lucky, 0).await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let kept = client.submit_patiently("kept", &order_of(&steady, 1, "CREDIT_CARD")).await;
    assert_eq!(client.settled(&kept).await["status"], "CONFIRMED");
    all.stop().await;
    let earlier = system.database.copy().await;

    // commits that will be lost: a unit comes in, is sold and paid, and the provider tells of it
    system.set_stock(&lucky, 1).await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let mut lost = Vec::new();
    for (key, product) in [("lucky", &lucky), ("steady", &steady)] {
        let id = client.submit_patiently(key, &order_of(product, 1, "CREDIT_CARD")).await;
        assert_eq!(client.settled(&id).await["status"], "CONFIRMED");
        lost.push(id);
    }
    let notice = taken(&client.order(&lost[0]).await);
    assert_eq!(webhook::post(all.gateway(), &notice, SECRET).await, Some(200));
    all.stop().await;

    let later = system.taken_back_to(earlier);
    system.redis.flush().await;
    let relay = system.start(&["relay"]).await;
    eventually("what was said is sent", async || unsent(&system.database).await == 0).await;
    relay.stop().await;
    let renewed = system.tool(&["lanes", "renew"]).await;
    assert!(renewed.ends_with("12 lanes renewed\n"), "{renewed}");

    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    assert_eq!(client.settled(&kept).await["status"], "CONFIRMED", "the state it was taken back to stands");
    assert_eq!(client.settled(&lost[0]).await["status"], "REJECTED", "the unit never came in");
    assert_eq!(
        client.settled(&lost[1]).await["status"],
        "CONFIRMED",
        "decided anew, and charged by the same key"
    );
    let mut books = AuditConfig::new(&Secret::new(system.database.url("audit")));
    books.ledger.as_mut().unwrap().url = Secret::new(later.url("audit"));
    assert_agree(books).await;
    let refunds = "SELECT count(*) FROM sandbox.refunds";
    let back: i64 = sqlx::query_scalar(refunds).fetch_one(&mut later.connect("audit").await).await.unwrap();
    assert_eq!(back, 1, "money that nobody remembers to have asked for goes back");
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_are_renewed_service_by_service_and_not_while_something_waits_to_be_sent() {
    let system = System::build(&[]).await;
    system.start(&["all"]).await.stop().await;
    let mut connection = system.database.connect_admin().await;
    let waiting = "INSERT INTO inventory.outbox (lane, seq, format, records, size)
                   SELECT id, outbox_seq + 1, 1, '', 0 FROM inventory.lane LIMIT 1";
    sqlx::query(waiting).execute(&mut connection).await.unwrap();
    let ids = "SELECT id::text FROM inventory.lane ORDER BY partition";
    let before: Vec<String> = sqlx::query_scalar(ids).fetch_all(&mut connection).await.unwrap();

    let refused = system.try_tool(&["lanes", "renew"]).await.unwrap_err();
    assert!(refused.contains("1 rows wait in the outbox of inventory"), "{refused}");
    let after: Vec<String> = sqlx::query_scalar(ids).fetch_all(&mut connection).await.unwrap();
    assert_eq!(after, before, "nothing is renewed");

    sqlx::query("DELETE FROM inventory.outbox").execute(&mut connection).await.unwrap();
    let renewed = system.tool(&["lanes", "renew", "inventory"]).await;
    assert!(renewed.ends_with("4 lanes renewed\n"), "{renewed}");
    let after: Vec<String> = sqlx::query_scalar(ids).fetch_all(&mut connection).await.unwrap();
    assert!(after.iter().all(|id| !before.contains(id)), "{after:?}");
    assert!(renewed.lines().take(4).all(|line| line.starts_with("inventory/")), "{renewed}");
}
