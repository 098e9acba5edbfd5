//! What a batch did, to be counted once it is committed. Pure.

use saga::{FailedEffect, Order, timeline};
use schemas::{
    ids::{EffectId, OrderId},
    messages::OrderStatus,
};
use std::time::Duration;

/// What a batch did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Orders that began.
    pub created: u64,
    /// Orders that reached their end.
    pub ended: Vec<Ended>,
    /// Submits under a known key with another body.
    pub key_conflicts: u64,
    /// Cancels that were refused, on the timeline.
    pub refused_cancels: u64,
    /// Refunds that were refused, on the timeline.
    pub refused_refunds: u64,
    /// Requests that were refused beyond what an order remembers.
    pub unrecorded: u64,
    /// Refunds that operators were granted.
    pub refunds: u64,
    /// Captures that came too late, or that nobody had asked for, and go back.
    pub late_captures: u64,
    /// Effects that failed for good, and why.
    pub failed: Vec<(OrderId, EffectId, String)>,
    /// Effects that had failed for good and are done.
    pub mended: Vec<(OrderId, EffectId)>,
}

/// An order's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub status: OrderStatus,
    /// Why it was refused: one of a fixed few; `none` where there is nothing to say.
    pub reason: &'static str,
    /// From the edge's acceptance to the end.
    pub took: Duration,
}

impl Tally {
    /// Counts one change of an order.
    pub fn count(&mut self, before: Option<&Order>, after: &Order) {
        self.created += u64::from(before.is_none());
        let was_open = before.is_none_or(|order| !order.public.status.is_terminal());
        if was_open && after.public.status.is_terminal() {
            self.ended.push(ended(after));
        }
        let known = before.map_or(0, |order| order.public.timeline.len());
        for entry in after.public.timeline.iter().skip(known) {
            match entry.event.as_str() {
                timeline::CANCEL_REFUSED => self.refused_cancels += 1,
                timeline::REFUND_REFUSED => self.refused_refunds += 1,
                timeline::REFUNDED => self.refunds += 1,
                timeline::PAYMENT_RETURNED => self.late_captures += 1,
                _ => {}
            }
        }
        let id = after.public.order_id;
        let needed = before.map_or(&[][..], |order| order.needs_human.as_slice());
        let failed = after.needs_human.iter().filter(|it| !needed.contains(it));
        self.failed.extend(failed.map(|it| (id, it.effect_id, it.reason.clone())));
        let is_open =
            |it: &&FailedEffect| after.needs_human.iter().any(|open| open.effect_id == it.effect_id);
        let mended = needed.iter().filter(|it| !is_open(it));
        self.mended.extend(mended.map(|it| (id, it.effect_id)));
    }
}

fn ended(order: &Order) -> Ended {
    Ended {
        status: order.public.status,
        reason: reason(order.public.reason.as_deref()),
        took: order.public.updated_at.since(order.public.accepted_at),
    }
}

/// A label must be one of few, whatever a message says.
fn reason(text: Option<&str>) -> &'static str {
    const KNOWN: [&str; 4] = ["out_of_stock", "unknown_product", "payment_declined", "voided"];
    match text {
        None => "none",
        Some(text) => KNOWN.into_iter().find(|known| *known == text).unwrap_or("other"),
    }
}
