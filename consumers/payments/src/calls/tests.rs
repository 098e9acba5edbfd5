//! The budget, the bounds, and what outlasts them, against a provider that answers when the test says so.

use super::*;
use async_trait::async_trait;
use schemas::{
    ids::OrderId,
    money::{Currency, Money},
};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Semaphore;
use uuid::Uuid;

const BUDGET: Duration = Duration::from_millis(60);
const PLENTY: Duration = Duration::from_secs(20);

/// `quick` and `set` answer at once, `held` when the gate opens, `broken` panics, `odd` answers strange text.
struct Provider {
    gate: Semaphore,
    calls: Mutex<BTreeMap<u128, usize>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
    lookup: Found,
}

impl Provider {
    fn new(lookup: Found) -> Arc<Self> {
        Arc::new(Self {
            gate: Semaphore::new(0),
            calls: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            lookup,
        })
    }

    fn calls(&self, key: u128) -> usize {
        self.calls.lock().unwrap().get(&key).copied().unwrap_or(0)
    }
}

#[async_trait]
impl crate::provider::Provider for Provider {
    async fn capture(&self, request: &CaptureRequest) -> Outcome {
        *self.calls.lock().unwrap().entry(request.key.0.as_u128()).or_default() += 1;
        match request.method.as_str() {
            "held" | "set, held" => {
                let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
                self.most.fetch_max(under_way, Ordering::SeqCst);
                self.gate.acquire().await.unwrap().forget();
                self.under_way.fetch_sub(1, Ordering::SeqCst);
            }
            "broken" => panic!("a provider's library is not ours"),
            "odd" => return Outcome::Approved { reference: format!("a\0b\n{}", "x".repeat(5_000)) },
            "lost" => return Outcome::unknown("503"),
            _ => {}
        }
        Outcome::Approved { reference: "r".to_owned() }
    }

    async fn refund(&self, _request: &RefundRequest) -> Outcome {
        Outcome::unknown("no refunds here")
    }

    async fn lookup(&self, _sought: Sought<'_>) -> Found {
        self.lookup.clone()
    }

    fn takes_as_set(&self, request: &CaptureRequest) -> bool {
        matches!(request.method.as_str(), "set" | "set, held")
    }
}

fn intent(key: u128, method: &str, first: First) -> Intent {
    let key = EffectId(Uuid::from_u128(key));
    let request = CaptureRequest {
        key,
        order_id: OrderId(key.0),
        amount: Money::new(1, Currency::USD),
        method: method.to_owned(),
    };
    Intent { effect: key, ask: Ask::Capture { request, first }, fresh: true }
}

fn call(key: u128, method: &str) -> Intent {
    intent(key, method, First::Call)
}

fn caller(provider: &Arc<Provider>, limits: CallLimits) -> Caller {
    Caller::new(Arc::clone(provider) as Arc<dyn crate::provider::Provider>, limits)
}

fn answer(outcomes: &Outcomes, key: u128) -> Answer {
    outcomes.0[&EffectId(Uuid::from_u128(key))].answer.clone()
}

fn approved() -> Answer {
    Answer::Approved { reference: "r".to_owned() }
}

#[tokio::test]
async fn slow_calls_do_not_hold_up_quick_ones_beyond_the_budget() {
    let provider = Provider::new(Found::Absent);
    let caller = caller(&provider, CallLimits::default());
    let intents = vec![call(1, "held"), call(2, "quick"), call(3, "set"), call(4, "set")];
    let began = Instant::now();
    let outcomes = caller.call(intents, BUDGET).await;
    assert!(began.elapsed() >= BUDGET);
    assert_eq!(answer(&outcomes, 1), Answer::Running);
    for key in 2..=4 {
        assert_eq!(answer(&outcomes, key), approved());
    }
}

#[tokio::test]
async fn of_a_set_what_was_answered_within_the_budget_is_known() {
    let provider = Provider::new(Found::Absent);
    let caller = caller(&provider, CallLimits::default());
    let first = u128::try_from(PART).unwrap();
    let mut intents: Vec<_> = (0..first).map(|key| call(key, "set")).collect();
    intents.extend([call(first, "set, held"), call(first + 1, "set")]);
    let outcomes = caller.call(intents, BUDGET).await;
    assert!((0..first).all(|key| answer(&outcomes, key) == approved()));
    assert_eq!([first, first + 1].map(|key| answer(&outcomes, key)), [Answer::Running, Answer::Running]);
}

#[tokio::test]
async fn a_call_that_outlasts_its_batch_is_taken_up_and_not_made_again() {
    let provider = Provider::new(Found::Absent);
    let caller = caller(&provider, CallLimits::default());
    assert_eq!(answer(&caller.call(vec![call(1, "held")], BUDGET).await, 1), Answer::Running);
    assert_eq!(answer(&caller.call(vec![call(1, "held")], BUDGET).await, 1), Answer::Running);
    provider.gate.add_permits(1);
    assert_eq!(answer(&caller.call(vec![call(1, "held")], PLENTY).await, 1), approved());
    assert_eq!(provider.calls(1), 1);
}

#[tokio::test]
async fn what_does_not_fit_into_the_bounds_is_never_begun() {
    let provider = Provider::new(Found::Absent);
    let caller = caller(&provider, CallLimits { concurrency: 2, ..CallLimits::default() });
    let outcomes = caller.call((1..=5).map(|key| call(key, "held")).collect(), BUDGET).await;
    let begun: Vec<_> = (1..=5).filter(|key| answer(&outcomes, *key) == Answer::Running).collect();
    assert_eq!(begun, [1, 2]);
    provider.gate.add_permits(5);
    let known = caller.call(vec![call(1, "held"), call(2, "held")], PLENTY).await;
    assert_eq!((answer(&known, 1), answer(&known, 2)), (approved(), approved()));
    for key in 3..=5 {
        assert_eq!((answer(&outcomes, key), provider.calls(key)), (Answer::NotBegun, 0));
    }
    // with room and time all are made, never more than two at once
    provider.gate.add_permits(20);
    let outcomes = caller.call((11..=30).map(|key| call(key, "held")).collect(), PLENTY).await;
    assert!(outcomes.0.values().all(|heard| heard.answer == approved()));
    assert_eq!(provider.most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn calls_left_running_are_bounded_and_the_rest_abandoned() {
    let provider = Provider::new(Found::Absent);
    let caller = caller(&provider, CallLimits { left_running: 1, ..CallLimits::default() });
    let outcomes = caller.call(vec![call(1, "held"), call(2, "held")], BUDGET).await;
    assert_eq!((answer(&outcomes, 1), answer(&outcomes, 2)), (Answer::Running, Answer::Running));
    provider.gate.add_permits(9);
    let outcomes = caller.call(vec![call(1, "held"), call(2, "held")], PLENTY).await;
    assert_eq!((answer(&outcomes, 1), answer(&outcomes, 2)), (approved(), approved()));
    assert_eq!(provider.calls(1) + provider.calls(2), 3, "one was taken up, one called again");
}

#[tokio::test]
async fn what_goes_wrong_is_unknown_and_called_again() {
    let provider = Provider::new(Found::Absent);
    let limits = CallLimits { timeout: Duration::from_millis(30), ..CallLimits::default() };
    let caller = caller(&provider, limits);
    let outcomes = caller.call(vec![call(1, "held"), call(2, "broken"), call(3, "lost")], PLENTY).await;
    for key in 1..=3 {
        assert!(matches!(answer(&outcomes, key), Answer::Unknown { .. }), "{key}");
    }
    let outcomes = caller.call(vec![call(3, "quick")], PLENTY).await;
    assert_eq!((answer(&outcomes, 3), provider.calls(3)), (approved(), 2));
}

#[tokio::test]
async fn a_call_that_ended_in_doubt_while_nobody_waited_is_made_again() {
    let provider = Provider::new(Found::Absent);
    let limits = CallLimits { timeout: BUDGET, ..CallLimits::default() };
    let caller = caller(&provider, limits);
    let outcomes = caller.call(vec![call(1, "held")], Duration::from_millis(1)).await;
    assert_eq!(answer(&outcomes, 1), Answer::Running);
    testbed::eventually("the call has timed out", async || {
        let mut running = caller.running.lock().unwrap();
        running.values_mut().all(|call| {
            call.look();
            call.early.is_some()
        })
    })
    .await;
    assert_eq!(answer(&caller.call(vec![call(1, "quick")], PLENTY).await, 1), approved());
    assert_eq!(provider.calls(1), 2);
}

#[tokio::test]
async fn a_providers_text_fits_a_row() {
    let provider = Provider::new(Found::Absent);
    let outcomes = caller(&provider, CallLimits::default()).call(vec![call(1, "odd")], PLENTY).await;
    let Answer::Approved { reference } = answer(&outcomes, 1) else { panic!("{outcomes:?}") };
    assert!(reference.len() == 200 && reference.starts_with("abx"), "{reference}");
}

#[tokio::test]
async fn a_lookup_comes_before_the_call_and_may_replace_it() {
    let known = Provider::new(Found::Known(Outcome::Declined { reason: "no".to_owned() }));
    let absent = Provider::new(Found::Absent);
    for (provider, first, expected, calls) in [
        (&known, First::LookThenCall, Answer::Declined { reason: "no".to_owned() }, 0),
        (&known, First::LookAndSettle, Answer::Declined { reason: "no".to_owned() }, 0),
        (&absent, First::LookThenCall, approved(), 1),
        (&absent, First::LookOnly, Answer::unknown("the provider does not know it yet"), 1),
        (&absent, First::LookAndSettle, Answer::Absent, 1),
    ] {
        let outcomes =
            caller(provider, CallLimits::default()).call(vec![intent(1, "set", first)], PLENTY).await;
        assert_eq!((answer(&outcomes, 1), provider.calls(1)), (expected, calls), "{first:?}");
    }
}
