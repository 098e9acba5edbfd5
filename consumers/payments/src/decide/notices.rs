//! The part of the decider that hears what the provider tells by itself.
//!
//! | row | money taken | not taken |
//! |---|---|---|
//! | no capture, or only its void | undone | nothing |
//! | `WAITING`, `CALLING` | its answer: captured, and undone if it was voided | `CALLING`: its answer; else nothing |
//! | `CAPTURED` | said before; by another payment: parked | old news |
//! | `DECLINED`, `VOIDED` | captured after all, and undone | said before |
//!
//! | row | money given back | not given back |
//! |---|---|---|
//! | no refund of that key | parked: nobody of ours asked for it | nothing |
//! | a key that was refused before | old news | old news |
//! | `CALLING` | its answer | its answer: a human is needed |
//! | `FAILED` | done after all: no human is needed | now it is certain: another try takes a new key |
//! | `REFUNDED` | said before | taken back: a human is needed |
//! | never called | parked | nothing |
//!
//! Whatever tells of money that moved, by another amount or currency than ours or under another order, is parked: one of
//! us is wrong.

use super::{Step, same_order};
use crate::books::{Capture, CaptureState, Refund, RefundState};
use harness::record::{Rejection, Verdict};
use schemas::{
    messages::{NoticeKind, ProviderNotice},
    money::Money,
};

const CONFLICT: &str = "notice_conflict";

impl Step<'_> {
    pub(super) fn notice(&mut self, notice: &ProviderNotice) -> Result<Verdict, Rejection> {
        if notice.amount <= 0 {
            return Err(Rejection::new(
                "amount",
                format!("a notice {} of {}", notice.event_id, notice.amount),
            ));
        }
        let capture = self.rows.books.capture(notice.capture_id).cloned();
        if let Some(row) = &capture {
            same_order(row.id, row.order_id, notice.order_id)?;
        }
        match (notice.kind, capture) {
            (NoticeKind::Captured, None) => self.captured_unasked(Capture::unasked(notice, self.now), notice),
            (NoticeKind::Captured, Some(row)) => self.notice_captured(row, notice),
            (NoticeKind::CaptureFailed, Some(row)) => self.notice_not_captured(row, notice),
            (NoticeKind::Refunded, Some(row)) => self.notice_refunded(row, notice),
            (NoticeKind::RefundFailed, Some(row)) => self.notice_not_refunded(row, notice),
            (NoticeKind::Refunded, None) => {
                let detail = format!("{} gave back of capture {}", notice.event_id, notice.capture_id);
                Err(Rejection::new("unknown_capture", detail))
            }
            (NoticeKind::CaptureFailed | NoticeKind::RefundFailed, None) => Ok(Verdict::AlreadyApplied),
        }
    }

    fn notice_captured(&mut self, row: Capture, notice: &ProviderNotice) -> Result<Verdict, Rejection> {
        if row.is_unseen() {
            let amount = Money::new(notice.amount, notice.currency);
            return self.captured_late(Capture { amount, ..row }, notice);
        }
        same_amount(notice, row.amount)?;
        match row.state {
            CaptureState::Waiting | CaptureState::Calling => self.captured(row, notice.reference.clone()),
            CaptureState::Declined | CaptureState::Voided => self.captured_late(row, notice),
            CaptureState::Captured if row.reference.as_deref() == Some(&notice.reference) => {
                Ok(Verdict::AlreadyApplied)
            }
            CaptureState::Captured => {
                let ours = row.reference.as_deref().unwrap_or("no name");
                let detail = format!("{} was captured as {ours}, and as {} too", row.id, notice.reference);
                Err(Rejection::new(CONFLICT, detail))
            }
        }
    }

    /// The saga was told that nothing was taken. It hears the truth, and the whole undo has one id, so it does not
    /// matter that both of us begin it.
    fn captured_late(&mut self, row: Capture, notice: &ProviderNotice) -> Result<Verdict, Rejection> {
        self.captured(Capture { void_asked: true, ..row }, notice.reference.clone())
    }

    /// Nobody is known to have asked for it, so nobody is told.
    fn captured_unasked(&mut self, mut row: Capture, notice: &ProviderNotice) -> Result<Verdict, Rejection> {
        row.state = CaptureState::Captured;
        row.reference = Some(notice.reference.clone());
        self.capture_settled(&mut row, "unasked")?;
        self.begin_undo(row, "unasked")
    }

    fn notice_not_captured(&mut self, row: Capture, notice: &ProviderNotice) -> Result<Verdict, Rejection> {
        if row.state != CaptureState::Calling {
            return Ok(Verdict::AlreadyApplied);
        }
        self.declined(row, format!("provider: {}", reason(notice)), "declined")
    }

    fn notice_refunded(&mut self, capture: Capture, notice: &ProviderNotice) -> Result<Verdict, Rejection> {
        let Some(refund) = self.rows.books.refund_by_key(capture.id, notice.key).cloned() else {
            let detail = format!("{} gave back {} that nobody asked for", notice.event_id, notice.amount);
            return Err(Rejection::new("unknown_effect", detail));
        };
        if refund.key() != notice.key {
            return Ok(Verdict::AlreadyApplied);
        }
        match refund.state {
            RefundState::Calling | RefundState::Failed => {
                same_amount(notice, amount_of(&refund, &capture))?;
                self.refunded(refund, capture, notice.reference.clone())
            }
            RefundState::Refunded => Ok(Verdict::AlreadyApplied),
            RefundState::Waiting | RefundState::Needless | RefundState::Refused => {
                let detail = format!("refund {} is {}, never called", refund.id, refund.state.as_str());
                Err(Rejection::new(CONFLICT, detail))
            }
        }
    }

    fn notice_not_refunded(
        &mut self,
        mut capture: Capture,
        notice: &ProviderNotice,
    ) -> Result<Verdict, Rejection> {
        let refund = self.rows.books.refund_by_key(capture.id, notice.key).cloned();
        let Some(refund) = refund.filter(|refund| refund.key() == notice.key) else {
            return Ok(Verdict::AlreadyApplied);
        };
        match refund.state {
            RefundState::Calling => self.key_refused(refund, reason(notice)),
            RefundState::Refunded => {
                let back = amount_of(&refund, &capture);
                same_amount(notice, back)?;
                capture.refunded -= back.amount;
                capture.refunding += back.amount;
                self.changes.capture = Some(capture);
                self.key_refused(refund, format!("taken back: {}", reason(notice)))
            }
            RefundState::Failed => {
                self.changes.refund = Some(refund.with_key_spent());
                Ok(Verdict::Executed)
            }
            RefundState::Waiting | RefundState::Needless | RefundState::Refused => {
                Ok(Verdict::AlreadyApplied)
            }
        }
    }
}

fn reason(notice: &ProviderNotice) -> String {
    notice.reason.clone().unwrap_or_else(|| "no reason given".to_owned())
}

fn amount_of(refund: &Refund, capture: &Capture) -> Money {
    Money::new(refund.amount.unwrap_or(0), capture.amount.currency)
}

fn same_amount(notice: &ProviderNotice, ours: Money) -> Result<(), Rejection> {
    let theirs = Money::new(notice.amount, notice.currency);
    if theirs == ours {
        return Ok(());
    }
    let detail = format!("{} tells of {theirs:?}, ours is {ours:?}", notice.event_id);
    Err(Rejection::new(CONFLICT, detail))
}
