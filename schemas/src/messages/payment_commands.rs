//! `payment.commands`: all that payments is asked for.

use crate::{
    ids::{EffectId, OrderId},
    money::Currency,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Take the order's money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapturePayment {
    /// The order.
    pub order_id: OrderId,
    /// The effect, and the provider's idempotency key.
    pub capture_id: EffectId,
    /// Minor units.
    pub amount: i64,
    /// Currency of the amount.
    pub currency: Currency,
    /// How it is paid.
    pub payment_method: String,
    /// Never begun after this.
    pub deadline: Timestamp,
}
message!(CapturePayment, 1201, PaymentCommands);

/// Never begin that capture, or undo it once it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VoidCapture {
    /// The order.
    pub order_id: OrderId,
    /// The capture.
    pub capture_id: EffectId,
}
message!(VoidCapture, 1202, PaymentCommands);

/// Give money of a capture back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundPayment {
    /// The order.
    pub order_id: OrderId,
    /// The capture the money comes from.
    pub capture_id: EffectId,
    /// The refund's own effect id; [`crate::ids::undo_of`] for a whole undo.
    pub refund_id: EffectId,
    /// Minor units; all that is left of the capture when absent.
    pub amount: Option<i64>,
    /// Why.
    pub reason: String,
}
message!(RefundPayment, 1203, PaymentCommands);

/// Look again at a capture or refund that was deferred. Sent by a payments lane to itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResumeEffect {
    /// The order.
    pub order_id: OrderId,
    /// The capture or refund.
    pub effect_id: EffectId,
}
message!(ResumeEffect, 1204, PaymentCommands);

/// What a provider tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NoticeKind {
    /// The money was taken.
    Captured,
    /// The money was not taken, and will not be under that key.
    CaptureFailed,
    /// The money went back.
    Refunded,
    /// The money did not go back, or came back to us; it will not go under that key.
    RefundFailed,
}

/// What the payment provider tells by itself: a webhook, its signature checked by the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderNotice {
    /// The order, from the provider's metadata.
    pub order_id: OrderId,
    /// The provider's own id of the event.
    pub event_id: String,
    /// What happened.
    pub kind: NoticeKind,
    /// The capture; of a refund, the one the money comes from.
    pub capture_id: EffectId,
    /// The idempotency key of the call that it answers: the capture's or refund's id, or a later key of that refund.
    pub key: EffectId,
    /// Minor units.
    pub amount: i64,
    /// Currency of the amount.
    pub currency: Currency,
    /// The provider's own name for the payment or refund.
    pub reference: String,
    /// Why it failed, in the provider's words.
    pub reason: Option<String>,
}
message!(ProviderNotice, 1205, PaymentCommands);

/// Try a refund that failed for good again, under its own id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryRefund {
    /// The order.
    pub order_id: OrderId,
    /// The refund that failed.
    pub refund_id: EffectId,
    /// The operator's action: a refund is tried again once for each.
    pub action_id: Uuid,
}
message!(RetryRefund, 1206, PaymentCommands);
