//! What any process stands on. Knows nothing of orders.

pub mod breaker;
pub mod clock;
pub mod crash;
pub mod descriptors;
pub mod egress;
pub mod health;
pub mod ids;
pub mod jitter;
pub mod kafka;
mod metrics;
pub mod place;
pub mod pooler;
pub mod postgres;
mod runtime;
pub mod settings;
pub mod signals;
pub mod telemetry;
pub mod wake;
