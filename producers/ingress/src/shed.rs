//! Says no early: what comes faster than it can be worked off is refused before it waits, a growing share of it as the
//! queues grow, so that what is admitted still succeeds. Looked at are the requests under way here, the records that wait
//! for Kafka, and how far the workers are behind. Operators and providers are never refused: they come to mend things.

use crate::{
    log::Log,
    metrics,
    problem::Problem,
    surface::{Access, Class, Declared},
};
use schemas::topics::{self, Topic};
use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// From where on some is refused, and from where on all: records, or requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ramp {
    /// Up to here nothing is refused.
    pub from: u64,
    /// From here on everything is.
    pub to: u64,
}

/// All, in parts of a thousand.
const ALL: u32 = 1_000;

impl Ramp {
    /// How much is refused at `value`, of a thousand.
    fn share(self, value: u64) -> u32 {
        if value >= self.to {
            return ALL;
        }
        let (above, width) = (value.saturating_sub(self.from), self.to.saturating_sub(self.from).max(1));
        u32::try_from(above.saturating_mul(u64::from(ALL)) / width).unwrap_or(ALL)
    }
}

impl FromStr for Ramp {
    type Err = ();

    /// `4000-8000`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (from, to) = text.split_once('-').ok_or(())?;
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| ());
        let ramp = Self { from: number(from)?, to: number(to)? };
        if ramp.from < ramp.to { Ok(ramp) } else { Err(()) }
    }
}

/// What is too much.
#[derive(Debug, Clone, Copy)]
pub struct ShedConfig {
    /// Requests under way in this process.
    pub in_flight: Ramp,
    /// Records of this process that Kafka has not acknowledged: for writes.
    pub queued: Ramp,
    /// Records that the worker furthest behind has not taken: for writes.
    pub behind: Ramp,
    /// Time between two looks at how far the workers are.
    pub look: Duration,
}

impl Default for ShedConfig {
    /// 4,000 to 8,000 requests under way, 25,000 to 45,000 records queued, 200,000 to 1,000,000 behind; a look each 2 s.
    fn default() -> Self {
        Self {
            in_flight: Ramp { from: 4_000, to: 8_000 },
            queued: Ramp { from: 25_000, to: 45_000 },
            behind: Ramp { from: 200_000, to: 1_000_000 },
            look: Duration::from_secs(2),
        }
    }
}

/// What the workers read, and who they are.
const WORKERS: [(&str, Topic); 3] = [
    (topics::ORDERS_GROUP, Topic::OrderCommands),
    (topics::INVENTORY_GROUP, Topic::InventoryCommands),
    (topics::PAYMENTS_GROUP, Topic::PaymentCommands),
];

/// Refuses what is too much. Cheap to clone.
#[derive(Clone)]
pub struct Shedder {
    inner: Arc<Inner>,
}

struct Inner {
    config: ShedConfig,
    log: Log,
    in_flight: AtomicUsize,
    /// How much is refused because the workers are behind, of a thousand.
    behind: AtomicU32,
    /// What was asked to be refused and has not been yet: spreads refusals evenly, where chance would bunch them.
    owed: AtomicU32,
}

impl Shedder {
    /// A shedder that looks at `log`'s queue, and at the workers while [`Shedder::watch`] runs.
    #[must_use]
    pub fn new(config: ShedConfig, log: Log) -> Self {
        let (in_flight, behind, owed) = (AtomicUsize::new(0), AtomicU32::new(0), AtomicU32::new(0));
        Self { inner: Arc::new(Inner { config, log, in_flight, behind, owed }) }
    }

    /// Looks again and again at how far the workers are behind.
    pub async fn watch(self) {
        loop {
            // while Kafka does not say, what it said last stands
            if let Some(behind) = furthest_behind(&self.inner.log).await {
                ::metrics::gauge!(metrics::SHED_BEHIND).set(behind as f64);
                self.inner.behind.store(self.inner.config.behind.share(behind), Ordering::Relaxed);
            }
            tokio::time::sleep(self.inner.config.look).await;
        }
    }

    /// A place for one request; `None` for a route, where there is none.
    ///
    /// # Errors
    /// A 503 problem with the time to come again.
    pub(crate) fn enter(&self, route: Option<&Declared>) -> Result<Place, Problem> {
        let under_way = self.inner.in_flight.fetch_add(1, Ordering::Relaxed);
        // given back with this, however it ends
        let place = Place { inner: self.inner.clone() };
        let is_exempt = route.is_some_and(|route| matches!(route.access, Access::Scope(_) | Access::Signed));
        if is_exempt {
            return Ok(place);
        }
        let (share, because) = self.inner.share(under_way, route);
        if self.inner.is_due(share) {
            ::metrics::counter!(metrics::SHED, "because" => because).increment(1);
            let again_in = Duration::from_secs(1 + u64::from(share / 250));
            return Err(Problem::unavailable("more is asked than can be worked off at the moment")
                .with_retry_after(again_in));
        }
        Ok(place)
    }
}

impl Inner {
    /// How much is refused of what this is one of, of a thousand, and why.
    fn share(&self, under_way: usize, route: Option<&Declared>) -> (u32, &'static str) {
        let in_flight = (self.config.in_flight.share(under_way as u64), "in_flight");
        if !route.is_some_and(|route| matches!(route.class, Class::Write | Class::Bulk)) {
            return in_flight;
        }
        let queued = (self.config.queued.share(self.log.queued() as u64), "queued");
        let behind = (self.behind.load(Ordering::Relaxed), "behind");
        [in_flight, queued, behind].into_iter().max_by_key(|(share, _)| *share).unwrap_or(in_flight)
    }

    fn is_due(&self, share: u32) -> bool {
        if share == 0 || share >= ALL {
            return share >= ALL;
        }
        let owed = self.owed.fetch_add(share, Ordering::Relaxed);
        (owed % ALL) + share >= ALL
    }
}

async fn furthest_behind(log: &Log) -> Option<u64> {
    let mut furthest = 0;
    for (group, topic) in WORKERS {
        let (ends, committed) = tokio::join!(log.ends(topic), log.committed(group, topic));
        let (ends, committed) = (ends.ok()?, committed.ok()?);
        let behind = ends.iter().enumerate().map(|(partition, end)| {
            let taken = committed.get(partition).copied().flatten().unwrap_or(0);
            u64::try_from(end.saturating_sub(taken)).unwrap_or(0)
        });
        furthest = furthest.max(behind.sum());
    }
    Some(furthest)
}

/// A request under way.
pub(crate) struct Place {
    inner: Arc<Inner>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let before = self.inner.in_flight.fetch_sub(1, Ordering::Relaxed);
        ::metrics::gauge!(metrics::IN_FLIGHT).set(before.saturating_sub(1) as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_reads_in_one_form_and_rises_evenly() {
        assert_eq!("10-20".parse(), Ok(Ramp { from: 10, to: 20 }));
        for bad in ["", "10", "20-10", "10-10", "a-b", "-5"] {
            assert_eq!(bad.parse::<Ramp>(), Err(()), "{bad}");
        }
        let ramp = Ramp { from: 10, to: 20 };
        assert_eq!(
            [0, 10, 11, 15, 19, 20, 900].map(|value| ramp.share(value)),
            [0, 0, 100, 500, 900, ALL, ALL]
        );
    }
}
