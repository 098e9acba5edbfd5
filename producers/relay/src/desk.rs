//! Two tasks beside a source's loop, each with a connection of its own: one reads rows, the other deletes rows and
//! keeps the leases. So the loop never waits for Postgres, and no statement is cut off when it turns to something else.

use crate::{
    leases::Shares,
    plan::{Span, Want},
    store::{Read, Store},
};
use std::time::Duration;
use tokio::{sync::mpsc, time::Instant};
use uuid::Uuid;

/// What to read.
pub(crate) struct Order {
    /// Which producer's life it is for; what came of it is of no use to another.
    pub(crate) life: u64,
    pub(crate) wants: Vec<Want>,
    pub(crate) rows: u32,
    /// Bytes of each lane.
    pub(crate) bytes: usize,
}

/// What else to do.
pub(crate) enum Chore {
    Delete(Vec<Span>),
    /// Find every lane.
    Lanes,
    Lease(Uuid, Duration),
    Leave(Uuid),
}

/// What came of it.
pub(crate) enum Event {
    Read(u64, sqlx::Result<Vec<Read>>),
    Deleted(Vec<Span>, sqlx::Result<u64>),
    Leased(sqlx::Result<Shares>),
    Left,
    /// Whether Kafka answers, and if not, why.
    Reached(Result<(), String>),
}

pub(crate) type Events = mpsc::UnboundedSender<Event>;

/// A row with so many others in its read is followed by the longest pause.
const COMPANY: usize = 3;

/// A task that reads, with a pause between two reads: what comes meanwhile shares the next one. It ends when nobody orders
/// any more.
pub(crate) fn reader(mut store: Store, pause: Duration, events: Events) -> mpsc::UnboundedSender<Order> {
    let (orders, mut ordered) = mpsc::unbounded_channel::<Order>();
    tokio::spawn(async move {
        let mut rested = Instant::now();
        while let Some(order) = ordered.recv().await {
            tokio::time::sleep_until(rested).await;
            let read = store.read(&order.wants, order.rows, order.bytes).await;
            rested =
                Instant::now() + read.as_ref().map_or(Duration::ZERO, |lanes| pause.mul_f64(share(lanes)));
            if events.send(Event::Read(order.life, read)).is_err() {
                return;
            }
        }
    });
    orders
}

/// The share of the pause that a read is followed by: none after one row alone, nor while it left rows behind.
fn share(lanes: &[Read]) -> f64 {
    if lanes.iter().any(|read| read.more) {
        return 0.0;
    }
    let rows: usize = lanes.iter().map(|read| read.rows.len()).sum();
    rows.saturating_sub(1).min(COMPANY) as f64 / COMPANY as f64
}

/// A task that does chores, in order. It ends when nobody orders any more.
pub(crate) fn keeper(mut store: Store, events: Events) -> mpsc::UnboundedSender<Chore> {
    let (chores, mut ordered) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(chore) = ordered.recv().await {
            let event = match chore {
                Chore::Delete(spans) => {
                    let deleted = store.delete(&spans).await;
                    Event::Deleted(spans, deleted)
                }
                Chore::Lanes => Event::Leased(store.all_lanes().await),
                Chore::Lease(me, time) => Event::Leased(store.lease(me, time).await),
                Chore::Leave(me) => {
                    if let Err(error) = store.leave(me).await {
                        tracing::info!(%error, "leases not given back: they expire by themselves");
                    }
                    Event::Left
                }
            };
            if events.send(event).is_err() {
                return;
            }
        }
    });
    chores
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Row;
    use schemas::ids::LaneId;

    fn read(rows: usize, more: bool) -> Read {
        let row = || Row { seq: 1, size: 0, records: Ok(Vec::new()) };
        let rows = std::iter::repeat_with(row).take(rows).collect();
        Read { lane: LaneId(Uuid::nil()), after: 0, rows, more, waited: Vec::new() }
    }

    #[test]
    fn a_row_alone_is_followed_at_once_and_so_is_a_read_that_left_rows_behind() {
        let of = |lanes: &[Read]| (share(lanes) * 3.0).round();
        assert_eq!(of(&[read(1, false), read(0, false)]), 0.0);
        assert_eq!(of(&[read(1, false), read(1, false)]), 1.0);
        assert_eq!(of(&[read(9, false)]), 3.0);
        assert_eq!(of(&[read(9, false), read(9, true)]), 0.0);
    }
}
