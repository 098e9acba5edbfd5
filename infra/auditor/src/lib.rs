//! The auditor: whether what the services promise each other holds, across all their books.
//!
//! | | |
//! |---|---|
//! | `rules.rs` | what must hold of one order: the one definition, pure |
//! | `store/stock.rs` | what must hold of a product, within inventory |
//! | `suspects.rs`, `note.rs` | from a suspicion to a proof: all that was on its way has passed, and nothing changed; pure |
//! | `auditor/` | what is looked at and when: new orders, overdue ones, suspects, lanes, whole books |
//! | `role.rs` | the running role |
//!
//! It reads with a role that may do nothing else, and compares sets in memory: services may have databases of their
//! own. A transient is never reported. Where lanes do not move, the lanes are.

mod auditor;
mod case;
mod config;
mod finding;
mod metrics;
mod note;
mod report;
mod role;
mod rules;
mod store;
mod suspects;

pub use auditor::{Auditor, Scope};
pub use config::{AuditConfig, SourceConfig};
pub use finding::{Finding, Kind, Subject};
pub use report::Report;
pub use role::run;
