//! Two tasks beside a source's loop, each with a connection of its own: one reads rows, the other deletes rows and
//! keeps the leases. So the loop never waits for Postgres, and no statement is cut off when it turns to something else.

use crate::{
    leases::Shares,
    plan::{Span, Want},
    store::{Read, Store},
};
use std::time::Duration;
use tokio::sync::mpsc;
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

/// A task that reads. It ends when nobody orders any more.
pub(crate) fn reader(mut store: Store, events: Events) -> mpsc::UnboundedSender<Order> {
    let (orders, mut ordered) = mpsc::unbounded_channel::<Order>();
    tokio::spawn(async move {
        while let Some(order) = ordered.recv().await {
            let read = store.read(&order.wants, order.rows, order.bytes).await;
            if events.send(Event::Read(order.life, read)).is_err() {
                return;
            }
        }
    });
    orders
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
