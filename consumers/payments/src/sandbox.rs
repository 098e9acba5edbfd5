//! The built-in provider: no money, but books of its own, and a behaviour for every path there is.
//!
//! What it does follows from the payment method, the amount, and how often a key was called; so each path can be driven
//! from outside and repeated. Its ledger is another schema with its own role and commits: an audit can compare what
//! the provider believes with what we believe.
//!
//! | method | behaviour |
//! |---|---|
//! | `CREDIT_CARD`, `DEBIT_CARD`, `PAYPAL`, `BANK_TRANSFER` | approves |
//! | `SANDBOX_DECLINE` | declines |
//! | `SANDBOX_SLOW` | charges, and answers `amount mod 10,000` ms after the first call |
//! | `SANDBOX_TIMEOUT` | the first call gets no answer and takes nothing, the second works |
//! | `SANDBOX_TIMEOUT_CHARGED` | the first call gets no answer although it charged |
//! | `SANDBOX_FLAKY` | the first `amount mod 10` calls fail and take nothing |
//! | `SANDBOX_REFUND_FLAKY` | approves; the first `amount mod 10` calls of a refund fail (the charge's amount) |
//! | `SANDBOX_REFUND_FAILS` | approves; a refund never works |

use crate::provider::{CaptureRequest, Found, Outcome, Provider, RefundRequest, Sought};
use async_trait::async_trait;
use chassis::postgres::{PoolLimits, Session, SessionLimits};
use schemas::ids::EffectId;
use std::{future::Future, time::Duration};
use store::{Charge, ChargeState, Ledger, RefundEntry, RefundState};

mod store;

/// What a method does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Approves.
    Approve,
    /// Declines.
    Decline,
    /// Charges at once and answers late.
    Slow,
    /// First call: no answer, nothing taken.
    Timeout,
    /// First call: no answer, and charged.
    TimeoutCharged,
    /// Fails some calls, then works.
    Flaky,
    /// Approves; a refund fails some calls, then works.
    RefundFlaky,
    /// Approves; a refund never works.
    RefundFails,
}

impl Behaviour {
    /// What the method of that name does; none for a method that is not known.
    #[must_use]
    pub fn of(method: &str) -> Option<Self> {
        match method {
            "CREDIT_CARD" | "DEBIT_CARD" | "PAYPAL" | "BANK_TRANSFER" => Some(Self::Approve),
            "SANDBOX_DECLINE" => Some(Self::Decline),
            "SANDBOX_SLOW" => Some(Self::Slow),
            "SANDBOX_TIMEOUT" => Some(Self::Timeout),
            "SANDBOX_TIMEOUT_CHARGED" => Some(Self::TimeoutCharged),
            "SANDBOX_FLAKY" => Some(Self::Flaky),
            "SANDBOX_REFUND_FLAKY" => Some(Self::RefundFlaky),
            "SANDBOX_REFUND_FAILS" => Some(Self::RefundFails),
            _ => None,
        }
    }

    /// The call that takes the money; none does when it declines.
    fn charged_on(self, amount: i64) -> Option<i32> {
        match self {
            Self::Decline => None,
            Self::Timeout => Some(2),
            Self::Flaky => Some(failures(amount) + 1),
            Self::Approve | Self::Slow | Self::TimeoutCharged | Self::RefundFlaky | Self::RefundFails => {
                Some(1)
            }
        }
    }

    /// Why call number `call` gets no answer that counts.
    fn silence(self, amount: i64, call: i32) -> Option<&'static str> {
        match self {
            Self::Timeout | Self::TimeoutCharged if call == 1 => Some("sandbox: no answer in time"),
            Self::Flaky if call <= failures(amount) => Some("sandbox: 503"),
            _ => None,
        }
    }

    /// How long after the first call the answer comes.
    fn delay(self, amount: i64) -> Duration {
        match self {
            Self::Slow => Duration::from_millis(amount.rem_euclid(10_000).unsigned_abs()),
            _ => Duration::ZERO,
        }
    }

    /// The call of a refund that gives the money back; none does when it never works.
    fn refunded_on(self, charged: i64) -> Option<i32> {
        match self {
            Self::RefundFails => None,
            Self::RefundFlaky => Some(failures(charged) + 1),
            _ => Some(1),
        }
    }
}

/// The last digit of the amount.
fn failures(amount: i64) -> i32 {
    i32::try_from(amount.rem_euclid(10)).unwrap_or(0)
}

/// The sandbox provider.
#[derive(Debug, Clone)]
pub struct Sandbox {
    ledger: Ledger,
}

impl Sandbox {
    /// A sandbox whose ledger is in the database of `url` (role `mambogo_sandbox`), with at most `connections`. Connects
    /// when it is first called; a ledger that cannot be reached makes outcomes unknown, as with any provider.
    ///
    /// # Errors
    /// When the URL does not read.
    pub fn connect(url: &str, connections: u32) -> sqlx::Result<Self> {
        // a wait for a connection that ends before one can be made, on a machine that is busy, throws away what was begun
        // and begins anew: there would never be one. Nobody waits here longer than for any provider's answer
        let limits = PoolLimits { max: connections, min: 0, ..PoolLimits::default() };
        let pool = Session::new(url, "mambogo-sandbox", SessionLimits::WORKER)?.pool(limits);
        Ok(Self { ledger: Ledger::new(pool) })
    }

    async fn charge(&self, requests: &[CaptureRequest]) -> Vec<Outcome> {
        let ledger = self.ledger.clone();
        let asked = requests.to_vec();
        let charged = undropped(async move { ledger.charge(&asked).await }).await;
        requests
            .iter()
            .map(|request| match &charged {
                Ok(charges) => charges.get(&request.key).map_or_else(
                    || Outcome::unknown("sandbox: no such entry"),
                    |charge| answer(request, charge),
                ),
                Err(why) => Outcome::unknown(why.clone()),
            })
            .collect()
    }
}

#[async_trait]
impl Provider for Sandbox {
    async fn capture(&self, request: &CaptureRequest) -> Outcome {
        let delay = Behaviour::of(&request.method).map_or(Duration::ZERO, |b| b.delay(request.amount.amount));
        let age = if delay.is_zero() { Duration::ZERO } else { self.age(request).await };
        let outcomes = self.charge(std::slice::from_ref(request)).await;
        tokio::time::sleep(delay.saturating_sub(age)).await;
        outcomes.into_iter().next().unwrap_or_else(|| Outcome::unknown("sandbox: no such entry"))
    }

    async fn refund(&self, request: &RefundRequest) -> Outcome {
        let ledger = self.ledger.clone();
        let asked = request.clone();
        match undropped(async move { ledger.refund(&asked).await }).await {
            Ok(entry) => refund_answer(request, &entry),
            Err(why) => Outcome::unknown(why),
        }
    }

    async fn lookup(&self, sought: Sought<'_>) -> Found {
        let ledger = self.ledger.clone();
        match sought {
            Sought::Capture(request) => {
                let key = request.key;
                match undropped(async move { ledger.find_charge(key).await }).await {
                    Ok(None) => Found::Absent,
                    Ok(Some((charge, _))) => found_charge(request, &charge),
                    Err(why) => Found::Known(Outcome::unknown(why)),
                }
            }
            Sought::Refund(request) => {
                let key = request.key;
                match undropped(async move { ledger.find_refund(key).await }).await {
                    Ok(None) => Found::Absent,
                    Ok(Some(entry)) => found_refund(request, &entry),
                    Err(why) => Found::Known(Outcome::unknown(why)),
                }
            }
        }
    }

    fn takes_as_set(&self, request: &CaptureRequest) -> bool {
        Behaviour::of(&request.method) != Some(Behaviour::Slow)
    }

    async fn capture_set(&self, requests: &[CaptureRequest]) -> Vec<Outcome> {
        self.charge(requests).await
    }
}

impl Sandbox {
    /// How long ago the key was first called.
    async fn age(&self, request: &CaptureRequest) -> Duration {
        let (ledger, key) = (self.ledger.clone(), request.key);
        let found = undropped(async move { ledger.find_charge(key).await }).await;
        found.ok().flatten().map_or(Duration::ZERO, |(_, age)| age)
    }
}

/// Runs the ledger's work in a task of its own: a future that uses a connection must not be dropped half-way, and ours
/// may be at any time.
async fn undropped<T: Send + 'static>(
    work: impl Future<Output = sqlx::Result<T>> + Send + 'static,
) -> Result<T, String> {
    match tokio::spawn(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the sandbox's ledger does not answer");
            Err("sandbox: 500".to_owned())
        }
        Err(_) => Err("sandbox: cut off".to_owned()),
    }
}

fn answer(request: &CaptureRequest, charge: &Charge) -> Outcome {
    if !charge.is_of(request) {
        return Outcome::unknown("sandbox: the key was used for another charge");
    }
    let silence = Behaviour::of(&request.method).and_then(|b| b.silence(request.amount.amount, charge.calls));
    match silence {
        Some(why) => Outcome::unknown(why),
        None => standing(request, charge),
    }
}

fn standing(request: &CaptureRequest, charge: &Charge) -> Outcome {
    match charge.state {
        ChargeState::Charged => approved(request.key),
        ChargeState::Declined if Behaviour::of(&request.method).is_some() => declined("card declined"),
        ChargeState::Declined => declined("payment method not supported"),
        ChargeState::None => Outcome::unknown("sandbox: 503"),
    }
}

fn found_charge(request: &CaptureRequest, charge: &Charge) -> Found {
    match charge.state {
        _ if !charge.is_of(request) => {
            Found::Known(Outcome::unknown("sandbox: the key was used for another charge"))
        }
        ChargeState::None => Found::Absent,
        ChargeState::Charged | ChargeState::Declined => Found::Known(standing(request, charge)),
    }
}

fn refund_answer(request: &RefundRequest, entry: &RefundEntry) -> Outcome {
    if !entry.is_of(request) {
        return Outcome::unknown("sandbox: the key was used for another refund");
    }
    match entry.state {
        RefundState::Refunded => approved(request.key),
        RefundState::Refused => declined("more than is left of the charge"),
        RefundState::None => Outcome::unknown("sandbox: 503"),
    }
}

fn found_refund(request: &RefundRequest, entry: &RefundEntry) -> Found {
    match entry.state {
        RefundState::None if entry.is_of(request) => Found::Absent,
        _ => Found::Known(refund_answer(request, entry)),
    }
}

fn approved(key: EffectId) -> Outcome {
    Outcome::Approved { reference: format!("sandbox-{}", key.0.simple()) }
}

fn declined(reason: &str) -> Outcome {
    Outcome::Declined { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::payment_methods::{REAL, SANDBOX};

    #[test]
    fn every_method_that_the_edge_accepts_has_a_behaviour() {
        for method in REAL {
            assert_eq!(Behaviour::of(method), Some(Behaviour::Approve), "{method}");
        }
        for method in SANDBOX {
            assert!(Behaviour::of(method).is_some_and(|b| b != Behaviour::Approve), "{method}");
        }
        assert_eq!(Behaviour::of("CASH"), None);
    }

    #[test]
    fn an_answer_is_never_earlier_than_the_charge() {
        for method in REAL.iter().chain(SANDBOX) {
            let behaviour = Behaviour::of(method).unwrap();
            for amount in 0..20 {
                let Some(charged_on) = behaviour.charged_on(amount) else { continue };
                for call in 1..charged_on {
                    assert!(behaviour.silence(amount, call).is_some(), "{method} {amount} {call}");
                }
                assert_eq!(behaviour.silence(amount, charged_on + 1), None, "{method} {amount}");
            }
        }
    }
}
