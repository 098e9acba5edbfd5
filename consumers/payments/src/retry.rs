//! When an effect that is not known yet is looked at again. Pure: the jitter comes from the effect's id.

use chassis::jitter::{GOLDEN_GAMMA, mix};
use schemas::{ids::EffectId, time::Timestamp};
use std::time::Duration;

/// How unknown effects are retried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Wait before the second call; doubles with each attempt.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
    /// From this many unknown answers on, the provider is asked what it knows before it is asked to do anything.
    pub lookup_after_attempts: i32,
    /// From this age on likewise. Providers forget keys, usually after a day.
    pub lookup_after: Duration,
    /// A refund that is still unknown after this many attempts needs a human.
    pub refund_attempts: i32,
}

impl Default for Retry {
    /// 250 ms doubling to a minute; looked up from the fifth attempt or 12 hours on; 12 attempts for a refund.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            longest: Duration::from_secs(60),
            lookup_after_attempts: 5,
            lookup_after: Duration::from_secs(12 * 60 * 60),
            refund_attempts: 12,
        }
    }
}

/// Nothing that was once sent is still under way after this, and what it did can be found: an effect that nobody has called
/// for so long, and that the provider does not know, never happened. 15 minutes for the call, and the hour that Stripe's
/// search may lag in an outage (<https://docs.stripe.com/search>).
pub const STRAGGLERS: Duration = Duration::from_secs(75 * 60);

impl Retry {
    /// The wait after `attempt` unknown answers (1 for the first): between half and all of
    /// `min(longest, first · 2^(attempt − 1))`, always the same for the same effect and attempt.
    #[must_use]
    pub fn delay(&self, effect: EffectId, attempt: i32) -> Duration {
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(20);
        let full = self.first.saturating_mul(1 << doublings).min(self.longest);
        let full = u64::try_from(full.as_millis()).unwrap_or(u64::MAX);
        let half = full / 2;
        let jitter = jitter(effect, attempt).checked_rem(full - half + 1).unwrap_or(0);
        Duration::from_millis((half + jitter).max(1))
    }

    /// When to look again after `attempt` unknown answers, or soon when there were none.
    #[must_use]
    pub fn due(&self, now: Timestamp, effect: EffectId, attempt: i32) -> Timestamp {
        now.plus(self.delay(effect, attempt.max(1)))
    }

    /// Whether the provider is asked what it knows before any further call.
    #[must_use]
    pub fn looks_first(&self, now: Timestamp, first_called_at: Option<Timestamp>, attempts: i32) -> bool {
        attempts >= self.lookup_after_attempts || self.is_old(now, first_called_at, Duration::ZERO)
    }

    /// Whether the first call lies further back than the lookup age and `margin`.
    #[must_use]
    pub fn is_old(&self, now: Timestamp, first_called_at: Option<Timestamp>, margin: Duration) -> bool {
        first_called_at.is_some_and(|first| now.since(first) >= self.lookup_after.saturating_add(margin))
    }
}

fn jitter(effect: EffectId, attempt: i32) -> u64 {
    let (high, low) = effect.0.as_u64_pair();
    mix(high ^ low.rotate_left(32) ^ u64::from(attempt.unsigned_abs()).wrapping_mul(GOLDEN_GAMMA))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    proptest! {
        #[test]
        fn a_wait_lies_between_half_and_all_of_its_step(id in any::<u128>(), attempt in -3i32..1_000) {
            let retry = Retry::default();
            let effect = EffectId(Uuid::from_u128(id));
            let step = retry.first.saturating_mul(1 << u32::try_from(attempt - 1).unwrap_or(0).min(20));
            let step = step.min(retry.longest);
            let delay = retry.delay(effect, attempt);
            prop_assert!(delay >= step / 2 && delay <= step, "{delay:?} of {step:?}");
            prop_assert_eq!(delay, retry.delay(effect, attempt));
        }
    }

    #[test]
    fn waits_of_different_effects_differ() {
        let retry = Retry::default();
        let waits: std::collections::BTreeSet<_> =
            (0..100).map(|id| retry.delay(EffectId(Uuid::from_u128(id)), 9)).collect();
        assert!(waits.len() > 90, "{}", waits.len());
    }
}
