//! The only rdkafka producer of the project: idempotent, `acks=all`, a bounded queue, and a send that never blocks.
//!
//! It knows topics and bytes, not orders. What a failed send means for a client or a lane is the caller's to
//! decide; [`PublishError`] says exactly what is known about the record.

pub mod config;
pub mod topics;

mod committed;
mod context;
mod ends;
mod error;
mod generation;
pub mod metrics;
mod producer;

pub use config::{Compression, PublisherConfig};
pub use error::{PublishError, QueryError, Refusal};
pub use producer::{Delivered, Destination, OutboundRecord, Pending, Publisher, Report, Reports};
