//! What a record means. Topics, keys, fields and formats are spelled here and nowhere else.
//!
//! No I/O, no clock, no randomness: every function is a function of its arguments.

pub mod ids;
pub mod money;
pub mod payment_methods;
pub mod time;
pub mod topics;

pub mod messages;
pub mod parked;

pub mod asyncapi;
pub mod catalogue;
pub mod envelope;
pub mod outbox;
pub mod shelf;
pub mod view;
pub mod wire;

pub mod payment_metadata;
pub mod webhook_signature;
