//! Reads topics as a plain member of a group, for work that has no lane: gather, write, commit.
//!
//! Where a follower goes on after a restart is what it committed, and it commits after the write. So whatever its
//! [`Effect`] writes may be written again, and must change nothing then: by a version that is compared, or by a key that is
//! there already. What must happen once, with its position, is a lane's business (`harness`).
//!
//! ```text
//! member (its consumer) ─► follow (thread: polls, gathers, writes, commits) ─► Effect
//!                                   readiness (what it stands on)
//! ```

mod effect;
mod follow;
mod member;
mod positions;
mod readiness;

pub use effect::{Effect, Record};

use chassis::{health::Part, kafka::Cluster};
use schemas::topics::Topic;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Who follows what.
#[derive(Debug, Clone)]
pub struct Following {
    /// Where the brokers are, and the prefix of topics and group.
    pub cluster: Cluster,
    /// Static group membership, where the platform gives a stable name.
    pub instance: Option<String>,
    /// The group, without prefix; names its client, its thread and its log lines, too.
    pub group: &'static str,
    /// What is read.
    pub topics: &'static [Topic],
    /// How long a broker may gather records before it hands them out; zero: each at once, which is a fetch for each few.
    pub gathering: Duration,
    /// What the effect writes to, as the health port calls it.
    pub target: &'static str,
    /// What it counts.
    pub counters: Counters,
}

/// Names of its counters, each in the `metrics.rs` of whoever follows.
#[derive(Debug, Clone, Copy)]
pub struct Counters {
    /// Batches that could not be written, each try.
    pub failures: &'static str,
    /// Commits that Kafka refused; the next one covers them.
    pub commit_failures: &'static str,
    /// Consumers given up for a new one: stuck, or failed for good.
    pub rejoins: &'static str,
}

/// Why a follower ended before it was told to. An outage of Kafka, or of what is written to, is none: it waits them out.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// A consumer could not be made.
    #[error("kafka consumer of group {0}: {1}")]
    Kafka(&'static str, rdkafka::error::KafkaError),
    /// Its thread could not be started.
    #[error("starting the thread of group {0}: {1}")]
    Thread(&'static str, std::io::Error),
    /// Its thread panicked: a fault of ours.
    #[error("the thread of group {0} panicked")]
    Panicked(&'static str),
}

/// Follows the topics until `stop`: finishes the write in hand then, commits and leaves the group. What was gathered and
/// not written is read again by the next. Call it in a tokio runtime that lives until it returns.
///
/// # Errors
/// [`FollowError`] for settings that can never work, or a fault of ours.
pub async fn run<E: Effect>(
    following: Following,
    effect: E,
    part: Part,
    stop: CancellationToken,
) -> Result<(), FollowError> {
    let stop = stop.child_token();
    // whoever drops this future stops the thread, too
    let _stop_with_us = stop.clone().drop_guard();
    let runtime = tokio::runtime::Handle::current();
    let (done, ended) = tokio::sync::oneshot::channel();
    let group = following.group;
    let thread = std::thread::Builder::new().name(group.to_owned()).spawn(move || {
        // nobody listens only when `run` was dropped
        let _ = done.send(follow::follow(&following, effect, part, &stop, &runtime));
    });
    thread.map_err(|error| FollowError::Thread(group, error))?;
    ended.await.unwrap_or(Err(FollowError::Panicked(group)))
}
