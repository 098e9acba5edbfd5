//! What comes of the records that are followed: the part that each follower has of its own.

use schemas::{time::Timestamp, topics::Topic};
use std::{fmt::Display, future::Future};

/// One record as it was read.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Where it stands.
    pub topic: Topic,
    /// Its partition there.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// The log's timestamp; 0 when it has none.
    pub logged: Timestamp,
    /// Its value; empty when it has none.
    pub payload: &'a [u8],
}

/// Gathers records in a batch, and writes the batch. A batch counts as read when [`Effect::write`] says `Ok`; until then it
/// is written again and again, and may have grown by a few records between two tries.
pub trait Effect: Send + 'static {
    /// What records come to, as they are gathered.
    type Batch: Default;
    /// Why a batch could not be written: the target is away.
    type Error: Display;

    /// Takes one record into the batch. One that cannot be read is counted, logged and passed over: nothing can be parked
    /// here.
    fn add(&mut self, batch: &mut Self::Batch, record: &Record<'_>);

    /// No room for another record.
    fn is_full(&self, batch: &Self::Batch) -> bool;

    /// Whether a batch that holds something is to be written now, or may gather on.
    fn is_due(&self, _: &Self::Batch) -> bool {
        true
    }

    /// Writes all of it, so that doing it again changes nothing. The thread that polls Kafka waits along, so it stays
    /// well below the group's session time-out of 6 s.
    ///
    /// # Errors
    /// When any of it may not be written.
    fn write(&mut self, batch: &Self::Batch) -> impl Future<Output = Result<(), Self::Error>>;

    /// Whether the target answers: asked at the start, and while nothing is to be read. Without one of its own a follower
    /// learns it from its next write.
    ///
    /// # Errors
    /// When it does not.
    fn look(&mut self) -> impl Future<Output = Result<(), Self::Error>> {
        std::future::ready(Ok(()))
    }
}
