//! A provider in memory that does what its script says, whatever we come to hear of it.

use crate::{
    calls::Answer,
    plan::{Ask, First, Intent},
    provider::{CaptureRequest, RefundRequest},
};
use schemas::ids::EffectId;
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
}

#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    pub(super) calls: u32,
    /// How often money moved: 0 or 1, or the test fails.
    pub(super) moved: u32,
    pub(super) amount: i64,
    pub(super) declined: bool,
}

#[derive(Debug, Default)]
pub(super) struct Provider {
    pub(super) scripts: BTreeMap<EffectId, Script>,
    pub(super) charges: BTreeMap<EffectId, Entry>,
    /// By key; with the capture it belongs to.
    pub(super) refunds: BTreeMap<EffectId, (EffectId, Entry)>,
    /// Answers nobody.
    pub(super) is_down: bool,
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
                None => self.capture(request),
            },
            Ask::Refund { request, first } => match self.look(self.find_refund(request.key), *first) {
                Some(answer) => answer,
                None => self.refund(request),
            },
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
        entry.declined = entry.moved == 0;
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

fn known(entry: &Entry) -> Option<Answer> {
    if entry.moved > 0 {
        return Some(Answer::Approved { reference: "model".to_owned() });
    }
    entry.declined.then(|| Answer::Declined { reason: "no".to_owned() })
}
