//! The consumer machine. It knows records and lanes; what a record means is its [`service::Service`]'s business.
//!
//! ```text
//! consumer (thread: polls, claims) ─► inbox (bounded) ─► worker (task: owns the lanes) ─► attempt (one transaction)
//!                                                                                lane · judge · redrive · seal (pure)
//! ```

pub mod record;
pub mod service;

pub mod config;
pub mod history;
pub mod lane;
mod last_read;
pub mod metrics;
mod start;
mod worker;

mod attempt;
mod claim;
mod consumer;
mod fate;
mod inbox;
mod judge;
mod redrive;
mod seal;
mod store;

pub use start::first_offsets;
pub use worker::{WorkerError, run};

/// The steps of a batch that are functions of their arguments, in the order in which [`run`] takes them: the
/// simulator takes them over tables in memory.
pub mod pure {
    pub use crate::{
        attempt::{Passed, TakenIn, Trouble, check, take_in},
        judge::{BEHIND, Batch, Judgement, PANIC, Panicked, Place, UNKNOWN_SCHEMA},
        redrive::{Action, Concluded, Head, Most, Opened, Opening, Unknown, What, cut},
        seal::{pack, parkings},
        store::{Locked, Packed, Parking},
    };
}

#[cfg(test)]
mod tests;
