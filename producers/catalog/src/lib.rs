//! The catalogue over HTTP. Public: what is for sale is no secret, and a CDN may keep it.

mod list;
mod product;
mod read;
mod routes;

pub use routes::{Catalog, surface};
