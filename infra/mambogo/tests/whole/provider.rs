//! The system with Stripe's client, pointed at `mambogo provider`: a provider that loses answers, fails and is slow.

use crate::system::{Process, System, assert_conserved, order_of};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::TcpListener,
    time::{Duration, Instant},
};
use testbed::{Proxy, eventually, eventually_within};

const SOON: Duration = Duration::from_secs(120);

type Way<'a> = &'a dyn Fn(&Proxy);

/// The provider, as a process of its own.
struct Provider {
    base: String,
    _process: Process,
}

impl Provider {
    async fn start(system: &System, address: &str) -> Self {
        let process = system.launch(&["provider"], &[("SANDBOX_PROVIDER_ADDR", address)]);
        let provider = Self { base: format!("http://{address}"), _process: process };
        eventually("the provider listens", async || {
            reqwest::get(format!("{}/_sandbox/faults", provider.base)).await.is_ok()
        })
        .await;
        provider
    }

    async fn set(&self, faults: Value) {
        let url = format!("{}/_sandbox/faults", self.base);
        let answer = reqwest::Client::new().put(url).json(&faults).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    async fn ledger(&self) -> Value {
        let url = format!("{}/_sandbox/ledger", self.base);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }
}

/// A system that pays by Stripe's API, and the provider it pays at.
async fn system(settings: &[(&str, &str)]) -> (System, Provider) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let base = format!("http://{address}");
    let mut all = vec![
        ("PAYMENT_PROVIDER", "stripe"),
        ("STRIPE_BASE_URL", &*base),
        ("STRIPE_SECRET_KEY", "sk_test_1"),
        ("PAYMENT_RETRY_LONGEST", "2s"),
        ("PAYMENT_CALL_TIMEOUT", "1s"),
    ];
    all.extend(settings);
    let system = System::build(&all).await;
    let provider = Provider::start(&system, &address).await;
    (system, provider)
}

/// Waits until payments has nothing open, puts the provider's books where the audit looks for a provider's, and asks it.
async fn assert_books_agree(system: &System, provider: &Provider) {
    eventually_within(SOON, "no capture or refund is open", async || {
        let open: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM payments.captures WHERE state IN ('WAITING', 'CALLING'))
                  + (SELECT count(*) FROM payments.refunds WHERE state IN ('WAITING', 'CALLING'))",
        )
        .fetch_one(&mut system.database.connect("audit").await)
        .await
        .unwrap();
        open == 0
    })
    .await;
    let ledger = provider.ledger().await;
    let mut admin = system.database.connect_admin().await;
    let mut taken = BTreeMap::new();
    for payment in ledger["payments"].as_array().unwrap() {
        let word = |name: &str| payment["metadata"][name].as_str().unwrap().to_owned();
        if payment["isTaken"] != true {
            continue;
        }
        *taken.entry(word("effect_key")).or_insert(0) += 1;
        sqlx::query(
            "INSERT INTO sandbox.charges (key, order_id, amount, currency, method, charged_on, state, refunded)
             VALUES ($1::text::uuid, $2::text::uuid, $3, $4, 'CREDIT_CARD', 1, 'CHARGED', $5)",
        )
        .bind(word("effect_key"))
        .bind(word("order_id"))
        .bind(payment["amount"].as_i64().unwrap())
        .bind(payment["currency"].as_str().unwrap().to_uppercase())
        .bind(payment["refunded"].as_i64().unwrap())
        .execute(&mut admin)
        .await
        .unwrap();
    }
    assert!(taken.values().all(|times| *times == 1), "a capture was charged more than once: {taken:?}");
    assert_conserved(&system.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_settle_and_the_books_agree_though_the_provider_fails_in_every_way_it_can() {
    let (system, provider) = system(&[("ORDER_DEADLINE", "90s")]).await;
    provider
        .set(json!({
            "latencyMs": [1, 120], "slow": 0.05, "decline": 0.1, "hangMs": 3000,
            "error500": 0.06, "done500": 0.04, "error429": 0.06, "error409": 0.05,
            "malformed": 0.05, "huge": 0.01, "drip": 0.02, "lost": 0.03, "lostDone": 0.06,
        }))
        .await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let product = system.product(100).await;
    let mut orders = Vec::new();
    for i in 0..40 {
        orders.push(
            client.submit_patiently(&format!("order-{i}"), &order_of(&product, 1, "CREDIT_CARD")).await,
        );
    }
    // some are given up while their payment is under way: what was taken goes back
    for id in orders.iter().step_by(5) {
        let cancel = client.request(reqwest::Method::POST, &format!("/api/orders/{id}/cancel"));
        client.send(cancel).await;
    }
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for id in &orders {
        let order = client.settled(id).await;
        let reason = order["reason"].as_str().unwrap_or_default();
        *ends.entry(format!("{} {reason}", order["status"].as_str().unwrap())).or_default() += 1;
    }
    let ledger = provider.ledger().await;
    assert!(ends.keys().any(|end| end.starts_with("CONFIRMED")), "{ends:?}");
    let declined = ends.get("REJECTED payment_declined").copied().unwrap_or(0);
    assert!(
        declined <= ledger["totals"]["declined"].as_u64().unwrap() as usize,
        "{ends:?} {}",
        ledger["totals"]
    );
    assert!(ledger["faults"].as_object().unwrap().len() >= 5, "faults befell: {}", ledger["faults"]);
    assert_books_agree(&system, &provider).await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_is_left_alone_declines_nobody_and_is_taken_back() {
    let (system, provider) = system(&[
        ("PAYMENT_BREAKER_FEWEST", "5"),
        ("PAYMENT_BREAKER_COOL_DOWN", "1s"),
        ("PAYMENT_BREAKER_LONGEST", "1s"),
    ])
    .await;
    provider.set(json!({ "error429": 0.5, "error500": 0.5 })).await;
    let all = system.start(&["all"]).await;
    let client = system.client(&all, "alice").await;
    let product = system.product(50).await;
    let mut orders = Vec::new();
    for i in 0..20 {
        orders.push(
            client.submit_patiently(&format!("order-{i}"), &order_of(&product, 1, "CREDIT_CARD")).await,
        );
    }
    let state = "mambogo_payments_breaker_state";
    eventually_within(SOON, "the breaker is open", async || all.metric(state).await == Some(2.0)).await;
    // an order that needs no payment goes its way meanwhile: its cancel waits for nobody
    let cancelled = orders.pop().unwrap();
    let cancel = client.request(reqwest::Method::POST, &format!("/api/orders/{cancelled}/cancel"));
    assert!(client.send(cancel).await.status.is_success());
    assert_eq!(client.settled(&cancelled).await["status"], "CANCELLED");
    eventually_within(SOON, "calls are put off", async || {
        all.metric("mambogo_payment_put_off_total").await.is_some_and(|calls| calls >= 20.0)
    })
    .await;
    let statuses = system.statuses().await;
    assert!(statuses.keys().all(|status| status != "REJECTED"), "{statuses:?}");
    provider.set(json!({})).await;
    for id in &orders {
        assert_eq!(client.settled(id).await["status"], "CONFIRMED", "{id}");
    }
    assert_eq!(all.metric(state).await, Some(0.0), "it is closed again");
    assert_books_agree(&system, &provider).await;
    all.stop().await;
}

/// Less than any wait for the provider in the test below, and much more than an answer takes.
const AT_ONCE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_or_slow_leaves_every_route_at_its_usual_pace() {
    let sandbox = System::build(&[]).await;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let _provider = Provider::start(&sandbox, &address).await;
    let proxy = Proxy::to(&address).await;
    let base = format!("http://{}", proxy.address());
    let settings = [
        ("PAYMENT_PROVIDER", "stripe"),
        ("STRIPE_BASE_URL", &*base),
        ("STRIPE_SECRET_KEY", "sk_test_1"),
        ("PAYMENT_CALL_TIMEOUT", "30s"),
        ("PAYMENT_RETRY_LONGEST", "1s"),
        ("PAYMENT_BREAKER_COOL_DOWN", "1s"),
        ("PAYMENT_BREAKER_LONGEST", "1s"),
    ];
    let all = sandbox.launch(&["all"], &settings);
    all.is_ready().await;
    sandbox.is_proved(&all).await;
    let client = sandbox.client_with(&all, "alice", &["inventory:write"]).await;
    let product = sandbox.product(500).await;
    let slow = |proxy: &Proxy| proxy.slow(Duration::from_secs(20));
    let ways: [(&str, Way<'_>); 3] = [("cut", &Proxy::cut), ("held", &Proxy::hold), ("slow", &slow)];
    let mut orders = Vec::new();
    for (way, away) in ways {
        away(&proxy);
        let order = order_of(&product, 1, "CREDIT_CARD");
        for n in 0..10 {
            let began = Instant::now();
            let answer = client.submit(&format!("{way}-{n}"), &order).await;
            assert!(began.elapsed() < AT_ONCE, "{way}: an order took {:?}", began.elapsed());
            assert_eq!(answer.status, 202, "{way}: {}", answer.body);
            orders.push(answer.body["orderId"].as_str().unwrap().to_owned());
        }
        let last = orders.last().unwrap();
        // stock is reserved, and the payment under way
        let reads = ["/api/products?limit=5".to_owned(), format!("/api/products/{product}")];
        let more =
            [format!("/api/inventory/{product}"), format!("/api/orders/{last}"), "/api/cart".to_owned()];
        join_all(reads.iter().chain(&more).flat_map(|path| std::iter::repeat_n(path, 5)).map(async |path| {
            let began = Instant::now();
            let answer = client.get(path).await;
            assert_eq!(answer.status, 200, "{way}: {path}: {}", answer.body);
            assert!(began.elapsed() < AT_ONCE, "{way}: {path} took {:?}", began.elapsed());
        }))
        .await;
        // workers go on as well: what needs no payment is done
        let cancel = client.request(reqwest::Method::POST, &format!("/api/orders/{last}/cancel"));
        assert!(client.send(cancel).await.status.is_success(), "{way}");
        assert_eq!(client.settled(last).await["status"], "CANCELLED", "{way}");
        orders.pop();
    }
    proxy.open();
    for id in &orders {
        assert_eq!(client.settled(id).await["status"], "CONFIRMED", "{id}");
    }
    all.stop().await;
}
