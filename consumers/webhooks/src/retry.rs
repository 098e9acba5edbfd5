//! When a delivery that failed is tried again: pauses that double up to a longest, each between half and all of its step.

use chassis::jitter::{GOLDEN_GAMMA, mix};
use std::time::Duration;
use uuid::Uuid;

/// Beyond this every pause is the longest.
const MOST_DOUBLINGS: u32 = 20;

/// The pause after the `attempts`-th attempt (from 1) at `event`.
pub(crate) fn pause(first: Duration, longest: Duration, event: Uuid, attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(MOST_DOUBLINGS);
    let step = first.saturating_mul(1 << doublings).min(longest);
    let (high, low) = event.as_u64_pair();
    let drawn = mix(high ^ low ^ u64::from(attempts.unsigned_abs()).wrapping_mul(GOLDEN_GAMMA));
    let share = (drawn >> 32) as f64 / f64::from(u32::MAX);
    step.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_differ_between_events() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        for (attempts, step) in [(1, 1), (2, 2), (3, 4), (7, 60), (1_000, 60), (i32::MAX, 60)] {
            let step = Duration::from_secs(step);
            let pauses: Vec<_> =
                (0..20).map(|n| pause(first, longest, Uuid::from_u128(n), attempts)).collect();
            assert!(pauses.iter().all(|pause| *pause >= step / 2 && *pause <= step), "{pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
    }
}
