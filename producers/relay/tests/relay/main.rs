//! The relay's tests: the protocol alone over random failures, then against the real Kafka and Postgres.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test has nobody else to tell"
)]

mod bed;
mod rule;

mod protocol;
mod sending;
mod trouble;
