//! What the cells of the table do: one order on its way to its next state, collecting effects.

use crate::{
    arrival::Arrival,
    order::{
        Action, ActionOutcome, ActionResult, FailedEffect, MAX_ACTIONS, MAX_FAILED, MAX_REFUNDS,
        MAX_REFUSED_CANCELS, MAX_TOLD, MAX_UNDONE, Order, Seen,
    },
    outcome::{Effect, Fact, Illegal, Outcome, Step},
    timeline,
};
use schemas::{
    ids::{self, EffectId},
    messages::{
        CancelOrder, CapturePayment, EffectFailed, OrderState, OrderStatus, PaymentDeclined, RefundOrder,
        RefundPayment, ReserveStock, RetryEffect, RetryRefund, SettleStock, Settlement, StockLine,
        StockRejected, SubmitOrder, TimelineEntry, VoidCapture,
    },
};

/// Longest text of others that we keep, in characters.
const MAX_WORDS: usize = 200;

/// An order on its way to its next state.
pub(crate) struct Change {
    order: Order,
    effects: Vec<Effect>,
    arrival: Arrival,
}

impl Change {
    /// Of an order that is there.
    pub(crate) fn of(order: &Order, arrival: &Arrival) -> Self {
        Self { order: order.clone(), effects: Vec::with_capacity(3), arrival: *arrival }
    }

    /// Of an order that begins. Not accepted yet, it has version 0.
    pub(crate) fn new(submit: &SubmitOrder, arrival: &Arrival) -> Self {
        let public = OrderState {
            order_id: submit.order_id,
            owner: submit.owner.clone(),
            body_hash: submit.body_hash,
            version: 0,
            status: OrderStatus::Pending,
            reason: None,
            currency: submit.currency,
            total: submit.total,
            refunded: 0,
            lines: submit.lines.clone(),
            shipping_address: submit.shipping_address.clone(),
            payment_method: submit.payment_method.clone(),
            accepted_at: submit.accepted_at,
            deadline: submit.deadline,
            updated_at: arrival.now,
            timeline: Vec::with_capacity(3),
        };
        let order = Order {
            public,
            capture: None,
            seen: Seen::default(),
            needs_human: Vec::new(),
            actions: Vec::new(),
        };
        Self { order, effects: Vec::with_capacity(3), arrival: *arrival }
    }

    // ---- statuses ---------------------------------------------------------------------------------------

    pub(crate) fn accept(self) -> Self {
        self.becomes(OrderStatus::Pending, timeline::ACCEPTED, None)
    }

    pub(crate) fn accept_expired(self) -> Self {
        let detail = "its deadline had passed when it arrived";
        self.becomes(OrderStatus::Expired, OrderStatus::Expired.as_str(), Some(detail.to_owned()))
    }

    pub(crate) fn reserved(self) -> Self {
        self.reaches(OrderStatus::Reserved, None)
    }

    pub(crate) fn confirmed(self) -> Self {
        self.reaches(OrderStatus::Confirmed, None)
    }

    pub(crate) fn expired(self) -> Self {
        self.reaches(OrderStatus::Expired, None)
    }

    pub(crate) fn cancelled(self, ask: &CancelOrder) -> Self {
        self.reaches(OrderStatus::Cancelled, ask.reason.as_deref().map(words))
    }

    pub(crate) fn out_of_stock(self, no: &StockRejected) -> Self {
        self.rejected(&no.reason, Some(format!("{}: product {}", words(&no.reason), no.product_id)))
    }

    pub(crate) fn declined(self, no: &PaymentDeclined) -> Self {
        self.rejected(&no.reason, Some(words(&no.reason)))
    }

    fn rejected(mut self, reason: &str, detail: Option<String>) -> Self {
        self.order.public.reason = Some(words(reason));
        self.reaches(OrderStatus::Rejected, detail)
    }

    fn reaches(self, status: OrderStatus, detail: Option<String>) -> Self {
        self.becomes(status, status.as_str(), detail)
    }

    fn becomes(mut self, status: OrderStatus, event: &str, detail: Option<String>) -> Self {
        self.order.public.status = status;
        self.publish(status.into(), event, detail)
    }

    fn amend(self, event: &str, detail: String) -> Self {
        self.publish(Fact::Amended, event, Some(detail))
    }

    /// One public change: a version, a line on the timeline, an event. Times never go back.
    fn publish(mut self, fact: Fact, event: &str, detail: Option<String>) -> Self {
        let public = &mut self.order.public;
        public.version = public.version.saturating_add(1);
        public.updated_at = public.updated_at.max(self.arrival.now);
        public.timeline.push(TimelineEntry { at: public.updated_at, event: event.to_owned(), detail });
        self.effects.push(Effect::Publish(fact));
        self
    }

    // ---- effects ----------------------------------------------------------------------------------------

    pub(crate) fn reserve(mut self) -> Self {
        let order = &self.order.public;
        let line = |line: &schemas::messages::PricedLine| StockLine {
            product_id: line.product_id,
            quantity: line.quantity,
        };
        self.effects.push(Effect::Reserve(ReserveStock {
            order_id: order.order_id,
            accepted_at: order.accepted_at,
            deadline: order.deadline,
            lines: order.lines.iter().map(line).collect(),
        }));
        self
    }

    pub(crate) fn capture(mut self) -> Self {
        let order = &self.order.public;
        let capture_id = ids::effect_id(order.order_id, "capture");
        self.order.capture = Some(capture_id);
        self.effects.push(Effect::Capture(CapturePayment {
            order_id: order.order_id,
            capture_id,
            amount: order.total,
            currency: order.currency,
            payment_method: order.payment_method.clone(),
            deadline: order.deadline,
        }));
        self
    }

    pub(crate) fn settle(mut self, outcome: Settlement) -> Self {
        let order_id = self.order.public.order_id;
        self.effects.push(Effect::Settle(SettleStock { order_id, outcome }));
        self
    }

    pub(crate) fn void(mut self) -> Self {
        let order_id = self.order.public.order_id;
        let void = self.order.capture.map(|capture_id| Effect::Void(VoidCapture { order_id, capture_id }));
        self.effects.extend(void);
        self
    }

    /// The whole of a capture goes back, by the one id that its undo has. Beyond the bound it is asked for again
    /// each time, which that id makes harmless.
    pub(crate) fn give_back(mut self, capture_id: EffectId) -> Self {
        self.effects.push(Effect::Refund(RefundPayment {
            order_id: self.order.public.order_id,
            capture_id,
            refund_id: ids::undo_of(capture_id),
            amount: None,
            reason: if self.order.is_own(capture_id) { "late_capture" } else { "unknown_capture" }.to_owned(),
        }));
        if self.order.seen.undone.len() >= MAX_UNDONE {
            return self;
        }
        self.order.seen.undone.push(capture_id);
        self.amend(timeline::PAYMENT_RETURNED, format!("capture {capture_id}"))
    }

    // ---- requests, and what needs people ----------------------------------------------------------------

    pub(crate) fn refuse_cancel(mut self) -> Result<Outcome, Illegal> {
        if self.order.seen.cancels.len() >= MAX_REFUSED_CANCELS {
            return Ok(Outcome::Unrecorded);
        }
        self.order.seen.cancels.push(self.arrival.message);
        let detail = format!("the order is {}", self.order.public.status);
        self.amend(timeline::CANCEL_REFUSED, detail).done()
    }

    pub(crate) fn refund(mut self, ask: &RefundOrder) -> Result<Outcome, Illegal> {
        // a confirmed order has a capture; one without has nothing to give back
        let Some(capture_id) = self.order.capture else { return self.refuse_refund(ask) };
        if self.order.seen.refunds.len() >= MAX_REFUNDS {
            return Ok(Outcome::Unrecorded);
        }
        self.order.seen.refunds.push(ask.refund_id);
        let public = &mut self.order.public;
        public.refunded = public.refunded.saturating_add(ask.amount);
        self.effects.push(Effect::Refund(RefundPayment {
            order_id: public.order_id,
            capture_id,
            refund_id: ask.refund_id,
            amount: Some(ask.amount),
            reason: words(&ask.reason),
        }));
        let detail = format!("{} {}: {}", ask.amount, public.currency, words(&ask.reason));
        self.amend(timeline::REFUNDED, detail).done()
    }

    pub(crate) fn refuse_refund(mut self, ask: &RefundOrder) -> Result<Outcome, Illegal> {
        if self.order.seen.refunds.len() >= MAX_REFUNDS {
            return Ok(Outcome::Unrecorded);
        }
        self.order.seen.refunds.push(ask.refund_id);
        let public = &self.order.public;
        let detail = match public.status {
            OrderStatus::Confirmed => {
                format!("{} {} asked, {} left", ask.amount, public.currency, self.order.refundable())
            }
            status => format!("the order is {status}"),
        };
        self.amend(timeline::REFUND_REFUSED, detail).done()
    }

    /// Not public: it is people of ours who have to look.
    pub(crate) fn need_human(mut self, lost: &EffectFailed) -> Result<Outcome, Illegal> {
        self.end_action(lost.effect_id, ActionOutcome::FailedAgain);
        let (at, reason) = (self.arrival.now, words(&lost.reason));
        let failed = FailedEffect { at, effect_id: lost.effect_id, reason };
        let known = &mut self.order.needs_human;
        if let Some(before) = known.iter_mut().find(|it| it.effect_id == lost.effect_id) {
            *before = failed;
        } else if known.len() < MAX_FAILED {
            known.push(failed);
        } else {
            return Ok(Outcome::Unrecorded);
        }
        self.told()
    }

    /// What failed for good is done after all: by an operator's action, or the provider had done it all the time.
    pub(crate) fn mended(mut self, effect: EffectId) -> Result<Outcome, Illegal> {
        self.end_action(effect, ActionOutcome::Done);
        self.order.needs_human.retain(|it| it.effect_id != effect);
        self.told()
    }

    fn told(mut self) -> Result<Outcome, Illegal> {
        if self.order.seen.told.len() >= MAX_TOLD {
            return Ok(Outcome::Unrecorded);
        }
        self.order.seen.told.push(self.arrival.message);
        self.done()
    }

    /// An operator has an effect tried again that failed for good. It needs them until it is done.
    pub(crate) fn retry(mut self, ask: &RetryEffect) -> Result<Outcome, Illegal> {
        // of all effects only refunds can fail
        self.effects.push(Effect::Retry(RetryRefund {
            order_id: self.order.public.order_id,
            refund_id: ask.effect_id,
            action_id: ask.action_id,
        }));
        self.acted(ask, None)
    }

    pub(crate) fn refuse_retry(self, ask: &RetryEffect) -> Result<Outcome, Illegal> {
        let result = ActionResult { at: self.arrival.now, outcome: ActionOutcome::Needless };
        self.acted(ask, Some(result))
    }

    fn acted(mut self, ask: &RetryEffect, result: Option<ActionResult>) -> Result<Outcome, Illegal> {
        if self.order.actions.len() >= MAX_ACTIONS {
            return Ok(Outcome::Unrecorded);
        }
        self.order.actions.push(Action {
            id: ask.action_id,
            effect_id: ask.effect_id,
            at: self.arrival.now,
            by: words(&ask.requested_by),
            why: ask.reason.as_deref().map(words),
            result,
        });
        self.done()
    }

    fn end_action(&mut self, effect: EffectId, outcome: ActionOutcome) {
        let at = self.arrival.now;
        let open = |it: &&mut Action| it.effect_id == effect && it.result.is_none();
        if let Some(action) = self.order.actions.iter_mut().find(open) {
            action.result = Some(ActionResult { at, outcome });
        }
    }

    /// The table's cells end here.
    #[expect(clippy::unnecessary_wraps, reason = "every cell of the table has one type")]
    pub(crate) fn done(self) -> Result<Outcome, Illegal> {
        Ok(Outcome::Step(Box::new(Step { order: self.order, effects: self.effects })))
    }
}

/// Text of others, fit to be kept: bounded, and without control characters (Postgres takes no NUL, a terminal no escape).
fn words(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_bounded_and_plain() {
        assert_eq!(words("tired\u{0} of\n waiting\u{1b}[31m"), "tired of waiting[31m");
        assert_eq!(words(&"é".repeat(1_000)).chars().count(), MAX_WORDS);
    }
}
