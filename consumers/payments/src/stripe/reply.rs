//! What Stripe answers, read and weighed. Pure, and trusting nothing: what does not read, or answers for another payment,
//! leaves the outcome unknown.

use super::request;
use crate::provider::{CaptureRequest, Outcome, RefundRequest};
use schemas::{ids::EffectId, money::Money, payment_metadata::EFFECT_KEY};
use serde::{Deserialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// Codes of a 400 by which Stripe says that this request can never be done, whoever sends it again.
const NEVER: [&str; 6] = [
    "amount_too_large",
    "amount_too_small",
    "charge_already_refunded",
    "charge_disputed",
    "payment_method_currency_mismatch",
    "payment_method_unactivated",
];

/// An answer that has come whole.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Answered {
    /// What a 200 holds, or the outcome that anything else is.
    pub(super) fn read<T: DeserializeOwned>(&self, is_right: fn(&T) -> bool) -> Result<T, Outcome> {
        if self.status != 200 {
            return Err(self.refusal());
        }
        let value: Option<T> = serde_json::from_slice(&self.body).ok();
        value.filter(is_right).ok_or_else(|| Outcome::unknown("stripe: an answer that does not read"))
    }

    fn refusal(&self) -> Outcome {
        let status = self.status;
        let Ok(Refusal { error }) = serde_json::from_slice::<Refusal>(&self.body) else {
            return Outcome::unknown(format!("stripe: {status} that does not read"));
        };
        let reason = error.reason();
        match (status, error.kind.as_str()) {
            // it says that nothing was taken, and its own intent has to agree
            (402, _) if error.payment_intent.as_deref().is_none_or(Intent::is_untaken) => {
                Outcome::Declined { reason }
            }
            (409, _) => Outcome::Pending { why: format!("stripe: 409 {reason}") },
            (400, "invalid_request_error")
                if error.code.as_deref().is_some_and(|code| NEVER.contains(&code)) =>
            {
                Outcome::Declined { reason }
            }
            (401 | 403, _) => Outcome::unknown(format!("stripe: {status}; is STRIPE_SECRET_KEY right?")),
            _ => Outcome::unknown(format!("stripe: {status} {reason}")),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Refusal {
    error: Failure,
}

/// An error object.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Failure {
    #[serde(rename = "type")]
    kind: String,
    code: Option<String>,
    decline_code: Option<String>,
    payment_intent: Option<Box<Intent>>,
}

impl Failure {
    /// Its codes; the message may hold what the customer typed.
    fn reason(&self) -> String {
        self.decline_code.as_ref().or(self.code.as_ref()).unwrap_or(&self.kind).clone()
    }
}

/// A payment.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    object: String,
    amount: i64,
    #[serde(default)]
    amount_received: i64,
    currency: String,
    status: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    last_payment_error: Option<Failure>,
}

impl Intent {
    pub(super) fn is_one(&self) -> bool {
        self.object == "payment_intent" && is_id(&self.id, "pi_")
    }

    pub(super) fn has_key(&self, key: EffectId) -> bool {
        has_key(&self.metadata, key)
    }

    pub(super) fn is_paid(&self) -> bool {
        self.status == "succeeded"
    }

    fn is_untaken(&self) -> bool {
        matches!(self.status.as_str(), "requires_payment_method" | "requires_action" | "canceled")
    }

    /// What it is to who asked for that capture.
    pub(super) fn outcome(&self, request: &CaptureRequest) -> Outcome {
        if is_others(&self.metadata, request.key) || !is_of(self.amount, &self.currency, request.amount) {
            return another_answer();
        }
        match self.status.as_str() {
            "succeeded" if self.amount_received == self.amount => {
                Outcome::Approved { reference: self.id.clone() }
            }
            "succeeded" => another_answer(),
            "processing" => Outcome::Pending { why: "stripe: processing".to_owned() },
            "requires_action" => Outcome::declined("authentication_required"),
            "canceled" => Outcome::declined("canceled"),
            "requires_payment_method" => match &self.last_payment_error {
                Some(failure) if failure.kind == "card_error" => {
                    Outcome::Declined { reason: failure.reason() }
                }
                _ => Outcome::unknown("stripe: requires_payment_method, without saying why"),
            },
            status => Outcome::unknown(format!("stripe: a payment that is {status}")),
        }
    }
}

/// The one that counts, of all that have the capture's key: what was taken, before what may yet be, before the rest.
pub(super) fn best_of(intents: &[Intent], request: &CaptureRequest) -> Option<Outcome> {
    let paid = intents.iter().filter(|intent| intent.is_paid()).count();
    if paid > 1 {
        tracing::error!(order = %request.order_id, capture = %request.key, payments = paid,
            "the provider took the money of one capture more than once: give back all but one by hand");
    }
    let outcomes = intents.iter().map(|intent| intent.outcome(request));
    outcomes.min_by_key(|outcome| match outcome {
        Outcome::Approved { .. } => 0,
        Outcome::Pending { .. } => 1,
        Outcome::Unknown { .. } | Outcome::NotBegun { .. } => 2,
        Outcome::Declined { .. } => 3,
    })
}

/// A refund.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Refund {
    pub(super) id: String,
    object: String,
    amount: i64,
    currency: String,
    status: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    failure_reason: Option<String>,
}

impl Refund {
    pub(super) fn is_one(&self) -> bool {
        self.object == "refund" && (is_id(&self.id, "re_") || is_id(&self.id, "pyr_"))
    }

    pub(super) fn has_key(&self, key: EffectId) -> bool {
        has_key(&self.metadata, key)
    }

    /// What it is to who asked for that refund.
    pub(super) fn outcome(&self, request: &RefundRequest) -> Outcome {
        if is_others(&self.metadata, request.key) || !is_of(self.amount, &self.currency, request.amount) {
            return another_answer();
        }
        match self.status.as_deref() {
            Some("succeeded" | "pending") => Outcome::Approved { reference: self.id.clone() },
            Some(status @ ("failed" | "canceled")) => {
                Outcome::declined(self.failure_reason.clone().unwrap_or_else(|| status.to_owned()))
            }
            status => Outcome::unknown(format!("stripe: a refund that is {}", status.unwrap_or("nothing"))),
        }
    }
}

/// A page of a list or of a search.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    object: String,
    pub(super) data: Vec<T>,
    pub(super) has_more: bool,
    pub(super) next_page: Option<String>,
}

impl Page<Intent> {
    pub(super) fn is_search(&self) -> bool {
        self.object == "search_result" && self.data.iter().all(Intent::is_one)
    }
}

impl Page<Refund> {
    pub(super) fn is_list(&self) -> bool {
        self.object == "list" && self.data.iter().all(Refund::is_one)
    }
}

/// Whether a text is an id of Stripe's with that prefix, fit for a path.
pub(super) fn is_id(text: &str, prefix: &str) -> bool {
    let is_short = text.len() > prefix.len() && text.len() <= 128;
    is_short
        && text.starts_with(prefix)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn has_key(metadata: &BTreeMap<String, String>, key: EffectId) -> bool {
    metadata.get(EFFECT_KEY).is_some_and(|text| *text == key.to_string())
}

fn is_others(metadata: &BTreeMap<String, String>, key: EffectId) -> bool {
    metadata.contains_key(EFFECT_KEY) && !has_key(metadata, key)
}

fn is_of(amount: i64, currency: &str, money: Money) -> bool {
    request::amount(money) == Some(amount) && request::currency(money) == currency
}

fn another_answer() -> Outcome {
    Outcome::unknown("stripe: an answer for another payment")
}

#[cfg(test)]
mod tests;
