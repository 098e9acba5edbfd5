//! The rows that one batch touches, what it changes of them, and what it puts off.

use super::{Capture, Refund};
use schemas::{
    ids::{EffectId, OrderId},
    time::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// An effect to look at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferral {
    /// The lane that will.
    pub partition: i32,
    /// When.
    pub due_at: Timestamp,
    /// The order, which is the key of the command to come.
    pub order_id: OrderId,
    /// Unknown answers so far.
    pub attempt: i32,
}

/// How a row of [`Books`] relates to its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Loaded,
    Changed,
    New,
}

#[derive(Debug, Clone)]
struct Kind<T> {
    rows: BTreeMap<EffectId, (T, Kept)>,
}

impl<T> Default for Kind<T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

impl<T: PartialEq> Kind<T> {
    fn put(&mut self, id: EffectId, row: T) {
        let kept = match self.rows.get(&id) {
            None => Kept::New,
            Some((old, kept)) if *old == row => *kept,
            Some((_, Kept::New)) => Kept::New,
            Some(_) => Kept::Changed,
        };
        self.rows.insert(id, (row, kept));
    }

    fn saved(mut self) -> Self {
        self.rows.values_mut().for_each(|(_, kept)| *kept = Kept::Loaded);
        self
    }

    fn add(&mut self, more: Self) {
        for (id, row) in more.rows {
            self.rows.entry(id).or_insert(row);
        }
    }

    fn of(&self, wanted: Kept) -> Vec<&T> {
        self.rows.values().filter(|(_, kept)| *kept == wanted).map(|(row, _)| row).collect()
    }
}

/// The rows one batch touches, and what it changes.
#[derive(Debug, Clone, Default)]
pub struct Books {
    captures: Kind<Capture>,
    refunds: Kind<Refund>,
    deferrals: BTreeMap<EffectId, Deferral>,
    forgotten: BTreeSet<EffectId>,
    partitions: BTreeMap<OrderId, i32>,
}

impl Books {
    /// The rows as they were loaded.
    #[must_use]
    pub fn of(captures: Vec<Capture>, refunds: Vec<Refund>) -> Self {
        let mut books = Self::default();
        books.captures.rows.extend(captures.into_iter().map(|row| (row.id, (row, Kept::Loaded))));
        books.refunds.rows.extend(refunds.into_iter().map(|row| (row.id, (row, Kept::Loaded))));
        books
    }

    /// The same rows once all of it is saved.
    #[must_use]
    pub fn saved(self) -> Self {
        Self { captures: self.captures.saved(), refunds: self.refunds.saved(), ..Self::default() }
    }

    /// These rows, and those of `more` that are not among them.
    #[must_use]
    pub fn with(mut self, more: Self) -> Self {
        self.captures.add(more.captures);
        self.refunds.add(more.refunds);
        self
    }

    /// The same, of orders whose keys lie in these partitions.
    #[must_use]
    pub fn of_lanes(self, orders: impl IntoIterator<Item = (OrderId, i32)>) -> Self {
        Self { partitions: orders.into_iter().collect(), ..self }
    }

    /// The partition of an order of this batch.
    #[must_use]
    pub fn partition_of(&self, order: OrderId) -> Option<i32> {
        self.partitions.get(&order).copied()
    }

    /// The capture of that id.
    #[must_use]
    pub fn capture(&self, id: EffectId) -> Option<&Capture> {
        self.captures.rows.get(&id).map(|(row, _)| row)
    }

    /// The refund of that id.
    #[must_use]
    pub fn refund(&self, id: EffectId) -> Option<&Refund> {
        self.refunds.rows.get(&id).map(|(row, _)| row)
    }

    /// The refund of `capture` that is or was called with `key`.
    #[must_use]
    pub fn refund_by_key(&self, capture: EffectId, key: EffectId) -> Option<&Refund> {
        let of_it = self.refunds.rows.values().map(|(row, _)| row).filter(|row| row.capture_id == capture);
        of_it.into_iter().find(|row| row.had_key(key))
    }

    /// Writes a capture.
    pub fn put_capture(&mut self, row: Capture) {
        self.captures.put(row.id, row);
    }

    /// Writes a refund.
    pub fn put_refund(&mut self, row: Refund) {
        self.refunds.put(row.id, row);
    }

    /// Looks at `effect` again later; replaces what was said of it before.
    pub fn defer(&mut self, effect: EffectId, deferral: Deferral) {
        self.forgotten.remove(&effect);
        self.deferrals.insert(effect, deferral);
    }

    /// Takes back what this batch deferred of `effect`.
    pub fn undefer(&mut self, effect: EffectId) {
        self.deferrals.remove(&effect);
    }

    /// Takes back every deferral of `effect`, of earlier batches too.
    pub fn forget(&mut self, effect: EffectId) {
        self.deferrals.remove(&effect);
        self.forgotten.insert(effect);
    }

    /// Captures to insert, in key order.
    #[must_use]
    pub fn new_captures(&self) -> Vec<&Capture> {
        self.captures.of(Kept::New)
    }

    /// Captures to update, in key order.
    #[must_use]
    pub fn changed_captures(&self) -> Vec<&Capture> {
        self.captures.of(Kept::Changed)
    }

    /// Refunds to insert, in key order.
    #[must_use]
    pub fn new_refunds(&self) -> Vec<&Refund> {
        self.refunds.of(Kept::New)
    }

    /// Refunds to update, in key order.
    #[must_use]
    pub fn changed_refunds(&self) -> Vec<&Refund> {
        self.refunds.of(Kept::Changed)
    }

    /// What to look at again, in key order.
    #[must_use]
    pub fn deferrals(&self) -> &BTreeMap<EffectId, Deferral> {
        &self.deferrals
    }

    /// Effects whose deferrals are to be deleted.
    #[must_use]
    pub fn forgotten(&self) -> &BTreeSet<EffectId> {
        &self.forgotten
    }
}
