//! One lane in a [`super::Plan`]: its rows not yet sent, its rows not yet deleted, and a ledger for each partition
//! it sends to.

use super::{Destination, Parcel, Row, Stop};
use schemas::{envelope::Source, ids::LaneId, outbox::OutboxRecord};
use std::collections::{BTreeMap, VecDeque};

/// What a lane does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    /// It reads and sends.
    #[default]
    Sending,
    /// Something stands in its way.
    Halted,
    /// Somebody else sends it now.
    Leaving,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Lane {
    pub(super) phase: Phase,
    /// The last place read.
    pub(super) read_to: i64,
    /// Whether the last read left rows behind.
    pub(super) more: bool,
    /// Bytes of the rows not yet wholly sent.
    pub(super) buffered: usize,
    pub(super) in_flight: usize,
    unsent: VecDeque<Unsent>,
    /// Rows begun and not yet deleted, in sequence.
    open: VecDeque<Open>,
    ledgers: BTreeMap<Destination, Ledger>,
}

#[derive(Debug, Clone)]
struct Unsent {
    seq: i64,
    size: usize,
    records: VecDeque<OutboxRecord>,
    fault: Option<String>,
}

#[derive(Debug, Clone)]
struct Open {
    seq: i64,
    /// Records in flight.
    awaiting: usize,
    /// All its records were handed out.
    whole: bool,
    deleting: bool,
}

/// What a lane has sent to one partition.
#[derive(Debug, Clone)]
struct Ledger {
    /// Last number read.
    read: u64,
    /// Rows are missing since: they were acknowledged to, and deleted by, another relay.
    may_jump: bool,
    floor: u64,
    last_offset: i64,
    flights: VecDeque<Flight>,
}

#[derive(Debug, Clone)]
struct Flight {
    tag: u64,
    n: u64,
    seq: i64,
    size: usize,
    acked: Option<i64>,
}

/// Bytes a record counts against the bounds: itself and about what its headers take.
pub(super) fn size_of(record: &OutboxRecord) -> usize {
    record.key.len() + record.payload.len() + 128
}

impl Lane {
    /// Takes the next row that was read.
    pub(super) fn take(&mut self, row: Row) {
        if row.seq <= self.read_to {
            return;
        }
        if row.seq != self.read_to + 1 {
            self.ledgers.values_mut().for_each(|ledger| ledger.may_jump = true);
        }
        self.read_to = row.seq;
        self.buffered += row.size;
        let (records, fault) = match row.records {
            Ok(records) => {
                let fault = records.iter().find_map(|record| self.number(record));
                (records, fault)
            }
            Err(fault) => (Vec::new(), Some(fault)),
        };
        // a row is sent whole or not at all: what is behind a fault stays behind it
        let records = if fault.is_some() { VecDeque::new() } else { records.into() };
        self.unsent.push_back(Unsent { seq: row.seq, size: row.size, records, fault });
    }

    /// Checks and notes a record's number. `Some` says what is wrong with it.
    fn number(&mut self, record: &OutboxRecord) -> Option<String> {
        let n = record.n;
        if n == 0 {
            return Some("number 0".to_owned());
        }
        let ledger = self.ledgers.entry((record.topic, record.partition)).or_insert_with(|| Ledger {
            read: n - 1,
            may_jump: false,
            floor: n - 1,
            last_offset: -1,
            flights: VecDeque::new(),
        });
        let expected = ledger.read + 1;
        if n != expected && !(ledger.may_jump && n > expected) {
            return Some(format!("number {n} on {}/{}, not {expected}", record.topic, record.partition));
        }
        if n != expected {
            ledger.floor = ledger.floor.max(n - 1);
        }
        ledger.may_jump = false;
        ledger.read = n;
        None
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The next row if it cannot be sent, and why.
    pub(super) fn stumble(&mut self) -> Option<(i64, String)> {
        // a row without records is through at once
        while self.unsent.front().is_some_and(|row| row.records.is_empty() && row.fault.is_none()) {
            self.finish_row();
        }
        let row = self.unsent.front()?;
        row.fault.clone().map(|fault| (row.seq, fault))
    }

    /// Bytes of the next record.
    pub(super) fn next_size(&self) -> Option<usize> {
        self.unsent.front()?.records.front().map(size_of)
    }

    /// Whether the row at the front was begun and not finished.
    pub(super) fn is_inside_row(&self) -> bool {
        self.open.back().is_some_and(|row| !row.whole)
    }

    /// Hands out the next record.
    pub(super) fn hand_out(&mut self, id: LaneId, tag: u64) -> Option<Parcel> {
        let row = self.unsent.front_mut()?;
        let record = row.records.pop_front()?;
        let (seq, through) = (row.seq, row.records.is_empty());
        let size = size_of(&record);
        let ledger = self.ledgers.get_mut(&(record.topic, record.partition))?;
        let source = Source { lane: id, n: record.n, floor: ledger.floor.min(record.n.saturating_sub(1)) };
        ledger.flights.push_back(Flight { tag, n: record.n, seq, size, acked: None });
        self.in_flight += 1;
        if let Some(open) = self.begun(seq) {
            open.awaiting += 1;
        }
        if through {
            self.finish_row();
        }
        Some(Parcel { tag, seq, source, record })
    }

    /// The row `seq`, which is the last one begun or the next to begin.
    fn begun(&mut self, seq: i64) -> Option<&mut Open> {
        if self.open.back().is_none_or(|row| row.seq != seq) {
            self.open.push_back(Open { seq, awaiting: 0, whole: false, deleting: false });
        }
        self.open.back_mut()
    }

    fn finish_row(&mut self) {
        if let Some(row) = self.unsent.pop_front() {
            self.buffered = self.buffered.saturating_sub(row.size);
            if let Some(open) = self.begun(row.seq) {
                open.whole = true;
            }
        }
    }

    /// Takes back what was handed out last.
    pub(super) fn take_back(&mut self, parcel: Parcel) {
        if let Some(ledger) = self.ledgers.get_mut(&parcel.destination()) {
            ledger.flights.pop_back();
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        let size = parcel.size();
        if let Some(open) = self.begun(parcel.seq) {
            open.awaiting = open.awaiting.saturating_sub(1);
            open.whole = false;
        }
        if self.unsent.front().is_none_or(|row| row.seq != parcel.seq) {
            self.buffered += size;
            self.unsent.push_front(Unsent { seq: parcel.seq, size, records: VecDeque::new(), fault: None });
        }
        if let Some(row) = self.unsent.front_mut() {
            row.records.push_front(parcel.record);
        }
    }

    /// Records an acknowledgement; returns the bytes that are no longer in flight.
    pub(super) fn acked(
        &mut self,
        lane: LaneId,
        (topic, partition): Destination,
        tag: u64,
        offset: i64,
    ) -> Result<usize, Stop> {
        let Some(ledger) = self.ledgers.get_mut(&(topic, partition)) else { return Ok(0) };
        let Some(flight) = ledger.flights.iter_mut().find(|flight| flight.tag == tag) else { return Ok(0) };
        if offset < 0 {
            return Err(Stop::NoOffset { lane, topic, partition, n: flight.n });
        }
        flight.acked = Some(offset);
        self.in_flight = self.in_flight.saturating_sub(1);
        let size = flight.size;
        // reports may come in any order; the log's order is judged in the order of sending
        while let Some(&Flight { acked: Some(offset), n, seq, .. }) = ledger.flights.front() {
            if offset <= ledger.last_offset {
                let before = ledger.last_offset;
                return Err(Stop::Reordered { lane, topic, partition, n, offset, before });
            }
            ledger.flights.pop_front();
            ledger.last_offset = offset;
            ledger.floor = ledger.floor.max(n);
            if let Ok(at) = self.open.binary_search_by_key(&seq, |row| row.seq)
                && let Some(row) = self.open.get_mut(at)
            {
                row.awaiting = row.awaiting.saturating_sub(1);
            }
        }
        Ok(size)
    }

    pub(super) fn row_of(&self, destination: Destination, tag: u64) -> Option<i64> {
        let flights = &self.ledgers.get(&destination)?.flights;
        flights.iter().find(|flight| flight.tag == tag).map(|flight| flight.seq)
    }

    /// First and last row that may be deleted and were not named yet.
    pub(super) fn deletable(&mut self) -> Option<(i64, i64)> {
        let done = self.open.iter_mut().take_while(|row| row.whole && row.awaiting == 0);
        let mut span: Option<(i64, i64)> = None;
        for row in done.filter(|row| !row.deleting) {
            row.deleting = true;
            span = Some((span.map_or(row.seq, |(first, _)| first), row.seq));
        }
        span
    }

    pub(super) fn deleted(&mut self, last: i64) {
        while self.open.front().is_some_and(|row| row.deleting && row.seq <= last) {
            self.open.pop_front();
        }
    }

    pub(super) fn not_deleted(&mut self, last: i64) {
        self.open.iter_mut().filter(|row| row.seq <= last).for_each(|row| row.deleting = false);
    }

    pub(super) fn has_passed(&self, seq: i64) -> bool {
        self.read_to >= seq
            && self.unsent.front().is_none_or(|row| row.seq > seq)
            && self.open.iter().find(|row| !row.whole || row.awaiting > 0).is_none_or(|row| row.seq > seq)
    }

    /// Sends nothing more.
    pub(super) fn stop(&mut self, phase: Phase) {
        self.phase = phase;
        self.unsent.clear();
        self.buffered = 0;
        self.more = false;
    }

    /// Whether nothing is in flight and nothing waits to be deleted.
    pub(super) fn is_settled(&self) -> bool {
        self.in_flight == 0 && self.open.iter().all(|row| !row.whole && row.awaiting == 0)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.unsent.is_empty() && self.is_settled()
    }
}
