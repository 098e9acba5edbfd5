//! Stripe's client against the sandbox provider over HTTP: each fault, and what becomes of the money.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use chassis::{
    breaker::{Breaker, BreakerLimits, Position},
    clock::Clock,
    settings::Secret,
};
use payments_worker::{
    guard::Guard,
    provider::{CaptureRequest, Found, Outcome, Provider, RefundRequest, Sought},
    stripe::{Stripe, StripeSettings},
};
use sandbox_provider::ProviderConfig;
use schemas::{
    ids::{EffectId, OrderId},
    money::{Currency, Money},
};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use testbed::eventually;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

const PATIENT: Duration = Duration::from_secs(60);
const IMPATIENT: Duration = Duration::from_millis(300);

/// A sandbox provider of the test's own; stops with this value.
struct Sandbox {
    address: SocketAddr,
    http: reqwest::Client,
    _stop: DropGuard,
}

impl Sandbox {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let config = ProviderConfig::default();
        tokio::spawn(sandbox_provider::serve(listener, config, Clock::system(), stop.clone()));
        Self { address, http: reqwest::Client::new(), _stop: stop.drop_guard() }
    }

    async fn set(&self, faults: Value) {
        let url = format!("http://{}/_sandbox/faults", self.address);
        let answer = self.http.put(url).json(&faults).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    async fn ledger(&self) -> Value {
        let url = format!("http://{}/_sandbox/ledger", self.address);
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Payments with that key whose money was taken.
    async fn taken(&self, key: EffectId) -> usize {
        let ledger = self.ledger().await;
        let payments = ledger["payments"].as_array().unwrap().clone();
        let is_it = |payment: &&Value| {
            payment["metadata"]["effect_key"] == key.to_string() && payment["isTaken"] == true
        };
        payments.iter().filter(is_it).count()
    }

    fn stripe(&self, timeout: Duration) -> Stripe {
        let base_url = format!("http://{}", self.address);
        Stripe::new(&StripeSettings { base_url, secret_key: Secret::new("sk_test_1"), timeout }).unwrap()
    }
}

fn capture(key: u128) -> CaptureRequest {
    CaptureRequest {
        key: EffectId(Uuid::from_u128(key)),
        order_id: OrderId(Uuid::from_u128(key + 1_000_000)),
        amount: Money::new(5_000, Currency::USD),
        method: "CREDIT_CARD".to_owned(),
    }
}

fn refund(key: u128, of: &CaptureRequest, amount: i64, reference: Option<String>) -> RefundRequest {
    RefundRequest {
        key: EffectId(Uuid::from_u128(key)),
        capture: of.key,
        capture_reference: reference,
        order_id: of.order_id,
        amount: Money::new(amount, Currency::USD),
    }
}

fn reference(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Approved { reference } => reference.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_fault_is_a_decline_and_the_same_key_finds_the_truth() {
    let sandbox = Sandbox::start().await;
    let (patient, impatient) = (sandbox.stripe(PATIENT), sandbox.stripe(IMPATIENT));
    for (key, (fault, stripe, why)) in [
        ("error500", &patient, "stripe: 500"),
        ("error429", &patient, "stripe: 429"),
        ("malformed", &patient, "stripe: an answer that does not read"),
        ("huge", &patient, "stripe: an answer beyond all bounds"),
        ("drip", &impatient, "stripe: no answer in time"),
        ("lost", &impatient, "stripe: no answer in time"),
        ("lostDone", &impatient, "stripe: no answer in time"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = capture(key as u128 + 1);
        sandbox.set(json!({ fault: 1.0 })).await;
        assert_eq!(stripe.capture(&request).await, Outcome::unknown(why), "{fault}");
        let found = stripe.lookup(Sought::Capture(&request)).await;
        assert_eq!(found, Found::Known(Outcome::unknown(why)), "a lookup under {fault}");
        sandbox.set(json!({})).await;
        let known = reference(&patient.capture(&request).await);
        assert!(known.starts_with("pi_"), "{known}");
        assert_eq!(
            patient.lookup(Sought::Capture(&request)).await,
            Found::Known(Outcome::Approved { reference: known })
        );
        assert_eq!(sandbox.taken(request.key).await, 1, "{fault}");
    }
    // the connection is closed before there is an answer
    sandbox.set(json!({ "lostDone": 1.0, "hangMs": 1 })).await;
    let outcome = patient.capture(&capture(90)).await;
    assert!(matches!(&outcome, Outcome::Unknown { .. }), "{outcome:?}");
    sandbox.set(json!({ "error409": 1.0 })).await;
    assert!(matches!(patient.capture(&capture(91)).await, Outcome::Pending { .. }));
}

#[tokio::test]
async fn an_answer_that_was_lost_is_found_by_the_same_key_and_charged_once() {
    let sandbox = Sandbox::start().await;
    let request = capture(1);
    sandbox.set(json!({ "lostDone": 1.0 })).await;
    assert_eq!(
        sandbox.stripe(IMPATIENT).capture(&request).await,
        Outcome::unknown("stripe: no answer in time")
    );
    eventually("it was charged all the same", async || sandbox.taken(request.key).await == 1).await;
    sandbox.set(json!({})).await;
    let patient = sandbox.stripe(PATIENT);
    let first = patient.capture(&request).await;
    assert_eq!(reference(&first), reference(&patient.capture(&request).await));
    assert_eq!(sandbox.taken(request.key).await, 1);
}

#[tokio::test]
async fn an_error_that_is_kept_under_its_key_is_only_told_by_a_lookup() {
    let sandbox = Sandbox::start().await;
    let (stripe, request) = (sandbox.stripe(PATIENT), capture(1));
    sandbox.set(json!({ "done500": 1.0 })).await;
    assert_eq!(stripe.capture(&request).await, Outcome::unknown("stripe: 500"));
    sandbox.set(json!({})).await;
    assert_eq!(stripe.capture(&request).await, Outcome::unknown("stripe: 500"), "kept, as Stripe keeps it");
    let found = stripe.lookup(Sought::Capture(&request)).await;
    assert!(matches!(&found, Found::Known(Outcome::Approved { .. })), "{found:?}");
    assert_eq!(stripe.lookup(Sought::Capture(&capture(2))).await, Found::Absent);
    // what the search has not seen yet is not there
    sandbox.set(json!({ "searchLagMs": 3_600_000 })).await;
    assert_eq!(stripe.lookup(Sought::Capture(&request)).await, Found::Absent);
    assert_eq!(sandbox.taken(request.key).await, 1);
}

#[tokio::test]
async fn two_owners_with_one_key_charge_once() {
    let sandbox = Sandbox::start().await;
    sandbox.set(json!({ "latencyMs": [300, 300] })).await;
    let (one, two, request) = (sandbox.stripe(PATIENT), sandbox.stripe(PATIENT), capture(1));
    let (first, second) = tokio::join!(one.capture(&request), two.capture(&request));
    for outcome in [&first, &second] {
        // the one that came second while the first was at work is told that the key is in use
        assert!(matches!(outcome, Outcome::Approved { .. } | Outcome::Pending { .. }), "{outcome:?}");
    }
    assert_eq!(reference(&one.capture(&request).await), reference(&two.capture(&request).await));
    assert_eq!(sandbox.taken(request.key).await, 1);
}

#[tokio::test]
async fn a_key_that_comes_with_another_request_is_no_decline_and_charges_nothing() {
    let sandbox = Sandbox::start().await;
    let (stripe, request) = (sandbox.stripe(PATIENT), capture(1));
    reference(&stripe.capture(&request).await);
    let other = CaptureRequest { amount: Money::new(9_999, Currency::USD), ..request.clone() };
    assert_eq!(stripe.capture(&other).await, Outcome::unknown("stripe: 400 idempotency_key_reused"));
    assert_eq!(sandbox.ledger().await["totals"]["captured"]["usd"], 5_000);
}

#[tokio::test]
async fn a_decline_is_one_and_stays_one() {
    let sandbox = Sandbox::start().await;
    let stripe = sandbox.stripe(PATIENT);
    sandbox.set(json!({ "decline": 1.0 })).await;
    let by_card = CaptureRequest { method: "SANDBOX_DECLINE".to_owned(), ..capture(2) };
    for request in [capture(1), by_card] {
        let declined = Outcome::declined("generic_decline");
        assert_eq!(stripe.capture(&request).await, declined);
        sandbox.set(json!({})).await;
        assert_eq!(stripe.capture(&request).await, declined);
        assert_eq!(stripe.lookup(Sought::Capture(&request)).await, Found::Known(declined));
        assert_eq!(sandbox.taken(request.key).await, 0);
    }
}

#[tokio::test]
async fn a_refund_is_done_once_and_never_beyond_its_payment() {
    let sandbox = Sandbox::start().await;
    let (stripe, paid) = (sandbox.stripe(PATIENT), capture(1));
    let payment = reference(&stripe.capture(&paid).await);
    let part = refund(2, &paid, 2_000, Some(payment.clone()));
    sandbox.set(json!({ "lostDone": 1.0 })).await;
    assert_eq!(sandbox.stripe(IMPATIENT).refund(&part).await, Outcome::unknown("stripe: no answer in time"));
    sandbox.set(json!({})).await;
    let first = reference(&stripe.refund(&part).await);
    assert_eq!(
        stripe.lookup(Sought::Refund(&part)).await,
        Found::Known(Outcome::Approved { reference: first })
    );
    // whoever lost the payment's id finds it by the capture
    assert_eq!(stripe.lookup(Sought::Refund(&refund(3, &paid, 3_000, None))).await, Found::Absent);
    reference(&stripe.refund(&refund(3, &paid, 3_000, None)).await);
    let more = refund(4, &paid, 1, Some(payment.clone()));
    assert_eq!(stripe.refund(&more).await, Outcome::declined("charge_already_refunded"));
    let odd = refund(5, &paid, 1, Some("../../v1/payouts".to_owned()));
    assert!(matches!(stripe.refund(&odd).await, Outcome::Unknown { .. }));
    let totals = sandbox.ledger().await["totals"].clone();
    assert_eq!((&totals["captured"]["usd"], &totals["refunded"]["usd"]), (&json!(5_000), &json!(5_000)));
    // one that fails says why
    let failing = capture(6);
    let payment = reference(&stripe.capture(&failing).await);
    sandbox.set(json!({ "refundFails": 1.0 })).await;
    let failed = stripe.refund(&refund(7, &failing, 5_000, Some(payment))).await;
    assert_eq!(failed, Outcome::declined("lost_or_stolen_card"));
}

#[tokio::test]
async fn a_refund_is_found_however_many_came_after_it() {
    let sandbox = Sandbox::start().await;
    let (stripe, paid) = (sandbox.stripe(PATIENT), capture(1));
    let payment = reference(&stripe.capture(&paid).await);
    for key in 100..160 {
        reference(&stripe.refund(&refund(key, &paid, 1, Some(payment.clone()))).await);
    }
    let found = stripe.lookup(Sought::Refund(&refund(100, &paid, 1, Some(payment)))).await;
    assert!(matches!(&found, Found::Known(Outcome::Approved { .. })), "{found:?}");
}

#[tokio::test]
async fn the_breaker_opens_over_http_lets_nothing_through_and_closes_again() {
    let sandbox = Sandbox::start().await;
    let limits = BreakerLimits {
        window: PATIENT,
        fewest: 5,
        cool_down: Duration::from_millis(100),
        longest: Duration::from_millis(100),
        ..BreakerLimits::default()
    };
    let guard = Guard::new(Arc::new(sandbox.stripe(PATIENT)), Breaker::new(limits, 1), 64);
    sandbox.set(json!({ "error429": 0.5, "error500": 0.5 })).await;
    let mut key = 0;
    eventually("it has opened", async || {
        key += 1;
        guard.capture(&capture(key)).await;
        guard.position() == Position::Open
    })
    .await;
    assert_eq!(key, 5);
    let calls = sandbox.ledger().await["calls"].clone();
    sandbox.set(json!({})).await;
    eventually("it is closed again", async || {
        key += 1;
        let outcome = guard.capture(&capture(key)).await;
        assert!(matches!(outcome, Outcome::NotBegun { .. } | Outcome::Approved { .. }), "{outcome:?}");
        guard.position() == Position::Closed
    })
    .await;
    // what was put off never came to the provider: three probes closed it
    assert_eq!(sandbox.ledger().await["calls"].as_i64().unwrap() - calls.as_i64().unwrap(), 3);
}
