//! Inventory: holds stock for orders, sells it, takes it back, and keeps the queues of those who wait.
//!
//! A reserve is granted when every line fits what is available, rejected when a line could not be had even if every
//! held unit came back, and waits otherwise, holding nothing. When units come back, the queues are walked in the
//! order of acceptance, first fit.
//!
//! In reading order: [`stock`] and [`hold`] are the rows, [`need`] says what a batch reads, [`books`] is what it
//! read, [`decide`] and [`walk`] change the books, and [`handler`] ties them to the database and the machine. All but
//! the handler and its `store` are pure.

pub mod hold;
pub mod stock;

pub mod books;
pub mod need;

pub mod answer;
pub mod decide;
pub mod walk;

mod store;

pub mod handler;
pub mod metrics;

pub use handler::{InventoryService, Limits};
