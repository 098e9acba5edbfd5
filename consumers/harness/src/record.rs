//! Records as they come off the log, and as they leave through the outbox.

use schemas::{
    envelope::{Envelope, EnvelopeError},
    ids::MessageId,
    messages::Message,
    time::Timestamp,
    topics::Topic,
    wire::{self, WireError},
};
use uuid::Uuid;

/// A record as it was read from the log.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its topic.
    pub topic: Topic,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The log's timestamp.
    pub timestamp: Timestamp,
    /// The key's bytes; empty when it has none.
    pub key: Vec<u8>,
    /// The envelope, or why it could not be read.
    pub envelope: Result<Envelope, EnvelopeError>,
    /// The envelope's bytes as they were read.
    pub header: Option<Vec<u8>>,
    /// The payload's bytes; empty when it has none.
    pub payload: Vec<u8>,
    /// The raw `traceparent` header, when the record is sampled.
    pub traceparent: Option<Vec<u8>>,
}

impl Record {
    /// Bytes it holds in memory, for batch and queue bounds. Headers count: foreign ones may be as long as a payload.
    #[must_use]
    pub fn size(&self) -> usize {
        let headers = [&self.header, &self.traceparent].into_iter().flatten().map(Vec::len).sum::<usize>();
        self.key.len() + self.payload.len() + headers + 128
    }
}

/// A record whose key, envelope and body could be read.
#[derive(Debug, Clone)]
pub struct Delivery<C> {
    /// Its partition, which names its lane.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The key.
    pub key: Uuid,
    /// The envelope.
    pub envelope: Envelope,
    /// What it says.
    pub command: C,
    /// The raw `traceparent` header, when the record is sampled.
    pub traceparent: Option<Vec<u8>>,
}

/// What became of a record that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It changed something, or was refused on the record (a refused cancel).
    Executed,
    /// It had been applied before: nothing to do. A success.
    AlreadyApplied,
}

/// Longest detail of a rejection, in characters.
pub(crate) const MAX_DETAIL: usize = 1_000;

/// Why a record was rejected: it will be parked, with its key's later records behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// A short, stable name: the fingerprint by which operators group failures, e.g. `illegal_transition`.
    pub cause: &'static str,
    /// What happened, to what.
    pub detail: String,
}

impl Rejection {
    /// A rejection with that cause. A long detail is cut: it may quote what could not be read, and that may be a whole
    /// payload; in a dead letter beside the payload itself it would be too large for any topic, and the lane would halt.
    #[must_use]
    pub fn new(cause: &'static str, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL) {
            detail.truncate(end);
        }
        Self { cause, detail }
    }
}

impl From<WireError> for Rejection {
    fn from(error: WireError) -> Self {
        let cause = match error {
            WireError::UnknownSchema(_) => "unknown_schema",
            WireError::Encode { .. } | WireError::Long(_) => "encode",
            _ => "decode",
        };
        Self::new(cause, error.to_string())
    }
}

/// Something a service says: a record before it has a lane, a number and a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub topic: Topic,
    /// The record's key; it chooses the partition.
    pub key: Uuid,
    /// What it means.
    pub message: MessageId,
    /// Work is not begun after this.
    pub deadline: Option<Timestamp>,
    /// The payload, in the wire format.
    pub payload: Vec<u8>,
}

impl Outgoing {
    /// The record that says `body` on its topic.
    ///
    /// # Errors
    /// A [`Rejection`] `encode` when the body does not fit its schema or a record's size.
    pub fn new<M: Message>(key: Uuid, message: MessageId, body: &M) -> Result<Self, Rejection> {
        Ok(Self { topic: M::TOPIC, key, message, deadline: None, payload: wire::encode(body)? })
    }

    /// The same with a deadline.
    #[must_use]
    pub fn with_deadline(self, deadline: Timestamp) -> Self {
        Self { deadline: Some(deadline), ..self }
    }
}

/// What a batch says, collected in order, each from the lane that says it.
#[derive(Debug, Default)]
pub struct Out {
    said: Vec<Said>,
}

/// One record of [`Out`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The lane's partition.
    pub from: i32,
    /// The message that made us say it; `None` when time did.
    pub causation: Option<MessageId>,
    /// What is said.
    pub outgoing: Outgoing,
    /// The trace it belongs to, when sampled.
    pub traceparent: Option<Vec<u8>>,
}

impl Out {
    /// Says `outgoing` from the lane of `cause`, because of it.
    pub fn send<C>(&mut self, cause: &Delivery<C>, outgoing: Outgoing) {
        self.said.push(Said {
            from: cause.partition,
            causation: Some(cause.envelope.message),
            outgoing,
            traceparent: cause.traceparent.clone(),
        });
    }

    /// Says `outgoing` from the lane of `partition`, because of no record in particular (time, a whole batch).
    pub fn send_from(&mut self, partition: i32, outgoing: Outgoing) {
        self.said.push(Said { from: partition, causation: None, outgoing, traceparent: None });
    }

    /// What was said so far.
    #[must_use]
    pub fn said(&self) -> &[Said] {
        &self.said
    }

    /// What was said, to be packed.
    #[must_use]
    pub fn into_said(self) -> Vec<Said> {
        self.said
    }

    /// How much was said so far: a point to [`Out::take_back`] to.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.said.len()
    }

    /// Forgets all that was said after `mark`.
    pub fn take_back(&mut self, mark: usize) {
        self.said.truncate(mark);
    }
}
