//! The task that owns the lanes: takes batches, has them settled, and gives every failure its one fate.

use crate::{
    attempt::{Attempt, Committed, Trouble},
    claim,
    config::WorkerConfig,
    consumer::{self, Claims, Command, Event},
    fate::{self, Fate},
    inbox::{Bound, Inbox},
    judge::{DATABASE, PANIC, Place},
    lane::Lane,
    metrics as names,
    record::{Record, Rejection},
    service::Service,
    store::{self, LaneSet},
};
use chassis::{
    health::Part,
    postgres::{SessionLimits, connect},
    wake::Wake,
};
use metrics::{counter, gauge, histogram};
use rand::Rng;
use rdkafka::error::KafkaError;
use sqlx::PgConnection;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, mpsc as thread_channel},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Why a worker could not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The topic has another partition count than the lanes were made for.
    #[error(
        "{topic} has {found} partitions, but the lanes of group {group} were made for {expected}: \
         the count is fixed for a topic's life; recreate the topic with {expected}, or drain it and renew the lanes"
    )]
    PartitionCount {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: &'static str,
        /// What the lanes were made for.
        expected: i32,
        /// What the topic has.
        found: i32,
    },
    /// The topic is not there.
    #[error("{topic} does not exist: create the topics with `mambogo topics`")]
    NoTopic {
        /// The topic.
        topic: String,
    },
    /// The Kafka client could not be made.
    #[error("Kafka client of group {group}: {source}")]
    Kafka {
        /// The consumer group.
        group: &'static str,
        /// What happened.
        source: KafkaError,
    },
    /// The polling thread could not be started, or ended by itself.
    #[error("the polling thread of group {group}: {why}")]
    Thread {
        /// The consumer group.
        group: &'static str,
        /// What happened.
        why: String,
    },
}

const TICK_SLOW: Duration = Duration::from_secs(1);
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LAST: Duration = Duration::from_secs(5);
/// A lane that is behind and does not move for this long makes the worker rejoin its group.
const STALL: Duration = Duration::from_secs(10);

pub(crate) struct Worker<S: Service> {
    service: S,
    config: WorkerConfig,
    set: LaneSet,
    partitions: i32,
    part: Part,
    wake: Wake,
    inbox: Arc<Inbox>,
    commands: thread_channel::Sender<Command>,
    connection: Option<PgConnection>,
    lanes: BTreeMap<i32, Lane>,
    /// Lanes that are ours but not claimed yet, each with what ends its claimer.
    unclaimed: BTreeMap<i32, DropGuard>,
    events: mpsc::UnboundedSender<Event>,
    halted: BTreeMap<i32, String>,
    poison: HashMap<Place, Rejection>,
    unanswered: BTreeMap<i32, (i64, i64)>,
    /// Most records of the next batch: halved while a poison record is looked for.
    limit: usize,
    due: bool,
    due_asked: Instant,
    failures: u32,
    retry_at: Option<Instant>,
    brokers: Result<(), String>,
    database: Result<(), String>,
    joined: bool,
    outbox_full: bool,
    slow_tick: Instant,
    committed: BTreeMap<i32, i64>,
    progress: Instant,
    stalled_at: Option<BTreeMap<i32, i64>>,
    rejoined: Option<Instant>,
}

/// Runs a service's worker until `stop`: finishes the batch in hand, tells the group how far it is, and leaves.
///
/// # Errors
/// [`WorkerError`] when it cannot start. Failures later on are waited out, or halt a lane and show in `part`.
pub async fn run<S: Service>(
    service: S,
    config: WorkerConfig,
    part: Part,
    wake: Wake,
    stop: CancellationToken,
) -> Result<(), WorkerError> {
    let set = LaneSet { group: service.group(), topic: service.input() };
    let Some((partitions, connection)) = crate::start::prepare(&config, set, &part, &stop).await? else {
        return Ok(());
    };
    let bound = Bound { records: config.batch_records * 2, bytes: config.batch_bytes * 2 };
    let inbox = Arc::new(Inbox::new(bound));
    let (events_in, events) = mpsc::unbounded_channel();
    let claims = Claims {
        set,
        topic: set.topic.on_cluster(&config.cluster.prefix),
        database: config.database.expose().to_owned(),
        runtime: tokio::runtime::Handle::current(),
        events: events_in.clone(),
        inbox: Arc::clone(&inbox),
        connection: std::sync::Mutex::new(None),
    };
    let kafka = |source| WorkerError::Kafka { group: set.group, source };
    let polled = consumer::consumer(&config, claims).map_err(kafka)?;
    let (commands, obeyed) = thread_channel::channel();
    let failed = |why: String| WorkerError::Thread { group: set.group, why };
    let thread = std::thread::Builder::new()
        .name(format!("poll-{}", set.group))
        .spawn(move || consumer::poll(polled, &obeyed))
        .map_err(|error| failed(error.to_string()))?;
    let limit = config.batch_records;
    let now = Instant::now();
    let worker = Worker {
        service,
        config,
        set,
        partitions,
        part,
        wake,
        inbox,
        commands,
        connection: Some(connection),
        lanes: BTreeMap::new(),
        unclaimed: BTreeMap::new(),
        events: events_in,
        halted: BTreeMap::new(),
        poison: HashMap::new(),
        unanswered: BTreeMap::new(),
        limit,
        due: false,
        due_asked: now,
        failures: 0,
        retry_at: None,
        brokers: Ok(()),
        database: Ok(()),
        joined: false,
        outbox_full: false,
        slow_tick: now,
        committed: BTreeMap::new(),
        progress: now,
        stalled_at: None,
        rejoined: None,
    };
    worker.own(events, stop).await;
    tokio::task::spawn_blocking(move || thread.join())
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|_| failed("it panicked".to_owned()))
}

impl<S: Service> Worker<S> {
    /// The loop. Everything awaited in its select is safe to drop; a batch is never awaited there.
    async fn own(mut self, mut events: mpsc::UnboundedReceiver<Event>, stop: CancellationToken) {
        loop {
            let nap = self.nap();
            tokio::select! {
                biased;
                // a stop comes first: what is in hand is finished by then
                () = stop.cancelled() => break,
                // who owns what comes before any batch, or the batch would be fenced
                Some(event) = events.recv() => self.hear(event),
                // then records, unless the last failure is to be waited out
                () = self.inbox.arrived(), if self.may_work() => {}
                // and time
                () = tokio::time::sleep(nap) => {}
            }
            while let Ok(event) = events.try_recv() {
                self.hear(event);
            }
            self.see_to_time().await;
            while self.may_work() && self.work().await && !stop.is_cancelled() {
                while let Ok(event) = events.try_recv() {
                    self.hear(event);
                }
            }
            self.report();
        }
        self.part.not_ready("stopping");
        self.commit_offsets();
        let _ = self.commands.send(Command::Stop);
    }

    fn may_work(&self) -> bool {
        !self.outbox_full && self.retry_at.is_none_or(|at| at <= Instant::now())
    }

    fn nap(&self) -> Duration {
        match self.retry_at {
            Some(at) => at.saturating_duration_since(Instant::now()).min(self.config.due_tick),
            None => self.config.due_tick,
        }
    }

    fn command(&self, command: Command) {
        // the thread ends only after Stop
        let _ = self.commands.send(command);
    }

    fn hear(&mut self, event: Event) {
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
            Event::OutOfRange => self.command(Command::AskEnds(self.lanes.keys().copied().collect())),
            Event::Ends(ends) => self.compare(&ends),
            Event::Brokers(state) => self.brokers = state,
        }
    }

    fn hold(&mut self, lane: Lane) {
        let partition = lane.partition;
        self.let_go(partition);
        self.lanes.insert(partition, lane);
        self.due = true;
    }

    /// Claims lanes beside the loop: a lock that somebody holds must not keep the other lanes waiting.
    fn claim_later(&mut self, partitions: Vec<i32>) {
        for partition in partitions {
            let ended = CancellationToken::new();
            let (database, events) = (self.config.database.clone(), self.events.clone());
            tokio::spawn(claim::until_ended(self.set, partition, database, events, ended.clone()));
            self.unclaimed.insert(partition, ended.drop_guard());
        }
    }

    /// A late claim came through; one for a partition that was taken away meanwhile is ignored.
    fn take_up(&mut self, lane: Lane) {
        if self.unclaimed.contains_key(&lane.partition) {
            tracing::info!(
                group = self.set.group,
                partition = lane.partition,
                epoch = lane.epoch,
                "lane claimed late"
            );
            self.command(Command::Seek { partition: lane.partition, offset: lane.next_offset });
            self.hold(lane);
        }
    }

    fn let_go(&mut self, partition: i32) {
        self.lanes.remove(&partition);
        self.unclaimed.remove(&partition);
        self.halted.remove(&partition);
        self.unanswered.remove(&partition);
        self.committed.remove(&partition);
        self.poison.retain(|(of, _), _| *of != partition);
    }

    /// Stops a lane until somebody looks; the others go on.
    fn halt(&mut self, partition: i32, why: String) {
        tracing::error!(group = self.set.group, partition, why, "lane halted");
        counter!(names::FAILURES, "group" => self.set.group, "fate" => "halt").increment(1);
        self.lanes.remove(&partition);
        self.halted.insert(partition, why);
        self.command(Command::Halt { partition });
    }

    /// Compares positions with what the topic holds: outside it halts, behind without moving rejoins.
    fn compare(&mut self, ends: &[(i32, i64, i64)]) {
        let mut behind = BTreeMap::new();
        for (partition, low, high) in ends {
            let Some(next) = self.lanes.get(partition).map(|lane| lane.next_offset) else { continue };
            if next < *low || next > *high {
                self.halt(
                    *partition,
                    format!(
                        "the lane stands at offset {next}, but {} holds {low} to {high}: the topic was recreated, or \
                         records expired unread; restore them, or renew the lane",
                        self.set.topic
                    ),
                );
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

    fn rejoin(&mut self, why: &'static str) {
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

    /// What happens by the clock: due work, claims that failed, offsets for lag tools, the outbox's size, stalls.
    async fn see_to_time(&mut self) {
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        if self.due_asked.elapsed() >= self.config.due_tick && !self.lanes.is_empty() {
            self.due_asked = Instant::now();
            self.ask_due().await;
        }
        if self.slow_tick.elapsed() >= TICK_SLOW {
            self.slow_tick = Instant::now();
            self.commit_offsets();
            self.look_at_outbox().await;
            if self.progress.elapsed() >= STALL && !self.lanes.is_empty() {
                self.progress = Instant::now();
                self.command(Command::AskEnds(self.lanes.keys().copied().collect()));
            }
        }
    }

    async fn ask_due(&mut self) {
        let lanes: Vec<_> = self.lanes.values().map(|lane| (lane.partition, lane.due_mark)).collect();
        let Some(mut connection) = self.take_connection().await else { return };
        match self.service.is_due(&mut connection, &lanes).await {
            Ok(due) => {
                self.due |= due;
                self.connection = Some(connection);
            }
            Err(error) => self.fail(error),
        }
    }

    async fn look_at_outbox(&mut self) {
        let lanes: Vec<_> = self.lanes.values().map(|lane| lane.id.0).collect();
        let Some(connection) = self.connected().await else { return };
        match store::backlog(connection, &lanes).await {
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

    fn commit_offsets(&mut self) {
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

    /// One batch. Says whether there may be more to do at once.
    async fn work(&mut self) -> bool {
        let bound = Bound { records: self.limit, bytes: self.config.batch_bytes };
        let records = self.inbox.take(bound, |partition| self.lanes.contains_key(&partition));
        if records.is_empty() && !self.due {
            return false;
        }
        let records = self.wait_for_age(records).await;
        let Some(mut connection) = self.take_connection().await else {
            self.inbox.put_back(records);
            return false;
        };
        let started = Instant::now();
        let kept = records.clone();
        let attempt = Attempt {
            service: &self.service,
            set: self.set,
            config: &self.config,
            partitions: self.partitions,
            lanes: &self.lanes,
            poison: &self.poison,
            unanswered: &self.unanswered,
            due: self.due,
        };
        let result = attempt.run(&mut connection, records).await;
        match result {
            Ok(committed) => {
                histogram!(names::BATCH_SECONDS, "group" => self.set.group)
                    .record(started.elapsed().as_secs_f64());
                self.done(committed);
                self.tell_relays(connection).await;
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

    /// A batch that is not full may be told to wait for more, up to the age set.
    async fn wait_for_age(&self, mut records: Vec<Record>) -> Vec<Record> {
        let until = tokio::time::Instant::now() + self.config.batch_age;
        while !self.config.batch_age.is_zero() && !records.is_empty() && records.len() < self.limit {
            if tokio::time::timeout_at(until, self.inbox.arrived()).await.is_err() {
                break;
            }
            let bytes: usize = records.iter().map(Record::size).sum();
            let left = Bound {
                records: self.limit - records.len(),
                bytes: self.config.batch_bytes.saturating_sub(bytes),
            };
            let more = self.inbox.take(left, |partition| self.lanes.contains_key(&partition));
            if left.bytes == 0 {
                break;
            }
            records.extend(more);
        }
        records
    }

    fn done(&mut self, committed: Committed<S::Tally>) {
        let group = self.set.group;
        self.failures = 0;
        self.retry_at = None;
        self.due = false;
        self.database = Ok(());
        self.unanswered.clear();
        self.limit = (self.limit * 2).min(self.config.batch_records);
        let Committed { lanes, seeks, passed, judgement, said, tally } = committed;
        if !lanes.is_empty() {
            self.progress = Instant::now();
        }
        for (partition, mut lane) in lanes {
            if let Some(held) = self.lanes.get(&partition) {
                // a look at a gap that found nothing to take is remembered beside the row, not in it
                lane.gap_checked = lane.gap_checked.or(held.gap_checked);
            }
            self.poison.retain(|(of, at), _| *of != partition || *at >= lane.next_offset);
            self.lanes.insert(partition, lane);
        }
        for (partition, offset) in seeks {
            self.command(Command::Seek { partition, offset });
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
            tracing::warn!(
                group,
                partition = record.partition,
                offset = record.offset,
                key = %String::from_utf8_lossy(&record.key).escape_default(),
                cause = rejection.cause,
                detail = rejection.detail,
                "record parked"
            );
        }
        let decided = judgement.executed + judgement.already_applied + judgement.rejected.len() as u64;
        if decided > 0 {
            histogram!(names::BATCH, "group" => group).record(decided as f64);
        }
        if said > 0 || !judgement.rejected.is_empty() {
            counter!(names::SAID, "group" => group).increment(said as u64);
            self.wake.notify();
        }
        if let Some(tally) = tally {
            self.service.committed(tally);
        }
    }

    /// After the commit, in a statement of its own, and only when some other process sends our lanes.
    async fn tell_relays(&mut self, mut connection: PgConnection) {
        if self.wake.covers_all() {
            self.connection = Some(connection);
            return;
        }
        match store::notify(&mut connection).await {
            Ok(()) => self.connection = Some(connection),
            // relays look by themselves as well; the next statement finds out what is wrong
            Err(error) => tracing::debug!(group = self.set.group, %error, "waking relays"),
        }
    }

    async fn give_fate(&mut self, trouble: Trouble, records: usize, connection: PgConnection) {
        let count = |fate: &'static str| {
            counter!(names::FAILURES, "group" => self.set.group, "fate" => fate).increment(1)
        };
        match trouble {
            Trouble::Fenced(partitions) => {
                count("fenced");
                tracing::warn!(
                    group = self.set.group,
                    ?partitions,
                    "fenced: another owner claimed these lanes"
                );
                self.connection = Some(connection);
                for partition in partitions {
                    self.let_go(partition);
                    self.inbox.forget(partition);
                }
                self.rejoin("fenced");
            }
            Trouble::Answered(partitions) => {
                count("answer_lost");
                tracing::info!(
                    group = self.set.group,
                    ?partitions,
                    "the commit whose answer was lost had happened"
                );
                self.read_again(&partitions, connection).await;
            }
            Trouble::Halt { partitions, why } => {
                self.connection = Some(connection);
                for partition in partitions {
                    self.halt(partition, why.clone());
                }
            }
            Trouble::Poison { place, message } => {
                count("poison");
                self.connection = Some(connection);
                tracing::error!(
                    group = self.set.group,
                    partition = place.0,
                    offset = place.1,
                    message,
                    "a record made the service panic; it is parked"
                );
                self.poison.insert(place, Rejection::new(PANIC, message));
            }
            Trouble::Database { error, ends } => {
                if let Some(ends) = ends {
                    self.unanswered = ends;
                }
                match fate::of(&error) {
                    Fate::Bisect => {
                        count("bisect");
                        self.connection = Some(connection);
                        self.bisect(records, &error);
                    }
                    Fate::Again => {
                        count("again");
                        self.connection = Some(connection);
                        let jitter = rand::rng().random_range(1..20);
                        self.retry_at = Some(Instant::now() + Duration::from_millis(jitter));
                    }
                    Fate::Pause => {
                        count("pause");
                        self.fail(error);
                    }
                }
            }
        }
    }

    /// Half the batch, until it is one record: that one is the culprit.
    fn bisect(&mut self, records: usize, error: &sqlx::Error) {
        if records > 1 {
            self.limit = (records / 2).max(1);
            return;
        }
        let culprit =
            self.inbox.take(Bound { records: 1, bytes: 1 }, |partition| self.lanes.contains_key(&partition));
        match culprit.first() {
            Some(record) => {
                tracing::error!(
                    group = self.set.group,
                    partition = record.partition,
                    offset = record.offset,
                    %error,
                    "the database refuses a record's effects; it is parked"
                );
                self.poison
                    .insert((record.partition, record.offset), Rejection::new(DATABASE, error.to_string()));
                self.inbox.put_back(culprit);
            }
            None => self.wait_out(),
        }
    }

    async fn read_again(&mut self, partitions: &[i32], mut connection: PgConnection) {
        match self.set.read(&mut connection, partitions).await {
            Ok(lanes) => {
                self.connection = Some(connection);
                for lane in lanes {
                    match self.lanes.get(&lane.partition) {
                        Some(held) if held.epoch == lane.epoch => {
                            self.lanes.insert(lane.partition, lane);
                        }
                        _ => {}
                    }
                }
                self.unanswered.clear();
                // what the commit said may still wait for a relay
                self.wake.notify();
            }
            Err(error) => self.fail(error),
        }
    }

    /// The database is away, or refused for a reason that time may mend: wait with backoff, alive.
    fn fail(&mut self, error: sqlx::Error) {
        self.connection = None;
        self.database = Err(format!("Postgres: {error}"));
        tracing::warn!(group = self.set.group, %error, failures = self.failures, "database; waiting before the next try");
        self.wait_out();
    }

    fn wait_out(&mut self) {
        self.failures = self.failures.saturating_add(1);
        let full = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_LAST);
        self.retry_at = Some(Instant::now() + full.mul_f64(rand::rng().random_range(0.5..1.0)));
    }

    async fn take_connection(&mut self) -> Option<PgConnection> {
        self.connected().await?;
        self.connection.take()
    }

    async fn connected(&mut self) -> Option<&mut PgConnection> {
        if self.connection.is_none() {
            let name = format!("mambogo {}", self.set.group);
            match connect(self.config.database.expose(), &name, SessionLimits::WORKER).await {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => {
                    self.fail(error);
                    return None;
                }
            }
        }
        self.connection.as_mut()
    }

    /// Tells health and metrics how it stands.
    fn report(&self) {
        let group = self.set.group;
        gauge!(names::LANES, "group" => group).set(self.lanes.len() as f64);
        gauge!(names::HALTED, "group" => group).set(self.halted.len() as f64);
        gauge!(names::WAITING, "group" => group).set(self.inbox.len() as f64);
        gauge!(names::OUTBOX_FULL, "group" => group).set(f64::from(u8::from(self.outbox_full)));
        let holes = self.lanes.values().filter(|lane| lane.has_hole()).count();
        gauge!(names::HOLES, "group" => group).set(holes as f64);
        let halted = self.halted.iter().next();
        match (halted, &self.database, &self.brokers) {
            (Some((partition, why)), _, _) => {
                self.part.not_ready(format!("partition {partition} halted: {why}"))
            }
            (_, Err(why), _) | (_, _, Err(why)) => self.part.not_ready(why.clone()),
            _ if !self.joined => self.part.not_ready("joining the group"),
            _ if !self.unclaimed.is_empty() => self.part.not_ready("claiming lanes"),
            _ if self.outbox_full => self.part.not_ready("the outbox is full: the relay is behind"),
            _ => self.part.ready(),
        }
    }
}
