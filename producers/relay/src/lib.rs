//! Outbox rows to Kafka: in sequence, without a hole, deleted once acknowledged.
//!
//! The truth stays in Postgres: whatever fails here, a lane begins anew at its first row not deleted, and consumers
//! drop what they have seen. [`plan`] decides; the rest of the crate does what it says.

pub mod plan;
