//! The protocol as a whole, over an in-memory log and table: two relays that send everything, whatever fails or is
//! reordered, and workers that take last + 1 only. Every record must be taken once, in order.

use crate::rule;
use proptest::prelude::*;
use relay::plan::{Destination, Limits, Parcel, Plan, Row, Span};
use schemas::{
    envelope::{Envelope, Source},
    ids::{LaneId, MessageId},
    outbox::OutboxRecord,
    time::Timestamp,
    topics::Topic,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use uuid::Uuid;

const LIMITS: Limits = Limits { records: 12, bytes: 100_000, lane_records: 9, lane_bytes: 500 };
const LANES: u128 = 3;
const DESTINATIONS: [Destination; 3] =
    [(Topic::OrderCommands, 0), (Topic::OrderCommands, 1), (Topic::OrderEvents, 0)];

type Log = BTreeMap<Destination, Vec<Source>>;
type Queues = BTreeMap<Destination, VecDeque<Sent>>;

/// A record in a producer's queue.
#[derive(Debug, Clone, Copy)]
struct Sent {
    tag: u64,
    source: Source,
}

/// What the workers commit, and what is not deleted yet.
#[derive(Default)]
struct Table {
    rows: BTreeMap<LaneId, BTreeMap<i64, Row>>,
    sequences: BTreeMap<LaneId, i64>,
    numbers: BTreeMap<(LaneId, Destination), u64>,
}

impl Table {
    /// Commits a row of `lane`: for each bit of `shape` two records to that destination.
    fn commit(&mut self, lane: LaneId, shape: u8) {
        let seq = self.sequences.entry(lane).or_insert(0);
        *seq += 1;
        let mut records = Vec::new();
        for (bit, (topic, partition)) in DESTINATIONS.into_iter().enumerate() {
            for _ in 0..2 * (shape >> bit & 1) {
                let n = self.numbers.entry((lane, (topic, partition))).or_insert(0);
                *n += 1;
                records.push(record(topic, partition, *n));
            }
        }
        let row = Row { seq: *seq, size: 100, records: Ok(records) };
        self.rows.entry(lane).or_default().insert(*seq, row);
    }

    fn read(&self, lane: LaneId, after: i64, limit: usize) -> Vec<Row> {
        let rows = self.rows.get(&lane).into_iter().flat_map(|rows| rows.range(after + 1..));
        rows.take(limit).map(|(_, row)| row.clone()).collect()
    }

    fn delete(&mut self, span: Span) {
        if let Some(rows) = self.rows.get_mut(&span.lane) {
            rows.retain(|seq, _| !(span.first..=span.last).contains(seq));
        }
    }

    fn is_empty(&self) -> bool {
        self.rows.values().all(BTreeMap::is_empty)
    }
}

fn record(topic: Topic, partition: i32, n: u64) -> OutboxRecord {
    let nobody = MessageId(Uuid::nil());
    let envelope = Envelope {
        message: nobody,
        causation: nobody,
        occurred_at: Timestamp(0),
        deadline: None,
        source: None,
    };
    OutboxRecord { topic, partition, n, envelope, key: Vec::new(), payload: Vec::new(), headers: Vec::new() }
}

fn lane(id: u128) -> LaneId {
    LaneId(Uuid::from_u128(id))
}

fn all_lanes() -> BTreeSet<LaneId> {
    (0..LANES).map(lane).collect()
}

/// One relay and its producer.
struct Relay {
    plan: Plan,
    queues: Queues,
    /// Reports on their way: an offset, or a failure.
    reports: Vec<(u64, Option<i64>)>,
    /// Deletes whose answer is on its way.
    deletes: Vec<Span>,
}

impl Relay {
    fn new() -> Self {
        let mut plan = Plan::new(LIMITS);
        plan.hold(&all_lanes());
        Self { plan, queues: Queues::new(), reports: Vec::new(), deletes: Vec::new() }
    }

    fn read(&mut self, table: &Table, limit: usize) {
        for want in self.plan.wants() {
            let rows = table.read(want.lane, want.after, limit);
            self.plan.take_rows(want.lane, want.after, rows, true);
        }
    }

    fn send(&mut self, most: usize) {
        for _ in 0..most {
            let Some(Parcel { tag, source, record, .. }) = self.plan.next_parcel() else { return };
            assert!(source.floor < source.n);
            self.queues.entry((record.topic, record.partition)).or_default().push_back(Sent { tag, source });
        }
    }

    /// The producer's next record to `destination` reaches the broker.
    fn append(&mut self, log: &mut Log, destination: Destination, fate: Fate) {
        let Some(queue) = self.queues.get_mut(&destination) else { return };
        let at = usize::from(fate == Fate::OutOfOrder && queue.len() > 1);
        let Some(sent) = queue.remove(at) else { return };
        let partition = log.entry(destination).or_default();
        if fate != Fate::Failed {
            partition.push(sent.source);
        }
        let offset = i64::try_from(partition.len()).unwrap() - 1;
        let known = matches!(fate, Fate::Acknowledged | Fate::OutOfOrder);
        self.reports.push((sent.tag, known.then_some(offset)));
    }

    /// A report arrives; `false`: the producer must be given up.
    fn hear(&mut self, which: usize) -> bool {
        if self.reports.is_empty() {
            return true;
        }
        let (tag, offset) = self.reports.remove(which % self.reports.len());
        offset.is_some_and(|offset| self.plan.acked(tag, offset).is_ok())
    }

    fn delete(&mut self, table: &mut Table, works: bool) {
        for span in self.plan.deletable() {
            if works {
                table.delete(span);
                self.deletes.push(span);
            } else {
                self.plan.not_deleted(span);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    /// It is not on the log, and later ones may be.
    Failed,
    /// It is on the log, and the acknowledgement was lost.
    Unknown,
    /// The one behind it comes first.
    OutOfOrder,
}

struct World {
    table: Table,
    log: Log,
    relays: [Relay; 2],
    /// What producers that were given up may still have on the wire, in order.
    ghosts: Vec<Queues>,
}

impl World {
    fn new() -> Self {
        Self {
            table: Table::default(),
            log: Log::new(),
            relays: [Relay::new(), Relay::new()],
            ghosts: Vec::new(),
        }
    }

    fn step(&mut self, (action, who, a, b): (u8, bool, u8, u8)) {
        let who = usize::from(who);
        let destination = DESTINATIONS[usize::from(b) % DESTINATIONS.len()];
        match action {
            0..4 => self.table.commit(lane(u128::from(a) % LANES), b % 8),
            4..8 => self.relays[who].read(&self.table, 1 + usize::from(a) % 3),
            8..12 => self.relays[who].send(1 + usize::from(a) % 8),
            12..19 => {
                let fate = match a {
                    0..6 => Fate::Failed,
                    6..12 => Fate::Unknown,
                    12..18 => Fate::OutOfOrder,
                    _ => Fate::Acknowledged,
                };
                self.relays[who].append(&mut self.log, destination, fate);
            }
            19..26 => {
                if !self.relays[who].hear(usize::from(a)) {
                    self.give_up(who);
                }
            }
            26..29 => self.relays[who].delete(&mut self.table, a > 40),
            29 => {
                let spans = std::mem::take(&mut self.relays[who].deletes);
                spans.into_iter().for_each(|span| self.relays[who].plan.deleted(span));
            }
            30 if a < 60 => self.give_up(who),
            31 => self.haunt(usize::from(a), destination),
            32 => {
                let held = all_lanes().into_iter().enumerate().filter(|(i, _)| a >> i & 1 == 1);
                self.relays[who].plan.hold(&held.map(|(_, lane)| lane).collect());
            }
            _ => self.relays[who].plan.hold(&all_lanes()),
        }
    }

    /// A crash, or a failure: a new producer, and every lane begun anew.
    fn give_up(&mut self, who: usize) {
        let before = std::mem::replace(&mut self.relays[who], Relay::new());
        self.ghosts.push(before.queues);
    }

    fn haunt(&mut self, which: usize, destination: Destination) {
        let count = self.ghosts.len();
        let Some(ghost) = self.ghosts.get_mut(which % count.max(1)) else { return };
        if let Some(sent) = ghost.get_mut(&destination).and_then(VecDeque::pop_front) {
            self.log.entry(destination).or_default().push(sent.source);
        }
    }

    /// Nothing fails any more.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.table.is_empty() {
                return;
            }
            for who in 0..2 {
                self.relays[who].plan.hold(&all_lanes());
                self.relays[who].read(&self.table, 3);
                self.relays[who].send(usize::MAX);
                for destination in DESTINATIONS {
                    self.relays[who].append(&mut self.log, destination, Fate::Acknowledged);
                }
                while !self.relays[who].reports.is_empty() {
                    if !self.relays[who].hear(0) {
                        self.give_up(who);
                    }
                }
                self.relays[who].delete(&mut self.table, true);
                let spans = std::mem::take(&mut self.relays[who].deletes);
                spans.into_iter().for_each(|span| self.relays[who].plan.deleted(span));
            }
        }
        panic!("the outbox never empties");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]
    #[test]
    fn every_record_is_taken_once_in_order(
        steps in proptest::collection::vec((0u8..34, any::<bool>(), any::<u8>(), any::<u8>()), 0..500),
        cut in 0usize..60,
    ) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        world.settle();
        for ((lane, destination), said) in &world.table.numbers {
            let log = &world.log[destination];
            let taken = &rule::read(log)[lane];
            prop_assert_eq!((taken.first, taken.count), (1, *said), "{:?} {:?}", lane, destination);

            // a worker that begins where the log's head is gone skips nothing that it could still see first
            let (head, rest) = log.split_at(cut.min(log.len()));
            if let Some(taken) = rule::read(rest).get(lane) {
                // a copy of what was cut off may stand behind its successor: then there is a hole, and no skip
                let of_lane = |source: &&Source| source.lane == *lane;
                let is_cut_off: BTreeSet<u64> = head.iter().filter(of_lane).map(|source| source.n).collect();
                if !rest.iter().filter(of_lane).any(|source| is_cut_off.contains(&source.n)) {
                    prop_assert_eq!(taken.first + taken.count - 1, *said, "from {}: {:?}", cut, taken);
                }
                let before = &log[..head.len() + taken.begun_at];
                for n in 1..taken.first {
                    let was_there = before.iter().any(|source| source.lane == *lane && source.n == n);
                    prop_assert!(was_there, "{} skipped from {}: {:?}", n, cut, taken);
                }
            }
        }
    }
}
