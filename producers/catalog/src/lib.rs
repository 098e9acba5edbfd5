//! The catalogue over HTTP. Reads are public: what is for sale is no secret, and a CDN may keep it. A product is read from
//! this process, else from Redis, else from Postgres; changes are made in Postgres, and told to all by their events.

pub mod config;
mod routes;

mod categories;
mod change;
mod create;
mod list;
mod product;

mod cached;
mod read_after;
mod revision;
mod wanted;

mod products;
mod shelf;

mod hearing;
mod level2;

mod databases;
mod placed;
mod plan;
mod read;
mod search {
    pub(crate) mod read;
}
mod store;

pub mod metrics;

#[cfg(test)]
mod plans;

pub use config::CatalogConfig;
pub use databases::pool;
pub use plan::{PlanError, plan};
pub use routes::{Catalog, CatalogError, CatalogParts, surface};
