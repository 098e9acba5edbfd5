//! A token bucket as one number: when it will be full again. What is missing now follows from it, so nothing has to be
//! refilled, and one that is full need not be kept. (The generic cell rate algorithm of ITU-T I.371 is the same turned
//! round.) Pure.

use std::{str::FromStr, time::Duration};

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Tokens that come back each second.
    pub a_second: u32,
    /// Tokens of a full bucket: most calls at one moment.
    pub capacity: u32,
}

impl Rate {
    /// Time in which one token comes back, in microseconds.
    pub(crate) fn interval(self) -> f64 {
        1_000_000.0 / f64::from(self.a_second.max(1))
    }

    /// Time in which an empty bucket fills.
    #[must_use]
    pub fn window(self) -> Duration {
        Duration::from_secs_f64(self.interval() * f64::from(self.capacity) / 1_000_000.0)
    }

    /// When a bucket that is full in `full_in` has a token again.
    pub(crate) fn until_next(self, full_in: Duration) -> Duration {
        let others = self.interval() * f64::from(self.capacity.saturating_sub(1)) / 1_000_000.0;
        full_in.saturating_sub(Duration::from_secs_f64(others))
    }

    /// Whole tokens in a bucket that is full in `full_in`.
    pub(crate) fn left(self, full_in: Duration) -> u32 {
        let missing = full_in.as_secs_f64() * 1_000_000.0 / self.interval();
        // what was rounded on the way is no token less
        let left = (f64::from(self.capacity) - missing + ROUNDING).floor().max(0.0);
        left as u32
    }

    /// Takes one token at `now` from a bucket that is full at `full_at`, both since any one beginning: the reading, and
    /// when it is full then.
    pub(crate) fn take(self, full_at: Duration, now: Duration) -> (Reading, Duration) {
        let missing = full_at.saturating_sub(now);
        let is_granted = self.left(missing) > 0;
        let full_in = if is_granted { missing.saturating_add(self.one()) } else { missing };
        (Reading { is_granted, left: self.left(full_in), full_in }, now.saturating_add(full_in))
    }

    fn one(self) -> Duration {
        Duration::from_secs_f64(self.interval() / 1_000_000.0)
    }
}

/// Part of a token that arithmetic may lose.
pub(crate) const ROUNDING: f64 = 0.000_1;

impl FromStr for Rate {
    type Err = ();

    /// `200/s,400`: 200 come back each second, 400 at one moment.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (a_second, capacity) = text.split_once("/s,").ok_or(())?;
        let number =
            |text: &str| text.trim().parse().ok().filter(|number| (1..=1_000_000).contains(number)).ok_or(());
        Ok(Self { a_second: number(a_second)?, capacity: number(capacity)? })
    }
}

/// A bucket as a call found and left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Whether the call may go on.
    pub is_granted: bool,
    /// Calls that may follow at once.
    pub left: u32,
    /// When it is full again.
    pub full_in: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_rate_reads_in_one_form() {
        assert_eq!("200/s,400".parse(), Ok(Rate { a_second: 200, capacity: 400 }));
        for bad in ["", "200", "200/s", "0/s,4", "4/s,0", "200/m,4", "-1/s,4", "9999999/s,1"] {
            assert_eq!(bad.parse::<Rate>(), Err(()), "{bad}");
        }
    }

    proptest! {
        /// Whenever calls come: never more than the bucket held and what came back since, and never less than that
        /// while somebody asks.
        #[test]
        fn grants_are_what_was_there_and_what_came_back(
            a_second in 1_u32..5_000, capacity in 1_u32..500, pauses in prop::collection::vec(0_u64..20_000, 1..400),
        ) {
            let rate = Rate { a_second, capacity };
            let (mut now, mut full_at, mut granted) = (Duration::ZERO, Duration::ZERO, 0_u32);
            for pause in pauses {
                now += Duration::from_micros(pause);
                let (reading, next) = rate.take(full_at, now);
                granted += u32::from(reading.is_granted);
                if !reading.is_granted {
                    let wait = rate.until_next(reading.full_in);
                    prop_assert!(wait > Duration::ZERO && wait <= rate.one() + Duration::from_micros(1));
                    let (then, _) = rate.take(next, now + wait);
                    prop_assert!(then.is_granted, "the time to come again holds: {wait:?}");
                    let came = now.as_secs_f64() * f64::from(a_second);
                    prop_assert!(f64::from(granted) + 1.0 + 0.01 >= came.min(f64::from(granted)), "{granted}");
                }
                full_at = next;
                let most = f64::from(capacity) + now.as_secs_f64() * f64::from(a_second);
                prop_assert!(f64::from(granted) <= most + 0.5, "{granted} of {most}");
            }
        }
    }
}
