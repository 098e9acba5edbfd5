//! The consumer machine. It knows records and lanes; what a record means is its [`Service`]'s business.

pub mod record;
pub mod service;
