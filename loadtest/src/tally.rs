//! What a run measures while it goes: latencies as histograms, counts, and a line for every second.

use crate::report::{Quantiles, Second};
use hdrhistogram::{CreationError, Histogram};
use schemas::messages::OrderStatus;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Two significant digits are enough to judge by, and keep a histogram at some 50 kB.
const DIGITS: u8 = 2;
/// Whatever took longer counts as this: an hour, in microseconds.
const LONGEST: u64 = 3_600_000_000;

/// A latency that is measured: of the whole run, and of the current second.
#[derive(Debug)]
struct Measured {
    whole: Histogram<u64>,
    second: Histogram<u64>,
}

impl Measured {
    fn new() -> Result<Self, CreationError> {
        let histogram = Histogram::new_with_max(LONGEST, DIGITS)?;
        Ok(Self { whole: histogram.clone(), second: histogram })
    }

    fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.whole.saturating_record(micros);
        self.second.saturating_record(micros);
    }
}

/// The measurements of a run, shared by its clients.
#[derive(Debug)]
pub(crate) struct Tally(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    submit: Measured,
    complete: Measured,
    read: Measured,
    late: Measured,
    answers: BTreeMap<u16, u64>,
    ends: BTreeMap<&'static str, u64>,
    accepted: u64,
    /// Accepted and ended in the current second.
    second: (u64, u64),
    series: Vec<Second>,
}

/// What a run has measured.
#[derive(Debug)]
pub(crate) struct Measurements {
    pub(crate) submit: Quantiles,
    pub(crate) complete: Quantiles,
    pub(crate) read: Quantiles,
    pub(crate) late: Quantiles,
    pub(crate) answers: BTreeMap<u16, u64>,
    pub(crate) ends: BTreeMap<&'static str, u64>,
    pub(crate) accepted: u64,
    pub(crate) series: Vec<Second>,
}

impl Tally {
    pub(crate) fn new() -> Result<Self, CreationError> {
        Ok(Self(Mutex::new(Counts {
            submit: Measured::new()?,
            complete: Measured::new()?,
            read: Measured::new()?,
            late: Measured::new()?,
            answers: BTreeMap::new(),
            ends: BTreeMap::new(),
            accepted: 0,
            second: (0, 0),
            series: Vec::new(),
        })))
    }

    /// A call was sent this much later than intended: the generator's own fault.
    pub(crate) fn late(&self, by: Duration) {
        self.lock().late.add(by);
    }

    /// A submit was answered.
    pub(crate) fn answered(&self, status: u16) {
        *self.lock().answers.entry(status).or_default() += 1;
    }

    /// An order was accepted, this long after its submit was intended.
    pub(crate) fn accepted(&self, took: Duration) {
        let mut counts = self.lock();
        counts.accepted += 1;
        counts.second.0 += 1;
        counts.submit.add(took);
    }

    /// A status was read in this time.
    pub(crate) fn read(&self, took: Duration) {
        self.lock().read.add(took);
    }

    /// An order's end was seen, this long after its submit was intended; `None` where nobody waited for it.
    pub(crate) fn ended(&self, status: OrderStatus, took: Option<Duration>) {
        let mut counts = self.lock();
        *counts.ends.entry(status.as_str()).or_default() += 1;
        counts.second.1 += 1;
        if let Some(took) = took {
            counts.complete.add(took);
        }
    }

    /// Ends the second `at` and begins the next.
    pub(crate) fn tick(&self, at: u64, open: u64) -> Second {
        let mut counts = self.lock();
        let (accepted, ended) = std::mem::take(&mut counts.second);
        let second = Second {
            at,
            accepted,
            ended,
            open,
            submit: Quantiles::of(&counts.submit.second),
            complete: Quantiles::of(&counts.complete.second),
        };
        counts.submit.second.reset();
        counts.complete.second.reset();
        counts.series.push(second.clone());
        second
    }

    pub(crate) fn measurements(&self) -> Measurements {
        let counts = self.lock();
        Measurements {
            submit: Quantiles::of(&counts.submit.whole),
            complete: Quantiles::of(&counts.complete.whole),
            read: Quantiles::of(&counts.read.whole),
            late: Quantiles::of(&counts.late.whole),
            answers: counts.answers.clone(),
            ends: counts.ends.clone(),
            accepted: counts.accepted,
            series: counts.series.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
