//! The orders service as the machine sees it. Glue only.

use crate::{decide, due, metrics, store, tally::Tally};
use harness::{
    config::HistoryConfig,
    history::Walks,
    record::{Delivery, Out, Record, Rejection, Verdict},
    service::{Context, Service},
};
use schemas::{
    messages::OrderCommand,
    time::Timestamp,
    topics::{ORDERS_GROUP, Topic},
};
use sqlx::PgConnection;

/// The orders service. Between batches it only remembers how far it has looked for orders to move to the history.
#[derive(Debug, Default)]
pub struct Orders {
    walks: Walks,
}

impl Orders {
    /// The service; its orders stay where they are.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The service; orders move to the history as these settings say.
    #[must_use]
    pub fn with_history(config: HistoryConfig) -> Self {
        Self { walks: Walks::new(config) }
    }
}

impl Service for Orders {
    type Command = OrderCommand;
    type Intents = ();
    type Outcomes = ();
    type Rows = decide::Rows;
    type Tally = Tally;

    fn group(&self) -> &'static str {
        ORDERS_GROUP
    }

    fn input(&self) -> Topic {
        Topic::OrderCommands
    }

    fn decode(&self, record: &Record) -> Result<OrderCommand, Rejection> {
        Ok(OrderCommand::decode(&record.payload)?)
    }

    async fn load_in_tx(
        &self,
        tx: &mut PgConnection,
        _context: &Context,
        batch: &[Delivery<OrderCommand>],
        _outcomes: &(),
    ) -> sqlx::Result<decide::Rows> {
        store::load_in_tx(tx, batch.iter().map(|delivery| delivery.key)).await
    }

    fn decide(
        &self,
        context: &Context,
        rows: &mut decide::Rows,
        delivery: &Delivery<OrderCommand>,
        out: &mut Out,
    ) -> Result<Verdict, Rejection> {
        decide::decide(context, rows, delivery, out)
    }

    async fn save_in_tx(
        &self,
        tx: &mut PgConnection,
        _context: &Context,
        rows: decide::Rows,
    ) -> sqlx::Result<Tally> {
        let (fresh, changed, tally) = rows.into_changes();
        store::insert_in_tx(tx, fresh).await?;
        store::update_in_tx(tx, changed).await?;
        Ok(tally)
    }

    fn committed(&self, tally: Tally) {
        metrics::record(&tally);
    }

    async fn is_due(&self, connection: &mut PgConnection, lanes: &[(i32, Timestamp)]) -> sqlx::Result<bool> {
        metrics::needing_a_human(store::human::orders(connection).await?);
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
        let passed = store::due_in_tx(tx, partition, mark, context.now, due::AT_ONCE).await?;
        for order in passed.iter().filter(|order| !order.settled) {
            // cannot happen to a message of two fixed fields; if it did, the mark must not move
            let command = due::command(order).map_err(|no| sqlx::Error::Encode(no.detail.into()))?;
            out.send_from(partition, command);
        }
        Ok(due::next_mark(mark, context.now, &passed))
    }

    async fn age_in_tx(&self, tx: &mut PgConnection, context: &Context, partition: i32) -> sqlx::Result<()> {
        store::history::age_in_tx(tx, &self.walks, partition, context.now).await
    }
}
