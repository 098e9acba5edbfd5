//! Inventory as the machine drives it: one record, random histories, real rows, and two transactions at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod decisions;
mod histories;
mod history;
mod interleavings;
mod memory;
mod rows;
mod tables;
