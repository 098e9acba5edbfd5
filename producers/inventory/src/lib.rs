//! Stock over HTTP: adjust it (a command on the log), read it (the inventory worker's row), and hold units of it for another
//! system until a deadline.

mod adjust;
mod levels;
mod release;
mod reserve;

mod desk;
mod read;
mod reservation;
mod routes;

pub mod config;
pub mod metrics;

pub use config::InventoryConfig;
pub use routes::{Inventory, InventoryParts, surface};
