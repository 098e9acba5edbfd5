//! New orders, each looked at once a moment after it came. An index by partition and deadline says which are new:
//! deadlines follow acceptance by the same time, and never change.

use super::{AT_ONCE, Auditor};
use crate::store::Look;
use schemas::time::Timestamp;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// So long a new order is left alone: most are settled by then, and none comes late with an earlier deadline.
const SETTLES_IN: Duration = Duration::from_secs(3);

/// How far each partition has been looked at.
#[derive(Default)]
pub(crate) struct New {
    lanes: BTreeMap<i32, Progress>,
    begun: bool,
}

#[derive(Default)]
struct Progress {
    mark: Timestamp,
    /// The highest deadline, and when it was so.
    seen: VecDeque<(Instant, Timestamp)>,
}

impl New {
    /// Takes in how far orders have come. What was there at the beginning is left to the passes over everything.
    fn see(&mut self, now: Instant, highest: &BTreeMap<i32, Timestamp>) {
        for (partition, deadline) in highest {
            let lane = self.lanes.entry(*partition).or_insert_with(|| Progress {
                mark: if self.begun { Timestamp::default() } else { *deadline },
                seen: VecDeque::new(),
            });
            let last = lane.seen.back().map_or(lane.mark, |(_, last)| *last);
            if *deadline > last {
                lane.seen.push_back((now, *deadline));
            }
        }
        self.begun = true;
    }

    /// What to look at now: partition, after, up to.
    fn due(&self, now: Instant) -> Vec<(i32, Timestamp, Timestamp)> {
        let due = |(partition, lane): (&i32, &Progress)| {
            let ripe = lane.seen.iter().rev().find(|(at, _)| now - *at >= SETTLES_IN)?;
            Some((*partition, lane.mark, ripe.1))
        };
        self.lanes.iter().filter_map(due).collect()
    }

    fn looked(&mut self, partition: i32, to: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.mark = lane.mark.max(to);
            let mark = lane.mark;
            lane.seen.retain(|(_, deadline)| *deadline > mark);
        }
    }

    /// How far the looks are behind, by the deadlines.
    pub(crate) fn behind(&self) -> Duration {
        let of = |lane: &Progress| lane.seen.back().map_or(Duration::ZERO, |(_, last)| last.since(lane.mark));
        let all = self.lanes.values().filter(|lane| lane.mark != Timestamp::default());
        all.map(of).max().unwrap_or_default()
    }
}

impl Auditor {
    pub(super) async fn look_at_new(&mut self, now: Instant) -> sqlx::Result<()> {
        let highest = self.store.highest_deadlines().await?;
        self.new.see(now, &highest);
        let mut budget = (f64::from(self.config.rate) * self.config.tick.as_secs_f64()).ceil();
        for (partition, mut after, to) in self.new.due(now) {
            while after < to && budget > 0.0 {
                let most = i64::try_from(AT_ONCE).unwrap_or(i64::MAX);
                let (orders, last) = self.store.by_deadline(partition, after, to, most).await?;
                after = last.filter(|_| orders.len() >= AT_ONCE).unwrap_or(to);
                budget -= orders.len() as f64;
                self.look(&Look { orders: orders.into_iter().collect(), strays: Vec::new() }).await?;
                self.new.looked(partition, after);
            }
        }
        Ok(())
    }

    /// How far the looks at new orders are behind them.
    #[must_use]
    pub fn behind(&self) -> Duration {
        self.new.behind()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_orders_are_looked_at_once_and_what_was_there_at_the_beginning_is_not() {
        let (begin, later) = (Instant::now(), Instant::now() + SETTLES_IN);
        let mut new = New::default();
        new.see(begin, &BTreeMap::from([(0, Timestamp(50))]));
        assert_eq!(new.due(later), []);
        new.see(begin, &BTreeMap::from([(0, Timestamp(70)), (1, Timestamp(60))]));
        assert_eq!(new.due(begin), [], "they are left alone at first");
        // more come meanwhile: not ripe yet
        new.see(later, &BTreeMap::from([(0, Timestamp(90)), (1, Timestamp(60))]));
        assert_eq!(new.due(later), [(0, Timestamp(50), Timestamp(70)), (1, Timestamp(0), Timestamp(60))]);
        assert_eq!(new.behind(), Duration::from_millis(40));
        new.looked(0, Timestamp(70));
        new.looked(1, Timestamp(60));
        assert_eq!(new.due(later), []);
        assert_eq!(new.due(later + SETTLES_IN), [(0, Timestamp(70), Timestamp(90))]);
    }
}
