//! How a worker wakes the relay that shares its process, and when it must wake relays of others.

use std::{
    collections::BTreeSet,
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Notify;

/// The Postgres channel on which relays of other processes hear that an outbox has grown; the payload names its schema.
pub const CHANNEL: &str = "mambogo_outbox";

/// Wakes one waiter, and says whose outbox has grown; wake-ups that nobody waited for yet are kept, as one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Wake {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    grown: Mutex<BTreeSet<&'static str>>,
    notify: Notify,
    covers_all: AtomicBool,
}

impl Wake {
    /// Wakes the waiter, or the next one to come, for the outbox of that schema.
    pub fn notify(&self, schema: &'static str) {
        self.grown().insert(schema);
        self.shared.notify.notify_one();
    }

    /// Waits for a wake-up: the schemas whose outboxes have grown. Safe to drop.
    pub async fn wait(&self) -> BTreeSet<&'static str> {
        self.shared.notify.notified().await;
        mem::take(&mut *self.grown())
    }

    fn grown(&self) -> std::sync::MutexGuard<'_, BTreeSet<&'static str>> {
        self.shared.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The relay says whether it sends every lane there is.
    pub fn set_covers_all(&self, covers_all: bool) {
        self.shared.covers_all.store(covers_all, Ordering::Relaxed);
    }

    /// Whether waking this process's relay is enough; otherwise [`CHANNEL`] is notified too.
    #[must_use]
    pub fn covers_all(&self) -> bool {
        self.shared.covers_all.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_waiter_is_told_once_of_all_that_grew_meanwhile() {
        let wake = Wake::default();
        for schema in ["orders", "inventory", "orders"] {
            wake.notify(schema);
        }
        assert_eq!(wake.wait().await, BTreeSet::from(["inventory", "orders"]));
        let nothing = tokio::time::timeout(std::time::Duration::ZERO, wake.wait()).await;
        assert!(nothing.is_err(), "{nothing:?}");
    }
}
