//! Carts over HTTP. A cart is a hash in Redis, changed by scripts alone; it promises nothing: prices are told from the
//! price book when it is read, and an order is priced anew when it is accepted. Checking out is a submit like any other,
//! whose key is the cart's id and version.

mod routes;

mod add_item;
mod checkout;
mod clear;
mod get;
mod merge;
mod remove_item;
mod set_item;

mod answer;
mod contents;
mod holder;
mod if_match;
mod link;
mod scripts;
mod store;
mod told;

pub mod config;
pub mod metrics;

pub use config::CartConfig;
pub use link::CartLink;
pub use routes::{CartParts, Carts, surface};
