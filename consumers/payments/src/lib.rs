//! The payments service: takes an order's money once, gives it back once, and never guesses what a provider did.
//!
//! In reading order: what a row is ([`books`]), which calls a batch makes ([`plan`], transaction A), how they are
//! made ([`calls`], no transaction open), what becomes of their answers ([`decide`], transaction B). [`store`] holds
//! the SQL, [`handler`] puts it together for the consumer machine.
//!
//! A call leaves a trace before it is made: a row `CALLING`. From then on only the provider's answer settles it. The
//! provider's key is the effect's id, so whoever asks again, after a crash or as another owner, finds the truth.

pub mod books;
pub mod plan;

pub mod calls;
pub mod provider;

pub mod guard;
pub mod sandbox;
pub mod stripe;

pub mod decide;
pub mod say;
mod tally;

pub mod handler;
pub mod retry;
pub mod store;

pub mod config;
pub mod metrics;

pub use handler::Payments;

#[cfg(test)]
mod histories;
