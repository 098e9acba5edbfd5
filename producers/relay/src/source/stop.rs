//! The graceful stop.

use super::SourceRelay;
use crate::desk::{Chore, Event};
use tokio::time::Instant;

impl SourceRelay {
    /// Reads no more, waits for what is in flight, deletes what is acknowledged, gives the lanes back.
    pub(super) async fn finish(mut self) {
        self.covers.set(false);
        self.condition.set(Some("stopping".to_owned()));
        let deadline = Instant::now() + self.config.stop_deadline;
        // a deadline that passes leaves rows and leases to whoever sends these lanes next
        if tokio::time::timeout_at(deadline, self.drain()).await.is_err() {
            tracing::warn!(
                source = self.schema,
                in_flight = self.sending.plan.in_flight(),
                "stopped with records in flight"
            );
        }
        self.sending.purge();
        tracing::info!(source = self.schema, "relay stopped");
    }

    async fn drain(&mut self) {
        self.sending.closed = true;
        while self.sending.plan.in_flight() > 0 {
            let reports = self.sending.reports().await;
            if let Err(failure) = self.sending.settle(reports) {
                tracing::warn!(source = self.schema, reason = failure.reason, "stopping: not all was sent");
                break;
            }
        }
        let spans = self.sending.plan.deletable();
        if !spans.is_empty() {
            self.is_deleting = self.chores.send(Chore::Delete(spans)).is_ok();
        }
        // chores are done in order: when this one is, the deletes are
        if self.chores.send(Chore::Leave(self.me)).is_err() {
            return;
        }
        while let Some(event) = self.events.recv().await {
            if matches!(event, Event::Left) {
                return;
            }
        }
    }
}
