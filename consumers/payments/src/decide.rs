//! Transaction B: what becomes of each command, given what its call brought. Pure.
//!
//! | capture is | CapturePayment, ResumeEffect | VoidCapture, whole undo |
//! |---|---|---|
//! | unknown to us | never called: deferred, or `expired` past its deadline | void, whatever comes later |
//! | `WAITING` | the same | void |
//! | `CALLING` | what the provider said; unknown: deferred | undone once it is known |
//! | `CAPTURED` | said again | the one refund of all that is left |
//! | `DECLINED`, `VOIDED` | said again | nothing |
//!
//! What the provider tells by itself is in `notices.rs`.
//!
//! A record changes one capture and one refund at most. Both are worked on as copies and written back at the end, so a
//! rejection leaves everything as it was.

use crate::{
    books::{Books, Capture, CaptureState, Deferral, Refund, RefundState},
    calls::{Answer, Outcomes},
    retry::Retry,
    say,
    tally::{Count, Tally},
};
use harness::record::{Delivery, Out, Outgoing, Rejection, Verdict};
use schemas::{
    ids::{self, EffectId, OrderId},
    messages::{CapturePayment, PaymentCommand, VoidCapture},
    time::Timestamp,
};
use std::{collections::BTreeSet, time::Duration};

mod notices;
mod refunds;

/// All that a batch decides on.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// The rows.
    pub books: Books,
    /// What the calls brought.
    pub outcomes: Outcomes,
    /// Effects whose outcome was used: a second command of the batch for the same effect finds it decided.
    used: BTreeSet<EffectId>,
    /// What to count.
    pub tally: Tally,
}

impl Rows {
    /// The rows of a batch, and what its calls brought.
    #[must_use]
    pub fn new(books: Books, outcomes: Outcomes) -> Self {
        Self { books, outcomes, ..Self::default() }
    }
}

/// Decides one command.
///
/// # Errors
/// A [`Rejection`], and then nothing has changed: a command that contradicts what is known of its effect
/// (`capture_conflict`, `refund_conflict`, `notice_conflict`, `order_mismatch`, `amount`), or names one that is not
/// there (`unknown_capture`, `unknown_effect`).
pub fn decide(
    rows: &mut Rows,
    now: Timestamp,
    retry: &Retry,
    delivery: &Delivery<PaymentCommand>,
    out: &mut Out,
) -> Result<Verdict, Rejection> {
    let (partition, changes) = (delivery.partition, Changes::default());
    let mut step = Step { rows, now, retry, partition, put_off: Duration::ZERO, changes };
    let verdict = match &delivery.command {
        PaymentCommand::CapturePayment(command) => step.capture(command),
        PaymentCommand::VoidCapture(command) => step.void(command),
        PaymentCommand::RefundPayment(command) => step.refund(command),
        PaymentCommand::ResumeEffect(command) => step.resume(command.order_id, command.effect_id),
        PaymentCommand::ProviderNotice(notice) => step.notice(notice),
        PaymentCommand::RetryRefund(command) => step.retry(command),
    }?;
    let changes = step.changes;
    for outgoing in changes.write(rows) {
        out.send(delivery, outgoing);
    }
    Ok(verdict)
}

/// What one command changes.
#[derive(Debug, Default)]
struct Changes {
    capture: Option<Capture>,
    refund: Option<Refund>,
    deferred: Vec<(EffectId, Deferral)>,
    settled: Vec<EffectId>,
    used: Option<EffectId>,
    counts: Vec<Count>,
    says: Vec<Outgoing>,
}

impl Changes {
    fn write(self, rows: &mut Rows) -> Vec<Outgoing> {
        for effect in self.settled {
            rows.books.undefer(effect);
        }
        for (effect, deferral) in self.deferred {
            rows.books.defer(effect, deferral);
        }
        if let Some(row) = self.capture {
            rows.books.put_capture(row);
        }
        if let Some(row) = self.refund {
            if row.state == RefundState::Failed {
                rows.books.forget(row.id);
            }
            rows.books.put_refund(row);
        }
        rows.used.extend(self.used);
        rows.tally.extend(self.counts);
        self.says
    }
}

/// One command being decided.
struct Step<'a> {
    rows: &'a Rows,
    now: Timestamp,
    retry: &'a Retry,
    partition: i32,
    /// How long the provider is left alone.
    put_off: Duration,
    changes: Changes,
}

/// What was heard of an effect, as far as its row cares.
enum News {
    /// The provider's answer, or that there is none.
    Heard(Answer),
    /// Nobody can have begun the call.
    Untouched,
    /// Decided earlier in this batch.
    Old,
}

impl Step<'_> {
    fn capture(&mut self, command: &CapturePayment) -> Result<Verdict, Rejection> {
        if command.amount <= 0 {
            return Err(Rejection::new(
                "amount",
                format!("capture {} of {}", command.capture_id, command.amount),
            ));
        }
        match self.rows.books.capture(command.capture_id).cloned() {
            None => self.not_begun(Capture::asked(command, self.now)),
            Some(row) => {
                same_order(row.id, row.order_id, command.order_id)?;
                if row.is_unseen() {
                    let row = Capture { void_asked: true, ..Capture::asked(command, self.now) };
                    return self.voided(row);
                }
                if row.is_unasked() {
                    return self.repeat(say::declined(row.order_id, row.id, "voided"));
                }
                if !row.is_asked_by(command) {
                    let detail = format!("capture {} was asked for with another amount or method", row.id);
                    return Err(Rejection::new("capture_conflict", detail));
                }
                self.capture_again(row)
            }
        }
    }

    fn capture_again(&mut self, row: Capture) -> Result<Verdict, Rejection> {
        match row.state {
            CaptureState::Waiting => self.not_begun(row),
            CaptureState::Calling => self.capture_heard(row),
            CaptureState::Captured => self.repeat(say::captured(&row)),
            CaptureState::Declined | CaptureState::Voided => {
                self.repeat(say::declined(row.order_id, row.id, answered_reason(&row)))
            }
        }
    }

    /// The asker may have lost what was said before.
    fn repeat(&mut self, answer: Result<Outgoing, Rejection>) -> Result<Verdict, Rejection> {
        self.changes.says.push(answer?);
        Ok(Verdict::AlreadyApplied)
    }

    /// Nobody can have begun it: time and void are looked at anew.
    fn not_begun(&mut self, mut row: Capture) -> Result<Verdict, Rejection> {
        row.state = CaptureState::Waiting;
        row.first_called_at = None;
        if row.void_asked {
            return self.voided(row);
        }
        if !row.in_time(self.now) {
            return self.declined(row, "expired".to_owned(), "expired");
        }
        self.defer(row.id, row.order_id, row.attempts);
        self.changes.capture = Some(row);
        Ok(Verdict::Executed)
    }

    fn capture_heard(&mut self, mut row: Capture) -> Result<Verdict, Rejection> {
        let answer = match self.news(row.id) {
            News::Old => return Ok(Verdict::AlreadyApplied),
            News::Untouched => return self.not_begun(row),
            News::Heard(answer) => answer,
        };
        match answer {
            Answer::Approved { reference } => self.captured(row, reference),
            // prefixed, for a provider may well say "expired" of a card
            Answer::Declined { reason } => self.declined(row, format!("provider: {reason}"), "declined"),
            Answer::Absent if row.void_asked => self.voided(row),
            Answer::Absent => self.declined(row, "expired".to_owned(), "expired"),
            Answer::Unknown { why } => {
                row.attempts = row.attempts.saturating_add(1);
                row.reason = Some(why);
                self.changes.counts.push(Count::Unknown("capture"));
                self.still_calling(row)
            }
            Answer::Running => {
                row.attempts = row.attempts.saturating_add(1);
                self.still_calling(row)
            }
            Answer::NotBegun | Answer::PutOff { .. } => self.still_calling(row),
        }
    }

    fn still_calling(&mut self, row: Capture) -> Result<Verdict, Rejection> {
        self.defer(row.id, row.order_id, row.attempts);
        self.changes.capture = Some(row);
        Ok(Verdict::Executed)
    }

    /// An end, however it became known: by the call's answer, a lookup, or a notice.
    fn captured(&mut self, mut row: Capture, reference: String) -> Result<Verdict, Rejection> {
        row.state = CaptureState::Captured;
        row.reference = Some(reference);
        row.reason = None;
        self.changes.says.push(say::captured(&row)?);
        self.capture_settled(&mut row, "captured")?;
        if row.void_asked {
            return self.begin_undo(row, "voided");
        }
        self.changes.capture = Some(row);
        Ok(Verdict::Executed)
    }

    fn declined(
        &mut self,
        mut row: Capture,
        reason: String,
        outcome: &'static str,
    ) -> Result<Verdict, Rejection> {
        row.state = CaptureState::Declined;
        row.reason = Some(reason);
        self.changes.says.push(say::declined(row.order_id, row.id, answered_reason(&row))?);
        self.capture_settled(&mut row, outcome)?;
        self.changes.capture = Some(row);
        Ok(Verdict::Executed)
    }

    fn voided(&mut self, mut row: Capture) -> Result<Verdict, Rejection> {
        row.state = CaptureState::Voided;
        row.void_asked = true;
        row.reason = Some("voided".to_owned());
        self.changes.says.push(say::declined(row.order_id, row.id, answered_reason(&row))?);
        self.capture_settled(&mut row, "voided")?;
        self.changes.capture = Some(row);
        Ok(Verdict::Executed)
    }

    fn capture_settled(&mut self, row: &mut Capture, outcome: &'static str) -> Result<(), Rejection> {
        self.changes.says.push(say::capture_settled(row, self.now)?);
        row.settled_at = Some(self.now);
        self.changes.settled.push(row.id);
        self.changes.counts.push(Count::Capture(outcome, self.now.since(row.created_at)));
        Ok(())
    }

    fn void(&mut self, command: &VoidCapture) -> Result<Verdict, Rejection> {
        match self.rows.books.capture(command.capture_id).cloned() {
            None => {
                let row = Capture::void_unseen(command.capture_id, command.order_id, self.now);
                self.changes.capture = Some(row);
                Ok(Verdict::Executed)
            }
            Some(row) => {
                same_order(row.id, row.order_id, command.order_id)?;
                self.undo(row, "voided")
            }
        }
    }

    /// The whole undo, whoever asks for it.
    fn undo(&mut self, mut row: Capture, cause: &str) -> Result<Verdict, Rejection> {
        match row.state {
            CaptureState::Waiting => self.voided(row),
            CaptureState::Calling if row.void_asked => Ok(Verdict::AlreadyApplied),
            CaptureState::Calling => {
                row.void_asked = true;
                self.changes.capture = Some(row);
                Ok(Verdict::Executed)
            }
            CaptureState::Captured => match self.rows.books.refund(ids::undo_of(row.id)).cloned() {
                Some(refund) => self.refund_again(refund, row),
                None if row.left() == 0 => Ok(Verdict::AlreadyApplied),
                None => self.begin_undo(row, cause),
            },
            CaptureState::Declined | CaptureState::Voided => Ok(Verdict::AlreadyApplied),
        }
    }

    fn resume(&mut self, order_id: OrderId, effect: EffectId) -> Result<Verdict, Rejection> {
        if let Some(row) = self.rows.books.capture(effect).cloned() {
            same_order(effect, row.order_id, order_id)?;
            return match row.state {
                CaptureState::Waiting | CaptureState::Calling => self.capture_again(row),
                CaptureState::Captured | CaptureState::Declined | CaptureState::Voided => {
                    Ok(Verdict::AlreadyApplied)
                }
            };
        }
        let (refund, capture) = self.refund_of(order_id, effect)?;
        self.refund_again(refund, capture)
    }

    fn refund_of(&self, order_id: OrderId, effect: EffectId) -> Result<(Refund, Capture), Rejection> {
        let refund = self.rows.books.refund(effect);
        let capture = refund.and_then(|refund| self.rows.books.capture(refund.capture_id));
        let (Some(refund), Some(capture)) = (refund, capture) else {
            return Err(Rejection::new("unknown_effect", format!("there is no capture or refund {effect}")));
        };
        same_order(effect, refund.order_id, order_id)?;
        Ok((refund.clone(), capture.clone()))
    }

    /// What this batch heard of an effect that is `CALLING`; taken once.
    fn news(&mut self, effect: EffectId) -> News {
        if self.rows.used.contains(&effect) {
            return News::Old;
        }
        self.changes.used = Some(effect);
        let Some(heard) = self.rows.outcomes.0.get(&effect) else { return News::Heard(Answer::NotBegun) };
        if let Answer::PutOff { again_in } = heard.answer {
            self.put_off = again_in;
        }
        match &heard.answer {
            answer if heard.fresh && answer.is_not_begun() => News::Untouched,
            answer => News::Heard(answer.clone()),
        }
    }

    fn defer(&mut self, effect: EffectId, order_id: OrderId, attempt: i32) {
        let due_at = self.retry.due(self.now.plus(self.put_off), effect, attempt);
        let deferral = Deferral { partition: self.partition, due_at, order_id, attempt };
        self.changes.deferred.push((effect, deferral));
    }
}

/// The reason that the saga hears; the provider's own words stay in the row and in the fact.
fn answered_reason(row: &Capture) -> &'static str {
    match (row.state, row.reason.as_deref()) {
        (CaptureState::Voided, _) => "voided",
        (_, Some("expired")) => "expired",
        _ => "payment_declined",
    }
}

fn same_order(effect: EffectId, ours: OrderId, theirs: OrderId) -> Result<(), Rejection> {
    if ours == theirs {
        return Ok(());
    }
    Err(Rejection::new("order_mismatch", format!("{effect} belongs to order {ours}, not to {theirs}")))
}

#[cfg(test)]
mod tests;
