//! The result: one row a fault, one column an invariant, and how long it took to be as before. For people, and as JSON.

use crate::{pulse::Recovery, verdict::Invariant};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write, time::Duration};

/// Violations of one kind that are printed in full.
const PRINTED: usize = 10;

/// What became of one fault.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) fault: &'static str,
    /// Who was struck, for how long.
    pub(crate) what: String,
    /// Orders accepted while it lasted, and submits they took.
    pub(crate) orders: usize,
    pub(crate) submits: u64,
    /// Answers to submits by HTTP status; 0 is silence.
    pub(crate) answers: BTreeMap<u16, u64>,
    pub(crate) ends: BTreeMap<String, usize>,
    /// Orders settled a second before it, seconds from its end until that rate and the usual backlog were back, and
    /// the longest time in which no order was settled.
    pub(crate) rate_before: f64,
    pub(crate) rate_back_seconds: Option<f64>,
    pub(crate) backlog_gone_seconds: Option<f64>,
    pub(crate) longest_stall_seconds: f64,
    /// From the last client's end until nothing was under way.
    pub(crate) to_rest_seconds: f64,
    /// The most memory that any process of ours had, bytes.
    pub(crate) memory: u64,
    pub(crate) violations: BTreeMap<Invariant, Vec<String>>,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) seed: u32,
    pub(crate) orders_a_second: u32,
    pub(crate) rows: Vec<Row>,
    /// What the last look at everything, from the log's first record on, found.
    pub(crate) at_the_end: BTreeMap<Invariant, Vec<String>>,
    pub(crate) records: u64,
    pub(crate) repeats: u64,
    pub(crate) refused: u64,
}

impl Row {
    /// Takes over what the pulse says.
    pub(crate) fn timed(&mut self, recovery: Recovery) {
        self.rate_before = recovery.before;
        self.rate_back_seconds = recovery.rate_back.map(|time| time.as_secs_f64());
        self.backlog_gone_seconds = recovery.backlog_gone.map(|time| time.as_secs_f64());
        self.longest_stall_seconds = recovery.longest_stall.as_secs_f64();
    }

    /// The row as a line of the table.
    pub(crate) fn line(&self) -> String {
        let seconds =
            |time: Option<f64>| time.map_or_else(|| "never".to_owned(), |time| format!("{time:.1} s"));
        format!(
            "{:<16}{} {:>7} {:>7} {:>8} {:>8} {:>8} {:>6}",
            self.fault,
            cells(&self.violations),
            self.orders,
            format!("{:.0}/s", self.rate_before),
            format!("{:.1} s", self.longest_stall_seconds),
            seconds(self.rate_back_seconds),
            seconds(self.backlog_gone_seconds),
            format!("{}", self.memory / (1 << 20)),
        )
    }
}

fn cells(violations: &BTreeMap<Invariant, Vec<String>>) -> String {
    let mut line = String::new();
    for invariant in Invariant::ALL {
        let cell =
            violations.get(&invariant).map_or_else(|| "✓".to_owned(), |found| format!("✗ {}", found.len()));
        let _ = write!(line, " {cell:<8}");
    }
    line
}

/// The headings.
pub(crate) fn headings() -> String {
    let columns: Vec<String> =
        Invariant::ALL.iter().map(|invariant| format!(" {:<8}", invariant.heading())).collect();
    format!(
        "{:<16}{} {:>7} {:>7} {:>8} {:>8} {:>8} {:>6}",
        "fault",
        columns.concat(),
        "orders",
        "rate",
        "stall",
        "rate ok",
        "backlog",
        "MiB"
    )
}

impl Table {
    /// How many violations there are.
    pub(crate) fn violations(&self) -> usize {
        let of = |found: &BTreeMap<Invariant, Vec<String>>| found.values().map(Vec::len).sum::<usize>();
        self.rows.iter().map(|row| of(&row.violations)).sum::<usize>() + of(&self.at_the_end)
    }

    /// The whole table.
    pub(crate) fn print(&self, took: Duration) -> String {
        let mut text = format!("\n{}\n", headings());
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.line());
        }
        let _ = writeln!(text, "{:<16}{}", "the end", cells(&self.at_the_end));
        text.push_str(
            "\nstall: longest time without a settled order. rate ok, backlog: from the fault's end (of a kill, from the kill; of\n\
             Redis, Postgres and brokers, from when they answer again) until 90 % of the rate before, and its backlog, were back.\n",
        );
        let everything = self.rows.iter().map(|row| (row.fault, &row.violations));
        for (fault, violations) in everything.chain([("the end", &self.at_the_end)]) {
            for (invariant, found) in violations {
                let _ = writeln!(text, "\n✗ {fault}, {}: {}", invariant.heading(), found.len());
                found.iter().take(PRINTED).for_each(|what| {
                    let _ = writeln!(text, "    {what}");
                });
            }
        }
        let orders: usize = self.rows.iter().map(|row| row.orders).sum();
        let _ = writeln!(
            text,
            "\nseed {}: {} faults, {orders} orders at {}/s, {} violations; {} records on the log, {} of them sent again, {} \
             refused until one before them came; {} s",
            self.seed,
            self.rows.len(),
            self.orders_a_second,
            self.violations(),
            self.records,
            self.repeats,
            self.refused,
            took.as_secs()
        );
        text
    }
}
