//! The catalogue over HTTP. Reads are public: what is for sale is no secret, and a CDN may keep it.

mod routes;

mod categories;
mod list;
mod product;

mod cached;
mod wanted;

mod read;

#[cfg(test)]
mod plans;

pub use routes::{Catalog, surface};
