//! The analyst's reader: selects records by topic, time and key, decodes them, and prints them as JSON lines in
//! order. It joins no group, commits nothing, and ends where the log ended when it began.

mod config;
mod edit;
mod line;
mod log;
mod merge;
mod plain;
mod terminal;

pub use config::{ReplayConfig, UnknownTopic, topics_by_name};
pub use edit::{EditError, written};
pub use terminal::for_terminals;

use log::Log;
use merge::Merge;
use std::io::{self, Write};
use tokio_util::sync::CancellationToken;

/// What was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Records printed, one line each.
    pub records: u64,
    /// Those among them whose body or header could not be read.
    pub unreadable: u64,
}

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The brokers did not answer, or refused.
    #[error("{doing}: {source}")]
    Kafka {
        /// What was asked of them.
        doing: &'static str,
        /// What they said.
        source: rdkafka::error::KafkaError,
    },
    /// There is no such topic on the cluster.
    #[error("there is no topic {0}; is TOPIC_PREFIX right?")]
    NoTopic(String),
    /// Records are there and do not come.
    #[error("no record came for {0} s, though there are some; are the brokers up?")]
    Stuck(u64),
    /// The lines could not be written.
    #[error("writing: {0}")]
    Write(#[from] io::Error),
}

/// A payload as readable JSON: fields in the schema's order, ids as text, times as RFC 3339.
///
/// # Errors
/// [`schemas::wire::WireError`] when it cannot be read.
pub fn readable(payload: &[u8]) -> Result<impl serde::Serialize + use<>, schemas::wire::WireError> {
    let (entry, body) = schemas::wire::open(payload)?;
    plain::Plain::decode(entry, body)
}

/// Prints what `config` selects, oldest first, each partition in offset order. Blocks: give it a thread that may.
/// Ends early, without an error, at `stop` or when the reader of `out` goes away (`| head`).
///
/// Several partitions are merged by the log's timestamps as they are read, so the memory it takes is bounded by the
/// partitions read, not by the records.
///
/// # Errors
/// [`ReplayError`]; what was printed before it stands.
pub fn run(
    config: &ReplayConfig,
    out: &mut impl Write,
    stop: &CancellationToken,
) -> Result<Report, ReplayError> {
    let mut log = Log::open(config)?;
    let mut merge = Merge::new(log.partitions());
    log.start(&mut merge)?;
    let mut report = Report::default();
    let key = config.key_bytes();
    while !stop.is_cancelled() {
        let printed = print_ready(&mut merge, &mut log, out, &mut report);
        match printed {
            Err(ReplayError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(report),
            printed => printed?,
        }
        if merge.is_done() {
            break;
        }
        log.read(&mut merge, key.as_deref())?;
    }
    out.flush()?;
    Ok(report)
}

fn print_ready(
    merge: &mut Merge,
    log: &mut Log,
    out: &mut impl Write,
    report: &mut Report,
) -> Result<(), ReplayError> {
    while let Some((source, record)) = merge.next() {
        let line = line::Line::of(&record);
        report.records += 1;
        report.unreadable += u64::from(line.is_unreadable());
        let json = serde_json::to_string(&line).map_err(io::Error::from)?;
        out.write_all(for_terminals(json).as_bytes())?;
        out.write_all(b"\n")?;
        log.make_room(source, merge)?;
    }
    Ok(())
}
