//! What this process knows by itself: which buckets are empty for the time being, and, while Redis is away, buckets of
//! its own. Bounded: beyond that many callers, newcomers share one bucket a policy.

use super::{
    Key,
    bucket::{Rate, Reading},
};
use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Most callers that are told apart.
const MOST: usize = 10_000;

/// Times at which buckets are full again, since this process's beginning.
type Buckets = HashMap<Key, Duration>;

#[derive(Default)]
pub(super) struct Known {
    /// Buckets that Redis said were empty.
    empty: Mutex<Buckets>,
    /// How many these are, for calls that need not look.
    count: AtomicUsize,
    /// Buckets while Redis is away.
    own: Mutex<Buckets>,
}

impl Known {
    /// A refusal, when nothing can have come back yet since Redis said that the bucket was empty. Others may have taken
    /// more since, nobody can have put anything in.
    pub(super) fn empty(&self, key: &Key, rate: Rate, now: Duration) -> Option<Reading> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        let full_in = empty.get(key)?.saturating_sub(now);
        if rate.left(full_in) > 0 {
            empty.remove(key);
            self.count.store(empty.len(), Ordering::Relaxed);
            return None;
        }
        Some(Reading { is_granted: false, left: 0, full_in })
    }

    /// Redis said so.
    pub(super) fn is_empty_until(&self, key: &Key, full_at: Duration, now: Duration) {
        let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        if empty.len() >= MOST {
            empty.retain(|_, full_at| *full_at > now);
        }
        // beyond the bound Redis is asked each time, no more
        if empty.len() < MOST {
            empty.insert(key.clone(), full_at);
        }
        self.count.store(empty.len(), Ordering::Relaxed);
    }

    /// Takes a token of this process's own bucket.
    pub(super) fn take(&self, key: &Key, rate: Rate, now: Duration) -> Reading {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() >= MOST && !own.contains_key(key) {
            own.retain(|_, full_at| *full_at > now);
        }
        let has_place = own.len() < MOST || own.contains_key(key);
        let key = if has_place { key.clone() } else { shared_by_newcomers(key) };
        let full_at = own.entry(key).or_insert(Duration::ZERO);
        let (reading, next) = rate.take(*full_at, now);
        *full_at = next;
        reading
    }
}

/// `limit:writes:subject:…` → `limit:writes:`.
fn shared_by_newcomers(key: &str) -> Key {
    let end = key.match_indices(':').nth(1).map_or(key.len(), |(at, _)| at);
    key.get(..end).unwrap_or(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { a_second: 10, capacity: 2 };

    fn key(n: usize) -> Key {
        format!("limit:writes:subject:{n}").into()
    }

    #[test]
    fn memory_is_bounded_and_newcomers_beyond_it_share_a_bucket() {
        let known = Known::default();
        for n in 0..MOST {
            assert!(known.take(&key(n), RATE, Duration::ZERO).is_granted);
        }
        let granted =
            (MOST..MOST + 50).filter(|n| known.take(&key(*n), RATE, Duration::ZERO).is_granted).count();
        assert_eq!(granted, 2, "the newcomers share one bucket");
        assert!(known.own.lock().unwrap().len() <= MOST + 1);
        assert!(known.take(&key(7), RATE, Duration::ZERO).is_granted, "who was there has its own");
        // what is full again is forgotten, and gives its place
        assert!(known.take(&key(MOST + 1), RATE, Duration::from_secs(1)).is_granted);
        assert_eq!(known.own.lock().unwrap().len(), 1);
    }

    #[test]
    fn an_empty_bucket_is_refused_until_a_token_has_come_back() {
        let known = Known::default();
        let (at, full_at) = (Duration::from_secs(1), Duration::from_millis(1_200));
        assert_eq!(known.empty(&key(1), RATE, at), None);
        known.is_empty_until(&key(1), full_at, at);
        let refused = known.empty(&key(1), RATE, at).unwrap();
        assert_eq!((refused.is_granted, refused.full_in), (false, Duration::from_millis(200)));
        assert_eq!(known.empty(&key(2), RATE, at), None);
        assert_eq!(known.empty(&key(1), RATE, Duration::from_millis(1_100)), None, "Redis is asked again");
    }
}
