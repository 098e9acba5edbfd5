//! An order as the saga knows it: the public state, and what only the saga has to remember.

use schemas::{
    ids::{EffectId, MessageId},
    messages::{OrderState, OrderStatus},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Most refused cancels of one order that stand on its timeline; later ones leave no trace.
pub const MAX_REFUSED_CANCELS: usize = 20;
/// Most refund requests of one order, granted or refused; later ones are refused and leave no trace.
pub const MAX_REFUNDS: usize = 100;
/// Most captures of one order that are remembered as given back. Its own is one; any more are a fault elsewhere.
pub const MAX_UNDONE: usize = 16;
/// Most failed effects of one order that are remembered.
pub const MAX_FAILED: usize = 50;
/// Most messages of one order that are remembered to have told of failures, and of their ends.
pub const MAX_TOLD: usize = 2 * (MAX_FAILED + MAX_ACTIONS);
/// Most actions of operators that one order remembers; later ones are refused and leave no trace.
pub const MAX_ACTIONS: usize = 50;
/// Most entries of a timeline, which follows from the other bounds: accepted, reserved and an end, then what is refused,
/// refunded or given back.
pub const MAX_TIMELINE: usize = 3 + MAX_REFUSED_CANCELS + MAX_REFUNDS + MAX_UNDONE;

/// An order: what everybody may know of it, and what the saga remembers beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What events carry and readers see.
    pub public: OrderState,
    /// The capture asked for, once stock was held.
    pub capture: Option<EffectId>,
    /// What a repeat must find.
    pub seen: Seen,
    /// Effects that failed for good and are not done yet, oldest first. Not public.
    pub needs_human: Vec<FailedEffect>,
    /// What operators did about effects that failed, oldest first. Not public.
    pub actions: Vec<Action>,
}

/// What a repeat must find, so that it changes nothing. Empty for nearly every order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// Cancels that were refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cancels: Vec<MessageId>,
    /// Refund requests, granted or refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<EffectId>,
    /// Captures that were given back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undone: Vec<EffectId>,
    /// Messages that told of an effect's failure, or of its end after all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<MessageId>,
}

impl Seen {
    /// Whether there is nothing to remember.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cancels.is_empty() && self.refunds.is_empty() && self.undone.is_empty() && self.told.is_empty()
    }
}

/// An effect that failed for good: somebody has to look at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedEffect {
    /// When we heard of it.
    pub at: Timestamp,
    /// The effect.
    pub effect_id: EffectId,
    /// What failed, in a few words.
    pub reason: String,
}

/// What an operator did about an effect that failed for good: have it tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// The action, done once.
    pub id: Uuid,
    /// The effect.
    pub effect_id: EffectId,
    /// When we heard of it.
    pub at: Timestamp,
    /// Who asked.
    pub by: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What came of it; none while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ActionResult>,
}

/// What came of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionResult {
    /// When we heard of it.
    pub at: Timestamp,
    /// What.
    pub outcome: ActionOutcome,
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionOutcome {
    /// The effect is done.
    Done,
    /// It failed for good once more.
    FailedAgain,
    /// There was nothing to try: it had not failed, or was being tried again already.
    Needless,
}

impl Order {
    /// Whether this action of an operator is recorded.
    #[must_use]
    pub fn knows_action(&self, action: Uuid) -> bool {
        self.actions.iter().any(|it| it.id == action)
    }

    /// Whether `effect` failed for good and nobody has it tried again already.
    #[must_use]
    pub fn may_retry(&self, effect: EffectId) -> bool {
        self.needs_human.iter().any(|it| it.effect_id == effect) && !self.is_tried_again(effect)
    }

    fn is_tried_again(&self, effect: EffectId) -> bool {
        self.actions.iter().any(|it| it.effect_id == effect && it.result.is_none())
    }

    /// Whether `capture` is the one that this order asked for.
    #[must_use]
    pub fn is_own(&self, capture: EffectId) -> bool {
        self.capture == Some(capture)
    }

    /// What operators can still give back, in minor units: captured less refunded. Only a confirmed order has been
    /// paid, with exactly its total.
    #[must_use]
    pub fn refundable(&self) -> i64 {
        match self.public.status {
            OrderStatus::Confirmed => self.public.total.saturating_sub(self.public.refunded),
            _ => 0,
        }
    }
}
