//! The loop: gather what there is, write it, commit it. One thread, which also answers rebalances.

use crate::{
    StatusError,
    batch::Batch,
    config::StatusConfig,
    member::{Member, Probe},
    metrics,
    readiness::{Leg, Readiness},
    views::{Views, Written},
};
use backon::{BackoffBuilder, ExponentialBuilder};
use chassis::{
    clock::Clock,
    crash::{self, CrashPoint},
    health::Part,
};
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Message},
};
use schemas::time::Timestamp;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Longest wait for a record, and so for noticing a stop.
const POLL: Duration = Duration::from_millis(100);
/// How often an idle worker looks whether Kafka and Redis are there.
const LOOK: Duration = Duration::from_secs(2);
/// The same while Kafka is away, or the group not joined yet.
const LOOK_OFTEN: Duration = Duration::from_millis(500);
/// How long records may be there and not come, before the consumer is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two commits, which cost the broker as much as many records. What a commit is late by is read again after a
/// crash, and changes nothing.
const COMMIT: Duration = Duration::from_millis(100);
/// A batch of so many says that more are on their way: the next one is given [`GROWTH`] to grow.
const BUSY: u64 = 16;
/// A round trip to Redis costs the same for one view as for a hundred, and an order's versions in one batch are one view.
const GROWTH: Duration = Duration::from_millis(5);
/// Pause before a new consumer.
const REJOIN: Duration = Duration::from_secs(1);

/// Why a member's life ended.
enum End {
    Stopped,
    Rejoin(String),
}

/// Works until `stop`. A consumer that is stuck or failed for good is replaced by a new one.
pub(crate) fn work(
    config: &StatusConfig,
    part: Part,
    stop: &CancellationToken,
    runtime: &Handle,
) -> Result<(), StatusError> {
    let mut worker = Worker {
        views: Views::new(config)?,
        readiness: Readiness::new(part),
        clock: Clock::system(),
        stop,
        runtime,
        looked: Instant::now(),
        behind_since: None,
        is_busy: false,
        written: BTreeMap::new(),
        committed: Instant::now(),
    };
    loop {
        let member = Member::join(config)?;
        let end = worker.serve(&member);
        member.leave();
        match end {
            End::Stopped => return Ok(()),
            End::Rejoin(why) => {
                ::metrics::counter!(metrics::REJOINS).increment(1);
                tracing::error!(%why, "the consumer is given up for a new one");
                worker.readiness.down(Leg::Kafka, why);
                let _ = runtime.block_on(async { tokio::time::timeout(REJOIN, stop.cancelled()).await });
            }
        }
    }
}

struct Worker<'a> {
    views: Views,
    readiness: Readiness,
    clock: Clock,
    stop: &'a CancellationToken,
    runtime: &'a Handle,
    looked: Instant,
    behind_since: Option<Instant>,
    /// The last batch was a large one.
    is_busy: bool,
    /// What was written and not committed: the first offset not yet read, by partition.
    written: BTreeMap<i32, i64>,
    committed: Instant,
}

impl Worker<'_> {
    fn serve(&mut self, member: &Member) -> End {
        self.behind_since = None;
        self.written.clear();
        self.look_at_redis();
        let end = self.work(member);
        self.commit(member);
        end
    }

    fn work(&mut self, member: &Member) -> End {
        while !self.stop.is_cancelled() {
            let mut batch = Batch::default();
            let gathered = self.gather(member, &mut batch);
            self.is_busy = batch.records() >= BUSY;
            if !batch.is_empty() {
                if !self.write(member, &mut batch) {
                    return End::Stopped;
                }
                self.written.extend(batch.next());
                report_skipped(&batch);
            }
            if batch.is_empty() || self.committed.elapsed() >= COMMIT {
                self.commit(member);
            }
            if let Err(end) = gathered.and_then(|()| self.look(member, batch.is_empty())) {
                return end;
            }
        }
        End::Stopped
    }

    fn commit(&mut self, member: &Member) {
        if !self.written.is_empty() {
            member.commit(&self.written);
            self.written.clear();
            self.committed = Instant::now();
        }
    }

    /// Waits a little for a first record, then takes what is there already.
    fn gather(&mut self, member: &Member, batch: &mut Batch) -> Result<(), End> {
        let mut wait = POLL;
        while !batch.is_full() {
            match member.poll(wait) {
                Some(Ok(record)) => add(batch, &record),
                Some(Err(error)) => self.heard_error(error)?,
                None => return Ok(()),
            }
            if self.is_busy && !wait.is_zero() {
                std::thread::sleep(GROWTH);
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    /// Errors that librdkafka mends by itself only show in the readiness; the next look tells when it has.
    fn heard_error(&mut self, error: KafkaError) -> Result<(), End> {
        match error {
            KafkaError::MessageConsumptionFatal(_) => Err(End::Rejoin(error.to_string())),
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::UnknownTopicOrPartition,
            ) => {
                self.readiness.down(Leg::Kafka, error.to_string());
                Ok(())
            }
            error => {
                tracing::warn!(%error, "reading order events");
                Ok(())
            }
        }
    }

    /// Writes a batch, however long Redis is away: paused, but polled, so that the group keeps its member. False
    /// when told to stop first; then nothing is committed and the next owner reads the batch again.
    fn write(&mut self, member: &Member, batch: &mut Batch) -> bool {
        let mut delays = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(2))
            .with_jitter()
            .without_max_times()
            .build();
        let mut is_paused = false;
        loop {
            let began = Instant::now();
            crash::point(CrashPoint::ViewBefore);
            match self.runtime.block_on(self.views.write(batch.orders())) {
                Ok(written) => {
                    crash::point(CrashPoint::ViewAfter);
                    self.readiness.up(Leg::Redis);
                    self.count(batch, &written, began);
                    if is_paused {
                        member.resume();
                    }
                    return true;
                }
                Err(error) => {
                    ::metrics::counter!(metrics::REDIS_FAILURES).increment(1);
                    self.readiness.down(Leg::Redis, error.to_string());
                    is_paused = true;
                    self.wait_paused(member, batch, delays.next().unwrap_or(LOOK));
                    if self.stop.is_cancelled() {
                        return false;
                    }
                }
            }
        }
    }

    /// Polls for `delay` with everything paused. A record that was on its way joins the batch; what a rebalance
    /// brings is paused as well.
    fn wait_paused(&mut self, member: &Member, batch: &mut Batch, delay: Duration) {
        let until = Instant::now() + delay;
        let mut assignments = member.assignments();
        member.pause();
        while !self.stop.is_cancelled() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            match member.poll(left.min(POLL)) {
                Some(Ok(record)) => add(batch, &record),
                Some(Err(error)) => tracing::warn!(%error, "reading order events while Redis is away"),
                None => {}
            }
            if member.assignments() != assignments {
                assignments = member.assignments();
                member.pause();
            }
        }
    }

    /// Now and then, when no record comes: is Redis there, is Kafka there, and is there really nothing to read?
    fn look(&mut self, member: &Member, is_idle: bool) -> Result<(), End> {
        if !is_idle {
            self.behind_since = None;
            self.readiness.up(Leg::Kafka);
            return Ok(());
        }
        let pace = if self.readiness.is_up(Leg::Kafka) { LOOK } else { LOOK_OFTEN };
        if self.looked.elapsed() < pace {
            return Ok(());
        }
        self.look_at_redis();
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
                    return Err(End::Rejoin(format!("there are records, and none came for {PATIENCE:?}")));
                }
            }
        }
        if member.assignments() > 0 {
            self.readiness.up(Leg::Kafka);
        }
        Ok(())
    }

    fn look_at_redis(&mut self) {
        match self.runtime.block_on(self.views.ping()) {
            Ok(()) => self.readiness.up(Leg::Redis),
            Err(error) => self.readiness.down(Leg::Redis, error.to_string()),
        }
    }

    fn count(&self, batch: &Batch, written: &Written, began: Instant) {
        ::metrics::counter!(metrics::RECORDS).increment(batch.records());
        ::metrics::counter!(metrics::VIEWS, "result" => "written").increment(written.newer);
        ::metrics::counter!(metrics::VIEWS, "result" => "older").increment(written.older);
        ::metrics::histogram!(metrics::WRITE).record(began.elapsed());
        ::metrics::histogram!(metrics::BATCH).record(batch.records() as f64);
        if let Some(oldest) = batch.oldest() {
            ::metrics::histogram!(metrics::AGE).record(Timestamp(self.clock.now_millis()).since(oldest));
        }
    }
}

fn add(batch: &mut Batch, record: &BorrowedMessage<'_>) {
    let logged = Timestamp(record.timestamp().to_millis().unwrap_or(0));
    batch.add(record.partition(), record.offset(), logged, record.payload().unwrap_or_default());
}

fn report_skipped(batch: &Batch) {
    for (cause, skipped) in batch.skipped() {
        ::metrics::counter!(metrics::SKIPPED, "cause" => *cause).increment(skipped.count);
        let (count, first) = (skipped.count, &skipped.first);
        if *cause == "unknown_schema" {
            tracing::error!(
                count,
                first,
                "order events of a newer release: this one must be upgraded; skipped"
            );
        } else {
            tracing::warn!(cause, count, first, "order events that cannot be read; skipped");
        }
    }
}
