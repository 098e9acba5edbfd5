//! What the polling thread reports: lanes come, lanes go, positions are compared with what the topic holds.

use super::*;

impl<S: Service> Worker<S> {
    pub(super) fn hear(&mut self, event: Event) {
        match event {
            Event::Assigned(lanes) => {
                self.joined = true;
                self.progress = Instant::now();
                for lane in lanes {
                    tracing::info!(
                        group = self.set.group,
                        partition = lane.partition,
                        epoch = lane.epoch,
                        next_offset = lane.next_offset,
                        parked_keys = lane.parked.len(),
                        "lane claimed"
                    );
                    self.hold(lane);
                }
            }
            Event::Unclaimed(partitions) => self.claim_later(partitions),
            Event::Claimed(lane) => self.take_up(lane),
            Event::Revoked(partitions) => {
                tracing::info!(group = self.set.group, ?partitions, "lanes taken away");
                for partition in &partitions {
                    self.let_go(*partition);
                }
            }
            Event::OutOfRange => self.ask_ends(),
            Event::Ends(ends) => self.compare(&ends),
            Event::Sought { partition, ticket } => {
                if self.seeking.get(&partition) == Some(&ticket) {
                    self.seeking.remove(&partition);
                }
            }
            Event::Brokers(state) => self.brokers = state,
            Event::Gone(why) => self.gone = Some(why),
        }
    }

    pub(super) fn hold(&mut self, lane: Lane) {
        let partition = lane.partition;
        self.let_go(partition);
        self.lanes.insert(partition, lane);
        self.claimed.insert(partition);
        self.due = true;
    }

    /// Claims lanes beside the loop: a lock that somebody holds must not keep the other lanes waiting.
    pub(super) fn claim_later(&mut self, partitions: Vec<i32>) {
        for partition in partitions {
            let ended = CancellationToken::new();
            let (database, events) = (self.config.database.clone(), self.events.clone());
            tokio::spawn(claim::until_ended(self.set, partition, database, events, ended.clone()));
            self.unclaimed.insert(partition, ended.drop_guard());
        }
    }

    /// A late claim came through; one for a partition that was taken away meanwhile is ignored.
    pub(super) fn take_up(&mut self, lane: Lane) {
        if self.unclaimed.contains_key(&lane.partition) {
            tracing::info!(
                group = self.set.group,
                partition = lane.partition,
                epoch = lane.epoch,
                "lane claimed late"
            );
            let (partition, offset) = (lane.partition, lane.begins_at());
            self.hold(lane);
            self.seek(partition, offset);
        }
    }

    pub(super) fn let_go(&mut self, partition: i32) {
        self.lanes.remove(&partition);
        self.unclaimed.remove(&partition);
        self.seeking.remove(&partition);
        self.halted.remove(&partition);
        self.unanswered.remove(&partition);
        self.committed.remove(&partition);
        self.claimed.remove(&partition);
        self.poison.retain(|(of, _), _| *of != partition);
    }

    /// Stops a lane until somebody looks; the others go on.
    pub(super) fn halt(&mut self, partition: i32, why: String) {
        tracing::error!(group = self.set.group, partition, why, "lane halted");
        counter!(names::FAILURES, "group" => self.set.group, "fate" => "halt").increment(1);
        self.lanes.remove(&partition);
        self.halted.insert(partition, why);
        self.command(Command::Halt { partition });
    }

    /// Asks where the lanes' partitions begin and end; the answer is compared with where the lanes stand now.
    pub(super) fn ask_ends(&self) {
        let positions = self.lanes.values().map(|lane| (lane.partition, lane.next_offset)).collect();
        self.command(Command::AskEnds(positions));
    }

    /// Compares positions with what the topic holds: outside it halts, behind without moving rejoins.
    pub(super) fn compare(&mut self, ends: &[Ends]) {
        let mut behind = BTreeMap::new();
        for of in ends {
            let Ends { partition, low, high, .. } = of;
            let Some(next) = self.lanes.get(partition).map(|lane| lane.next_offset) else { continue };
            if of.leaves_out(next) {
                self.halt(
                    *partition,
                    format!(
                        "the lane stands at offset {next}, but {} holds {low} to {high}: the topic was recreated, or \
                         records expired unread; restore them, or give them up with `mambogo lanes begin`",
                        self.set.topic
                    ),
                );
            } else if self.forgets_what_expired(*partition, *low) {
                self.seek(*partition, next);
            } else if next < *high {
                behind.insert(*partition, next);
            }
        }
        let stalled = match &self.stalled_at {
            Some(before) => behind.iter().any(|(partition, next)| before.get(partition) == Some(next)),
            None => false,
        };
        self.stalled_at = Some(behind);
        if stalled && self.inbox.len() == 0 && self.may_work() {
            self.rejoin("stalled");
        }
    }

    /// Whether the record that the lane read last has expired, so that reading could not begin there.
    fn forgets_what_expired(&mut self, partition: i32, low: i64) -> bool {
        let lane = self.lanes.get_mut(&partition).filter(|lane| lane.begins_at() < low);
        lane.and_then(|lane| lane.last_read.take()).is_some()
    }

    /// Takes out what was read only to be compared: after a claim, the last record that was read before. A lane whose
    /// topic holds another in its place stands in a topic of the past, and stops.
    pub(super) fn recognise(&mut self, mut records: Vec<Arc<Record>>) -> Vec<Arc<Record>> {
        let mut others = BTreeMap::new();
        records.retain(|record| {
            let Some(lane) = self.lanes.get(&record.partition) else { return false };
            let Some(last) = lane.last_read.filter(|last| last.offset == record.offset) else { return true };
            if last != LastRead::of(record) {
                others.insert(record.partition, record.offset);
            }
            record.offset >= lane.next_offset
        });
        records.retain(|record| !others.contains_key(&record.partition));
        for (partition, offset) in others {
            self.halt(
                partition,
                format!(
                    "the record at offset {offset} of {} is not the one that the lane read there: the topic was recreated; \
                     restore it, or give up what it held with `mambogo lanes begin`",
                    self.set.topic
                ),
            );
        }
        records
    }

    pub(super) fn rejoin(&mut self, why: &'static str) {
        if self.rejoined.is_some_and(|at| at.elapsed() < TICK_SLOW) {
            return;
        }
        self.rejoined = Some(Instant::now());
        tracing::warn!(group = self.set.group, why, "leaving the group and joining again");
        counter!(names::REJOINS, "group" => self.set.group, "why" => why).increment(1);
        self.stalled_at = None;
        self.progress = Instant::now();
        self.command(Command::Rejoin);
    }
}
