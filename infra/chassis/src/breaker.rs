//! The circuit breaker: when what is called fails too often, it is left alone for a while. Pure: time and chance come in
//! as arguments; who calls puts it around the call.
//!
//! | state | a call | ends |
//! |---|---|---|
//! | closed | is made | open, when the share of failures among the calls of the window is too high |
//! | open | is put off | half-open, when the cool-down is over |
//! | half-open | a few are made as probes, the rest put off | closed when all probes worked; open, for longer, when one failed |
//!
//! The states are those of Nygard, "Release It!" (2007). A library for it was not taken: those that are kept up wrap futures
//! and read the clock, and none says when to come back, which is what becomes the due time of what is put off.

#[cfg(test)]
mod tests;

use crate::jitter::{GOLDEN_GAMMA, mix};
use std::{collections::VecDeque, time::Duration};

/// When it opens, for how long, and what closes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Over which time failures are counted.
    pub window: Duration,
    /// With fewer calls in the window it stays closed.
    pub fewest: u32,
    /// Per cent of the window's calls that have to fail.
    pub failures: u32,
    /// How long it stays open, the first time; doubles as long as probes fail.
    pub cool_down: Duration,
    /// The longest it stays open.
    pub longest: Duration,
    /// So many calls have to work before it closes.
    pub probes: u32,
}

impl Default for BreakerLimits {
    /// Half of at least 20 calls within 10 s; open for 5 s doubling to a minute; three probes.
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            fewest: 20,
            failures: 50,
            cool_down: Duration::from_secs(5),
            longest: Duration::from_secs(60),
            probes: 3,
        }
    }
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Calls are made.
    Closed,
    /// A few calls are made, to see whether they work.
    HalfOpen,
    /// No calls are made.
    Open,
}

/// Whether a call may be made.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may; what came of it is to be said with this ticket.
    Call(Ticket),
    /// Not now; ask again after this.
    Wait(Duration),
}

/// A call that was admitted. It counts in the period that admitted it, and in no later one.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    period: u64,
}

/// Parts of the window that are forgotten one at a time.
const SLICES: u32 = 10;

#[derive(Debug, Clone, Default)]
struct Slice {
    number: u128,
    calls: u32,
    failures: u32,
}

#[derive(Debug, Clone)]
enum State {
    Closed { slices: VecDeque<Slice> },
    Open { until: Duration },
    HalfOpen { admitted: u32, worked: u32 },
}

/// The breaker. Times are since any one beginning.
#[derive(Debug, Clone)]
pub struct Breaker {
    limits: BreakerLimits,
    seed: u64,
    state: State,
    /// Counts the changes of state.
    period: u64,
    /// Openings since it was last closed.
    openings: u32,
}

impl Breaker {
    /// A closed one. `seed` makes the jitter of its cool-downs: another one for each process.
    #[must_use]
    pub fn new(limits: BreakerLimits, seed: u64) -> Self {
        Self { limits, seed, state: State::Closed { slices: VecDeque::new() }, period: 0, openings: 0 }
    }

    /// Where it stands.
    #[must_use]
    pub fn position(&self) -> Position {
        match self.state {
            State::Closed { .. } => Position::Closed,
            State::HalfOpen { .. } => Position::HalfOpen,
            State::Open { .. } => Position::Open,
        }
    }

    /// Asks to make a call.
    pub fn admit(&mut self, now: Duration) -> Admission {
        if let State::Open { until } = self.state {
            if now < until {
                return Admission::Wait(until.saturating_sub(now));
            }
            self.change(State::HalfOpen { admitted: 0, worked: 0 });
        }
        if let State::HalfOpen { admitted, .. } = &mut self.state {
            if *admitted >= self.limits.probes {
                // probes are answered one way or the other before long
                return Admission::Wait(self.limits.cool_down / SLICES);
            }
            *admitted += 1;
        }
        Admission::Call(Ticket { period: self.period })
    }

    /// How long it is still left alone; `None` when a call may be made, or may be asked for.
    #[must_use]
    pub fn left_alone(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Open { until } if now < until => Some(until.saturating_sub(now)),
            _ => None,
        }
    }

    /// Says what came of an admitted call.
    pub fn answered(&mut self, ticket: &Ticket, worked: bool, now: Duration) {
        if ticket.period != self.period {
            return;
        }
        match &mut self.state {
            State::Closed { slices } => {
                count(slices, &self.limits, worked, now);
                let (calls, failures) = sum(slices);
                let share = u64::from(calls) * u64::from(self.limits.failures);
                if calls >= self.limits.fewest && u64::from(failures) * 100 >= share && failures > 0 {
                    self.open(now);
                }
            }
            State::HalfOpen { .. } if !worked => self.open(now),
            State::HalfOpen { worked, .. } => {
                *worked += 1;
                if *worked >= self.limits.probes {
                    self.openings = 0;
                    self.change(State::Closed { slices: VecDeque::new() });
                }
            }
            State::Open { .. } => {}
        }
    }

    /// Says that an admitted call was given up by whoever made it, which shows nothing: another one may be made for it.
    pub fn withdrawn(&mut self, ticket: &Ticket) {
        if let State::HalfOpen { admitted, .. } = &mut self.state
            && ticket.period == self.period
        {
            *admitted = admitted.saturating_sub(1);
        }
    }

    fn open(&mut self, now: Duration) {
        let cool_down = self.limits.cool_down.saturating_mul(1 << self.openings.min(20));
        let cool_down = cool_down.min(self.limits.longest);
        self.openings += 1;
        // up to half as long again, so that the workers of a fleet do not probe all at once
        let jitter = cool_down.mul_f64(fraction(self.seed, self.period) / 2.0);
        self.change(State::Open { until: now.saturating_add(cool_down).saturating_add(jitter) });
    }

    fn change(&mut self, state: State) {
        self.period += 1;
        self.state = state;
    }
}

fn count(slices: &mut VecDeque<Slice>, limits: &BreakerLimits, worked: bool, now: Duration) {
    let length = (limits.window / SLICES).as_nanos().max(1);
    let number = now.as_nanos() / length;
    slices.retain(|slice| slice.number + u128::from(SLICES) > number);
    if slices.back().is_none_or(|slice| slice.number < number) {
        slices.push_back(Slice { number, ..Slice::default() });
    }
    if let Some(slice) = slices.back_mut() {
        slice.calls = slice.calls.saturating_add(1);
        slice.failures = slice.failures.saturating_add(u32::from(!worked));
    }
}

fn sum(slices: &VecDeque<Slice>) -> (u32, u32) {
    slices.iter().fold((0, 0), |(calls, failures), slice| {
        (slice.calls.saturating_add(calls), slice.failures.saturating_add(failures))
    })
}

/// From 0 to 1.
fn fraction(seed: u64, period: u64) -> f64 {
    let mixed = mix(seed ^ period.wrapping_mul(GOLDEN_GAMMA));
    f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}
