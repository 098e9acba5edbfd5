//! The fingerprint of a state: two states with the same one have the same future.

use crate::{
    shop::{Base, Shop, Worker},
    tables::{Outcomes, Tables},
    world::World,
};
use harness::lane::Lane;
use std::{
    collections::BTreeSet,
    fmt::{self, Debug, Write},
    hash::{DefaultHasher, Hasher},
};

/// 128 bits over what a state prints.
#[derive(Debug, Clone)]
pub(crate) struct Digest(DefaultHasher, DefaultHasher);

impl Digest {
    fn new() -> Self {
        let mut second = DefaultHasher::new();
        second.write_u8(1);
        Self(DefaultHasher::new(), second)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for hasher in [&mut self.0, &mut self.1] {
            hasher.write_usize(bytes.len());
            hasher.write(bytes);
        }
    }

    pub(crate) fn add(&mut self, value: &impl Debug) {
        let _ = write!(self, "{value:?};");
    }

    fn finish(&self) -> u128 {
        u128::from(self.0.finish()) << 64 | u128::from(self.1.finish())
    }

    fn lane(&mut self, lane: &Lane) {
        let Lane { partition, epoch, next_offset, outbox_seq, due_mark, heard, sent, .. } = lane;
        self.add(&(partition, epoch, next_offset, outbox_seq, due_mark, heard, sent, lane.gap_checked));
        // a hash set prints in any order
        self.add(&lane.parked.iter().collect::<BTreeSet<_>>());
    }

    fn base(&mut self, base: &Base) {
        base.lanes.values().for_each(|lane| self.lane(lane));
        for (lane, rows) in &base.outbox {
            self.add(lane);
            for (seq, records) in rows {
                self.add(seq);
                self.bytes(records);
            }
        }
        for (place, row) in &base.parked.rows {
            self.add(&(place, row.cause, row.attempts));
        }
        self.add(&base.parked.actions);
    }

    fn worker<T: Tables>(&mut self, worker: &Worker<Outcomes<T>>) {
        worker.lanes.values().for_each(|lane| self.lane(lane));
        self.add(&(&worker.fetch, &worker.seeks, worker.busy, &worker.unanswered, &worker.claimed));
        self.add(&worker.halfway.is_some());
        if let Some((hand, outcomes)) = &worker.halfway {
            self.add(&hand.places());
            T::digest_outcomes(outcomes, self);
        }
    }

    fn shop<T: Tables>(&mut self, shop: &Shop<T>) {
        shop.tables.digest(self);
        self.base(&shop.base);
        shop.workers.iter().for_each(|worker| self.worker::<T>(worker));
        self.add(&(&shop.relays, &shop.sent));
    }
}

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        self.1.write(text.as_bytes());
        Ok(())
    }
}

impl World {
    /// What distinguishes this state from every other.
    pub(crate) fn fingerprint(&self) -> u128 {
        let mut digest = Digest::new();
        let stage = &self.stage;
        digest.add(&(stage.now, &stage.provider, &stage.stragglers, &stage.curses));
        stage.log.digest(&mut digest);
        digest.add(&self.edge.asked());
        digest.shop(&self.orders);
        digest.shop(&self.inventory);
        digest.shop(&self.payments);
        digest.finish()
    }
}
