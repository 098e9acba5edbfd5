//! Reads the topics with the analyst's reader, outside every group, and hands the records to a [`Trail`].

use crate::{
    Failure,
    trail::{Line, Trail},
    verdict::{Findings, Invariant},
};
use chassis::{clock::Clock, kafka::Cluster};
use replay::ReplayConfig;
use schemas::{time::Timestamp, topics::Topic};
use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Reads all topics, records of the last `since` or all there are, and returns the trail.
///
/// # Errors
/// When the brokers do not answer.
pub(crate) async fn follow(
    brokers: &str,
    since: Option<Duration>,
    mut trail: Trail,
    findings: Arc<Findings>,
) -> Result<Trail, Failure> {
    let config = ReplayConfig {
        cluster: Cluster::plain(brokers, ""),
        topics: Topic::ALL.to_vec(),
        since,
        now: Timestamp(Clock::system().now_millis()),
        key: None,
    };
    let stop = CancellationToken::new();
    let _stop_with_us = stop.clone().drop_guard();
    tokio::task::spawn_blocking(move || {
        let mut lines = Lines { text: Vec::new(), trail: &mut trail, findings: &findings };
        replay::run(&config, &mut lines, &stop)?;
        Ok(trail)
    })
    .await?
}

/// Gathers what is written into lines.
struct Lines<'a> {
    text: Vec<u8>,
    trail: &'a mut Trail,
    findings: &'a Findings,
}

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.text.extend_from_slice(bytes);
            return Ok(bytes.len());
        };
        self.text.extend(bytes.iter().take(end));
        match serde_json::from_slice::<Line>(&self.text) {
            Ok(line) => self.trail.take(&line, self.findings),
            Err(error) => {
                self.findings.add(Invariant::InOrder, format!("replay printed what is no line: {error}"))
            }
        }
        self.text.clear();
        Ok(end + 1)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
