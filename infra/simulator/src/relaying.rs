//! A relay: the real plan, over a producer that loses, delays and repeats.

use crate::{check::Violation, script::Sending, shop::Base, stage::Stage};
use relay::plan::{Limits, Parcel, Plan, Row};
use schemas::{ids::LaneId, outbox};
use std::collections::{BTreeSet, VecDeque};

const LIMITS: Limits = Limits { records: 1_000, bytes: 10 << 20, lane_records: 1_000, lane_bytes: 1 << 20 };
/// Rows read of a lane at once.
const READ: usize = 3;

#[derive(Debug, Clone)]
pub(crate) struct Relaying {
    plan: Plan,
    lanes: BTreeSet<LaneId>,
    /// Sent by producers that are gone; may still arrive, in order.
    adrift: VecDeque<Parcel>,
}

impl Relaying {
    pub(crate) fn new(base: &Base) -> Self {
        let lanes = base.lanes.values().map(|lane| lane.id).collect();
        let mut relaying = Self { plan: Plan::new(LIMITS), lanes, adrift: VecDeque::new() };
        relaying.begin_anew();
        relaying
    }

    /// Whether anything hangs in the network.
    pub(crate) fn has_adrift(&self) -> bool {
        !self.adrift.is_empty()
    }

    fn begin_anew(&mut self) {
        self.plan = Plan::new(LIMITS);
        self.plan.hold(&self.lanes);
    }

    /// Reads, sends, and deletes what it may. Says whether it sent anything.
    pub(crate) fn send(
        &mut self,
        base: &mut Base,
        stage: &mut Stage,
        records: usize,
        sending: Sending,
    ) -> Result<bool, Violation> {
        if sending == Sending::Dies {
            self.begin_anew();
            return Ok(false);
        }
        self.read(base);
        let mut parcels = Vec::new();
        while parcels.len() < records
            && let Some(parcel) = self.plan.next_parcel()
        {
            parcels.push(parcel);
        }
        if let Some(halt) = self.plan.take_halts().into_iter().next() {
            return Err(Violation::new("halt", format!("a relay halts: {halt:?}")));
        }
        let sent = !parcels.is_empty();
        match sending {
            Sending::Delayed => {
                self.adrift.extend(parcels);
                self.begin_anew();
                return Ok(sent);
            }
            Sending::Hole(lost) => {
                let before = parcels.iter().take(lost.into()).map(|parcel| parcel.tag).collect::<Vec<_>>();
                for (at, parcel) in parcels.into_iter().enumerate().filter(|(at, _)| *at != usize::from(lost))
                {
                    let (tag, offset) = arrive(stage, parcel);
                    if before.get(at) == Some(&tag) && self.plan.acked(tag, offset).is_err() {
                        break;
                    }
                }
                self.delete(base);
                self.begin_anew();
                return Ok(sent);
            }
            _ => {}
        }
        let mut acks: Vec<(u64, i64)> = parcels.into_iter().map(|parcel| arrive(stage, parcel)).collect();
        match sending {
            Sending::AckedBackwards => acks.reverse(),
            Sending::AcksLost(heard) => acks.truncate(heard.into()),
            _ => {}
        }
        for (tag, offset) in acks {
            if self.plan.acked(tag, offset).is_err() {
                self.begin_anew();
                return Ok(sent);
            }
        }
        if sending == Sending::NotDeleted {
            for span in self.plan.deletable() {
                self.plan.not_deleted(span);
            }
        } else {
            self.delete(base);
        }
        if matches!(sending, Sending::AcksLost(_)) {
            self.begin_anew();
        }
        Ok(sent)
    }

    /// What is adrift arrives. Says whether anything did.
    pub(crate) fn arrive(&mut self, stage: &mut Stage, records: usize) -> bool {
        let count = records.min(self.adrift.len());
        for parcel in self.adrift.drain(..count) {
            arrive(stage, parcel);
        }
        count > 0
    }

    fn read(&mut self, base: &Base) {
        for want in self.plan.wants() {
            let Some(rows) = base.outbox.get(&want.lane) else { continue };
            let after = rows.range(want.after + 1..);
            let read: Vec<Row> = after
                .take(READ)
                .map(|(seq, bytes)| Row {
                    seq: *seq,
                    size: bytes.len(),
                    records: outbox::unpack(outbox::FORMAT, bytes).map_err(|error| error.to_string()),
                })
                .collect();
            let more = read.last().is_some_and(|last| rows.range(last.seq + 1..).next().is_some());
            self.plan.take_rows(want.lane, want.after, read, more);
        }
    }

    fn delete(&mut self, base: &mut Base) {
        for span in self.plan.deletable() {
            if let Some(rows) = base.outbox.get_mut(&span.lane) {
                rows.retain(|seq, _| *seq < span.first || *seq > span.last);
            }
            self.plan.deleted(span);
        }
    }
}

/// A record reaches the log.
fn arrive(stage: &mut Stage, parcel: Parcel) -> (u64, i64) {
    let Parcel { tag, mut source, record, .. } = parcel;
    if stage.plant.ignores_floor() {
        source.floor = source.n.saturating_sub(1);
    }
    let (to, now) = ((record.topic, record.partition), stage.now);
    let what =
        if stage.notes.wanted { stage.notes.describe(&record.key, &record.payload) } else { String::new() };
    let mut envelope = record.envelope;
    envelope.source = Some(source);
    let offset = stage.log.append(to, now, record.key, envelope, record.payload);
    stage.notes.note(now, |_| {
        format!(
            "relay: {}/{} offset {offset}: number {}, floor {}: {what}",
            to.0, to.1, source.n, source.floor
        )
    });
    (tag, offset)
}
