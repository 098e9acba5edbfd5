//! The payment methods that the edge accepts, by the names clients use.

/// Methods of real customers.
pub const REAL: &[&str] = &["CREDIT_CARD", "DEBIT_CARD", "PAYPAL", "BANK_TRANSFER"];

/// Methods of the built-in sandbox provider, each of which behaves in one known way, so that every path can be
/// driven from outside. What each does stands with the provider (payments, `sandbox.rs`).
pub const SANDBOX: &[&str] = &[
    "SANDBOX_DECLINE",
    "SANDBOX_SLOW",
    "SANDBOX_TIMEOUT",
    "SANDBOX_TIMEOUT_CHARGED",
    "SANDBOX_FLAKY",
    "SANDBOX_REFUND_FLAKY",
    "SANDBOX_REFUND_FAILS",
];
