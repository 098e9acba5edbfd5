//! The task that owns the lanes: takes batches, has them settled, and gives every failure its one fate.

mod batch;
mod events;
mod failure;
mod time;

use crate::{
    attempt::{Attempt, Committed, Trouble},
    claim,
    config::WorkerConfig,
    consumer::{self, Claims, Command, Ends, Event},
    fate::{self, Fate},
    inbox::{Bound, Inbox},
    judge::{DATABASE, PANIC, Place},
    lane::{Lane, LastRead},
    metrics as names,
    record::{Record, Rejection},
    redrive::Most,
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
use schemas::parked::MOST_NAMED;
use sqlx::PgConnection;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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
         the count is fixed for a topic's life; recreate the topic with {expected}"
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
    /// The Kafka client is of no use any more.
    #[error(
        "Kafka client of group {group}: {why}; if KAFKA_GROUP_INSTANCE_ID is set, another process was started with the \
         same one and has taken this one's place: give each process its own"
    )]
    Client {
        /// The consumer group.
        group: &'static str,
        /// What happened.
        why: String,
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

/// How long the worker is believed to be ready without saying so again: longer than any statement may run.
const LIFE: Duration = Duration::from_secs(10);
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
    /// Seeks that the polling thread has not done, by ticket. What waits of those partitions was read before: taken
    /// for a jump that is still there, it would carry the lane over what it is to read again.
    seeking: BTreeMap<i32, u64>,
    last_ticket: u64,
    halted: BTreeMap<i32, String>,
    poison: HashMap<Place, Rejection>,
    unanswered: BTreeMap<i32, (i64, i64)>,
    /// Most records of the next batch: halved while a poison record is looked for.
    limit: usize,
    /// Most parked records that run again at once: halved in the same way.
    most_again: usize,
    /// When the pause after the last batch ends.
    rested: Instant,
    /// Lanes claimed since the last commit.
    claimed: BTreeSet<i32>,
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
    /// Why the Kafka client is of no use any more.
    gone: Option<String>,
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
        seeking: BTreeMap::new(),
        last_ticket: 0,
        halted: BTreeMap::new(),
        poison: HashMap::new(),
        unanswered: BTreeMap::new(),
        limit,
        most_again: MOST_NAMED,
        rested: now,
        claimed: BTreeSet::new(),
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
        gone: None,
    };
    let ended = worker.own(events, stop).await;
    tokio::task::spawn_blocking(move || thread.join())
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|_| failed("it panicked".to_owned()))?;
    ended
}

impl<S: Service> Worker<S> {
    /// The loop. Everything awaited in its select is safe to drop; a batch is never awaited there.
    async fn own(
        mut self,
        mut events: mpsc::UnboundedReceiver<Event>,
        stop: CancellationToken,
    ) -> Result<(), WorkerError> {
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
                // a backlog may keep this up for an hour
                self.see_to_time().await;
                self.report();
            }
            self.report();
            if self.gone.is_some() {
                break;
            }
        }
        self.part.not_ready("stopping");
        self.commit_offsets();
        let _ = self.commands.send(Command::Stop);
        self.gone.map_or(Ok(()), |why| Err(WorkerError::Client { group: self.set.group, why }))
    }

    fn may_work(&self) -> bool {
        !self.outbox_full && !self.is_waiting()
    }

    /// Whether the last failure is still to be waited out.
    fn is_waiting(&self) -> bool {
        self.retry_at.is_some_and(|at| at > Instant::now())
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

    /// Has a lane's partition read from `offset` on. Nothing of it is taken until that is so.
    fn seek(&mut self, partition: i32, offset: i64) {
        self.last_ticket += 1;
        self.seeking.insert(partition, self.last_ticket);
        self.command(Command::Seek { partition, offset, ticket: self.last_ticket });
    }

    /// Whether records of that partition are taken.
    fn reads(&self, partition: i32) -> bool {
        self.lanes.contains_key(&partition) && !self.seeking.contains_key(&partition)
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
            _ => self.part.ready_for(LIFE + self.config.due_tick),
        }
    }
}
