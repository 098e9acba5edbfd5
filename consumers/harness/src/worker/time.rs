//! What happens by the clock: due work, offsets for lag tools, the outbox's size, stalls.

use super::*;
use chassis::{
    crash::{self, CrashPoint},
    postgres::within,
};

impl<S: Service> Worker<S> {
    /// What happens by the clock: due work, claims that failed, offsets for lag tools, the outbox's size, stalls.
    pub(super) async fn see_to_time(&mut self) {
        if self.is_waiting() {
            return;
        }
        if self.due_asked.elapsed() >= self.config.due_tick && !self.lanes.is_empty() {
            self.due_asked = Instant::now();
            self.ask_due().await;
        }
        // the database may have failed just now: that is told before anything else is asked of it
        if !self.is_waiting() && self.slow_tick.elapsed() >= TICK_SLOW {
            self.slow_tick = Instant::now();
            self.commit_offsets();
            self.look_at_outbox().await;
            if self.progress.elapsed() >= STALL && !self.lanes.is_empty() {
                self.progress = Instant::now();
                self.ask_ends();
            }
        }
    }

    pub(super) async fn ask_due(&mut self) {
        let lanes: Vec<_> = self.lanes.values().map(|lane| (lane.partition, lane.due_mark)).collect();
        let Some(mut connection) = self.take_connection().await else { return };
        match within(self.config.batch_timeout, self.service.is_due(&mut connection, &lanes)).await {
            Ok(due) => {
                if due {
                    crash::point_of(self.set.group, CrashPoint::DueFound);
                }
                self.due |= due;
                self.connection = Some(connection);
            }
            Err(error) => self.fail(error),
        }
    }

    pub(super) async fn look_at_outbox(&mut self) {
        let lanes: Vec<_> = self.lanes.values().map(|lane| lane.id.0).collect();
        let limit = self.config.batch_timeout;
        let Some(connection) = self.connected().await else { return };
        match within(limit, store::backlog(connection, &lanes)).await {
            Ok((bytes, age)) => {
                let full = bytes > self.config.outbox_bytes || age > self.config.outbox_age.as_secs_f64();
                if full != self.outbox_full {
                    tracing::warn!(group = self.set.group, full, bytes, age_seconds = age, "outbox");
                }
                self.outbox_full = full;
            }
            Err(error) => self.fail(error),
        }
    }

    pub(super) fn commit_offsets(&mut self) {
        let moved: Vec<_> = self
            .lanes
            .values()
            .filter(|lane| self.committed.get(&lane.partition) != Some(&lane.next_offset))
            .map(|lane| (lane.partition, lane.next_offset))
            .collect();
        if !moved.is_empty() {
            self.committed.extend(moved.iter().copied());
            self.command(Command::Commit(moved));
        }
    }
}
