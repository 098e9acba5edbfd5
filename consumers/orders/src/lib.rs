//! The orders service's worker: group `orders` on `order.commands`.
//!
//! What happens next to an order is the saga's to say (`consumers/saga`), offsets, lanes and the outbox are the
//! machine's (`consumers/harness`). Here: reading a command, loading and saving orders, and turning the saga's effects
//! into records. In reading order: `handler` (the whole on one screen), `decide` (pure), `due` (pure), `store` (all SQL).

pub mod config;
pub mod handler;

pub mod decide;
pub mod due;
pub mod records;
pub mod tally;
pub mod terms;

pub mod metrics;
mod store;

pub use handler::Orders;
