//! The seam to whoever takes the money: three calls, and what each may answer.

use async_trait::async_trait;
use schemas::{
    ids::{EffectId, OrderId},
    money::Money,
};
use std::time::Duration;

/// A capture to make. The same key always comes with the same request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureRequest {
    /// The idempotency key: the effect's id, over all retries and owners.
    pub key: EffectId,
    /// The order, for the provider's metadata: a lookup may go by it.
    pub order_id: OrderId,
    /// What to take.
    pub amount: Money,
    /// How it is paid.
    pub method: String,
}

/// A refund to make. The same key always comes with the same request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRequest {
    /// The idempotency key.
    pub key: EffectId,
    /// Key of the capture the money comes from.
    pub capture: EffectId,
    /// The provider's own name for that capture.
    pub capture_reference: Option<String>,
    /// The order, for the provider's metadata.
    pub order_id: OrderId,
    /// What to give back.
    pub amount: Money,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, by this call or an earlier one with the same key.
    Approved {
        /// The provider's own name for it.
        reference: String,
    },
    /// It is not done and never will be under this key. Said by the provider, in so many words.
    Declined {
        /// Why.
        reason: String,
    },
    /// The provider works, and has not decided yet: a payment that is processed, a key that another call uses.
    Pending {
        /// What it said.
        why: String,
    },
    /// Anything else: time-out, 5xx, 429, a body that does not read. It may have been done.
    Unknown {
        /// What happened.
        why: String,
    },
    /// It was not asked at all, and is not to be before that.
    NotBegun {
        /// How long to wait.
        again_in: Duration,
    },
}

impl Outcome {
    /// [`Outcome::Unknown`], because of that.
    #[must_use]
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown { why: why.into() }
    }

    /// [`Outcome::Declined`], because of that.
    #[must_use]
    pub fn declined(reason: impl Into<String>) -> Self {
        Self::Declined { reason: reason.into() }
    }
}

/// What is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought<'a> {
    /// A capture.
    Capture(&'a CaptureRequest),
    /// A refund.
    Refund(&'a RefundRequest),
}

/// What a lookup found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The provider knows it, and this came of it.
    Known(Outcome),
    /// The provider is sure that it was never done.
    Absent,
}

/// A payment provider. Its answers are not trusted: a time-out is the caller's, texts are cut to a bearable length.
///
/// A future of these may be dropped at any time: the call is then unknown, and a later one with the same key finds
/// the truth.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Takes money.
    async fn capture(&self, request: &CaptureRequest) -> Outcome;

    /// Gives money of a capture back.
    async fn refund(&self, request: &RefundRequest) -> Outcome;

    /// Asks what the provider knows, by our key, its own reference, or the order in its metadata.
    async fn lookup(&self, sought: Sought<'_>) -> Found;

    /// Whether this capture may go to [`Provider::capture_set`] with others.
    fn takes_as_set(&self, _request: &CaptureRequest) -> bool {
        false
    }

    /// Takes money for many captures by one call: their outcomes in the same order, and it is as quick as the
    /// quickest single one. Only asked for what [`Provider::takes_as_set`].
    async fn capture_set(&self, requests: &[CaptureRequest]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for request in requests {
            outcomes.push(self.capture(request).await);
        }
        outcomes
    }
}
