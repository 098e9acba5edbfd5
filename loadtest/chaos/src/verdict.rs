//! What has to hold, and what was found against it.

use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// What is checked; a column of the table each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Invariant {
    /// Everything accepted reaches its end, and nothing is left behind: outboxes, deferred work, parked records.
    Settled,
    /// Stock and money agree over all services' books and the provider's.
    Books,
    /// Each 202 is on the log, and was not said of another order.
    OnLog,
    /// Per source lane and per key no record is missing, and none is out of order.
    InOrder,
    /// Nothing takes effect twice; what is said twice is the same message.
    Once,
    /// A client never reads an earlier state than it has read, nor 404 after 202.
    Reads,
    /// What cannot be done now is said so: 409, 429 or 503 with Retry-After, nothing else.
    Answers,
    /// Each process stays within its memory, and none ends by itself.
    Bounded,
    /// The rate is back in time.
    Recovery,
}

impl Invariant {
    /// All, in the order of the columns.
    pub(crate) const ALL: [Self; 9] = [
        Self::Settled,
        Self::Books,
        Self::OnLog,
        Self::InOrder,
        Self::Once,
        Self::Reads,
        Self::Answers,
        Self::Bounded,
        Self::Recovery,
    ];

    /// The column's heading.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Books => "books",
            Self::OnLog => "on log",
            Self::InOrder => "in order",
            Self::Once => "once",
            Self::Reads => "reads",
            Self::Answers => "answers",
            Self::Bounded => "bounded",
            Self::Recovery => "recovers",
        }
    }
}

/// What was found, by invariant. Shared by all that look.
#[derive(Debug, Default)]
pub(crate) struct Findings(Mutex<BTreeMap<Invariant, Vec<String>>>);

impl Findings {
    /// Takes down a violation: what, of which order, where to look.
    pub(crate) fn add(&self, invariant: Invariant, what: impl Into<String>) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.entry(invariant).or_default().push(what.into());
    }

    /// All so far; it begins anew.
    pub(crate) fn take(&self) -> BTreeMap<Invariant, Vec<String>> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
