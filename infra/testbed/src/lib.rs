//! For tests only. Every test owns its database (cloned from a migrated template), its topic prefix and, where it
//! needs one, its Redis; so tests run in parallel and never meet a developer's data.
//!
//! The stack itself is brought up by `make test` (or `make test-stack-up`). Everything here panics with the way out
//! when it is not there: a test has nobody else to tell.

mod database;
mod proxy;
mod redis;
mod replicated;
mod topics;
mod wait;

pub use database::Database;
pub use proxy::Proxy;
pub use redis::Redis;
pub use replicated::Replicated;
pub use topics::{Topics, kafka_brokers};
pub use wait::{eventually, eventually_within};
