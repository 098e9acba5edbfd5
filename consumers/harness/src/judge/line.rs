//! The parked records of a key while they run again, one after the other.

use super::*;
use schemas::topics::Topic;

/// An action under way.
pub(super) struct Line {
    opened: Opened,
    done: Concluded,
}

impl Line {
    pub(super) fn begin(opened: Opened) -> Self {
        Self { done: opened.begin(), opened }
    }

    /// Whether a parked record stays where it is, for one before it failed again. Discards go on.
    pub(super) fn is_stopped(&self, reading: &Reading) -> bool {
        self.done.relapse.is_some() && !matches!(reading, Reading::Drop(_))
    }

    pub(super) fn ran(&mut self, record: &Record) {
        self.done.ran.push(record.offset);
    }

    pub(super) fn failed(&mut self, record: &Record, rejection: Rejection) {
        let is_edited = self.opened.action.edit_of(record.offset).is_some();
        let detail = if is_edited { format!("as edited: {}", rejection.detail) } else { rejection.detail };
        self.done.relapse = Some((record.offset, Rejection { detail, ..rejection }));
    }

    /// Gives a record up. One whose service cannot say what that takes stays.
    pub(super) fn discard<S: Service>(
        &mut self,
        service: &S,
        rows: &S::Rows,
        record: &Record,
        delivery: Option<&Delivery<S::Command>>,
        out: &mut Out,
    ) {
        let Some(delivery) = delivery else {
            self.done.discarded.push(record.offset);
            return;
        };
        match service.discarded(rows, delivery) {
            Ok(outgoing) => {
                outgoing.into_iter().for_each(|outgoing| out.send(delivery, outgoing));
                self.done.discarded.push(record.offset);
            }
            Err(rejection) => self.failed(record, rejection),
        }
    }

    /// Frees the key if nothing of it is left, or tells the lane to go on with the rest.
    pub(super) fn end(mut self, topic: Topic, command: &Record, lane: &mut Lane, out: &mut Out) -> Concluded {
        self.done.end(&self.opened);
        if self.done.remaining == 0 {
            lane.unpark(&command.key);
        }
        let next = self.done.next.as_ref().zip(read::address(command).ok());
        if let Some((next, (key, envelope))) = next {
            let cause = Delivery {
                partition: command.partition,
                offset: command.offset,
                key,
                envelope,
                command: (),
                traceparent: command.traceparent.clone(),
            };
            match redrive::outgoing(topic, key, next) {
                Ok(outgoing) => out.send(&cause, outgoing),
                // it is smaller than the command that was read
                Err(rejection) => tracing::error!(detail = rejection.detail, "going on with parked records"),
            }
        }
        self.done
    }
}
