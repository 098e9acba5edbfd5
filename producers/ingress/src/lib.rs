//! What the HTTP services share. Knows HTTP, tokens, bodies and keys; what an endpoint does is its service's business.

pub mod config;
pub mod problem;

pub mod api;
pub mod auth;
pub mod body;
pub mod form;
pub mod idempotency;
pub mod kept_keys;
pub mod page;
pub mod prefer;

pub mod guard;
pub mod layers;
pub mod limit;
pub mod request_id;
pub mod response_cache;
pub mod serve;
pub mod shed;
pub mod surface;
pub mod trace;

pub mod background;
pub mod coalesce;
pub mod downstream;
pub mod log;
pub mod log_breaker;
pub mod redis_link;
pub mod wakeups;

pub mod metrics;
