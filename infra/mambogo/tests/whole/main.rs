//! The whole system: real `mambogo` processes on real Kafka, Postgres and Redis. Each test has a database, topics and
//! a Redis of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test has nobody else to tell"
)]

mod away;
mod buyers;
mod clocks;
mod crowd;
mod doors;
mod failover;
mod fuzz;
mod history;
mod idempotency;
mod kills;
mod limits;
mod load;
mod notices;
mod pooler;
mod provider;
mod rebalance;
mod recreated;
mod redrive;
mod restarts;
mod road;
mod sweep;
mod system;
mod trace;
mod webhooks;
