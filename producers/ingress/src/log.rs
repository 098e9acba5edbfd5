//! The log as the edge needs it: say a command, ask where topics end. A trait, so that tests can hold an
//! acknowledgement back, lose it, or run without brokers.

use crate::{problem::Problem, trace::Trace};
use async_trait::async_trait;
use chassis::crash::{self, CrashPoint};
use futures_util::future::join_all;
use publisher::{Destination, OutboundRecord, Pending, Publisher};
use schemas::{
    envelope::{self, Envelope},
    ids::MessageId,
    messages::Message,
    time::Timestamp,
    topics::{self, Topic},
    wire,
};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

pub use publisher::Delivered;

/// Longest wait for an answer about offsets.
const ASK_TIMEOUT: Duration = Duration::from_millis(1_500);

/// A command about to be said by the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Where to.
    pub topic: Topic,
    /// The key, as text.
    pub key: [u8; 36],
    /// The payload, in the wire format.
    pub payload: Vec<u8>,
    /// The envelope.
    pub envelope: Envelope,
    /// The trace of the request that it comes of, if that is sampled.
    pub trace: Option<Trace>,
}

impl Command {
    /// `body` under `key`, said at `now` because a client asked: its own message is its cause, and no lane its source.
    ///
    /// # Errors
    /// A 500 problem when the body does not fit its schema, which the edge's limits make impossible.
    pub fn new<M: Message>(
        key: Uuid,
        message: MessageId,
        now: Timestamp,
        deadline: Option<Timestamp>,
        body: &M,
    ) -> Result<Self, Problem> {
        let payload = wire::encode(body).map_err(|error| Problem::internal("encoding a command", &error))?;
        Ok(Self::encoded(M::TOPIC, key, message, now, deadline, payload))
    }

    /// The same, of a body that is encoded.
    #[must_use]
    pub fn encoded(
        topic: Topic,
        key: Uuid,
        message: MessageId,
        now: Timestamp,
        deadline: Option<Timestamp>,
        payload: Vec<u8>,
    ) -> Self {
        let envelope = Envelope { message, causation: message, occurred_at: now, deadline, source: None };
        Self { topic, key: topics::key(key), payload, envelope, trace: Trace::current() }
    }
}

/// Why a command has no acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It was never handed over: it is not on the topic and never will be.
    #[error("not handed over: {0}")]
    NotSent(String),
    /// It was handed over: it may be on the topic, or come there.
    #[error("handed over, outcome unknown: {0}")]
    Unknown(String),
}

/// Why a question about the log has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log did not answer: {0}")]
pub struct LogAway(pub String);

/// The log.
#[async_trait]
pub trait CommandLog: Send + Sync + 'static {
    /// Says `command` and waits for the acknowledgement of all replicas.
    ///
    /// # Errors
    /// [`SendError`] says whether the command may still arrive.
    async fn send(&self, command: Command) -> Result<Delivered, SendError>;

    /// Says all of `commands`, one handed over after the other without a wait between, and waits for what becomes of each;
    /// one outcome each, in their order.
    async fn send_all(&self, commands: Vec<Command>) -> Vec<Result<Delivered, SendError>> {
        join_all(commands.into_iter().map(|command| self.send(command))).await
    }

    /// How many partitions `topic` has. Known after the first answer.
    ///
    /// # Errors
    /// [`LogAway`].
    async fn partitions(&self, topic: Topic) -> Result<i32, LogAway>;

    /// The offset after the last record of each partition, as the brokers say now.
    ///
    /// # Errors
    /// [`LogAway`].
    async fn ends(&self, topic: Topic) -> Result<Vec<i64>, LogAway>;

    /// What `group` has committed in each partition of `topic`; `None` where it has committed nothing.
    ///
    /// # Errors
    /// [`LogAway`].
    async fn committed(&self, group: &'static str, topic: Topic) -> Result<Vec<Option<i64>>, LogAway>;

    /// Whether the brokers answer at all.
    ///
    /// # Errors
    /// [`LogAway`].
    async fn check(&self) -> Result<(), LogAway>;

    /// Records that were handed over and are not acknowledged yet.
    fn queued(&self) -> usize {
        0
    }
}

/// A shared log.
pub type Log = Arc<dyn CommandLog>;

#[async_trait]
impl CommandLog for Publisher {
    async fn send(&self, command: Command) -> Result<Delivered, SendError> {
        outcome(hand_over(self, command)).await
    }

    async fn send_all(&self, commands: Vec<Command>) -> Vec<Result<Delivered, SendError>> {
        let handed: Vec<_> = commands.into_iter().map(|command| hand_over(self, command)).collect();
        let mut outcomes = Vec::with_capacity(handed.len());
        // one after the other: all have to come, and a batch's reports come together
        for pending in handed {
            outcomes.push(outcome(pending).await);
        }
        outcomes
    }

    async fn partitions(&self, topic: Topic) -> Result<i32, LogAway> {
        Self::partitions(self, topic, ASK_TIMEOUT).await.map_err(away)
    }

    async fn ends(&self, topic: Topic) -> Result<Vec<i64>, LogAway> {
        self.end_offsets(topic, ASK_TIMEOUT).await.map_err(away)
    }

    async fn committed(&self, group: &'static str, topic: Topic) -> Result<Vec<Option<i64>>, LogAway> {
        self.committed_offsets(group, topic, ASK_TIMEOUT).await.map_err(away)
    }

    async fn check(&self) -> Result<(), LogAway> {
        self.ask_partitions(Topic::OrderCommands, ASK_TIMEOUT).await.map(drop).map_err(away)
    }

    fn queued(&self) -> usize {
        Self::queued(self)
    }
}

/// An error of this says that nothing was handed over; one of the report never does.
fn hand_over(publisher: &Publisher, command: Command) -> Result<Pending, SendError> {
    let trace = command.trace.map(|trace| (envelope::TRACEPARENT.to_owned(), trace.as_bytes().to_vec()));
    let record = OutboundRecord {
        topic: command.topic,
        destination: Destination::ByKey,
        key: command.key.to_vec(),
        payload: command.payload,
        headers: std::iter::once((envelope::HEADER.to_owned(), command.envelope.to_bytes()))
            .chain(trace)
            .collect(),
    };
    crash::point(CrashPoint::ProduceBefore);
    let pending = publisher.send(&record).map_err(|error| SendError::NotSent(error.to_string()))?;
    crash::point(CrashPoint::ProduceHanded);
    Ok(pending)
}

async fn outcome(pending: Result<Pending, SendError>) -> Result<Delivered, SendError> {
    let delivered = pending?.await.map_err(|error| SendError::Unknown(error.to_string()))?;
    crash::point(CrashPoint::ProduceAfter);
    Ok(delivered)
}

fn away(error: publisher::QueryError) -> LogAway {
    LogAway(error.to_string())
}
