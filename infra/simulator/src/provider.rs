//! A payment provider that does what its script says, whatever we come to hear of it.

use crate::{check::Violation, script::Behaviour};
use payments_worker::{
    calls::Answer,
    plan::{Ask, First, Intent},
    provider::{CaptureRequest, RefundRequest},
};
use schemas::ids::EffectId;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    pub(crate) calls: u8,
    /// Whether money moved.
    pub(crate) moved: bool,
    pub(crate) amount: i64,
    pub(crate) declined: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Provider {
    pub(crate) scripts: BTreeMap<EffectId, Behaviour>,
    pub(crate) charges: BTreeMap<EffectId, Entry>,
    /// By key, with the capture it belongs to.
    pub(crate) refunds: BTreeMap<EffectId, (EffectId, Entry)>,
}

impl Provider {
    /// Takes a call or a lookup; what it does stays done whether the answer is heard or not.
    pub(crate) fn ask(&mut self, intent: &Intent) -> Result<Answer, Violation> {
        match &intent.ask {
            Ask::Capture { request, first } => {
                match look(self.charges.get(&request.key).and_then(known), *first) {
                    Some(answer) => Ok(answer),
                    None => self.capture(request),
                }
            }
            Ask::Refund { request, first } => {
                match look(self.refunds.get(&request.key).and_then(|(_, entry)| known(entry)), *first) {
                    Some(answer) => Ok(answer),
                    None => self.refund(request),
                }
            }
        }
    }

    fn capture(&mut self, request: &CaptureRequest) -> Result<Answer, Violation> {
        let script = self.scripts.get(&request.key).copied().unwrap_or_default();
        let entry = self.charges.entry(request.key).or_default();
        if entry.calls > 0 && entry.amount != request.amount.amount {
            return Err(Violation::money(format!("two requests under the key {}", request.key)));
        }
        entry.amount = request.amount.amount;
        entry.calls = entry.calls.saturating_add(1);
        entry.moved |= script.charged_on.is_some_and(|call| entry.calls >= call);
        if entry.calls <= script.unknowns {
            return Ok(Answer::unknown("503"));
        }
        entry.declined = !entry.moved;
        Ok(known(entry).unwrap_or_else(|| Answer::unknown("503")))
    }

    fn refund(&mut self, request: &RefundRequest) -> Result<Answer, Violation> {
        let script = self.scripts.get(&request.capture).copied().unwrap_or_default();
        let charge = self.charges.get(&request.capture).cloned().unwrap_or_default();
        if !charge.moved {
            return Err(Violation::money(format!(
                "a refund of the charge {}, which is not",
                request.capture
            )));
        }
        let given_back = self.given_back(request.capture);
        let is_first_key = self
            .refunds
            .iter()
            .all(|(key, (of, entry))| *of != request.capture || *key == request.key || !entry.declined);
        let (_, entry) = self.refunds.entry(request.key).or_insert((request.capture, Entry::default()));
        if entry.calls > 0 && entry.amount != request.amount.amount {
            return Err(Violation::money(format!("two requests under the key {}", request.key)));
        }
        entry.amount = request.amount.amount;
        entry.calls = entry.calls.saturating_add(1);
        if !entry.moved && !entry.declined && entry.calls > script.refund_unknowns / 2 {
            if script.refuses_refund && is_first_key {
                entry.declined = true;
            } else if given_back + entry.amount > charge.amount {
                let what = format!("more given back than taken of {}", request.capture);
                return Err(Violation::money(what));
            } else {
                entry.moved = true;
            }
        }
        if entry.calls <= script.refund_unknowns {
            return Ok(Answer::unknown("503"));
        }
        Ok(known(entry).unwrap_or_else(|| Answer::unknown("503")))
    }

    pub(crate) fn given_back(&self, capture: EffectId) -> i64 {
        let of_it = self.refunds.values().filter(|(of, entry)| *of == capture && entry.moved);
        of_it.map(|(_, entry)| entry.amount).sum()
    }
}

fn look(found: Option<Answer>, first: First) -> Option<Answer> {
    match (found, first) {
        (_, First::Call) => None,
        (Some(answer), _) => Some(answer),
        (None, First::LookAndSettle) => Some(Answer::Absent),
        (None, First::LookOnly) => Some(Answer::unknown("not there")),
        (None, First::LookThenCall) => None,
    }
}

fn known(entry: &Entry) -> Option<Answer> {
    if entry.moved {
        return Some(Answer::Approved { reference: "model".to_owned() });
    }
    entry.declined.then(|| Answer::Declined { reason: "no".to_owned() })
}
