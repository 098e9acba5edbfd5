//! The guard around a provider that works, fails or hangs as the test says.

use super::*;
use crate::{
    calls::{Answer, CallLimits, Caller},
    plan::{Ask, First, Intent},
};
use chassis::breaker::BreakerLimits;
use schemas::{
    ids::{EffectId, OrderId},
    money::{Currency, Money},
};
use std::sync::atomic::{AtomicUsize, Ordering};
use testbed::eventually;
use uuid::Uuid;

const PLENTY: Duration = Duration::from_secs(20);
/// Longer than any test runs, and so short that it is over when one looks.
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(1);

/// What it does stands in the method: `fails`, `hangs`, `undecided`; else it approves.
#[derive(Default)]
struct Moody {
    calls: AtomicUsize,
}

#[async_trait]
impl Provider for Moody {
    async fn capture(&self, request: &CaptureRequest) -> Outcome {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match request.method.as_str() {
            "fails" => Outcome::unknown("503"),
            "hangs" => std::future::pending().await,
            "undecided" => Outcome::Pending { why: "processing".to_owned() },
            _ => Outcome::Approved { reference: "r".to_owned() },
        }
    }

    async fn refund(&self, _request: &RefundRequest) -> Outcome {
        Outcome::unknown("no refunds here")
    }

    async fn lookup(&self, _sought: Sought<'_>) -> Found {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Found::Absent
    }
}

struct Test {
    provider: Arc<Moody>,
    guard: Arc<Guard>,
    caller: Caller,
    key: u128,
}

impl Test {
    fn new(in_flight: usize, cool_down: Duration) -> Self {
        let provider = Arc::new(Moody::default());
        let limits = BreakerLimits {
            window: LONG,
            fewest: 4,
            cool_down,
            longest: cool_down,
            probes: 2,
            ..BreakerLimits::default()
        };
        let guarded = Arc::clone(&provider) as Arc<dyn Provider>;
        let guard = Arc::new(Guard::new(guarded, Breaker::new(limits, 1), in_flight));
        let caller = Caller::new(Arc::clone(&guard) as Arc<dyn Provider>, CallLimits::default());
        Self { provider, guard, caller, key: 0 }
    }

    /// Calls are cut off soon.
    fn impatient(mut self) -> Self {
        let limits = CallLimits { timeout: Duration::from_millis(50), ..CallLimits::default() };
        self.caller = Caller::new(Arc::clone(&self.guard) as Arc<dyn Provider>, limits);
        self
    }

    /// Calls so many times by that method at once; their answers.
    async fn call(&mut self, times: usize, method: &str, first: First) -> Vec<Answer> {
        let intents: Vec<Intent> = (0..times)
            .map(|_| {
                self.key += 1;
                let key = EffectId(Uuid::from_u128(self.key));
                let amount = Money::new(1, Currency::USD);
                let request =
                    CaptureRequest { key, order_id: OrderId(key.0), amount, method: method.to_owned() };
                Intent { effect: key, ask: Ask::Capture { request, first }, fresh: true }
            })
            .collect();
        let outcomes = self.caller.call(intents, PLENTY).await;
        outcomes.0.values().map(|heard| heard.answer.clone()).collect()
    }

    fn made(&self) -> usize {
        self.provider.calls.load(Ordering::SeqCst)
    }
}

fn is_put_off(answer: &Answer) -> bool {
    matches!(answer, Answer::PutOff { again_in } if *again_in > Duration::ZERO)
}

#[tokio::test]
async fn a_provider_that_fails_is_left_alone() {
    let mut test = Test::new(64, LONG);
    test.call(4, "fails", First::Call).await;
    assert_eq!(test.guard.position(), Position::Open);
    for first in [First::Call, First::LookThenCall] {
        let answers = test.call(10, "works", first).await;
        assert!(answers.iter().all(is_put_off), "{answers:?}");
    }
    assert_eq!(test.made(), 4, "nobody called while it was open, not even to look something up");
}

#[tokio::test]
async fn it_is_taken_back_when_probes_work_and_left_alone_again_when_one_fails() {
    let mut test = Test::new(64, SHORT);
    test.call(4, "fails", First::Call).await;
    eventually("a probe was admitted, and failed", async || {
        let _ = test.call(1, "fails", First::Call).await;
        test.made() == 5
    })
    .await;
    assert_eq!(test.guard.position(), Position::Open);
    eventually("two probes were admitted, and worked", async || {
        let _ = test.call(1, "works", First::Call).await;
        test.made() == 7
    })
    .await;
    assert_eq!(test.guard.position(), Position::Closed);
}

#[tokio::test]
async fn a_call_that_is_cut_off_by_its_time_limit_has_failed() {
    let mut test = Test::new(64, LONG).impatient();
    let answers = test.call(4, "hangs", First::Call).await;
    assert!(answers.iter().all(|answer| matches!(answer, Answer::Unknown { .. })), "{answers:?}");
    eventually("all four are counted", async || test.guard.position() == Position::Open).await;
}

#[tokio::test]
async fn a_provider_that_has_not_decided_works() {
    let mut test = Test::new(64, LONG);
    let answers = test.call(30, "undecided", First::Call).await;
    assert!(answers.iter().all(|answer| matches!(answer, Answer::Unknown { .. })), "{answers:?}");
    assert_eq!(test.guard.position(), Position::Closed);
}

#[tokio::test]
async fn more_calls_than_there_are_places_for_are_put_off() {
    let mut test = Test::new(3, LONG).impatient();
    let answers = test.call(5, "hangs", First::Call).await;
    assert_eq!((answers.iter().filter(|answer| is_put_off(answer)).count(), test.made()), (2, 3));
    eventually("there is room again", async || {
        test.call(1, "works", First::Call).await == [Answer::Approved { reference: "r".to_owned() }]
    })
    .await;
}
