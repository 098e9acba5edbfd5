//! One batch: taken from the inbox, tried, and its outcome taken over.

use super::*;
use crate::{judge, redrive::Concluded};
use chassis::{
    clock::Clock,
    postgres::{silent, within},
};
use std::sync::{Mutex, PoisonError};

/// Of so many records one is timed.
const SAMPLED: usize = 64;
/// A record with so many others in its batch is followed by the longest pause.
const COMPANY: usize = 7;

impl<S: Service> Worker<S> {
    /// One batch. Says whether there may be more to do at once.
    pub(super) async fn work(&mut self) -> bool {
        let bound = Bound { records: self.limit, bytes: self.config.batch_bytes };
        let records = self.inbox.take(bound, |partition| self.reads(partition));
        let records = self.recognise(records);
        if records.is_empty() && !self.due {
            return false;
        }
        let records = self.wait_for_company(records).await;
        let Some(mut connection) = self.take_connection().await else {
            self.inbox.put_back(records);
            return false;
        };
        self.note_waits(&records);
        let started = Instant::now();
        let kept = records.clone();
        let committing = Mutex::default();
        let attempt = Attempt {
            service: &self.service,
            set: self.set,
            partitions: self.partitions,
            lanes: &self.lanes,
            poison: &self.poison,
            unanswered: &self.unanswered,
            due: self.due,
            claimed: &self.claimed,
            most: Most { records: self.most_again, bytes: self.config.batch_bytes },
            committing: &committing,
        };
        let (limit, company) = (self.config.batch_timeout, records.len());
        let result = match tokio::time::timeout(limit, attempt.run(&mut connection, records)).await {
            Ok(result) => result,
            // the connection goes with its transaction: nobody meets either again
            Err(_) => Err(Trouble::Database {
                error: silent(limit),
                ends: committing.into_inner().unwrap_or_else(PoisonError::into_inner),
                again: Vec::new(),
            }),
        };
        self.rested = Instant::now() + pause_after(company, self.config.batch_pause);
        match result {
            Ok(mut committed) => {
                self.inbox.put_back(std::mem::take(&mut committed.later));
                histogram!(names::BATCH_SECONDS, "group" => self.set.group)
                    .record(started.elapsed().as_secs_f64());
                let says = says(&committed);
                self.done(committed);
                if says {
                    self.tell_relays(connection).await;
                } else {
                    self.connection = Some(connection);
                }
                true
            }
            Err(trouble) => {
                let count = kept.len();
                self.inbox.put_back(kept);
                self.give_fate(trouble, count, connection).await;
                false
            }
        }
    }

    /// How long records waited for their batch to begin.
    fn note_waits(&self, records: &[Arc<Record>]) {
        let now = Clock::system().now_millis();
        let waits = histogram!(names::LOG_WAIT, "group" => self.set.group);
        for record in records.iter().step_by(SAMPLED) {
            // a sender's clock may be ahead of ours
            let millis = u32::try_from(now.saturating_sub(record.timestamp.0)).unwrap_or(0);
            waits.record(f64::from(millis) / 1_000.0);
        }
    }

    /// A batch that is not full waits for company until the pause after the one before it is over: statements cost the
    /// same for one record as for a hundred. Who came alone is followed at once: the pause grows with the batch.
    async fn wait_for_company(&self, mut records: Vec<Arc<Record>>) -> Vec<Arc<Record>> {
        let until = self.rested;
        let mut bytes: usize = records.iter().map(|record| record.size()).sum();
        while !records.is_empty() && records.len() < self.limit && bytes < self.config.batch_bytes {
            if tokio::time::timeout_at(until.into(), self.inbox.arrived()).await.is_err() {
                break;
            }
            let left = Bound { records: self.limit - records.len(), bytes: self.config.batch_bytes - bytes };
            let more = self.inbox.take(left, |partition| self.reads(partition));
            bytes += more.iter().map(|record| record.size()).sum::<usize>();
            records.extend(more);
        }
        records
    }

    pub(super) fn done(&mut self, committed: Committed<S::Tally>) {
        let (group, says) = (self.set.group, says(&committed));
        self.failures = 0;
        self.retry_at = None;
        self.due = false;
        self.database = Ok(());
        self.limit = (self.limit * 2).min(self.config.batch_records);
        let Committed { lanes, seeks, passed, judgement, said, tally, .. } = committed;
        if judgement.concluded.is_some() {
            self.most_again = (self.most_again * 2).min(MOST_NAMED);
        }
        let acted = judgement.concluded.as_ref().map(|concluded| concluded.place.0);
        if !lanes.is_empty() {
            self.progress = Instant::now();
        }
        for (partition, mut lane) in lanes {
            let held = self.lanes.get(&partition);
            // a look at a gap that found nothing to take is remembered beside the row, not in it
            lane.gap_checked = lane.gap_checked.or(held.and_then(|held| held.gap_checked));
            let begin = held.map_or(0, |held| held.next_offset);
            // poison below the position was parked before, and found when it ran again
            self.poison.retain(|(of, at), _| {
                *of != partition || *at >= lane.next_offset || *at < begin && acted != Some(partition)
            });
            self.claimed.remove(&partition);
            // of other lanes it is still not known whether their last commit happened
            self.unanswered.remove(&partition);
            self.lanes.insert(partition, lane);
        }
        for (partition, offset) in seeks {
            self.seek(partition, offset);
        }
        for (fate, count) in [
            ("executed", judgement.executed),
            ("already_applied", judgement.already_applied),
            ("parked", judgement.rejected.len() as u64),
            ("below", passed.below),
            ("repeat", passed.repeats),
            ("hole", passed.holes),
            ("gap", passed.gaps),
        ] {
            if count > 0 {
                counter!(names::RECORDS, "group" => group, "fate" => fate).increment(count);
            }
        }
        for (record, rejection) in &judgement.rejected {
            self.tell_rejected(record, rejection);
        }
        if let Some(concluded) = &judgement.concluded {
            self.tell_concluded(concluded);
        }
        let decided = judgement.executed + judgement.already_applied + judgement.rejected.len() as u64;
        if decided > 0 {
            histogram!(names::BATCH, "group" => group).record(decided as f64);
        }
        if says {
            counter!(names::SAID, "group" => group).increment(said as u64);
            self.wake.notify(group);
        }
        if let Some(tally) = tally {
            self.service.committed(tally);
        }
    }

    fn tell_rejected(&self, record: &Record, rejection: &Rejection) {
        let group = self.set.group;
        counter!(names::REJECTED, "group" => group, "cause" => rejection.cause).increment(1);
        tracing::warn!(
            group,
            partition = record.partition,
            offset = record.offset,
            key = %shown(&record.key),
            cause = rejection.cause,
            detail = rejection.detail,
            is_parked = judge::parks(record, rejection),
            "record rejected"
        );
        if rejection.cause == judge::UNKNOWN_SCHEMA {
            tracing::error!(
                group,
                detail = rejection.detail,
                "a record of a newer release: this one must be upgraded; a worker that knows the schema redrives it"
            );
        }
    }

    fn tell_concluded(&self, concluded: &Concluded) {
        let group = self.set.group;
        for (fate, count) in [
            ("redriven", concluded.ran.len()),
            ("discarded", concluded.discarded.len()),
            ("relapsed", usize::from(concluded.relapse.is_some())),
        ] {
            if count > 0 {
                counter!(names::RECORDS, "group" => group, "fate" => fate).increment(count as u64);
            }
        }
        tracing::info!(
            group,
            partition = concluded.place.0,
            offset = concluded.place.1,
            action = %concluded.action.id,
            what = concluded.action.what.as_str(),
            ran = concluded.ran.len(),
            discarded = concluded.discarded.len(),
            remaining = concluded.remaining,
            result = concluded.result,
            "parked records acted upon"
        );
    }

    /// After the commit, in a statement of its own, and only when some other process sends our lanes.
    pub(super) async fn tell_relays(&mut self, mut connection: PgConnection) {
        if self.wake.covers_all() {
            self.connection = Some(connection);
            return;
        }
        match within(self.config.batch_timeout, store::notify(&mut connection, self.set.group)).await {
            Ok(()) => self.connection = Some(connection),
            // relays look by themselves as well; the next statement finds out what is wrong
            Err(error) => tracing::debug!(group = self.set.group, %error, "waking relays"),
        }
    }
}

/// Whether something waits for a relay now.
fn says<T>(committed: &Committed<T>) -> bool {
    committed.said > 0 || !committed.judgement.rejected.is_empty()
}

/// The pause after a batch of `records`: none after one alone, `longest` after [`COMPANY`] more.
fn pause_after(records: usize, longest: Duration) -> Duration {
    let others = records.saturating_sub(1).min(COMPANY);
    longest.mul_f64(others as f64 / COMPANY as f64)
}

/// The beginning of a key that may be anything.
fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(key).chars().take(40).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_alone_is_followed_at_once_and_many_by_the_longest_pause() {
        let after = |records| pause_after(records, Duration::from_millis(70));
        assert_eq!([0, 1, 2, 8, 4_000].map(after).map(|pause| pause.as_millis()), [0, 0, 10, 70, 70]);
    }
}
