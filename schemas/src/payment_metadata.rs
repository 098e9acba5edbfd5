//! What stands beside a payment at its provider, in our words, and is read back from its lookups and webhooks: whose it is.

/// The order's id; with captures and refunds.
pub const ORDER_ID: &str = "order_id";

/// The capture's effect id; with captures and with their refunds.
pub const CAPTURE_ID: &str = "capture_id";

/// The idempotency key of the call: the effect's id, or what a refund is called with once its id was refused.
pub const EFFECT_KEY: &str = "effect_key";
