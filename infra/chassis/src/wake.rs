//! How a worker wakes the relay that shares its process, and when it must wake relays of others.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::Notify;

/// The Postgres channel on which relays of other processes hear that an outbox has grown.
pub const CHANNEL: &str = "mambogo_outbox";

/// Wakes one waiter; wake-ups that nobody waited for yet are kept, as one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Wake {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    notify: Notify,
    covers_all: AtomicBool,
}

impl Wake {
    /// Wakes the waiter, or the next one to come.
    pub fn notify(&self) {
        self.shared.notify.notify_one();
    }

    /// Waits for a wake-up. Safe to drop.
    pub async fn wait(&self) {
        self.shared.notify.notified().await;
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
