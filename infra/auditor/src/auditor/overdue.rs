//! What is past its deadline by a margin: each order once more, and the holds of outside owners.

use super::{Auditor, desk::lane};
use crate::{rules::OVERDUE, store::Look};
use schemas::time::Timestamp;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// How far back the first look goes; the passes over everything go further.
const FIRST: Duration = Duration::from_secs(60 * 60);
/// Most looked at of a partition at once.
const AT_ONCE: i64 = 500;
/// Between two looks.
const AGAIN: Duration = Duration::from_secs(5);

/// Deadlines up to here have been looked at, by partition.
#[derive(Default)]
pub(crate) struct Overdue {
    looked: Option<Instant>,
    orders: BTreeMap<i32, Timestamp>,
    outside: BTreeMap<i32, Timestamp>,
}

impl Auditor {
    pub(super) async fn look_at_overdue_if_time(&mut self, now: Instant) -> sqlx::Result<()> {
        if self.overdue.looked.is_some_and(|looked| now - looked < AGAIN) {
            return Ok(());
        }
        self.overdue.looked = Some(now);
        self.look_at_overdue().await
    }

    pub(super) async fn look_at_overdue(&mut self) -> sqlx::Result<()> {
        let now = self.store.now().await?;
        let to = Timestamp(now.0.saturating_sub(i64::try_from(OVERDUE.as_millis()).unwrap_or(i64::MAX)));
        let first = Timestamp(to.0.saturating_sub(i64::try_from(FIRST.as_millis()).unwrap_or(i64::MAX)));
        let lanes: Vec<(&'static str, i32, Timestamp)> =
            self.desk.lanes.0.iter().map(|lane| (lane.service, lane.partition, lane.due_mark)).collect();
        let mut look = Look::default();
        self.of_lanes_overdue.clear();
        for (service, partition, due_mark) in lanes {
            match service {
                schemas::topics::ORDERS_GROUP => {
                    let after = self.overdue.orders.get(&partition).copied().unwrap_or(first);
                    let late = self.store.unsettled(partition, after, to, AT_ONCE).await?;
                    let is_full = late.len() >= usize::try_from(AT_ONCE).unwrap_or(usize::MAX);
                    // what the lane itself has not come to yet is the lane's fault, not the order's
                    let unseen = late.iter().find(|(_, deadline)| *deadline > due_mark).map(|(_, at)| *at);
                    let done = match (unseen, late.last()) {
                        (Some(unseen), _) => Timestamp(unseen.0.saturating_sub(1)),
                        (None, Some((_, last))) if is_full => *last,
                        _ => to,
                    };
                    if let Some(unseen) = unseen {
                        let late = now.since(unseen).as_secs();
                        let what = format!("has not seen to what was due {late} s ago");
                        self.of_lanes_overdue.push(lane(service, partition, what));
                    }
                    look.orders.extend(late.iter().filter(|(_, at)| *at <= due_mark).map(|(id, _)| *id));
                    self.overdue.orders.insert(partition, done.max(after));
                }
                schemas::topics::INVENTORY_GROUP => {
                    let after = self.overdue.outside.get(&partition).copied().unwrap_or(first);
                    look.orders.extend(self.store.outside_holds(partition, after, to, AT_ONCE).await?);
                    self.overdue.outside.insert(partition, to);
                }
                _ => {}
            }
        }
        self.look(&look).await
    }
}
