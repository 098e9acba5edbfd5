//! The edge: gateways that take submits and reads of two orders before one Redis, one log and one orders lane. What
//! decides is production code (`orders_api::pure`): proofs, roads, and the model of the scripts, which a test compares
//! with real ones. What is modelled is the rest: connections, the log, the lane, the status worker, time.
//!
//! Checked at every step: never two 202 for two bodies under one key; never a 404 after a 202; what is read never goes
//! backwards. In the end the order that is there is the one that was promised.
//!
//! A request is a machine of single steps, each one word with Redis, Postgres or Kafka, so all requests interleave.

pub(crate) mod draw;
mod perils;
mod read;
pub(crate) mod redis;
mod submit;

pub(crate) use draw::{Edge, draw};
pub(crate) use perils::Step;

use crate::check::Violation;
use orders_api::pure::{Ask, AskView, ClaimProof, Lanes, Server, ViewAnswer, ViewProof};
use read::Reading;
use redis::Link;
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::{Duration, Instant},
};
use submit::Submitting;
use uuid::Uuid;

/// A claim's lease: delivery time-out and 5 s.
pub(super) const LEASE: u64 = 10_000;
/// How long the proof of views rests, in ms.
const REST: u64 = 500;
/// From hand-over, a record is on the log within this time or never.
pub(super) const DELIVERY: u64 = 5_000;
/// How long a submit waits for its row, and a read for the proof that nothing is there.
pub(super) const PATIENCE: u64 = 5_000;

/// One gateway process.
#[derive(Debug, Clone)]
pub(super) struct Gateway {
    pub(super) link: Link,
    pub(super) claims: ClaimProof,
    pub(super) views: ViewProof,
    pub(super) unclaimed: u64,
    pub(super) renewed: u64,
    pub(super) trusted: u64,
}

impl Gateway {
    fn new() -> Self {
        Self {
            link: Link::default(),
            claims: ClaimProof::new(Duration::from_millis(LEASE)),
            views: ViewProof::new(Duration::from_millis(REST)),
            // as the real one's: a life before this one may have produced without a claim
            unclaimed: 1,
            renewed: 0,
            trusted: 0,
        }
    }
}

/// A record handed over, not yet on the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flying {
    pub(super) request: usize,
    pub(super) order: u8,
    pub(super) body: u8,
    pub(super) until: u64,
}

/// An order's row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) body: u8,
    pub(super) version: i64,
}

#[derive(Debug, Clone)]
pub(super) enum Request {
    Submit(Submitting),
    Read(Reading),
}

/// All of it.
pub(crate) struct World {
    start: Instant,
    pub(super) now: u64,
    /// Which bugs are in it.
    pub(super) trusts_links: bool,
    pub(super) server: Server,
    pub(super) run: u64,
    pub(super) is_away: bool,
    pub(super) gateways: Vec<Gateway>,
    pub(super) requests: Vec<Request>,
    pub(super) flying: Vec<Flying>,
    /// `order.commands`: order and body.
    pub(super) log: Vec<(u8, u8)>,
    pub(super) position: usize,
    pub(super) rows: BTreeMap<u8, Row>,
    outbox_seq: i64,
    outbox: BTreeMap<i64, (u8, i64)>,
    events: Vec<(u8, i64)>,
    consumed: usize,
    pub(super) promised: BTreeMap<u8, BTreeSet<u8>>,
    /// The highest version that a read has told.
    pub(super) told: BTreeMap<u8, i64>,
    pub(super) notes: Option<Vec<String>>,
}

const LANE: Uuid = Uuid::from_u128(0x1a7e);

impl World {
    pub(crate) fn new(gateways: u8, trusts_links: bool, noted: bool) -> Self {
        Self {
            start: Instant::now(),
            now: 0,
            trusts_links,
            server: Server::default(),
            run: 1,
            is_away: false,
            gateways: (0..gateways).map(|_| Gateway::new()).collect(),
            requests: Vec::new(),
            flying: Vec::new(),
            log: Vec::new(),
            position: 0,
            rows: BTreeMap::new(),
            outbox_seq: 0,
            outbox: BTreeMap::new(),
            events: Vec::new(),
            consumed: 0,
            promised: BTreeMap::new(),
            told: BTreeMap::new(),
            notes: noted.then(Vec::new),
        }
    }

    pub(super) fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.notes {
            notes.push(format!("{:>7} ms  {}", self.now, line()));
        }
    }

    pub(crate) fn timeline(self) -> Vec<String> {
        self.notes.unwrap_or_default()
    }

    /// A 202 for that body: the only one its key ever stands for.
    pub(super) fn promise(&mut self, order: u8, body: u8) -> Result<(), Violation> {
        let bodies = self.promised.entry(order).or_default();
        bodies.insert(body);
        if bodies.len() > 1 {
            let what = format!("order {order} was promised to bodies {bodies:?}");
            return Err(Violation::new("one order per key", what));
        }
        Ok(())
    }

    /// The orders lane takes the next record: the first body of a key makes the row.
    pub(super) fn decide(&mut self) {
        let Some((order, body)) = self.log.get(self.position).copied() else { return };
        self.position += 1;
        self.note(|| format!("orders: takes body {body} of order {order}"));
        if let Entry::Vacant(row) = self.rows.entry(order) {
            row.insert(Row { body, version: 1 });
            self.say(order, 1);
        }
    }

    /// An order moves on.
    pub(super) fn change(&mut self, order: u8) {
        let Some(row) = self.rows.get_mut(&order) else { return };
        row.version += 1;
        let version = row.version;
        self.note(|| format!("orders: order {order} is at version {version}"));
        self.say(order, version);
    }

    fn say(&mut self, order: u8, version: i64) {
        self.outbox_seq += 1;
        self.outbox.insert(self.outbox_seq, (order, version));
    }

    pub(super) fn relay(&mut self) {
        if let Some((_, event)) = self.outbox.pop_first() {
            self.events.push(event);
        }
    }

    /// The status worker writes the next event's view; while Redis is away it waits.
    pub(super) fn consume(&mut self) {
        if self.is_away {
            return;
        }
        let Some((order, version)) = self.events.get(self.consumed).copied() else { return };
        self.consumed += 1;
        self.write(order, version);
        self.note(|| format!("status: view of order {order}, version {version}"));
    }

    /// Writes a view by version.
    pub(super) fn write(&mut self, order: u8, version: i64) {
        if let Some(row) = self.rows.get(&order) {
            self.server.write(&key(order), version, "me", &hash(row.body));
        }
    }

    /// A gateway asks one question of each of its proofs.
    pub(super) fn ask(&mut self, number: usize) {
        let now = self.instant();
        let end = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
        let (log, events) = (vec![end(self.log.len())], vec![end(self.events.len())]);
        let lanes = Lanes::from([(0, end(self.position))]);
        let committed = vec![Some(end(self.consumed))];
        let (seq, first) = (self.outbox_seq, self.outbox.keys().next().copied());
        let Some(gateway) = self.gateways.get_mut(number) else { return };
        match (gateway.claims.ask(now), gateway.claims.mark().cloned()) {
            (Ask::Ends, Some(mark)) => gateway.claims.ends(&mark, now, log),
            (Ask::Lanes, _) => gateway.claims.lanes(&lanes),
            _ => {}
        }
        let (Some(memory), ask) = gateway.views.ask(now) else { return };
        let answer = match ask {
            AskView::Outboxes => ViewAnswer::Outboxes(vec![(LANE, seq)]),
            AskView::Drained(rows) => {
                let left = |(_, seq): &(Uuid, i64)| first.is_some_and(|first| first <= *seq);
                ViewAnswer::Drained(!rows.iter().any(left))
            }
            AskView::Ends => ViewAnswer::Ends(events),
            AskView::Committed => ViewAnswer::Committed(committed),
            AskView::Nothing | AskView::NotBefore(_) => return,
        };
        gateway.views.told(&memory, answer);
    }
}

pub(super) fn key(order: u8) -> String {
    format!("order {order}")
}

pub(super) fn hash(body: u8) -> String {
    format!("body {body}")
}
