//! Transaction A: which calls a batch makes, and the trace each leaves first. Pure.
//!
//! It runs through the batch as [`crate::decide`] will, but changes only what a call needs: a capture or refund becomes
//! `CALLING` before it is called. What is `CALLING` already is called again under the same key: its batch was cut off
//! between A and B, or it comes back from its deferral.

use crate::{
    books::{Books, Capture, CaptureState, Refund, RefundState},
    provider::{CaptureRequest, RefundRequest},
    retry::{Retry, STRAGGLERS},
};
use harness::record::Delivery;
use schemas::{
    ids::{self, EffectId, OrderId},
    messages::{CapturePayment, PaymentCommand, RefundPayment, ResumeEffect, RetryRefund},
    money::Money,
    time::Timestamp,
};
use std::collections::BTreeSet;

/// A call to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The capture or refund.
    pub effect: EffectId,
    /// What to ask.
    pub ask: Ask,
    /// Written by this very transaction: if it is never begun, nobody else can have begun it either.
    pub fresh: bool,
}

/// What to ask the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// To take money.
    Capture {
        /// The request.
        request: CaptureRequest,
        /// What comes before the call.
        first: First,
    },
    /// To give money back.
    Refund {
        /// The request.
        request: RefundRequest,
        /// What comes before the call.
        first: First,
    },
}

/// What comes before a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Nothing: call.
    Call,
    /// A lookup; call if the provider does not know it.
    LookThenCall,
    /// A lookup and never a call; what the provider does not know stays unknown.
    LookOnly,
    /// A lookup and never a call; what the provider does not know never happened.
    LookAndSettle,
}

/// Which calls the batch makes. `books` holds every row it touches; what must be traced is written there.
#[must_use]
pub fn plan(
    books: &mut Books,
    batch: &[Delivery<PaymentCommand>],
    now: Timestamp,
    retry: &Retry,
) -> Vec<Intent> {
    let voided = batch.iter().filter_map(|delivery| undone_by(&delivery.command)).collect();
    let mut planner = Planner { books, now, retry, voided, asked: BTreeSet::new(), intents: Vec::new() };
    for delivery in batch {
        match &delivery.command {
            PaymentCommand::CapturePayment(command) => planner.capture(command),
            PaymentCommand::VoidCapture(command) => {
                planner.undo((command.order_id, command.capture_id), "voided");
            }
            PaymentCommand::RefundPayment(command) => planner.refund(command),
            PaymentCommand::ResumeEffect(command) => planner.resume(command),
            PaymentCommand::RetryRefund(command) => planner.retry(command),
            // an answer asks for no call; what it undoes is called from the next batch on
            PaymentCommand::ProviderNotice(_) => {}
        }
    }
    planner.intents
}

/// The capture that a command undoes as a whole, and its order.
fn undone_by(command: &PaymentCommand) -> Option<(OrderId, EffectId)> {
    match command {
        PaymentCommand::VoidCapture(command) => Some((command.order_id, command.capture_id)),
        PaymentCommand::RefundPayment(command) if is_whole_undo(command) => {
            Some((command.order_id, command.capture_id))
        }
        _ => None,
    }
}

/// Whether a refund is the one whole undo of its capture.
#[must_use]
pub fn is_whole_undo(command: &RefundPayment) -> bool {
    command.refund_id == ids::undo_of(command.capture_id)
}

struct Planner<'a> {
    books: &'a mut Books,
    now: Timestamp,
    retry: &'a Retry,
    /// Captures that a command of this batch undoes: not begun, wherever in the batch it stands.
    voided: BTreeSet<(OrderId, EffectId)>,
    /// One call an effect and batch, however often it is asked for.
    asked: BTreeSet<EffectId>,
    intents: Vec<Intent>,
}

impl Planner<'_> {
    fn capture(&mut self, command: &CapturePayment) {
        match self.books.capture(command.capture_id).cloned() {
            None if command.amount > 0 => self.begin_capture(Capture::asked(command, self.now)),
            Some(row) if row.is_asked_by(command) => self.capture_again(row),
            // a void came first, or the request is another one: nothing to call
            _ => {}
        }
    }

    fn capture_again(&mut self, row: Capture) {
        match row.state {
            CaptureState::Waiting => self.begin_capture(row),
            CaptureState::Calling => self.ask_capture(&row, false),
            CaptureState::Captured | CaptureState::Declined | CaptureState::Voided => {}
        }
    }

    fn begin_capture(&mut self, mut row: Capture) {
        if !row.in_time(self.now) || self.voided.contains(&(row.order_id, row.id)) {
            return;
        }
        row.state = CaptureState::Calling;
        row.first_called_at = Some(self.now);
        self.ask_capture(&row, true);
        self.books.put_capture(row);
    }

    fn ask_capture(&mut self, row: &Capture, fresh: bool) {
        let request = CaptureRequest {
            key: row.id,
            order_id: row.order_id,
            amount: row.amount,
            method: row.method.clone(),
        };
        let first = self.before_capture(row);
        self.ask(row.id, Ask::Capture { request, first }, fresh);
    }

    /// A young unknown is called again even if nobody wants it any more: the same key brings the truth at once, and
    /// what was taken is undone. Past the age at which providers forget keys, a call could take the money anew.
    fn before_capture(&self, row: &Capture) -> First {
        let wanted = row.in_time(self.now) && !row.void_asked;
        let is_old = |margin| self.retry.is_old(self.now, row.first_called_at, margin);
        match (self.retry.looks_first(self.now, row.first_called_at, row.attempts), wanted) {
            (false, _) => First::Call,
            (true, false) if is_old(STRAGGLERS) => First::LookAndSettle,
            (true, false) if is_old(std::time::Duration::ZERO) => First::LookOnly,
            (true, _) => First::LookThenCall,
        }
    }

    fn capture_of(&self, (order, capture): (OrderId, EffectId)) -> Option<Capture> {
        self.books.capture(capture).filter(|row| row.order_id == order).cloned()
    }

    fn undo(&mut self, of: (OrderId, EffectId), cause: &str) {
        let Some(row) = self.capture_of(of) else { return };
        let id = ids::undo_of(row.id);
        match self.books.refund(id).cloned() {
            Some(refund) => self.refund_again(refund, row),
            None => {
                let refund = Refund::asked(id, row.id, row.order_id, None, cause, self.now);
                self.begin_refund(refund, row);
            }
        }
    }

    fn refund(&mut self, command: &RefundPayment) {
        if is_whole_undo(command) {
            return self.undo((command.order_id, command.capture_id), &command.reason);
        }
        let Some(capture) = self.capture_of((command.order_id, command.capture_id)) else { return };
        match self.books.refund(command.refund_id).cloned() {
            Some(refund) => self.refund_again(refund, capture),
            None => {
                let (id, reason) = (command.refund_id, &command.reason);
                let refund =
                    Refund::asked(id, capture.id, command.order_id, command.amount, reason, self.now);
                self.begin_refund(refund, capture);
            }
        }
    }

    fn resume(&mut self, command: &ResumeEffect) {
        if let Some(row) = self.capture_of((command.order_id, command.effect_id)) {
            return self.capture_again(row);
        }
        if let Some((refund, capture)) = self.refund_of(command.order_id, command.effect_id) {
            self.refund_again(refund, capture);
        }
    }

    /// An operator's wish alone wakes what failed for good; no reminder that was still under way does.
    fn retry(&mut self, command: &RetryRefund) {
        let Some((mut refund, capture)) = self.refund_of(command.order_id, command.refund_id) else { return };
        // or not, if it was tried for this action before: then it may still be under way
        let _ = refund.try_again(command.action_id);
        self.refund_again(refund, capture);
    }

    fn refund_of(&self, order: OrderId, refund: EffectId) -> Option<(Refund, Capture)> {
        let refund = self.books.refund(refund)?.clone();
        let capture = self.capture_of((order, refund.capture_id))?;
        Some((refund, capture))
    }

    fn refund_again(&mut self, refund: Refund, capture: Capture) {
        if refund.capture_id != capture.id {
            return;
        }
        match refund.state {
            RefundState::Waiting => self.begin_refund(refund, capture),
            RefundState::Calling => self.trace_refund(refund, &capture),
            RefundState::Failed | RefundState::Refunded | RefundState::Needless | RefundState::Refused => {}
        }
    }

    fn begin_refund(&mut self, mut refund: Refund, mut capture: Capture) {
        if !refund.set_aside(&mut capture) {
            return;
        }
        self.trace_refund(refund, &capture);
        self.books.put_capture(capture);
    }

    fn trace_refund(&mut self, mut refund: Refund, capture: &Capture) {
        refund.first_called_at = refund.first_called_at.or(Some(self.now));
        self.ask_refund(&refund, capture);
        self.books.put_refund(refund);
    }

    fn ask_refund(&mut self, refund: &Refund, capture: &Capture) {
        let Some(amount) = refund.amount else { return };
        let request = RefundRequest {
            key: refund.key(),
            capture: capture.id,
            capture_reference: capture.reference.clone(),
            order_id: refund.order_id,
            amount: Money::new(amount, capture.amount.currency),
        };
        let first = match self.retry.looks_first(self.now, refund.first_called_at, refund.attempts) {
            true => First::LookThenCall,
            false => First::Call,
        };
        // a refund is done in any case: whether it was begun makes no difference
        self.ask(refund.id, Ask::Refund { request, first }, false);
    }

    fn ask(&mut self, effect: EffectId, ask: Ask, fresh: bool) {
        if self.asked.insert(effect) {
            self.intents.push(Intent { effect, ask, fresh });
        }
    }
}
