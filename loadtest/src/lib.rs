//! The load generator: orders drawn from a seed, sent by a schedule or by clients that wait for each other's ends,
//! through the public HTTP surface alone. It measures what a client sees, keeps a history of what was said and
//! answered, and checks that history. What the databases hold is the audit's business, not this crate's.
//!
//! Latencies count from the *intended* send: a generator or a gateway that falls behind shows it
//! (no coordinated omission; Gil Tene, "How NOT to Measure Latency").

mod check;
mod client;
mod connection;
mod draw;
mod ends;
mod history;
mod html;
mod life;
mod machine;
mod measure;
mod plan;
mod reads;
mod report;
mod run;
mod stream;
mod table;
mod tally;

pub use check::{Rule, Verdict, Violation, check};
pub use client::{Client, ReadAnswer, SubmitAnswer};
pub use draw::{Drawn, Shop};
pub use history::{FileError, History, Record, What, read_file};
pub use html::page;
pub use machine::{Everything, Machine, Others, Part, Usage};
pub use measure::{GENERATOR, Outcome, Sample, Spent, measure};
pub use plan::{Follow, Pace, Plan, Spread, Way};
pub use reads::{Asking, Reads};
pub use report::{Quantiles, Report, Second};
pub use run::{PlanError, Target, run};
pub use table::Table;
