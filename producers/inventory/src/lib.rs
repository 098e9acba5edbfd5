//! Stock over HTTP: adjust it (a command on the log), read it (the inventory worker's row).

mod adjust;
mod levels;
mod read;
mod routes;

pub mod config;
pub mod metrics;

pub use config::InventoryConfig;
pub use routes::{Inventory, InventoryParts, surface};
