//! Webhooks over HTTP: a client registers an https endpoint for its own orders' events, sees how it fares, enables it again,
//! removes it. What is sent there is the webhooks worker's business.

mod answer;
mod config;
mod enable;
mod get;
mod list;
mod register;
mod remove;
mod routes;
mod secret;
mod store;

pub use config::WebhooksApiConfig;
pub use routes::{Webhooks, WebhooksParts, surface};
