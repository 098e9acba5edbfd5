//! The one place that reads the wall clock.
//!
//! A machine's clock may be wrong and may jump. What is judged by a server's time is therefore counted by a clock that is
//! steered by that server: it goes on by the machine's monotonic clock, which never jumps, and is moved only as far as
//! an answer of the server proves that it is wrong (a bound of Cristian's algorithm, 1989: the answer was given within
//! the round trip).

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Tells the time: the system's, a server's, or a test's.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Steered(Arc<Steered>),
    Fixed(Arc<AtomicI64>),
}

/// Goes on from `began` by the monotonic clock.
#[derive(Debug)]
struct Steered {
    began: Instant,
    /// What time it was then, in milliseconds since 1970, as far as is known by now.
    at: AtomicI64,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that begins as the system's, and from then on is that of whoever it is [steered](Self::steer) by,
    /// whatever becomes of the system's.
    #[must_use]
    pub fn steered() -> Self {
        Self(Source::Steered(Arc::new(Steered { began: Instant::now(), at: AtomicI64::new(wall_millis()) })))
    }

    /// A clock that stands at `millis` until it is set.
    #[must_use]
    pub fn fixed(millis: i64) -> Self {
        Self(Source::Fixed(Arc::new(AtomicI64::new(millis))))
    }

    /// Sets a fixed clock; others are left alone.
    pub fn set(&self, millis: i64) {
        if let Source::Fixed(fixed) = &self.0 {
            fixed.store(millis, Ordering::Relaxed);
        }
    }

    /// Tells a steered clock that a server has just answered after `round_trip` that its clock stands at `millis`; others
    /// are left alone.
    pub fn steer(&self, millis: i64, round_trip: Duration) {
        if let Source::Steered(steered) = &self.0 {
            let now = steered.now_millis();
            // a clock in whole milliseconds may hide most of one
            let latest = millis.saturating_add(whole_millis(round_trip)).saturating_add(1);
            steered.at.fetch_add(now.clamp(millis, latest).saturating_sub(now), Ordering::Relaxed);
        }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn now_millis(&self) -> i64 {
        match &self.0 {
            Source::System => wall_millis(),
            Source::Steered(steered) => steered.now_millis(),
            Source::Fixed(fixed) => fixed.load(Ordering::Relaxed),
        }
    }
}

impl Steered {
    fn now_millis(&self) -> i64 {
        self.at.load(Ordering::Relaxed).saturating_add(whole_millis(self.began.elapsed()))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the edge of the process")]
fn wall_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, whole_millis)
}

fn whole_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_steered_clock_takes_over_the_time_of_a_server_that_is_hours_away() {
        for away in [-HOUR, HOUR] {
            let clock = Clock::steered();
            let told = clock.now_millis() + away;
            clock.steer(told, Duration::from_millis(20));
            let off = clock.now_millis() - told;
            assert!((0..HOUR / 2).contains(&off), "{off} ms after what the server said");
        }
    }

    #[test]
    fn a_steered_clock_is_moved_no_further_than_an_answer_proves() {
        let clock = Clock::steered();
        let steered = |millis: i64, round_trip: Duration| {
            let before = clock.now_millis();
            clock.steer(before + millis, round_trip);
            clock.now_millis() - before
        };
        let day = Duration::from_secs(86_400);
        assert!(steered(-HOUR, day) < HOUR / 2, "the answer may be an hour old: nothing is proved");
        assert!(steered(HOUR, day) >= HOUR, "it is an hour later by now at least");
        assert!(
            steered(-2 * HOUR, Duration::from_millis(HOUR.unsigned_abs())) <= -HOUR / 2,
            "at most that late"
        );
    }

    #[test]
    fn other_clocks_are_not_steered() {
        let fixed = Clock::fixed(5);
        fixed.steer(HOUR, Duration::ZERO);
        assert_eq!(fixed.now_millis(), 5);
    }
}
