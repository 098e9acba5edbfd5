//! Our requests before stripe-mock, which checks them by Stripe's own description of its API. It keeps nothing and answers
//! with examples: what they are to us is known beforehand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use chassis::settings::{Environment, Secret};
use payments_worker::{
    provider::{CaptureRequest, Found, Outcome, Provider, RefundRequest, Sought},
    stripe::{Stripe, StripeSettings},
};
use schemas::{
    ids::{EffectId, OrderId},
    money::{Currency, Money},
};
use std::{
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};
use testbed::eventually;
use uuid::Uuid;

/// A stripe-mock of the test's own; ends with this value.
struct StripeMock {
    process: Child,
    address: SocketAddr,
}

impl StripeMock {
    async fn start() -> Self {
        let program = Environment::process().text("STRIPE_MOCK_BIN").expect(
            "STRIPE_MOCK_BIN is not set: `make test-stack-up` installs stripe-mock and writes it to .local/test/env",
        );
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new(&program)
            .args(["-http-addr", &address.to_string(), "-https-addr", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; `make test-stack-up` installs it"));
        let mock = Self { process, address };
        eventually("stripe-mock listens", async || tokio::net::TcpStream::connect(address).await.is_ok())
            .await;
        mock
    }

    fn stripe(&self, key: &str) -> Stripe {
        Stripe::new(&StripeSettings {
            base_url: format!("http://{}", self.address),
            secret_key: Secret::new(key),
            timeout: Duration::from_secs(30),
        })
        .unwrap()
    }
}

impl Drop for StripeMock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn capture(currency: &str, method: &str) -> CaptureRequest {
    CaptureRequest {
        key: EffectId(Uuid::from_u128(1)),
        order_id: OrderId(Uuid::from_u128(2)),
        amount: Money::new(4_711, currency.parse().unwrap()),
        method: method.to_owned(),
    }
}

fn refund(capture_reference: Option<&str>) -> RefundRequest {
    RefundRequest {
        key: EffectId(Uuid::from_u128(3)),
        capture: EffectId(Uuid::from_u128(1)),
        capture_reference: capture_reference.map(str::to_owned),
        order_id: OrderId(Uuid::from_u128(2)),
        amount: Money::new(1_100, Currency::USD),
    }
}

#[tokio::test]
async fn stripes_own_description_accepts_what_we_send_and_we_read_what_it_answers() {
    let mock = StripeMock::start().await;
    let stripe = mock.stripe("sk_test_123");
    // the example is a payment that was never confirmed; amount and currency are echoed, or it would be another's
    for (currency, method) in [("EUR", "CREDIT_CARD"), ("USD", "DEBIT_CARD"), ("JPY", "pm_1abc")] {
        assert_eq!(
            stripe.capture(&capture(currency, method)).await,
            Outcome::unknown("stripe: requires_payment_method, without saying why"),
            "{currency} by {method}"
        );
    }
    let outcome = stripe.refund(&refund(Some("pi_123"))).await;
    assert!(
        matches!(&outcome, Outcome::Approved { reference } if reference.starts_with("re_")),
        "{outcome:?}"
    );
    // the examples carry no key of ours
    assert_eq!(stripe.lookup(Sought::Capture(&capture("USD", "CREDIT_CARD"))).await, Found::Absent);
    assert_eq!(stripe.lookup(Sought::Refund(&refund(Some("pi_123")))).await, Found::Absent);
    let unpaid = Outcome::unknown("stripe: the refund's payment is not found");
    assert_eq!(stripe.refund(&refund(None)).await, unpaid);
    assert_eq!(stripe.lookup(Sought::Refund(&refund(None))).await, Found::Known(unpaid));
}

#[tokio::test]
async fn what_the_description_does_not_know_is_refused_and_no_refusal_of_ours_is_a_decline() {
    let mock = StripeMock::start().await;
    let url = format!("http://{}/v1/payment_intents", mock.address);
    let odd = [("amount", "1"), ("currency", "usd"), ("colour", "red")];
    let answer = reqwest::Client::new().post(url).bearer_auth("sk_test_123").form(&odd).send().await.unwrap();
    assert_eq!(answer.status(), 400, "stripe-mock looks at every field");
    // it takes test keys alone
    let outcome = mock.stripe("sk_live_123").capture(&capture("USD", "pm_1abc")).await;
    assert_eq!(outcome, Outcome::unknown("stripe: 401; is STRIPE_SECRET_KEY right?"));
}
