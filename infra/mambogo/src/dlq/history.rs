//! What was done about parked records, as the lanes wrote it down: who, when, what, and what came of it.

use super::{
    Outcome,
    read::{self, Action},
};
use crate::cli::duration;
use clap::Args;
use sqlx::PgConnection;
use std::{fmt::Write, time::Duration};

/// Which actions.
#[derive(Debug, Args)]
pub(crate) struct Of {
    /// Of this service: orders, inventory, payments
    #[arg(long)]
    service: Option<String>,
    /// On this key: an order id, a product id
    #[arg(long)]
    key: Option<String>,
    /// Of this selection
    #[arg(long)]
    selection: Option<String>,
    /// In this time before now: 10m, 2h
    #[arg(long, value_parser = duration)]
    since: Option<Duration>,
    /// JSON lines with all there is instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

pub(super) async fn actions(audit: &mut PgConnection, of: &Of) -> Outcome<Vec<Action>> {
    let (key, selection) = (of.key.as_deref(), of.selection.as_deref());
    read::actions(audit, of.service.as_deref(), key, selection, of.since).await
}

/// One line an action, the newest last.
pub(super) fn text(actions: &[Action], json: bool) -> Outcome<String> {
    let mut text = String::new();
    if json {
        for action in actions {
            text += &serde_json::to_string(action)?;
            text.push('\n');
        }
        return Ok(text);
    }
    // writing to a string does not fail
    let _ = writeln!(
        text,
        "{:<24} {:<10} {:<8} {:<37} {:<12} {:>4} {:>5} {:>5} {:<16} WHY",
        "WHEN", "SERVICE", "WHAT", "KEY", "RESULT", "RAN", "GONE", "LEFT", "WHO"
    );
    for action in actions {
        let _ = writeln!(
            text,
            "{:<24} {:<10} {:<8} {:<37} {:<12} {:>4} {:>5} {:>5} {:<16} {}",
            action.at,
            action.service,
            if action.edited.is_some() { "edit" } else { &action.what },
            action.key,
            action.result,
            action.ran.len(),
            action.discarded.len(),
            action.remaining,
            plain(&action.requested_by),
            plain(action.cause.as_deref().or(action.reason.as_deref()).unwrap_or_default()),
        );
    }
    Ok(text)
}

/// Words of others for a terminal: no escapes, no line breaks.
fn plain(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
