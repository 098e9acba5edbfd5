//! What must hold at every commit, and in the end.

use super::World;
use crate::books::{Capture, CaptureState, RefundState};
use schemas::{
    ids::{self, EffectId},
    messages::PaymentCommand,
};

impl World {
    /// The constraints of the table, and that no state is ever left for an earlier one.
    pub(super) fn check_capture(&self, row: &Capture) {
        assert!(row.refunding >= 0 && row.refunded >= 0, "{row:?}");
        assert!(row.refunding + row.refunded <= row.amount.amount, "{row:?}");
        assert!(row.refunding + row.refunded == 0 || row.state == CaptureState::Captured, "{row:?}");
        assert!(row.state != CaptureState::Waiting || row.first_called_at.is_none(), "{row:?}");
        let is_end = |state| !matches!(state, CaptureState::Waiting | CaptureState::Calling);
        if let Some(before) = self.captures.get(&row.id).filter(|before| is_end(before.state)) {
            // but for money that the provider took after all, which goes back
            let taken_late = row.state == CaptureState::Captured && row.void_asked;
            assert!(before.state == row.state || taken_late, "an end is an end: {before:?}, {row:?}");
        }
    }

    /// In the end books and provider agree, and whoever asked was answered, one way.
    pub(in super::super) fn check_end(&self, id: EffectId) {
        let asked =
            self.log.iter().any(|c| matches!(c, PaymentCommand::CapturePayment(c) if c.capture_id == id));
        let undone = self.log.iter().any(|c| match c {
            PaymentCommand::VoidCapture(c) => c.capture_id == id,
            _ => false,
        });
        let charge = self.provider.charges.get(&id).cloned().unwrap_or_default();
        assert!(charge.moved <= 1, "charged {} times", charge.moved);
        for (key, (_, entry)) in &self.provider.refunds {
            assert!(entry.moved <= 1, "{key} gave back {} times", entry.moved);
        }
        let Some(row) = self.captures.get(&id) else {
            assert!(!asked && !undone && charge.calls == 0);
            return;
        };
        let undone = undone || row.void_asked;
        match row.state {
            CaptureState::Waiting | CaptureState::Calling => panic!("not settled: {row:?}"),
            CaptureState::Captured => assert_eq!(charge.moved, 1, "{row:?}"),
            CaptureState::Declined | CaptureState::Voided => assert_eq!(charge.moved, 0, "{row:?}"),
        }
        if asked {
            let is_captured = row.state == CaptureState::Captured;
            assert_eq!(self.captured.contains(&id), is_captured, "{row:?}");
            assert!(self.declined.contains(&id) || is_captured, "{row:?}");
            assert!(!self.declined.contains(&id) || !is_captured || row.void_asked, "said both: {row:?}");
        }
        self.check_money(row, undone);
    }

    fn check_money(&self, row: &Capture, undone: bool) {
        let of_it: Vec<_> = self.refunds.values().filter(|refund| refund.capture_id == row.id).collect();
        let sum = |state| of_it.iter().filter(|r| r.state == state).filter_map(|r| r.amount).sum::<i64>();
        assert_eq!(row.refunded, sum(RefundState::Refunded), "{of_it:?}");
        assert_eq!(row.refunding, sum(RefundState::Failed), "what needs a human stays set aside: {of_it:?}");
        for refund in &of_it {
            let is_settled = !matches!(refund.state, RefundState::Waiting | RefundState::Calling);
            assert!(is_settled && refund.settled_at.is_some(), "{refund:?}");
            let needs_human = matches!(refund.state, RefundState::Failed | RefundState::Refused);
            assert!(!needs_human || self.failed.contains(&refund.id), "nobody was told of {refund:?}");
        }
        // a refund that failed for good may have been done: the human's first look finds out
        let given_back = self.provider.given_back(row.id);
        assert!(
            given_back >= row.refunded && given_back <= row.refunded + row.refunding,
            "{row:?} {of_it:?}"
        );
        if undone && row.state == CaptureState::Captured {
            assert_eq!(row.left(), 0, "a void leaves nothing: {row:?} {of_it:?}");
            assert!(
                row.refunding == 0 || of_it.iter().any(|r| r.state == RefundState::Failed),
                "{row:?} {of_it:?}"
            );
        }
        let undo = self.refunds.get(&ids::undo_of(row.id));
        assert!(undo.is_none_or(|undo| undo.capture_id == row.id));
    }
}
