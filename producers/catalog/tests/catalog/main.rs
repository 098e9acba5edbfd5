//! The catalogue, as clients and operators see it, over a real Postgres and a Redis that comes and goes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod cache;
mod changes;
mod lists;
mod replica;
mod stage;
