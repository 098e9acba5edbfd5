//! What a pass came to.

use crate::finding::Finding;
use serde::Serialize;
use std::fmt;

/// The state of the books after a pass.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Orders looked at.
    pub orders: u64,
    /// Products compared.
    pub products: u64,
    /// Orders not settled yet, with nothing wrong: live ones, and those with a payment under way.
    pub open: u64,
    /// Broken promises.
    pub drift: Vec<Finding>,
    /// What waits for a person and breaks no promise.
    pub attention: Vec<Finding>,
    /// What looks wrong, while lanes still have to take what was sent to them: they are named in `drift`.
    pub unproved: Vec<Finding>,
    /// Suspects there was no room for.
    pub crowded_out: u64,
    /// Parked records in all services, each counted to 10,000.
    pub parked_records: i64,
    /// How long the pass took, in seconds.
    pub seconds: f64,
}

impl Report {
    /// Whether any promise is broken, or may be.
    #[must_use]
    pub fn has_drift(&self) -> bool {
        !self.drift.is_empty() || !self.unproved.is_empty() || self.crowded_out > 0
    }

    /// Whether every order is settled, every promise kept, and nothing waits for a person.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.has_drift() && self.attention.is_empty() && self.open == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = [("DRIFT", &self.drift), ("SUSPECT", &self.unproved), ("ATTENTION", &self.attention)];
        for (word, findings) in groups {
            for finding in findings {
                writeln!(f, "{word:<9} {finding}\n          {}", finding.repair)?;
            }
        }
        if self.crowded_out > 0 {
            writeln!(f, "and {} more that look wrong", self.crowded_out)?;
        }
        write!(
            f,
            "{} orders and {} products in {:.1} s: {} drifts, {} not proved, {} for a person; {} orders under way, \
             {} records parked",
            self.orders,
            self.products,
            self.seconds,
            self.drift.len(),
            self.unproved.len(),
            self.attention.len(),
            self.open,
            self.parked_records
        )
    }
}
