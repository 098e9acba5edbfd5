//! A provider in memory that does what its script says, whatever we come to hear of it.

use crate::{
    calls::Answer,
    plan::{Ask, First, Intent},
    provider::{CaptureRequest, RefundRequest},
};
use schemas::{
    ids::{EffectId, OrderId},
    messages::{NoticeKind, ProviderNotice},
    money::Money,
};
use std::collections::BTreeMap;

/// How the provider treats one capture and its refunds.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    /// So many first calls bring no answer that counts.
    pub(super) unknowns: u32,
    /// The call that takes the money; none does when it declines.
    pub(super) charged_on: Option<u32>,
    /// So many first calls of a refund bring no answer that counts.
    pub(super) refund_unknowns: u32,
    /// The first key of a refund is refused, in so many words.
    pub(super) refund_refuses: bool,
    /// A refund never works.
    pub(super) refund_never: bool,
    /// What was declined is taken later all the same; only a notice tells.
    pub(super) taken_late: bool,
    /// The first refund that is done is taken back later; only a notice tells.
    pub(super) refund_bounces: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    pub(super) calls: u32,
    /// How often money moved: 0 or 1, or the test fails.
    pub(super) moved: u32,
    pub(super) amount: i64,
    pub(super) declined: bool,
    /// It was declined, and moved afterwards.
    moved_late: bool,
}

impl Entry {
    /// Whether it moved after it was declined.
    pub(super) fn is_late(&self) -> bool {
        self.moved_late
    }
}

#[derive(Debug, Default)]
pub(super) struct Provider {
    pub(super) scripts: BTreeMap<EffectId, Script>,
    pub(super) charges: BTreeMap<EffectId, Entry>,
    /// By key; with the capture it belongs to.
    pub(super) refunds: BTreeMap<EffectId, (EffectId, Entry)>,
    /// Answers nobody.
    pub(super) is_down: bool,
    /// What it tells by itself, each once, for the world to deliver late, in any order, and again and again.
    pub(super) notices: Vec<ProviderNotice>,
    /// Refunds that will be taken back.
    pub(super) bounced: Vec<(EffectId, ProviderNotice)>,
}

impl Provider {
    /// Takes a call or a lookup; what it does stays done whether the answer is heard or not.
    pub(super) fn ask(&mut self, intent: &Intent) -> Answer {
        if self.is_down {
            return Answer::unknown("down");
        }
        match &intent.ask {
            Ask::Capture { request, first } => match self.look(self.find_charge(request.key), *first) {
                Some(answer) => answer,
                None => {
                    let before = self.find_charge(request.key);
                    let answer = self.capture(request);
                    let after = self.find_charge(request.key);
                    if before != after {
                        self.tell_of_charge(request, after);
                    }
                    answer
                }
            },
            Ask::Refund { request, first } => match self.look(self.find_refund(request.key), *first) {
                Some(answer) => answer,
                None => {
                    let before = self.find_refund(request.key);
                    let answer = self.refund(request);
                    let after = self.find_refund(request.key);
                    if before != after {
                        self.tell_of_refund(request, after);
                    }
                    answer
                }
            },
        }
    }

    fn tell_of_charge(&mut self, request: &CaptureRequest, now: Option<Answer>) {
        let notice = |kind| notice(kind, request.order_id, request.key, request.key, request.amount);
        let is_taken = matches!(now, Some(Answer::Approved { .. }));
        self.notices.push(notice(if is_taken { NoticeKind::Captured } else { NoticeKind::CaptureFailed }));
        let taken_late = self.scripts.get(&request.key).is_some_and(|script| script.taken_late);
        if !is_taken && taken_late {
            let entry = self.charges.entry(request.key).or_default();
            (entry.moved, entry.moved_late) = (1, true);
            self.notices.push(notice(NoticeKind::Captured));
        }
    }

    fn tell_of_refund(&mut self, request: &RefundRequest, now: Option<Answer>) {
        let notice = |kind| notice(kind, request.order_id, request.capture, request.key, request.amount);
        let is_done = matches!(now, Some(Answer::Approved { .. }));
        self.notices.push(notice(if is_done { NoticeKind::Refunded } else { NoticeKind::RefundFailed }));
        let script = self.scripts.get_mut(&request.capture);
        if let Some(script) = script.filter(|script| is_done && script.refund_bounces) {
            script.refund_bounces = false;
            self.bounced.push((request.key, notice(NoticeKind::RefundFailed)));
        }
    }

    /// The bank of the payer sends money back; the provider tells of it.
    pub(super) fn bounce(&mut self) {
        for (key, notice) in std::mem::take(&mut self.bounced) {
            if let Some((_, entry)) = self.refunds.get_mut(&key) {
                (entry.moved, entry.declined) = (0, true);
            }
            self.notices.push(notice);
        }
    }

    /// Money is taken under our metadata, and nobody of ours has asked.
    pub(super) fn take_unasked(&mut self, order: OrderId, capture: EffectId, amount: Money) {
        let entry = Entry { calls: 1, moved: 1, amount: amount.amount, ..Entry::default() };
        if self.charges.insert(capture, entry).is_none() {
            self.notices.push(notice(NoticeKind::Captured, order, capture, capture, amount));
        }
    }

    fn look(&self, found: Option<Answer>, first: First) -> Option<Answer> {
        match (found, first) {
            (_, First::Call) => None,
            (Some(answer), _) => Some(answer),
            (None, First::LookAndSettle) => Some(Answer::Absent),
            (None, First::LookOnly) => Some(Answer::unknown("not there")),
            (None, First::LookThenCall) => None,
        }
    }

    fn find_charge(&self, key: EffectId) -> Option<Answer> {
        known(self.charges.get(&key)?)
    }

    fn find_refund(&self, key: EffectId) -> Option<Answer> {
        known(&self.refunds.get(&key)?.1)
    }

    fn capture(&mut self, request: &CaptureRequest) -> Answer {
        let script = self.scripts.get(&request.key).cloned().unwrap_or_default();
        let entry = self.charges.entry(request.key).or_default();
        assert!(entry.calls == 0 || entry.amount == request.amount.amount, "one key, one request");
        entry.amount = request.amount.amount;
        entry.calls += 1;
        if Some(entry.calls) == script.charged_on {
            entry.moved += 1;
        }
        if entry.calls <= script.unknowns {
            return Answer::unknown("503");
        }
        entry.declined = entry.moved == 0 || entry.moved_late;
        known(entry).unwrap()
    }

    fn refund(&mut self, request: &RefundRequest) -> Answer {
        let script = self.scripts.get(&request.capture).cloned().unwrap_or_default();
        let charge = self.charges.get(&request.capture).cloned().unwrap_or_default();
        assert_eq!(charge.moved, 1, "a refund of a charge that is there");
        let given_back = self.given_back(request.capture);
        let is_first_key = !self
            .refunds
            .iter()
            .any(|(key, (of, entry))| *of == request.capture && *key != request.key && entry.declined);
        let (_, entry) = self.refunds.entry(request.key).or_insert((request.capture, Entry::default()));
        assert!(entry.calls == 0 || entry.amount == request.amount.amount, "one key, one request");
        entry.amount = request.amount.amount;
        entry.calls += 1;
        if entry.moved == 0
            && !entry.declined
            && entry.calls > script.refund_unknowns / 2
            && !script.refund_never
        {
            if script.refund_refuses && is_first_key {
                entry.declined = true;
            } else {
                assert!(given_back + entry.amount <= charge.amount, "never more back than was taken");
                entry.moved += 1;
            }
        }
        if script.refund_never || entry.calls <= script.refund_unknowns {
            return Answer::unknown("503");
        }
        known(entry).unwrap()
    }

    pub(super) fn mend_refunds(&mut self) {
        for script in self.scripts.values_mut() {
            script.refund_never = false;
            script.refund_unknowns = 0;
            script.refund_bounces = false;
        }
    }

    pub(super) fn given_back(&self, capture: EffectId) -> i64 {
        self.refunds
            .values()
            .filter(|(of, entry)| *of == capture && entry.moved > 0)
            .map(|(_, entry)| entry.amount)
            .sum()
    }
}

fn notice(
    kind: NoticeKind,
    order_id: OrderId,
    capture_id: EffectId,
    key: EffectId,
    amount: Money,
) -> ProviderNotice {
    ProviderNotice {
        order_id,
        event_id: format!("evt {kind:?} {key}"),
        kind,
        capture_id,
        key,
        amount: amount.amount,
        currency: amount.currency,
        reference: "model".to_owned(),
        reason: None,
    }
}

/// A key is answered the same for ever: what was declined and then taken late is a matter of notices.
fn known(entry: &Entry) -> Option<Answer> {
    if entry.moved > 0 && !entry.moved_late {
        return Some(Answer::Approved { reference: "model".to_owned() });
    }
    (entry.declined || entry.moved_late).then(|| Answer::Declined { reason: "no".to_owned() })
}
