//! One source's loop: it owns plan and producer, and does what the plan says.
//!
//! Its select is ordered: stop first, then what Kafka reports (it makes room), then what Postgres answered, then
//! reasons to read again.

mod anew;
mod stop;

use crate::{
    RelayError,
    config::{RelayConfig, SourceConfig},
    covers::Covers,
    desk::{self, Chore, Event, Order},
    halts::Halts,
    leases::Shares,
    metrics::Meters,
    pause::Pause,
    readiness::Condition,
    sending::{Batching, Sending},
    store::{Read, Store},
};
use publisher::Report;
use schemas::{ids::LaneId, topics::Topic};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// No acknowledgement for this long while records are in flight: Kafka is as good as away.
const OVERDUE: Duration = Duration::from_secs(5);
/// How often Kafka is asked for a sign of life while nothing is in flight, and how long it has for it.
const REACH: Duration = Duration::from_secs(5);
/// The longest pause between two tries of anything.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is wrong at the moment, by where.
#[derive(Default)]
struct Troubles {
    reading: Option<String>,
    keeping: Option<String>,
    kafka: Option<String>,
}

pub(crate) struct SourceRelay {
    config: Arc<RelayConfig>,
    schema: String,
    me: Uuid,
    bell: Arc<Notify>,
    condition: Condition,
    covers: Covers,
    meters: Meters,

    sending: Sending,
    /// Counts producers.
    life: u64,
    halts: Halts,
    /// Rows of which a broker refused a whole produce batch as too large: one of its records was.
    suspects: BTreeMap<LaneId, i64>,
    shares: Option<Shares>,

    orders: mpsc::UnboundedSender<Order>,
    chores: mpsc::UnboundedSender<Chore>,
    events: mpsc::UnboundedReceiver<Event>,
    heard: desk::Events,

    is_reading: bool,
    is_deleting: bool,
    is_leasing: bool,
    is_reaching: bool,
    /// There may be new rows.
    is_due: bool,
    /// A read of the present producer's life has come back.
    has_read: bool,
    /// A connection was lost since the lanes began: the server may have died, and come back with rows in which deletes
    /// that it had answered are undone.
    was_cut_off: bool,
    deleted_at: Option<Instant>,
    leased_at: Option<Instant>,
    reached_at: Option<Instant>,
    /// Since then nothing was acknowledged although something was in flight.
    waiting_since: Option<Instant>,

    read_pause: Pause,
    keep_pause: Pause,
    send_pause: Pause,
    troubles: Troubles,
}

impl SourceRelay {
    pub(crate) fn start(
        config: &Arc<RelayConfig>,
        of: &SourceConfig,
        condition: Condition,
        covers: Covers,
        bell: Arc<Notify>,
    ) -> Result<Self, RelayError> {
        let store =
            || Store::new(of).map_err(|error| RelayError::Database { schema: of.schema.clone(), error });
        let (heard, events) = mpsc::unbounded_channel();
        Ok(Self {
            sending: Sending::start(&config.publisher, config.limits, Batching::Full)?,
            life: 0,
            orders: desk::reader(store()?, config.read_pause, heard.clone()),
            chores: desk::keeper(store()?, heard.clone()),
            events,
            heard,
            config: config.clone(),
            schema: of.schema.clone(),
            me: chassis::ids::random(),
            bell,
            condition,
            covers,
            meters: Meters::of(&of.schema),
            halts: Halts::new(config.halt_retry),
            suspects: BTreeMap::new(),
            shares: None,
            is_reading: false,
            is_deleting: false,
            is_leasing: false,
            is_reaching: false,
            is_due: true,
            has_read: false,
            was_cut_off: false,
            deleted_at: None,
            leased_at: None,
            reached_at: None,
            waiting_since: None,
            read_pause: Pause::up_to(LONGEST_PAUSE),
            keep_pause: Pause::up_to(LONGEST_PAUSE),
            send_pause: Pause::up_to(LONGEST_PAUSE),
            troubles: Troubles { kafka: Some("Kafka was not reached yet".to_owned()), ..Troubles::default() },
        })
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        tracing::info!(source = self.schema, member = %self.me, leases = self.config.leases, "relay starts");
        let mut tick = tokio::time::interval(self.config.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let bell = self.bell.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                reports = self.sending.reports() => self.take_reports(reports),
                Some(event) = self.events.recv() => self.take_event(event),
                () = bell.notified() => self.is_due = true,
                _ = tick.tick() => self.tick(),
            }
            self.go_on();
        }
        self.finish().await;
    }

    /// Does all that can be done now without waiting.
    fn go_on(&mut self) {
        if self.send_pause.is_over()
            && let Err(failure) = self.sending.hand_over()
        {
            self.begin_anew(failure);
        }
        self.note_halts();
        self.leave_single();
        self.delete();
        self.read();
        self.watch_acknowledgements();
    }

    fn read(&mut self) {
        if self.is_reading || self.sending.closed || !self.read_pause.is_over() || !self.send_pause.is_over()
        {
            return;
        }
        let mut wants = self.sending.plan.wants();
        if !self.is_due {
            wants.retain(|want| want.more);
        }
        self.is_due = false;
        if wants.is_empty() {
            return;
        }
        let order = Order {
            life: self.life,
            wants,
            rows: self.config.read_rows,
            bytes: self.config.limits.lane_bytes,
        };
        self.is_reading = self.orders.send(order).is_ok();
    }

    fn delete(&mut self) {
        let rests = self.deleted_at.is_some_and(|at| at.elapsed() < self.config.delete_pause);
        if self.is_deleting || rests || !self.keep_pause.is_over() {
            return;
        }
        let spans = self.sending.plan.deletable();
        if !spans.is_empty() {
            self.is_deleting = self.chores.send(Chore::Delete(spans)).is_ok();
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.is_due = true;
        for lane in self.halts.due(now) {
            if self.sending.plan.resume(lane) {
                tracing::info!(source = self.schema, %lane, "a halted lane is tried again");
                self.halts.tried(lane);
            }
        }
        let plan = &self.sending.plan;
        self.halts.forget(|lane, seq| plan.has_passed(lane, seq));
        self.meters.in_flight.set(count(plan.in_flight()));
        self.meters.halted.set(count(self.halts.standing().count()));
        self.lease(now);
        self.reach(now);
        self.say_how_it_is();
    }

    /// Renews the leases, three times in their life.
    fn lease(&mut self, now: Instant) {
        let is_due = self.leased_at.is_none_or(|at| now.duration_since(at) >= self.config.lease_time / 3);
        if self.is_leasing || !is_due || !self.keep_pause.is_over() {
            return;
        }
        let chore =
            if self.config.leases { Chore::Lease(self.me, self.config.lease_time) } else { Chore::Lanes };
        self.is_leasing = self.chores.send(chore).is_ok();
        self.leased_at = Some(now);
    }

    /// Asks Kafka for a sign of life when nothing else brings one.
    fn reach(&mut self, now: Instant) {
        let is_due =
            self.reached_at.is_none_or(|at| now.duration_since(at) >= REACH) || self.troubles.kafka.is_some();
        if self.is_reaching || !is_due || self.sending.plan.in_flight() > 0 {
            return;
        }
        self.is_reaching = true;
        self.reached_at = Some(now);
        let (publisher, heard) = (self.sending.publisher(), self.heard.clone());
        tokio::spawn(async move {
            let reached = publisher.ask_partitions(Topic::OrderCommands, REACH).await;
            // the loop may have ended meanwhile
            let _ = heard.send(Event::Reached(reached.map(drop).map_err(|error| error.to_string())));
        });
    }

    fn take_reports(&mut self, reports: Vec<Report>) {
        match self.sending.settle(reports) {
            Ok(0) => {}
            Ok(acknowledged) => {
                self.meters.sent.increment(acknowledged);
                self.waiting_since = None;
                self.reached_at = Some(Instant::now());
                self.troubles.kafka = None;
                self.send_pause.end();
            }
            Err(failure) => self.begin_anew(failure),
        }
    }

    fn take_event(&mut self, event: Event) {
        let answered =
            matches!(event, Event::Read(_, Ok(_)) | Event::Deleted(_, Ok(_)) | Event::Leased(Ok(_)));
        if answered && std::mem::take(&mut self.was_cut_off) {
            tracing::info!(
                source = self.schema,
                "Postgres answers again; every lane begins at its first row left"
            );
            self.meters.restarts.increment(1);
            self.replace_producer(self.sending.batching);
        }
        match event {
            Event::Read(life, Ok(reads)) => {
                self.is_reading = false;
                self.read_pause.end();
                self.troubles.reading = None;
                if life == self.life {
                    self.has_read = true;
                    reads.into_iter().for_each(|read| self.take_rows(read));
                }
            }
            Event::Read(_, Err(error)) => {
                self.is_reading = false;
                self.is_due = true;
                self.read_pause.begin();
                self.troubles.reading = Some(self.database_error(&error));
            }
            Event::Deleted(spans, Ok(rows)) => {
                self.is_deleting = false;
                self.deleted_at = Some(Instant::now());
                self.keep_pause.end();
                self.meters.deleted.increment(rows);
                spans.into_iter().for_each(|span| self.sending.plan.deleted(span));
            }
            Event::Deleted(spans, Err(error)) => {
                self.is_deleting = false;
                self.keep_pause.begin();
                self.troubles.keeping = Some(self.database_error(&error));
                spans.into_iter().for_each(|span| self.sending.plan.not_deleted(span));
            }
            Event::Leased(Ok(shares)) => {
                self.is_leasing = false;
                self.keep_pause.end();
                self.troubles.keeping = None;
                self.take_shares(shares);
            }
            Event::Leased(Err(error)) => {
                self.is_leasing = false;
                self.keep_pause.begin();
                self.troubles.keeping = Some(self.database_error(&error));
            }
            Event::Left => {}
            Event::Reached(reached) => {
                self.is_reaching = false;
                self.troubles.kafka = reached.err();
            }
        }
    }

    fn take_rows(&mut self, read: Read) {
        read.waited.iter().for_each(|waited| self.meters.wait.record(waited.max(0.0)));
        self.sending.plan.take_rows(read.lane, read.after, read.rows, read.more);
    }

    fn take_shares(&mut self, shares: Shares) {
        if self.shares.as_ref() != Some(&shares) {
            let (held, all) = (shares.held.len(), shares.all.len());
            tracing::info!(source = self.schema, held, all, "lanes");
            self.meters.lanes.set(count(held));
            self.is_due = true;
        }
        self.covers.set(shares.held == shares.all);
        self.halts.keep(&shares.held);
        self.sending.plan.hold(&shares.held);
        self.shares = Some(shares);
    }

    fn watch_acknowledgements(&mut self) {
        if self.sending.plan.in_flight() == 0 {
            self.waiting_since = None;
        } else if self.waiting_since.is_none() {
            self.waiting_since = Some(Instant::now());
        }
    }

    fn say_how_it_is(&mut self) {
        let overdue = self.waiting_since.is_some_and(|since| since.elapsed() > OVERDUE);
        let trouble = if self.shares.is_none() {
            self.troubles.keeping.clone().or_else(|| Some("its lanes are not known yet".to_owned()))
        } else if overdue {
            Some("Kafka does not acknowledge".to_owned())
        } else {
            let first = self.troubles.kafka.clone().or_else(|| self.troubles.reading.clone());
            first.or_else(|| self.troubles.keeping.clone()).or_else(|| self.halts.describe())
        };
        self.condition.set(trouble);
    }

    fn database_error(&mut self, error: &sqlx::Error) -> String {
        self.was_cut_off = true;
        tracing::warn!(source = self.schema, %error, "Postgres");
        self.meters.database_errors.increment(1);
        format!("Postgres: {error}")
    }
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}
