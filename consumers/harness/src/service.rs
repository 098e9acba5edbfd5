//! The seam between the machine and a service: load, decide, save.
//!
//! The machine opens the transaction, locks and checks the lanes, calls `load_in_tx`, `decide` for each record in
//! order, `finish`, `save_in_tx`, writes outbox and lanes, and commits. A service never commits, never sees an
//! offset, and has no Kafka producer: what it says goes into [`Out`].

use crate::record::{Delivery, Out, Outgoing, Record, Rejection, Verdict};
use schemas::{time::Timestamp, topics::Topic};
use sqlx::PgConnection;
use std::{collections::BTreeMap, future::Future};

/// What a service may know of its batch beside the records.
#[derive(Debug, Clone)]
pub struct Context {
    /// The database's time in this transaction, in whole milliseconds, rounded down.
    pub now: Timestamp,
    /// Due mark of each lane, by partition, as it was before this batch: a deadline at or below it is past, and so is
    /// one at or below `now`. Whoever compares with the mark alone would miss what falls due in this very batch.
    pub due_marks: BTreeMap<i32, Timestamp>,
}

/// A consumer of one command topic.
pub trait Service: Send + Sync + 'static {
    /// One message of the input topic.
    type Command: Send + Sync;
    /// Calls to the outside that `intend_in_tx` found to make. `()` where there are none.
    type Intents: Send + Sync + Default;
    /// What those calls brought. `()` where there are none.
    type Outcomes: Send + Sync + Default;
    /// All rows the batch touches, and what becomes of them.
    type Rows: Send;
    /// What to count once the batch is committed.
    type Tally: Send;

    /// Whether this service calls the outside between two transactions.
    const CALLS_OUTSIDE: bool = false;

    /// The consumer group, and the name in metrics and logs.
    fn group(&self) -> &'static str;

    /// The input topic.
    fn input(&self) -> Topic;

    /// Reads a record's payload.
    ///
    /// # Errors
    /// A [`Rejection`]: the record is parked with it.
    fn decode(&self, record: &Record) -> Result<Self::Command, Rejection>;

    /// First transaction of a batch that calls the outside: leaves a trace for each call about to be made, and
    /// says which. The lanes are locked and checked; their position does not move. A call for a record that is
    /// decided again later (the batch failed, or another owner redoes it) must be found here again.
    fn intend_in_tx(
        &self,
        _tx: &mut PgConnection,
        _context: &Context,
        _batch: &[Delivery<Self::Command>],
    ) -> impl Future<Output = sqlx::Result<Self::Intents>> + Send {
        async { Ok(Self::Intents::default()) }
    }

    /// Makes the calls, no transaction open, within a budget of the service's own: the lanes wait for it.
    fn call(&self, _intents: Self::Intents) -> impl Future<Output = Self::Outcomes> + Send {
        async { Self::Outcomes::default() }
    }

    /// Loads every row the batch touches: one query a table, locked in key order.
    fn load_in_tx(
        &self,
        tx: &mut PgConnection,
        context: &Context,
        batch: &[Delivery<Self::Command>],
        outcomes: &Self::Outcomes,
    ) -> impl Future<Output = sqlx::Result<Self::Rows>> + Send;

    /// Decides one record: a function of rows and record, no SQL, no clock, no waiting. Each partition comes in
    /// offset order.
    ///
    /// # Errors
    /// A [`Rejection`], and then `rows` must be as before. The record is parked; later records of its key are
    /// parked behind it and not decided. What it said is taken back by the machine.
    fn decide(
        &self,
        context: &Context,
        rows: &mut Self::Rows,
        delivery: &Delivery<Self::Command>,
        out: &mut Out,
    ) -> Result<Verdict, Rejection>;

    /// An operator gives up a parked record: what must be said so that nothing it began is left open? `rows` are
    /// loaded for it too.
    ///
    /// # Errors
    /// A [`Rejection`]: the record stays parked with it.
    fn discarded(
        &self,
        _rows: &Self::Rows,
        _delivery: &Delivery<Self::Command>,
    ) -> Result<Option<Outgoing>, Rejection> {
        Ok(None)
    }

    /// Runs once after the last record: what is said of a whole batch (stock levels), what is left to decide
    /// (queues to walk).
    ///
    /// # Errors
    /// A [`Rejection`] here is a fault of ours and halts the worker.
    fn finish(&self, _context: &Context, _rows: &mut Self::Rows, _out: &mut Out) -> Result<(), Rejection> {
        Ok(())
    }

    /// Saves what was decided: one statement a table, sets sorted by key.
    fn save_in_tx(
        &self,
        tx: &mut PgConnection,
        context: &Context,
        rows: Self::Rows,
    ) -> impl Future<Output = sqlx::Result<Self::Tally>> + Send;

    /// Counts what was committed.
    fn committed(&self, _tally: Self::Tally) {}

    /// Whether anything of these lanes (partition, due mark) is due at the database's time: a cheap read outside
    /// any lane transaction, asked a few times a second.
    fn is_due(
        &self,
        _connection: &mut PgConnection,
        _lanes: &[(i32, Timestamp)],
    ) -> impl Future<Output = sqlx::Result<bool>> + Send {
        async { Ok(false) }
    }

    /// In a lane transaction, before the records: says the commands that are due for `partition` between its mark
    /// and `context.now` (at most 1,000, ties included), and returns the mark's new place.
    fn due_in_tx(
        &self,
        _tx: &mut PgConnection,
        _context: &Context,
        _partition: i32,
        mark: Timestamp,
        _out: &mut Out,
    ) -> impl Future<Output = sqlx::Result<Timestamp>> + Send {
        async move { Ok(mark) }
    }

    /// In a lane transaction that sees to due work, after all else: moves rows of `partition` that are settled and old
    /// to the history, a bounded number (see [`crate::history`]). A record that names one later finds it there.
    fn age_in_tx(
        &self,
        _tx: &mut PgConnection,
        _context: &Context,
        _partition: i32,
    ) -> impl Future<Output = sqlx::Result<()>> + Send {
        async { Ok(()) }
    }
}
