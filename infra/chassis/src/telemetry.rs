//! Logs and metrics.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::{
    io::{self, Write},
    time::Duration,
};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// Sends log lines to standard error. `filter` is a `tracing` directive such as `info,harness=debug`.
pub fn start_logs(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Plain(io::stderr()));
    // a second call (tests) leaves the first in place
    let _ = match format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

/// Writes log lines in which nothing but their end is a control character: what others said (an error of a server, a key)
/// forges no line and drives no terminal.
#[derive(Debug, Clone)]
pub struct Plain<W>(pub W);

impl<W: Write> Write for Plain<W> {
    /// `line` is a whole one, as `tracing-subscriber` writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let body = line.strip_suffix(b"\n").unwrap_or(line);
        let text = String::from_utf8_lossy(body);
        if text.chars().any(char::is_control) {
            let escaped = text.chars().fold(String::with_capacity(line.len() + 16), |mut escaped, c| {
                if c.is_control() {
                    escaped.extend(c.escape_default())
                } else {
                    escaped.push(c)
                }
                escaped
            });
            self.0.write_all(escaped.as_bytes())?;
        } else {
            self.0.write_all(body)?;
        }
        self.0.write_all(line.get(body.len()..).unwrap_or_default())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Upper bounds of latency buckets, in seconds: 1 ms to a minute.
const LATENCY_BUCKETS: [f64; 15] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Upper bounds of size buckets, in records.
const SIZE_BUCKETS: [f64; 12] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0];

/// Installs the process's metrics recorder. Histograms whose names end in `_seconds` have latency buckets, in
/// `_records` size buckets; memory stays bounded because upkeep runs on its own.
///
/// # Errors
/// When a recorder is installed already.
pub fn start_metrics() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &LATENCY_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_records".to_owned()), &SIZE_BUCKETS)?
        .install_recorder()?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(5));
        loop {
            tick.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_is_one_line_that_no_terminal_obeys() {
        let mut lines = Plain(Vec::new());
        let said = "WARN cause=\u{1b}[2J\u{9b}31m\r\nforged é\n";
        assert_eq!(lines.write(said.as_bytes()).unwrap(), said.len());
        assert_eq!(lines.write(b"INFO well\n").unwrap(), 10);
        let text = String::from_utf8(lines.0).unwrap();
        assert_eq!(text, "WARN cause=\\u{1b}[2J\\u{9b}31m\\r\\nforged é\nINFO well\n");
    }
}
