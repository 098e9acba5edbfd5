//! The part of the decider that gives money back.

use super::{News, Step, same_order};
use crate::{
    books::{Capture, CaptureState, Refund, RefundState},
    calls::Answer,
    plan::is_whole_undo,
    say,
    tally::Count,
};
use harness::record::{Rejection, Verdict};
use schemas::{
    ids,
    messages::{RefundPayment, RetryRefund},
};

impl Step<'_> {
    pub(super) fn refund(&mut self, command: &RefundPayment) -> Result<Verdict, Rejection> {
        if command.amount.is_some_and(|amount| amount <= 0) {
            let detail = format!("refund {} of {:?}", command.refund_id, command.amount);
            return Err(Rejection::new("amount", detail));
        }
        let Some(capture) = self.rows.books.capture(command.capture_id).cloned() else {
            // the saga only gives back what it was told was taken: our books must have lost it
            let detail = format!("refund {} of capture {}", command.refund_id, command.capture_id);
            return Err(Rejection::new("unknown_capture", detail));
        };
        same_order(capture.id, capture.order_id, command.order_id)?;
        if is_whole_undo(command) {
            return self.undo(capture, &command.reason);
        }
        match self.rows.books.refund(command.refund_id).cloned() {
            Some(refund) => {
                let is_other_amount = command.amount.is_some() && command.amount != refund.amount;
                if refund.capture_id != capture.id || is_other_amount {
                    let detail = format!("refund {} was asked for with another amount or capture", refund.id);
                    return Err(Rejection::new("refund_conflict", detail));
                }
                self.refund_again(refund, capture)
            }
            None => {
                let (id, reason) = (command.refund_id, &command.reason);
                let refund =
                    Refund::asked(id, capture.id, capture.order_id, command.amount, reason, self.now);
                self.begin_refund(refund, capture)
            }
        }
    }

    /// Undoes a capture that became known in this very batch: called from the next one on.
    pub(super) fn begin_undo(&mut self, capture: Capture, cause: &str) -> Result<Verdict, Rejection> {
        let id = ids::undo_of(capture.id);
        let refund = Refund::asked(id, capture.id, capture.order_id, None, cause, self.now);
        self.begin_refund(refund, capture)
    }

    pub(super) fn refund_again(&mut self, refund: Refund, capture: Capture) -> Result<Verdict, Rejection> {
        match refund.state {
            RefundState::Waiting => self.begin_refund(refund, capture),
            RefundState::Calling => self.refund_heard(refund, capture),
            RefundState::Refunded | RefundState::Needless | RefundState::Refused | RefundState::Failed => {
                Ok(Verdict::AlreadyApplied)
            }
        }
    }

    /// An operator wants what failed for good to be tried again.
    pub(super) fn retry(&mut self, command: &RetryRefund) -> Result<Verdict, Rejection> {
        let (mut refund, capture) = self.refund_of(command.order_id, command.refund_id)?;
        if refund.try_again(command.action_id) && refund.state == RefundState::Calling {
            // it failed in this very batch: called from the next one on
            self.defer(refund.id, refund.order_id, 0);
            self.changes.refund = Some(refund);
            return Ok(Verdict::Executed);
        }
        if refund.state == RefundState::Refunded {
            // a notice was quicker than the operator
            self.changes.says.push(say::done(&refund)?);
        }
        self.refund_again(refund, capture)
    }

    /// Not called in this batch: its capture was not captured yet when the calls were planned.
    fn begin_refund(&mut self, mut refund: Refund, mut capture: Capture) -> Result<Verdict, Rejection> {
        if matches!(capture.state, CaptureState::Waiting | CaptureState::Calling) {
            refund.attempts = refund.attempts.saturating_add(1);
            self.defer(refund.id, refund.order_id, refund.attempts);
        } else if refund.set_aside(&mut capture) {
            self.defer(refund.id, refund.order_id, 0);
        } else if capture.state == CaptureState::Captured && refund.amount.is_some() {
            return self.refused(refund, &capture);
        } else {
            refund.state = RefundState::Needless;
            self.refund_settled(&mut refund, "needless");
        }
        self.changes.refund = Some(refund);
        self.changes.capture = Some(capture);
        Ok(Verdict::Executed)
    }

    fn refund_heard(&mut self, mut refund: Refund, capture: Capture) -> Result<Verdict, Rejection> {
        let answer = match self.news(refund.id) {
            News::Old => return Ok(Verdict::AlreadyApplied),
            News::Untouched => Answer::NotBegun,
            News::Heard(answer) => answer,
        };
        match answer {
            Answer::Approved { reference } => return self.refunded(refund, capture, reference),
            Answer::Declined { reason } => {
                return self.key_refused(refund, reason);
            }
            Answer::Unknown { why } => {
                refund.attempts = refund.attempts.saturating_add(1);
                self.changes.counts.push(Count::Unknown("refund"));
                if refund.attempts >= self.retry.refund_attempts {
                    let reason = format!("{why} ({} attempts)", refund.attempts);
                    return self.failed(refund, reason);
                }
                refund.reason = Some(why);
            }
            // not counted: time alone never makes a refund fail
            Answer::Running | Answer::NotBegun | Answer::PutOff { .. } | Answer::Absent => {}
        }
        self.defer(refund.id, refund.order_id, refund.attempts);
        self.changes.refund = Some(refund);
        Ok(Verdict::Executed)
    }

    pub(super) fn refunded(
        &mut self,
        mut refund: Refund,
        mut capture: Capture,
        reference: String,
    ) -> Result<Verdict, Rejection> {
        let amount = refund.amount.unwrap_or(0);
        capture.refunding -= amount;
        capture.refunded += amount;
        refund.state = RefundState::Refunded;
        refund.reference = Some(reference);
        refund.reason = None;
        self.changes.says.push(say::refund_settled(&refund, &capture, amount, self.now)?);
        if refund.failures > 0 {
            self.changes.says.push(say::done(&refund)?);
        }
        self.refund_settled(&mut refund, "refunded");
        self.changes.refund = Some(refund);
        self.changes.capture = Some(capture);
        Ok(Verdict::Executed)
    }

    fn refused(&mut self, mut refund: Refund, capture: &Capture) -> Result<Verdict, Rejection> {
        refund.state = RefundState::Refused;
        let reason = format!("more than the {} left of the capture", capture.left());
        self.needs_human(refund, reason, "refused")
    }

    /// A definite refusal.
    pub(super) fn key_refused(&mut self, refund: Refund, reason: String) -> Result<Verdict, Rejection> {
        self.failed(refund.with_key_spent(), reason)
    }

    fn failed(&mut self, mut refund: Refund, reason: String) -> Result<Verdict, Rejection> {
        refund.state = RefundState::Failed;
        self.needs_human(refund, reason, "failed")
    }

    fn needs_human(
        &mut self,
        mut refund: Refund,
        reason: String,
        outcome: &'static str,
    ) -> Result<Verdict, Rejection> {
        refund.failures = refund.failures.saturating_add(1);
        self.changes.says.push(say::failed(&refund, &reason)?);
        self.changes.counts.push(Count::NeedsHuman(refund.order_id, refund.id, reason.clone()));
        refund.reason = Some(reason);
        self.refund_settled(&mut refund, outcome);
        self.changes.refund = Some(refund);
        Ok(Verdict::Executed)
    }

    fn refund_settled(&mut self, refund: &mut Refund, outcome: &'static str) {
        refund.settled_at = Some(self.now);
        self.changes.settled.push(refund.id);
        self.changes.counts.push(Count::Refund(outcome));
    }
}
