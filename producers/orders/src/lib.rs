//! Orders over HTTP: submit, read, list, cancel. A request becomes a command on the log; what is read was written by
//! the orders worker (Postgres) or the status worker (Redis).

mod routes;

mod batch;
mod cancel;
mod get;
mod list;
mod submit;

mod accept;
mod claims;
mod intake;
mod look;
mod positions;
mod prices;
mod proof;
mod read;
mod request;
mod scripts;
mod state;
mod watch;

pub mod config;
pub mod metrics;

pub use config::OrdersConfig;
pub use prices::{Price, PriceBook};
pub use routes::router;
pub use state::{Orders, OrdersParts};
