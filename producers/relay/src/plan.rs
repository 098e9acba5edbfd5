//! What a relay sends, in which order and with which floor, and what it may delete: one producer's life as a state
//! machine. No I/O, no clock; the relay and the simulator share it.
//!
//! - Rows of a lane are sent in sequence. Records in flight are bounded, for all lanes and for each, and lanes take
//!   turns row by row, so a lane with a large backlog starves nobody.
//! - A record's floor is the highest number of its lane and partition up to which every record was acknowledged, at
//!   rising offsets. After a start it is the first number in the rows left, less one: what is no longer there was
//!   acknowledged before it was deleted.
//! - A row may be deleted once it and all before it are acknowledged.
//! - An acknowledgement at a lower offset than the record before it is a [`Stop`], as is a failed record: this plan
//!   ends with its producer, and a new one begins each lane at its first row not deleted.

mod lane;
#[cfg(test)]
mod tests;

use lane::{Lane, Phase};
use schemas::{envelope::Source, ids::LaneId, outbox::OutboxRecord, topics::Topic};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A topic and one of its partitions.
pub type Destination = (Topic, i32);

/// Bounds of a plan.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most records in flight.
    pub records: usize,
    /// Most bytes in flight; a record alone may exceed it.
    pub bytes: usize,
    /// Most records of one lane in flight.
    pub lane_records: usize,
    /// A lane with this many bytes read and not sent reads no further.
    pub lane_bytes: usize,
}

/// A packed row as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its place in the lane.
    pub seq: i64,
    /// Its bytes.
    pub size: usize,
    /// What it holds, or why it could not be read.
    pub records: Result<Vec<OutboxRecord>, String>,
}

/// Rows to read: of this lane, after that place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// The lane.
    pub lane: LaneId,
    /// The last place read; 0 at the start.
    pub after: i64,
    /// Whether the last read left rows behind.
    pub more: bool,
}

/// A record to hand over now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// Names it in [`Plan::acked`].
    pub tag: u64,
    /// The row it stands in.
    pub seq: i64,
    /// What its envelope says of its source.
    pub source: Source,
    /// The record itself.
    pub record: OutboxRecord,
}

impl Parcel {
    fn destination(&self) -> Destination {
        (self.record.topic, self.record.partition)
    }

    fn size(&self) -> usize {
        lane::size_of(&self.record)
    }
}

/// Rows that may be deleted: those of `lane` from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The lane.
    pub lane: LaneId,
    /// The first place.
    pub first: i64,
    /// The last place, included.
    pub last: i64,
}

/// Why the producer must be given up and every lane begin anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The log has records of a lane in another order than they were sent.
    #[error(
        "lane {lane}: number {n} on {topic}/{partition} was acknowledged at {offset}, not after {before}"
    )]
    Reordered {
        /// The lane.
        lane: LaneId,
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: i32,
        /// The record's number.
        n: u64,
        /// Where it was acknowledged.
        offset: i64,
        /// Where the record before it was.
        before: i64,
    },
    /// The broker took it and did not say where: its order is not known.
    #[error("lane {lane}: number {n} on {topic}/{partition} was acknowledged without an offset")]
    NoOffset {
        /// The lane.
        lane: LaneId,
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: i32,
        /// The record's number.
        n: u64,
    },
}

/// A lane that cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// The lane.
    pub lane: LaneId,
    /// The row that stands in the way.
    pub seq: i64,
    /// What is wrong with it.
    pub reason: String,
}

/// One producer's life.
#[derive(Debug, Clone)]
pub struct Plan {
    limits: Limits,
    lanes: BTreeMap<LaneId, Lane>,
    flights: HashMap<u64, (LaneId, Destination)>,
    last_tag: u64,
    bytes: usize,
    turn: Option<LaneId>,
    halts: Vec<Halt>,
}

impl Plan {
    /// A plan without lanes.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            lanes: BTreeMap::new(),
            flights: HashMap::new(),
            last_tag: 0,
            bytes: 0,
            turn: None,
            halts: Vec::new(),
        }
    }

    /// Sends exactly these lanes from now on. A new one begins at its first row not deleted; one that is left keeps
    /// what is in flight until that is acknowledged.
    pub fn hold(&mut self, lanes: &BTreeSet<LaneId>) {
        for (id, lane) in &mut self.lanes {
            if !lanes.contains(id) {
                lane.stop(Phase::Leaving);
            }
        }
        self.lanes.retain(|_, lane| lane.phase != Phase::Leaving || !lane.is_settled());
        for id in lanes {
            self.lanes.entry(*id).or_default();
        }
    }

    /// Stops sending `lane`; what is in flight is still acknowledged. See [`Plan::resume`].
    pub fn halt(&mut self, lane: LaneId) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.stop(Phase::Halted);
        }
    }

    /// Begins a halted lane at its first row not deleted. Says whether it did: not while records are in flight.
    pub fn resume(&mut self, lane: LaneId) -> bool {
        match self.lanes.get_mut(&lane) {
            Some(found) if found.phase == Phase::Halted && found.is_settled() => {
                *found = Lane::default();
                true
            }
            Some(found) => found.phase == Phase::Sending,
            None => true,
        }
    }

    /// What to read next: every lane that has room.
    #[must_use]
    pub fn wants(&self) -> Vec<Want> {
        self.lanes
            .iter()
            .filter(|(_, lane)| lane.phase == Phase::Sending && lane.buffered < self.limits.lane_bytes)
            .map(|(id, lane)| Want { lane: *id, after: lane.read_to, more: lane.more })
            .collect()
    }

    /// Takes rows of `lane`, as read after `after`, in sequence. `more`: the read left rows behind. Rows that were
    /// asked for before the lane began anew are ignored.
    pub fn take_rows(&mut self, lane: LaneId, after: i64, rows: Vec<Row>, more: bool) {
        match self.lanes.get_mut(&lane) {
            Some(lane) if lane.phase == Phase::Sending && lane.read_to == after => {
                lane.more = more;
                rows.into_iter().for_each(|row| lane.take(row));
            }
            _ => {}
        }
    }

    /// The next record to hand over, if the bounds allow one. It counts as in flight from here on.
    pub fn next_parcel(&mut self) -> Option<Parcel> {
        if self.flights.len() >= self.limits.records {
            return None;
        }
        let mut from = self.turn;
        for _ in 0..self.lanes.len() {
            let id = self.ready_from(from)?;
            let lane = self.lanes.get_mut(&id)?;
            if let Some((seq, reason)) = lane.stumble() {
                lane.stop(Phase::Halted);
                self.halts.push(Halt { lane: id, seq, reason });
            } else if lane.in_flight < self.limits.lane_records
                && let Some(size) = lane.next_size()
            {
                if self.bytes > 0 && self.bytes + size > self.limits.bytes {
                    return None;
                }
                return self.hand_out(id, size);
            }
            from = self.after(id);
        }
        None
    }

    fn hand_out(&mut self, id: LaneId, size: usize) -> Option<Parcel> {
        let lane = self.lanes.get_mut(&id)?;
        let parcel = lane.hand_out(id, self.last_tag + 1)?;
        // a lane keeps its turn until its row is through
        let keeps_turn = lane.is_inside_row();
        self.turn = if keeps_turn { Some(id) } else { self.after(id) };
        self.last_tag = parcel.tag;
        self.bytes += size;
        self.flights.insert(parcel.tag, (id, parcel.destination()));
        Some(parcel)
    }

    /// Takes back a parcel that was not handed over. It must be the last one that [`Plan::next_parcel`] gave.
    pub fn take_back(&mut self, parcel: Parcel) {
        let (id, size) = (parcel.source.lane, parcel.size());
        if self.flights.remove(&parcel.tag).is_none() {
            return;
        }
        self.bytes = self.bytes.saturating_sub(size);
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.take_back(parcel);
        }
        self.turn = Some(id);
    }

    /// A parcel that Kafka's client refuses for good and did not take: its lane halts there.
    pub fn refuse(&mut self, parcel: Parcel, reason: String) {
        let (lane, seq) = (parcel.source.lane, parcel.seq);
        self.take_back(parcel);
        self.halt(lane);
        self.halts.push(Halt { lane, seq, reason });
    }

    /// Records an acknowledgement.
    ///
    /// # Errors
    /// [`Stop`]: the producer must be given up.
    pub fn acked(&mut self, tag: u64, offset: i64) -> Result<(), Stop> {
        let Some((id, destination)) = self.flights.remove(&tag) else { return Ok(()) };
        let Some(lane) = self.lanes.get_mut(&id) else { return Ok(()) };
        self.bytes = self.bytes.saturating_sub(lane.acked(id, destination, tag, offset)?);
        if lane.phase == Phase::Leaving && lane.is_settled() {
            self.lanes.remove(&id);
        }
        Ok(())
    }

    /// Which lane and row a parcel in flight belongs to.
    #[must_use]
    pub fn place(&self, tag: u64) -> Option<(LaneId, i64)> {
        let (id, destination) = self.flights.get(&tag)?;
        Some((*id, self.lanes.get(id)?.row_of(*destination, tag)?))
    }

    /// Rows to delete now, each named once; say what became of it with [`Plan::deleted`] or [`Plan::not_deleted`].
    pub fn deletable(&mut self) -> Vec<Span> {
        self.lanes
            .iter_mut()
            .filter_map(|(id, lane)| lane.deletable().map(|(first, last)| Span { lane: *id, first, last }))
            .collect()
    }

    /// These rows are gone.
    pub fn deleted(&mut self, span: Span) {
        if let Some(lane) = self.lanes.get_mut(&span.lane) {
            lane.deleted(span.last);
            if lane.phase == Phase::Leaving && lane.is_settled() {
                self.lanes.remove(&span.lane);
            }
        }
    }

    /// These rows may still be there: they will be named again.
    pub fn not_deleted(&mut self, span: Span) {
        if let Some(lane) = self.lanes.get_mut(&span.lane) {
            lane.not_deleted(span.last);
        }
    }

    /// Lanes that have halted since this was last asked.
    pub fn take_halts(&mut self) -> Vec<Halt> {
        std::mem::take(&mut self.halts)
    }

    /// Whether everything of `lane` up to row `seq` is acknowledged.
    #[must_use]
    pub fn has_passed(&self, lane: LaneId, seq: i64) -> bool {
        self.lanes.get(&lane).is_none_or(|lane| lane.has_passed(seq))
    }

    /// Records in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Whether nothing is waiting to be sent, in flight or to be deleted.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.lanes.values().all(Lane::is_idle)
    }

    /// The first lane with something to send, at or after `from` in the round.
    fn ready_from(&self, from: Option<LaneId>) -> Option<LaneId> {
        let from = from.unwrap_or(LaneId(uuid::Uuid::nil()));
        let mut round = self.lanes.range(from..).chain(self.lanes.range(..from));
        round.find(|(_, lane)| lane.has_unsent()).map(|(id, _)| *id)
    }

    fn after(&self, id: LaneId) -> Option<LaneId> {
        let above = (std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded);
        self.lanes.range(above).map(|(next, _)| *next).next()
    }
}
