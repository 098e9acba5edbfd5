//! Ties the pure parts to the database and the machine.

use crate::{books::Books, decide, metrics::Tally, store, walk};
use harness::{
    config::HistoryConfig,
    history::Walks,
    record::{Delivery, Out, Record, Rejection, Verdict},
    service::{Context, Service},
};
use schemas::{
    messages::InventoryCommand,
    time::Timestamp,
    topics::{self, Topic},
};
use sqlx::PgConnection;

/// Bounds of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most waiters that are looked at; the rest by the command to ourselves. At least 2.
    pub waiters: usize,
    /// Most releases said because their deadline passed, ties not counted. At least 1.
    pub due: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { waiters: 1_000, due: 1_000 }
    }
}

/// The inventory service.
#[derive(Debug, Default)]
pub struct InventoryService {
    limits: Limits,
    walks: Walks,
}

impl InventoryService {
    /// The service with other bounds than the default ones.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The service; its holds move to the history as these settings say.
    #[must_use]
    pub fn with_history(config: HistoryConfig) -> Self {
        Self { walks: Walks::new(config), ..Self::default() }
    }
}

impl Service for InventoryService {
    type Command = InventoryCommand;
    type Intents = ();
    type Outcomes = ();
    type Rows = Books;
    type Tally = Tally;

    fn group(&self) -> &'static str {
        topics::INVENTORY_GROUP
    }

    fn input(&self) -> Topic {
        Topic::InventoryCommands
    }

    fn decode(&self, record: &Record) -> Result<InventoryCommand, Rejection> {
        let command = InventoryCommand::decode(&record.payload)?;
        let key = match &command {
            InventoryCommand::ReserveStock(reserve) => reserve.order_id.0,
            InventoryCommand::SettleStock(settle) => settle.order_id.0,
            InventoryCommand::AdjustStock(adjust) => adjust.product_id.0,
            InventoryCommand::WalkQueue(walk) => walk.product_id.0,
        };
        // a record in a foreign lane would give its rows two writers
        if record.key != topics::key(key) {
            let detail = format!("a {} about {key} has another key", command.name());
            return Err(Rejection::new("key_mismatch", detail));
        }
        Ok(command)
    }

    async fn load_in_tx(
        &self,
        tx: &mut PgConnection,
        context: &Context,
        batch: &[Delivery<InventoryCommand>],
        _outcomes: &(),
    ) -> sqlx::Result<Books> {
        store::load_in_tx(tx, batch, self.limits.waiters, self.walks.config().cutoff(context.now)).await
    }

    fn decide(
        &self,
        context: &Context,
        rows: &mut Books,
        delivery: &Delivery<InventoryCommand>,
        out: &mut Out,
    ) -> Result<Verdict, Rejection> {
        decide::decide(context, rows, delivery, out)
    }

    fn finish(&self, context: &Context, rows: &mut Books, out: &mut Out) -> Result<(), Rejection> {
        walk::finish(context, rows, out)
    }

    async fn save_in_tx(&self, tx: &mut PgConnection, context: &Context, rows: Books) -> sqlx::Result<Tally> {
        store::save_in_tx(tx, context.now, rows).await
    }

    fn committed(&self, tally: Tally) {
        tally.count();
    }

    async fn is_due(&self, connection: &mut PgConnection, lanes: &[(i32, Timestamp)]) -> sqlx::Result<bool> {
        let partitions: Vec<i32> = lanes.iter().map(|(partition, _)| *partition).collect();
        let is_old = store::history::is_old(connection, &self.walks, &partitions).await?;
        Ok(store::is_due(connection, lanes).await? || is_old)
    }

    async fn due_in_tx(
        &self,
        tx: &mut PgConnection,
        context: &Context,
        partition: i32,
        mark: Timestamp,
        out: &mut Out,
    ) -> sqlx::Result<Timestamp> {
        store::due_in_tx(tx, context, partition, mark, self.limits.due, out).await
    }

    async fn age_in_tx(&self, tx: &mut PgConnection, context: &Context, partition: i32) -> sqlx::Result<()> {
        store::history::age_in_tx(tx, &self.walks, partition, context.now).await
    }
}
