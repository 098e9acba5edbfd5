//! The payment provider: `mambogo provider`, which speaks Stripe's API and keeps a ledger of its own. Its books are in
//! memory, so it is never killed: it is cut off, it fails, or it tells late.

use crate::{
    Failure,
    fault::{Stage, Struck},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testbed::Proxy;

/// Settings of everybody, that payments go there. Calls are given up early, and a provider that is back is found soon.
pub(crate) const SETTINGS: [(&str, &str); 7] = [
    ("PAYMENT_PROVIDER", "stripe"),
    ("STRIPE_SECRET_KEY", "sk_test_chaos"),
    ("STRIPE_WEBHOOK_SECRET", "whsec_chaos"),
    ("PAYMENT_CALL_TIMEOUT", "1s"),
    ("PAYMENT_LOOKUP_AFTER_ATTEMPTS", "2"),
    ("PAYMENT_BREAKER_COOL_DOWN", "500ms"),
    ("PAYMENT_BREAKER_LONGEST", "2s"),
];

/// How to ask the provider itself, beside the way that may be cut.
#[derive(Debug)]
pub(crate) struct Provider {
    http: reqwest::Client,
    base: String,
}

/// A payment, as the provider's ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Charge {
    /// The effect that it was called with, and the order.
    pub(crate) effect: String,
    pub(crate) order: String,
    pub(crate) amount: i64,
    pub(crate) refunded: i64,
}

impl Provider {
    /// The one at that address.
    ///
    /// # Errors
    /// When the HTTP library cannot begin.
    pub(crate) fn at(address: &str) -> Result<Self, Failure> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        Ok(Self { http, base: format!("http://{address}/_sandbox") })
    }

    /// As on any day: some buyers cannot pay, some calls fail, some are done and their answer is lost, webhooks come soon.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub(crate) async fn as_usual(&self) -> Result<(), Failure> {
        self.set(&json!({
            "latencyMs": [1, 30], "hangMs": 800, "error500": 0.03, "lost": 0.02, "lostDone": 0.04, "decline": 0.06,
            "webhooks": {"delayMs": [5, 200], "duplicates": 0, "lost": 0.05},
        }))
        .await
    }

    /// Every call outlasts the batch that makes it (`PAYMENT_CALL_BUDGET`): at any moment a batch is in somebody's hand.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub(crate) async fn slow(&self) -> Result<(), Failure> {
        self.set(&json!({"latencyMs": [300, 600], "decline": 0.06, "webhooks": {"delayMs": [5, 200]}})).await
    }

    async fn set(&self, faults: &Value) -> Result<(), Failure> {
        let answer = self.http.put(format!("{}/faults", self.base)).json(faults).send().await?;
        if answer.status().is_success() { Ok(()) } else { Err(answer.text().await?.into()) }
    }

    /// Every payment that was taken.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub(crate) async fn charges(&self) -> Result<Vec<Charge>, Failure> {
        let ledger: Value = self.http.get(format!("{}/ledger", self.base)).send().await?.json().await?;
        let payments = ledger.get("payments").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(payments.iter().filter_map(charge).collect())
    }
}

fn charge(payment: &Value) -> Option<Charge> {
    let word = |name: &str| Some(payment.get("metadata")?.get(name)?.as_str()?.to_owned());
    let amount = |name: &str| payment.get(name)?.as_i64();
    payment.get("isTaken")?.as_bool()?.then_some(())?;
    Some(Charge {
        effect: word("effect_key")?,
        order: word("order_id")?,
        amount: amount("amount")?,
        refunded: amount("refunded")?,
    })
}

impl Stage<'_> {
    /// Nobody reaches it; then it hears everybody, and no answer comes back.
    pub(crate) async fn provider_away(&mut self) -> Result<Struck, Failure> {
        let broken = Instant::now();
        for cut in [Proxy::cut, Proxy::hold_answers] {
            cut(&self.lines.provider);
            tokio::time::sleep(self.time(4_000..6_000)).await;
            self.lines.provider.open();
        }
        Ok(Struck { broken, healed: Instant::now(), what: "cut off, then all answers held".to_owned() })
    }

    /// Most calls go wrong, in each way, and all are slow.
    pub(crate) async fn provider_fails(&mut self) -> Result<Struck, Failure> {
        let faults = json!({
            "latencyMs": [50, 400], "slow": 0.1, "hangMs": 1500, "error500": 0.2, "done500": 0.1,
            "error429": 0.1, "error409": 0.05, "malformed": 0.1, "drip": 0.05, "lost": 0.1, "lostDone": 0.1, "decline": 0.06,
        });
        self.provider_with(&faults, "80 % of calls go wrong, all are slow").await
    }

    /// Many answers are lost, and what tells of them comes several times, late, and in any order.
    pub(crate) async fn webhooks_late(&mut self) -> Result<Struck, Failure> {
        let faults = json!({
            "latencyMs": [1, 30], "hangMs": 800, "lostDone": 0.4, "decline": 0.06,
            "webhooks": {"delayMs": [0, 6000], "duplicates": 3, "lost": 0.0},
        });
        self.provider_with(&faults, "40 % of answers lost, four webhooks of each payment within 6 s").await
    }

    async fn provider_with(&mut self, faults: &Value, what: &str) -> Result<Struck, Failure> {
        let (broken, time) = (Instant::now(), self.time(8_000..11_000));
        self.provider.set(faults).await?;
        tokio::time::sleep(time).await;
        self.provider.as_usual().await?;
        let what = format!("{what}, for {:.1} s", time.as_secs_f64());
        Ok(Struck { broken, healed: Instant::now(), what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_that_was_taken_is_a_charge_and_one_that_was_not_is_none() {
        let payment = |is_taken: bool| {
            json!({"isTaken": is_taken, "amount": 700, "refunded": 5,
                   "metadata": {"effect_key": "e", "order_id": "o", "capture_id": "e"}})
        };
        let expected = Charge { effect: "e".to_owned(), order: "o".to_owned(), amount: 700, refunded: 5 };
        assert_eq!(charge(&payment(true)), Some(expected));
        assert_eq!(charge(&payment(false)), None);
        assert_eq!(charge(&json!({"isTaken": true})), None);
    }
}
