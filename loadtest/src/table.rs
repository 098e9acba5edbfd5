//! An outcome as text, for a terminal.

use crate::{measure::Outcome, report::Quantiles};
use std::fmt::{self, Display};

/// Prints an [`Outcome`] as a table.
#[derive(Debug)]
pub struct Table<'a>(pub &'a Outcome);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { report, verdict, .. } = self.0;
        writeln!(
            f,
            "  {} orders begun, {} accepted, {} ended: {:.0} sagas/s",
            report.begun,
            report.accepted,
            report.ended(),
            self.0.sagas_per_second()
        )?;
        let ends: Vec<String> =
            report.ends.iter().map(|(status, count)| format!("{status} {count}")).collect();
        let answers = report.answers.iter().map(|(status, count)| match status {
            0 => format!("no answer {count}"),
            status => format!("{status} {count}"),
        });
        writeln!(f, "  ends: {}   answers: {}", list(&ends), list(&answers.collect::<Vec<_>>()))?;
        writeln!(
            f,
            "\n  {:<22} {:>9} {:>9} {:>9} {:>9} {:>9}  ms",
            "latency", "p50", "p90", "p99", "p99.9", "max"
        )?;
        latency(f, "submit → accepted", &report.submit)?;
        latency(f, "submit → end", &report.complete)?;
        latency(f, "status read", &report.read)?;
        latency(f, "sent late by", &report.late)?;
        writeln!(f, "\n  {:<22} {:>9} {:>9} {:>9} {:>9}", "process", "CPU s", "µs/order", "MiB", "most MiB")?;
        for spent in &self.0.spent {
            writeln!(
                f,
                "  {:<22} {:>9.2} {:>9.1} {:>9.0} {:>9.0}",
                spent.name,
                spent.cpu_seconds,
                spent.micros_per_order,
                mebibytes(spent.memory_at_start),
                mebibytes(spent.memory_at_most)
            )?;
        }
        let cpu: f64 = self.0.spent.iter().map(|spent| spent.cpu_seconds).sum();
        writeln!(f, "  {:<22} {cpu:>9.2} {:>9.1}", "all", self.0.micros_per_order)?;
        writeln!(f, "  the generator spent {:.1} µs a call", self.0.generator_micros_per_call)?;
        let others = &self.0.others;
        let busiest: Vec<String> =
            others.busiest.iter().map(|(name, cpu)| format!("{name} {cpu:.1} s")).collect();
        writeln!(
            f,
            "  others on this machine: {:.1} CPU s ({}); load average {:.1}",
            others.cpu_seconds,
            list(&busiest),
            others.load_average
        )?;
        write!(
            f,
            "\n  history: {} records, {} orders accepted, {} settled, {} unknown: ",
            verdict.records, verdict.accepted, verdict.settled, verdict.unknown
        )?;
        if verdict.is_clean() {
            write!(f, "every promise kept")?;
        }
        for (rule, count) in verdict.broken.iter().filter(|(_, count)| **count > 0) {
            write!(f, "\n    BROKEN {count} times: {rule}")?;
        }
        for violation in &verdict.violations {
            write!(f, "\n      order {} ({:?}): {}", violation.order, violation.id, violation.seen)?;
        }
        if self.0.unchecked > 0 {
            write!(f, "\n    {} records found no room and were not checked", self.0.unchecked)?;
        }
        writeln!(f)
    }
}

fn latency(f: &mut fmt::Formatter<'_>, name: &str, of: &Quantiles) -> fmt::Result {
    if of.count == 0 {
        return Ok(());
    }
    let Quantiles { p50, p90, p99, p999, max, .. } = of;
    writeln!(f, "  {name:<22} {p50:>9.1} {p90:>9.1} {p99:>9.1} {p999:>9.1} {max:>9.1}")
}

fn list(of: &[String]) -> String {
    if of.is_empty() { "none".to_owned() } else { of.join(", ") }
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
