//! After a failure: a new producer, every lane from its first row not deleted, and who is to blame.

use super::SourceRelay;
use crate::{
    desk::Chore,
    plan::Halt,
    sending::{Batching, Failure, Sending},
};
use publisher::{PublishError, Refusal};
use tokio::time::Instant;

impl SourceRelay {
    /// Gives up the producer and begins each lane at its first row not deleted.
    pub(super) fn begin_anew(&mut self, failure: Failure) {
        tracing::warn!(
            source = self.schema,
            reason = failure.reason,
            "the producer is given up, all lanes begin anew"
        );
        self.meters.restarts.increment(1);
        let now = Instant::now();
        for refused in failure.refused {
            // in a batch of several the broker's verdict may be about another record
            if refused.cause == Refusal::TooLarge && self.sending.batching == Batching::Full {
                let seq = self.suspects.entry(refused.lane).or_insert(refused.seq);
                *seq = refused.seq.max(*seq);
            } else {
                let reason = format!("{}: {}", refused.cause, refused.detail);
                self.halt(Halt { lane: refused.lane, seq: refused.seq, reason }, now);
            }
        }
        self.send_pause.begin();
        let batching = if self.suspects.is_empty() { Batching::Full } else { Batching::Single };
        self.replace_producer(batching);
    }

    pub(super) fn replace_producer(&mut self, batching: Batching) {
        // what is wholly acknowledged is not sent again; nobody waits for this delete
        let spans = self.sending.plan.deletable();
        if !spans.is_empty() {
            self.is_deleting = self.chores.send(Chore::Delete(spans)).is_ok();
        }
        self.sending.purge();
        match Sending::start(&self.config.publisher, self.config.limits, batching) {
            Ok(sending) => self.sending = sending,
            Err(error) => return self.no_producer(&error),
        }
        self.life += 1;
        self.has_read = false;
        self.waiting_since = None;
        self.is_due = true;
        if let Some(shares) = &self.shares {
            self.sending.plan.hold(&shares.held);
        }
        self.halts.standing().for_each(|lane| self.sending.plan.halt(lane));
    }

    /// The old one stays in place and fails again after the pause, which tries again.
    pub(super) fn no_producer(&mut self, error: &PublishError) {
        tracing::error!(source = self.schema, %error, "no new producer");
        self.troubles.kafka = Some(error.to_string());
    }

    pub(super) fn note_halts(&mut self) {
        let now = Instant::now();
        for halt in self.sending.plan.take_halts() {
            self.halt(halt, now);
        }
    }

    pub(super) fn halt(&mut self, halt: Halt, now: Instant) {
        let Halt { lane, seq, reason } = &halt;
        tracing::error!(source = self.schema, %lane, seq, reason, "a lane is halted: its records wait in the outbox");
        self.suspects.remove(lane);
        self.sending.plan.halt(*lane);
        self.halts.note(halt, now);
        self.say_how_it_is();
    }

    /// Back to full batches once the record that was too large is found, or is no longer there.
    pub(super) fn leave_single(&mut self) {
        if self.sending.batching == Batching::Full {
            return;
        }
        let plan = &self.sending.plan;
        let held = self.shares.as_ref().map(|shares| &shares.held);
        self.suspects.retain(|lane, seq| {
            held.is_some_and(|held| held.contains(lane)) && !plan.has_passed(*lane, *seq)
        });
        if self.suspects.is_empty() || (self.has_read && plan.is_idle()) {
            self.sending.closed = true;
        }
        if self.sending.closed && self.sending.plan.in_flight() == 0 {
            self.suspects.clear();
            self.replace_producer(Batching::Full);
        }
    }
}
