//! From the log to the table: of what was read, the events that somebody listens to become rows, and who delivers is woken.

use crate::{metrics, store::Store, told::Event};
use chassis::settings::Secret;
use follower::{Effect, Record};
use schemas::messages::OrderEvent;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::Notify;

/// Most events taken in at once.
const MAX_EVENTS: usize = 2_000;
/// How long brokers gather events. Each batch asks who listens, whether anybody does or not; and a call to a client is not
/// late by a tenth of a second.
pub(crate) const GATHER: Duration = Duration::from_millis(100);

pub(crate) struct Intake {
    store: Store,
    wake: Arc<Notify>,
}

impl Intake {
    pub(crate) fn new(database_url: Secret, wake: Arc<Notify>) -> Self {
        Self { store: Store::new(database_url), wake }
    }
}

/// An order's event, and where it stands.
pub(crate) struct Read {
    partition: i32,
    offset: i64,
    event: OrderEvent,
}

impl Effect for Intake {
    type Batch = Vec<Read>;
    type Error = sqlx::Error;

    fn add(&mut self, gathered: &mut Vec<Read>, record: &Record<'_>) {
        let Record { partition, offset, .. } = *record;
        match OrderEvent::decode(record.payload) {
            Ok(event) => gathered.push(Read { partition, offset, event }),
            Err(error) => skip(partition, offset, &error),
        }
    }

    fn is_full(&self, gathered: &Vec<Read>) -> bool {
        gathered.len() >= MAX_EVENTS
    }

    /// Most owners have no endpoint: of their events nothing is written, and nothing made.
    async fn write(&mut self, read: &Vec<Read>) -> sqlx::Result<()> {
        if read.is_empty() {
            return Ok(());
        }
        let owners: BTreeSet<&str> = read.iter().map(|read| read.event.order().owner.as_str()).collect();
        let listening = self.store.listening(&owners).await?;
        let heard = read.iter().filter(|read| listening.contains(&read.event.order().owner));
        let told = heard.filter_map(|Read { partition, offset, event }| {
            Event::of(event).inspect_err(|error| skip(*partition, *offset, error)).ok()
        });
        let told: Vec<Event> = told.collect();
        let rows = if told.is_empty() { 0 } else { self.store.take(&told).await? };
        ::metrics::counter!(metrics::TAKEN).increment(rows);
        if rows > 0 {
            self.wake.notify_one();
        }
        Ok(())
    }
}

fn skip(partition: i32, offset: i64, error: &dyn std::fmt::Display) {
    ::metrics::counter!(metrics::SKIPPED).increment(1);
    tracing::error!(partition, offset, %error, "an order's event cannot be told: no endpoint hears of it");
}
