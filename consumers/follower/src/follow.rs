//! The loop: gather what there is, write it, commit it. One thread, which also answers rebalances.

use crate::{
    Effect, FollowError, Following,
    member::{Member, Probe},
    positions::Positions,
    readiness::{Leg, Readiness},
};
use backon::{BackoffBuilder, ExponentialBuilder};
use chassis::health::Part;
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Longest wait for a record, and so for noticing a stop.
const POLL: Duration = Duration::from_millis(100);
/// How often an idle follower looks whether Kafka and its target are there.
const LOOK: Duration = Duration::from_secs(2);
/// The same while Kafka is away, or the group not joined yet.
const LOOK_OFTEN: Duration = Duration::from_millis(500);
/// How long records may be there and not come, before the consumer is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two commits, which cost the broker as much as many records. What a commit is late by is read again after a
/// crash, and changes nothing.
const COMMIT: Duration = Duration::from_millis(100);
/// So many records at once say that more are on their way: the next are given [`GROWTH`] to come.
const BUSY: u64 = 16;
/// A round trip to the target costs much the same for one record as for a hundred.
const GROWTH: Duration = Duration::from_millis(5);
/// Pause before a new consumer.
const REJOIN: Duration = Duration::from_secs(1);

/// Why a member is given up for a new one.
struct GivenUp(String);

/// Works until `stop`. A consumer that is stuck or failed for good is replaced by a new one.
pub(crate) fn follow<E: Effect>(
    following: &Following,
    effect: E,
    part: Part,
    stop: &CancellationToken,
    runtime: &Handle,
) -> Result<(), FollowError> {
    let mut follower = Follower {
        following,
        effect,
        readiness: Readiness::new(part, following.group, following.target),
        stop,
        runtime,
        looked: Instant::now(),
        behind_since: None,
        is_busy: false,
        written: Positions::default(),
        committed: Instant::now(),
    };
    while !stop.is_cancelled() {
        let member = Member::join(following).map_err(|error| FollowError::Kafka(following.group, error))?;
        let end = follower.serve(&member);
        member.leave();
        if let Err(GivenUp(why)) = end {
            ::metrics::counter!(following.counters.rejoins).increment(1);
            tracing::error!(group = following.group, %why, "the consumer is given up for a new one");
            follower.readiness.down(Leg::Kafka, why);
            let _ = runtime.block_on(async { tokio::time::timeout(REJOIN, stop.cancelled()).await });
        }
    }
    Ok(())
}

/// What was read and is not written yet.
struct Gathered<B> {
    batch: B,
    next: Positions,
}

impl<B: Default> Gathered<B> {
    fn nothing() -> Self {
        Self { batch: B::default(), next: Positions::default() }
    }

    fn add<E: Effect<Batch = B>>(&mut self, effect: &mut E, member: &Member, message: &BorrowedMessage<'_>) {
        if let Some(record) = member.record(message) {
            self.next.pass(&record);
            effect.add(&mut self.batch, &record);
        }
    }
}

struct Follower<'a, E> {
    following: &'a Following,
    effect: E,
    readiness: Readiness,
    stop: &'a CancellationToken,
    runtime: &'a Handle,
    looked: Instant,
    behind_since: Option<Instant>,
    /// Many records came at once, last.
    is_busy: bool,
    /// What was written and not committed.
    written: Positions,
    committed: Instant,
}

impl<E: Effect> Follower<'_, E> {
    fn serve(&mut self, member: &Member) -> Result<(), GivenUp> {
        self.behind_since = None;
        self.written = Positions::default();
        self.look_at_target();
        let end = self.work(member);
        self.commit_written(member);
        end
    }

    fn work(&mut self, member: &Member) -> Result<(), GivenUp> {
        let mut gathered = Gathered::nothing();
        while !self.stop.is_cancelled() {
            let came = self.gather(member, &mut gathered)?;
            self.is_busy = came >= BUSY;
            if !gathered.next.is_empty() && self.effect.is_due(&gathered.batch) {
                if !self.write(member, &mut gathered)? {
                    return Ok(());
                }
                self.written.extend(gathered.next);
                gathered = Gathered::nothing();
            }
            if came == 0 || self.committed.elapsed() >= COMMIT {
                self.commit_written(member);
            }
            self.look(member, came == 0)?;
        }
        Ok(())
    }

    fn commit_written(&mut self, member: &Member) {
        if !self.written.is_empty() {
            member.commit_positions(&self.written);
            self.written = Positions::default();
            self.committed = Instant::now();
        }
    }

    /// Waits a little for a first record, then takes what is there already. How many came.
    fn gather(&mut self, member: &Member, gathered: &mut Gathered<E::Batch>) -> Result<u64, GivenUp> {
        let (mut wait, mut came) = (POLL, 0);
        while !self.effect.is_full(&gathered.batch) {
            match member.poll(wait) {
                Some(Ok(message)) => {
                    gathered.add(&mut self.effect, member, &message);
                    came += 1;
                }
                Some(Err(error)) => self.heard_error(error)?,
                None => break,
            }
            if self.is_busy && !wait.is_zero() {
                std::thread::sleep(GROWTH);
            }
            wait = Duration::ZERO;
        }
        Ok(came)
    }

    /// Errors that librdkafka mends by itself only show in the readiness; the next look tells when it has.
    fn heard_error(&mut self, error: KafkaError) -> Result<(), GivenUp> {
        match error {
            KafkaError::MessageConsumptionFatal(_) => return Err(GivenUp(error.to_string())),
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::UnknownTopicOrPartition,
            ) => self.readiness.down(Leg::Kafka, error.to_string()),
            error => tracing::warn!(group = self.following.group, %error, "reading"),
        }
        Ok(())
    }

    /// Writes all of it, however long the target is away: paused, but polled, so that the group keeps its member. False
    /// when told to stop first; then nothing of it is committed, and the next owner reads it again.
    fn write(&mut self, member: &Member, gathered: &mut Gathered<E::Batch>) -> Result<bool, GivenUp> {
        let mut delays = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(2))
            .with_jitter()
            .without_max_times()
            .build();
        let mut is_paused = false;
        while let Err(error) = self.runtime.block_on(self.effect.write(&gathered.batch)) {
            ::metrics::counter!(self.following.counters.failures).increment(1);
            self.readiness.down(Leg::Target, error.to_string());
            is_paused = true;
            self.wait_paused(member, gathered, delays.next().unwrap_or(LOOK))?;
            if self.stop.is_cancelled() {
                return Ok(false);
            }
        }
        self.readiness.up(Leg::Target);
        if is_paused {
            member.resume();
        }
        Ok(true)
    }

    /// Polls for `delay` with everything paused. A record that was on its way is gathered; what a rebalance brings is
    /// paused as well.
    fn wait_paused(
        &mut self,
        member: &Member,
        gathered: &mut Gathered<E::Batch>,
        delay: Duration,
    ) -> Result<(), GivenUp> {
        let until = Instant::now() + delay;
        let mut assignments = member.assignments();
        member.pause();
        while !self.stop.is_cancelled() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match member.poll(left.min(POLL)) {
                Some(Ok(message)) => gathered.add(&mut self.effect, member, &message),
                Some(Err(error)) => self.heard_error(error)?,
                None => {}
            }
            if member.assignments() != assignments {
                assignments = member.assignments();
                member.pause();
            }
        }
        Ok(())
    }

    /// Now and then, when no record comes: is the target there, is Kafka there, and is there really nothing to read?
    fn look(&mut self, member: &Member, is_idle: bool) -> Result<(), GivenUp> {
        if !is_idle {
            self.behind_since = None;
            self.readiness.up(Leg::Kafka);
            return Ok(());
        }
        let pace = if self.readiness.is_up(Leg::Kafka) { LOOK } else { LOOK_OFTEN };
        if self.looked.elapsed() < pace {
            return Ok(());
        }
        self.look_at_target();
        let probe = member.probe();
        self.looked = Instant::now();
        match probe {
            Probe::Away(why) => {
                self.behind_since = None;
                self.readiness.down(Leg::Kafka, why);
                return Ok(());
            }
            Probe::Drained => self.behind_since = None,
            Probe::Behind => {
                let since = *self.behind_since.get_or_insert(self.looked);
                if since.elapsed() >= PATIENCE {
                    return Err(GivenUp(format!("there are records, and none came for {PATIENCE:?}")));
                }
            }
        }
        if member.assignments() > 0 {
            self.readiness.up(Leg::Kafka);
        }
        Ok(())
    }

    fn look_at_target(&mut self) {
        match self.runtime.block_on(self.effect.look()) {
            Ok(()) => self.readiness.up(Leg::Target),
            Err(error) => self.readiness.down(Leg::Target, error.to_string()),
        }
    }
}
