//! Orders over HTTP: submit, read, list, cancel. A request becomes a command on the log; what is read was written by
//! the orders worker (Postgres) or the status worker (Redis).

mod routes;

mod batch;
mod cancel;
mod events;
mod get;
mod list;
mod submit;

mod checkout;

mod accept;
mod claims;
mod intake;
mod look;
mod positions;
mod prices;
mod proof;
mod read;
mod request;
mod road;
mod room;
mod scripts;
mod seats;
mod state;
mod watch;

pub mod config;
pub mod metrics;
pub mod told;

/// What decides at the edge, as functions of its arguments, and what the scripts in Redis do: the simulator runs them.
pub mod pure {
    pub use crate::{
        proof::{Ask, AskView, ClaimProof, Lanes, Mark, Memory, Outboxes, ViewAnswer, ViewProof, has_passed},
        road::{HAND_OVER, Road, may_answer},
        scripts::model::{Fields, Held, Outcome, Server, Wanted},
    };
}

pub use checkout::Delivery;
pub use config::OrdersConfig;
pub use prices::{Price, PriceBook};
pub use request::{MAX_LINES, MAX_QUANTITY};
pub use routes::surface;
pub use state::{Orders, OrdersParts};
