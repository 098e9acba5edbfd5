//! kill -9 at random while orders flow: every accepted order settles, and every book agrees.

use crate::system::{Client, Process, System, assert_conserved, order_of};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use testbed::{eventually, eventually_within};

const ORDERS: usize = 5_000;
const OVER: Duration = Duration::from_secs(90);
const KILLS: usize = 10;
const METHODS: [&str; 8] = [
    "CREDIT_CARD",
    "DEBIT_CARD",
    "PAYPAL",
    "BANK_TRANSFER",
    "CREDIT_CARD",
    "SANDBOX_DECLINE",
    "SANDBOX_FLAKY",
    "SANDBOX_TIMEOUT_CHARGED",
];

/// A payment that fails nine times before it works is known within half a minute, not after two.
const PATIENCE: (&str, &str) = ("PAYMENT_RETRY_LONGEST", "5s");

/// Orders at a steady pace; each one's id once it is accepted.
fn flow(
    client: Client,
    products: Vec<String>,
    accepted: Arc<AtomicUsize>,
) -> tokio::task::JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let mut pace = tokio::time::interval(OVER / u32::try_from(ORDERS).unwrap());
        let mut submits = tokio::task::JoinSet::new();
        for n in 0..ORDERS {
            pace.tick().await;
            let (client, accepted) = (client.clone(), Arc::clone(&accepted));
            let order = order_of(&products[n % products.len()], 1, METHODS[n % METHODS.len()]);
            submits.spawn(async move {
                let id = client.submit_patiently(&format!("flow-{n}"), &order).await;
                accepted.fetch_add(1, Ordering::Relaxed);
                id
            });
        }
        submits.join_all().await
    })
}

/// Waits until so many orders are accepted and at least 200 of them unsettled.
async fn enough_unsettled(system: &System, accepted: &AtomicUsize, at_least: usize) {
    eventually_within(OVER * 2, "200 orders are unsettled", async || {
        let settled: i64 = system
            .statuses()
            .await
            .into_iter()
            .filter(|(status, _)| !["PENDING", "RESERVED"].contains(&status.as_str()))
            .map(|(_, count)| count)
            .sum();
        let accepted = accepted.load(Ordering::Relaxed);
        accepted >= at_least && accepted >= usize::try_from(settled).unwrap() + 200
    })
    .await;
}

/// Kills `victim` ten times, each while at least 200 orders are unsettled. It is frozen first, and with it `beside`, so
/// that they gather.
#[must_use]
async fn kill_again_and_again(
    system: &System,
    role: &[&str],
    mut victim: Process,
    beside: &[&Process],
    accepted: &AtomicUsize,
    seed: u64,
) -> Process {
    let mut random = StdRng::seed_from_u64(seed);
    for kill in 0..KILLS {
        // a random moment of its tenth of the flow
        let moment = ORDERS * kill / KILLS + random.random_range(0..ORDERS / KILLS / 2);
        eventually_within(OVER * 2, "the flow has come so far", async || {
            accepted.load(Ordering::Relaxed) >= moment
        })
        .await;
        victim.signal("STOP");
        beside.iter().for_each(|process| process.signal("STOP"));
        enough_unsettled(system, accepted, moment).await;
        // thawed for a random instant, so that the kill meets it in the middle of its work
        victim.signal("CONT");
        beside.iter().for_each(|process| process.signal("CONT"));
        tokio::time::timeout(Duration::from_millis(random.random_range(0..40)), std::future::pending::<()>())
            .await
            .unwrap_err();
        victim.kill();
        victim = system.launch(role, &[]);
    }
    victim.is_ready().await;
    victim
}

async fn settle_and_audit(system: &System, ids: Vec<String>) {
    assert_eq!(ids.len(), ORDERS);
    eventually_within(Duration::from_secs(180), "every accepted order is settled", async || {
        let statuses = system.statuses().await;
        let open: i64 = ["PENDING", "RESERVED"].iter().filter_map(|status| statuses.get(*status)).sum();
        open == 0 && statuses.values().sum::<i64>() == i64::try_from(ORDERS).unwrap() + 1
    })
    .await;
    assert_conserved(&system.database).await;
    let mut audit = system.database.connect("audit").await;
    let parked: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM orders.parked) + (SELECT count(*) FROM inventory.parked)
              + (SELECT count(*) FROM payments.parked)",
    )
    .fetch_one(&mut audit)
    .await
    .unwrap();
    assert_eq!(parked, 0, "nothing was illegal, out of order or unreadable");
    let known: i64 =
        sqlx::query_scalar("SELECT count(*) FROM orders.orders WHERE id = ANY ($1::text[]::uuid[])")
            .bind(&ids)
            .fetch_one(&mut audit)
            .await
            .unwrap();
    assert_eq!(known, i64::try_from(ORDERS).unwrap(), "each 202 is an order");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_killed_ten_times_lose_nothing_and_do_nothing_twice() {
    let system = System::build(&[PATIENCE]).await;
    let edge = system.start(&["serve"]).await;
    let relay = system.start(&["relay"]).await;
    let workers = system.start(&["work"]).await;
    let auditor = system.launch(&["auditor"], &[("AUDIT_PAUSE", "1")]);
    auditor.is_ready().await;
    system.is_proved(&edge).await;
    let client = system.client(&edge, "flow").await;
    let accepted = Arc::new(AtomicUsize::new(0));
    let flow = flow(client, system.products(500).await, Arc::clone(&accepted));
    let workers = kill_again_and_again(&system, &["work"], workers, &[], &accepted, 11).await;
    settle_and_audit(&system, flow.await.unwrap()).await;
    saw_no_drift_and_sees_one(&system, &auditor).await;
    for process in [auditor, workers, relay, edge] {
        process.stop().await;
    }
}

/// The auditor that ran all the time has said nothing; then a unit is moved by hand.
async fn saw_no_drift_and_sees_one(system: &System, auditor: &Process) {
    let log = auditor.log();
    assert!(!log.contains("drift"), "{log}");
    let looked = auditor.metric("mambogo_audit_looked_total").await.unwrap_or_default();
    assert!(looked >= ORDERS as f64, "it looked at {looked} orders");
    let mut admin = system.database.connect_admin().await;
    let product: String = sqlx::query_scalar(
        "UPDATE inventory.products SET sold = sold + 1, available = available - 1
         WHERE id = (SELECT id FROM inventory.products WHERE sold > 0 ORDER BY id LIMIT 1) RETURNING id::text",
    )
    .fetch_one(&mut admin)
    .await
    .unwrap();
    eventually_within(Duration::from_secs(120), "the drift is seen", async || {
        auditor.metrics().await.contains("mambogo_audit_drift{kind=\"stock_holds\"} 1")
    })
    .await;
    let log = auditor.log();
    assert_eq!(log.matches("drift").count(), 1, "{log}");
    assert!(log.contains(&format!("product {product}")) && log.contains("mambogo replay --topic"), "{log}");
    let error = system.try_tool(&["audit", "--json"]).await.unwrap_err();
    assert!(error.contains("the books do not agree"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_killed_ten_times_loses_nothing_and_sends_nothing_out_of_order() {
    let system = System::build(&[PATIENCE]).await;
    let edge = system.start(&["serve"]).await;
    let _workers = system.start(&["work"]).await;
    let relay = system.start(&["relay"]).await;
    system.is_proved(&edge).await;
    let client = system.client(&edge, "flow").await;
    let accepted = Arc::new(AtomicUsize::new(0));
    let flow = flow(client, system.products(500).await, Arc::clone(&accepted));
    let _relay = kill_again_and_again(&system, &["relay"], relay, &[], &accepted, 12).await;
    settle_and_audit(&system, flow.await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_that_both_send_everything_change_nothing() {
    let system = System::build(&[PATIENCE, ("RELAY_LEASES", "off")]).await;
    let edge = system.start(&["serve"]).await;
    let workers = system.start(&["work"]).await;
    let first = system.start(&["relay"]).await;
    let second = system.start(&["relay"]).await;
    system.is_proved(&edge).await;
    let client = system.client(&edge, "flow").await;
    let accepted = Arc::new(AtomicUsize::new(0));
    let flow = flow(client, system.products(500).await, Arc::clone(&accepted));
    let _relay = kill_again_and_again(&system, &["relay"], first, &[&second], &accepted, 13).await;
    settle_and_audit(&system, flow.await.unwrap()).await;
    let metrics = reqwest::get(format!("http://{}/metrics", workers.management())).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let repeats = metrics.lines().any(|line| line.contains("fate=\"repeat\""));
    assert!(repeats, "two relays without leases send things twice, and the lanes drop them:\n{metrics}");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_is_refused_by_the_database_when_it_thaws() {
    let system = System::build(&[]).await;
    let edge = system.start(&["serve"]).await;
    let _relay = system.start(&["relay"]).await;
    let frozen = system.start(&["work"]).await;
    let client = system.client(&edge, "flow").await;
    let products = system.products(500).await;
    for (n, product) in products.iter().take(50).enumerate() {
        client.submit_patiently(&format!("before-{n}"), &order_of(product, 1, "CREDIT_CARD")).await;
    }
    frozen.signal("STOP");
    let second = system.launch(&["work"], &[]);
    let mut ids = Vec::new();
    for n in 0..200 {
        ids.push(
            client.submit_patiently(&format!("during-{n}"), &order_of(&products[n % 100], 1, "PAYPAL")).await,
        );
    }
    // its group gives it up after the session time-out; the second takes everything over
    for id in &ids {
        assert_eq!(client.settled(id).await["status"], "CONFIRMED");
    }
    second.is_ready().await;
    frozen.signal("CONT");
    for (n, product) in products.iter().take(50).enumerate() {
        let id = client.submit_patiently(&format!("after-{n}"), &order_of(product, 1, "CREDIT_CARD")).await;
        assert_eq!(client.settled(&id).await["status"], "CONFIRMED");
    }
    eventually("the thawed worker is ready again", async || {
        let url = format!("http://{}/health/ready", frozen.management());
        reqwest::get(url).await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    assert_conserved(&system.database).await;
}
