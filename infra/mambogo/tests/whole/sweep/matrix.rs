//! What came of each place: a line of the table.

use super::plan::{Plan, Turn};
use std::{
    collections::BTreeSet,
    fmt,
    time::{Duration, Instant},
};

/// One place's turn.
pub struct Row {
    pub turn: Turn,
    /// When the process died there, since its start.
    pub died: Option<Duration>,
    /// When its successor was ready, since the death; not known of one that was to die itself.
    pub ready: Option<Duration>,
    /// When all was settled and audited, since the last death of the step.
    pub settled: Duration,
    /// Orders placed in the step.
    pub orders: usize,
    /// What the audits of the step found, and broken promises.
    pub violations: Vec<String>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis =
            |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), |time| time.as_millis().to_string());
        write!(
            f,
            "{:<34} {:>9} {:>9} {:>10} {:>7} {:>11}",
            self.turn.to_string(),
            millis(self.died),
            millis(self.ready),
            self.settled.as_millis(),
            self.orders,
            self.violations.len()
        )
    }
}

pub struct Matrix {
    began: Instant,
    rows: Vec<Row>,
}

impl Matrix {
    pub fn begin() -> Self {
        Self { began: Instant::now(), rows: Vec::new() }
    }

    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Different violations, over all steps.
    pub fn violations(&self) -> usize {
        self.rows.iter().flat_map(|row| &row.violations).collect::<BTreeSet<_>>().len()
    }

    /// The whole table, by place, and what was found.
    pub fn report(&mut self, plan: &Plan, last: &[String]) -> String {
        self.rows.sort_by_key(|row| (row.turn.place.role, row.turn.place.point, row.turn.passing));
        let mut lines = vec![format!(
            "{:<34} {:>9} {:>9} {:>10} {:>7} {:>11}",
            "died at (passing)", "after ms", "ready ms", "settled ms", "orders", "violations"
        )];
        lines.extend(self.rows.iter().map(ToString::to_string));
        for row in self.rows.iter().filter(|row| !row.violations.is_empty()) {
            lines.extend(row.violations.iter().map(|violation| format!("{}: {violation}", row.turn)));
        }
        lines.extend(last.iter().map(|violation| format!("at the end: {violation}")));
        let died = self.rows.iter().filter(|row| row.died.is_some()).count();
        lines.push(format!(
            "{plan}: {died} of {} deaths, {} violations, {} s",
            self.rows.len(),
            self.violations() + last.len(),
            self.began.elapsed().as_secs()
        ));
        lines.join("\n")
    }
}
