//! Payments over HTTP: what the provider tells by itself, and operators who give money back. Each becomes a command on
//! the log; what comes of it stands on the order's timeline.

mod routes;

mod refund;
mod webhook;

mod event;

pub mod config;
pub mod metrics;

pub use config::PaymentsConfig;
pub use routes::{Payments, PaymentsParts, surface};
