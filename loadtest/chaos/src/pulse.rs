//! The beat of the load: how many orders were begun and settled in each tenth of a second, and what that says of a fault:
//! how long until the rate was back, and until the backlog was gone. Pure but for the clock of the recorder.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// One place of the record.
const TENTH: Duration = Duration::from_millis(100);
/// The rate is back when it holds over so many tenths.
const WINDOW: usize = 20;
/// The share of the rate before that counts as full.
const FULL: f64 = 0.9;

/// A tenth of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Beat {
    begun: u32,
    settled: u32,
}

/// Counts what the clients see.
#[derive(Debug)]
pub(crate) struct Pulse {
    origin: Instant,
    beats: Mutex<Vec<Beat>>,
}

/// A fault's effect on the load.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Recovery {
    /// Orders settled a second before the fault.
    pub(crate) before: f64,
    /// From the fault's end until the rate was at 90 % of that, over two seconds and the next two.
    pub(crate) rate_back: Option<Duration>,
    /// From the fault's end until no more orders were open than before it, give or take half a second's worth.
    pub(crate) backlog_gone: Option<Duration>,
    /// The longest time since the fault began in which no order was settled.
    pub(crate) longest_stall: Duration,
}

impl Recovery {
    /// Whether both have come.
    pub(crate) fn is_complete(&self) -> bool {
        self.rate_back.is_some() && self.backlog_gone.is_some()
    }
}

impl Pulse {
    /// Begins to count.
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), beats: Mutex::default() }
    }

    /// An order is sent for the first time.
    pub(crate) fn begun(&self) {
        self.beat(|beat| beat.begun += 1);
    }

    /// A client sees an order's end.
    pub(crate) fn settled(&self) {
        self.beat(|beat| beat.settled += 1);
    }

    /// Whether `share` of `rate` a second was settled over the last two seconds.
    pub(crate) fn is_steady(&self, rate: u32, share: f64) -> bool {
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let recent: u32 = beats.iter().rev().take(WINDOW).map(|beat| beat.settled).sum();
        f64::from(recent) >= share * f64::from(rate) * (TENTH * 20).as_secs_f64()
    }

    /// What the record says of a fault between `broken` and `healed`, with the load steady since `steady`.
    ///
    /// `rate` is what is asked for, orders a second: while a backlog is worked off more are settled, for a while.
    pub(crate) fn recovery(&self, rate: u32, steady: Instant, broken: Instant, healed: Instant) -> Recovery {
        let place =
            |at: Instant| at.duration_since(self.origin).as_millis() as usize / TENTH.as_millis() as usize;
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // a tenth in which nothing happened is there all the same; the present one is not over
        beats.resize(place(Instant::now()), Beat::default());
        recovery(&beats, rate, place(steady), place(broken), place(healed))
    }

    fn beat(&self, count: impl FnOnce(&mut Beat)) {
        let place = self.origin.elapsed().as_millis() as usize / TENTH.as_millis() as usize;
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        if beats.len() <= place {
            beats.resize(place + 1, Beat::default());
        }
        if let Some(beat) = beats.get_mut(place) {
            count(beat);
        }
    }
}

fn recovery(beats: &[Beat], rate: u32, steady: usize, broken: usize, healed: usize) -> Recovery {
    let mut open = 0_i64;
    let open: Vec<i64> = beats
        .iter()
        .map(|beat| {
            open += i64::from(beat.begun) - i64::from(beat.settled);
            open
        })
        .collect();
    let settled = |from: usize, to: usize| -> u32 {
        beats.get(from..to).unwrap_or_default().iter().map(|beat| beat.settled).sum()
    };
    let tenths = broken.saturating_sub(steady).max(1);
    let a_tenth = (f64::from(settled(steady, broken)) / tenths as f64).min(f64::from(rate) / 10.0);
    let usual = open.get(steady..broken).unwrap_or_default().iter().copied().max().unwrap_or(0);
    let enough = FULL * a_tenth * WINDOW as f64;
    let is_full = |at: usize| f64::from(settled(at, at + WINDOW)) >= enough;
    // two windows: what was under way when the fault struck may fill the first
    let windows = healed..(beats.len() + 1).saturating_sub(2 * WINDOW);
    let rate_back = windows.into_iter().find(|at| is_full(*at) && is_full(at + WINDOW));
    let slack = (a_tenth * 5.0) as i64 + 5;
    let gone = (healed..beats.len()).find(|at| open.get(*at).is_some_and(|open| *open <= usual + slack));
    let mut stalls =
        beats.get(broken..).unwrap_or_default().split(|beat| beat.settled > 0).map(<[Beat]>::len);
    let longest = stalls.by_ref().max().unwrap_or(0);
    let since = |at: usize| TENTH * u32::try_from(at - healed).unwrap_or(u32::MAX);
    Recovery {
        before: a_tenth * 10.0,
        rate_back: rate_back.map(since),
        backlog_gone: gone.map(since),
        longest_stall: TENTH * u32::try_from(longest).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten orders a tenth; from 30 to 60 none is settled, and from then on the backlog is worked off, 20 a tenth.
    fn outage() -> Vec<Beat> {
        let mut beats = vec![Beat { begun: 10, settled: 10 }; 30];
        beats.extend([Beat { begun: 10, settled: 0 }; 30]);
        beats.extend([Beat { begun: 10, settled: 20 }; 30]);
        beats.extend([Beat { begun: 10, settled: 10 }; 30]);
        beats
    }

    #[test]
    fn rate_and_backlog_are_timed_from_the_end_of_the_fault() {
        let found = recovery(&outage(), 1_000, 0, 30, 45);
        assert_eq!(found.before, 100.0);
        // from 49 on, 20 tenths hold 9 × 20 settled
        assert_eq!(found.rate_back, Some(TENTH * 4));
        // 300 are open at the end of the outage, and 10 fewer with each tenth; 55 are as usual
        assert_eq!(found.backlog_gone, Some(TENTH * 39));
        assert_eq!(found.longest_stall, TENTH * 30);
    }

    #[test]
    fn what_has_not_come_yet_is_not_there() {
        let found = recovery(&outage()[..60], 1_000, 0, 30, 40);
        assert_eq!((found.rate_back, found.backlog_gone), (None, None));
        assert!(!found.is_complete());
    }

    #[test]
    fn a_rate_that_stays_low_is_not_back() {
        let mut beats = outage();
        beats.truncate(60);
        beats.extend([Beat { begun: 10, settled: 8 }; 60]);
        let found = recovery(&beats, 1_000, 0, 30, 60);
        assert_eq!((found.rate_back, found.backlog_gone), (None, None));
    }
}
