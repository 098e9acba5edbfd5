//! Payments as a service of the consumer machine: plan and trace, call, decide and save.

use crate::{
    books::{Books, CaptureState, RefundState},
    calls::{CallLimits, Caller, Outcomes},
    decide::{self, Rows},
    plan::{self, Intent},
    provider::Provider,
    retry::Retry,
    say, store,
    tally::Tally,
};
use harness::{
    config::HistoryConfig,
    history::Walks,
    record::{Delivery, Out, Outgoing, Record, Rejection, Verdict},
    service::{Context, Service},
};
use schemas::{
    ids::OrderId,
    messages::{CapturePayment, PaymentCommand},
    time::Timestamp,
    topics::{self, PAYMENTS_GROUP, Topic},
};
use sqlx::PgConnection;
use std::{sync::Arc, time::Duration};

/// Last moment that a row can hold: the end of the year 9999.
const END_OF_TIME: Timestamp = Timestamp(253_402_300_799_999);

/// The payments service.
pub struct Payments {
    caller: Caller,
    retry: Retry,
    budget: Duration,
    walks: Walks,
}

impl Payments {
    /// The service, calling `provider`. `budget` bounds the calls of one batch.
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>, limits: CallLimits, retry: Retry, budget: Duration) -> Self {
        Self { caller: Caller::new(provider, limits), retry, budget, walks: Walks::default() }
    }

    /// The same; captures move to the history as these settings say.
    #[must_use]
    pub fn with_history(self, config: HistoryConfig) -> Self {
        Self { walks: Walks::new(config), ..self }
    }

    async fn load(
        &self,
        tx: &mut PgConnection,
        context: &Context,
        batch: &[Delivery<PaymentCommand>],
    ) -> sqlx::Result<Books> {
        let commands: Vec<&PaymentCommand> = batch.iter().map(|delivery| &delivery.command).collect();
        let cutoff = self.walks.config().cutoff(context.now);
        let books = store::load_batch_in_tx(tx, &commands, cutoff).await?;
        Ok(books.of_lanes(partitions(batch)))
    }

    /// Makes a batch's calls within another budget than the service's own.
    pub async fn call_within(&self, traced: Traced, budget: Duration) -> Answered {
        let Traced { intents, rows } = traced;
        Answered { outcomes: self.caller.call(intents, budget).await, rows }
    }
}

/// What transaction A came to: the calls to make, and the rows as it left them.
#[derive(Debug, Clone, Default)]
pub struct Traced {
    intents: Vec<Intent>,
    rows: Option<Arc<Left>>,
}

/// What the calls brought, and the rows as transaction A left them.
#[derive(Debug, Clone, Default)]
pub struct Answered {
    /// What the calls brought.
    pub outcomes: Outcomes,
    rows: Option<Arc<Left>>,
}

impl From<Outcomes> for Answered {
    fn from(outcomes: Outcomes) -> Self {
        Self { outcomes, rows: None }
    }
}

/// Rows as a transaction left them. Transaction B need not read them again: it finds its lanes where A found them, and
/// nobody but a lane's owner writes its rows.
#[derive(Debug)]
struct Left {
    books: Books,
    /// The deliveries they were read for: the first so many of the batch.
    deliveries: usize,
}

impl Service for Payments {
    type Command = PaymentCommand;
    type Intents = Traced;
    type Outcomes = Answered;
    type Rows = Rows;
    type Tally = Tally;

    const CALLS_OUTSIDE: bool = true;

    fn group(&self) -> &'static str {
        PAYMENTS_GROUP
    }

    fn input(&self) -> Topic {
        Topic::PaymentCommands
    }

    fn decode(&self, record: &Record) -> Result<PaymentCommand, Rejection> {
        let command = PaymentCommand::decode(&record.payload)?;
        // the key chooses the lane, and an effect's rows have one lane to write them
        let order = order_of(&command);
        if record.key != topics::key(order.0) {
            return Err(Rejection::new("key_mismatch", format!("a {} of order {order}", command.name())));
        }
        check_fields(&command)?;
        Ok(command)
    }

    async fn intend_in_tx(
        &self,
        tx: &mut PgConnection,
        context: &Context,
        batch: &[Delivery<PaymentCommand>],
    ) -> sqlx::Result<Traced> {
        let mut books = self.load(tx, context, batch).await?;
        let intents = plan::plan(&mut books, batch, context.now, &self.retry);
        store::save_in_tx(tx, &books).await?;
        let left = Left { books: books.saved(), deliveries: batch.len() };
        Ok(Traced { intents, rows: Some(Arc::new(left)) })
    }

    async fn call(&self, traced: Traced) -> Answered {
        self.call_within(traced, self.budget).await
    }

    async fn load_in_tx(
        &self,
        tx: &mut PgConnection,
        context: &Context,
        batch: &[Delivery<PaymentCommand>],
        answered: &Answered,
    ) -> sqlx::Result<Rows> {
        let books = match &answered.rows {
            Some(left) => {
                let rest = batch.get(left.deliveries..).unwrap_or_default();
                let more =
                    if rest.is_empty() { Books::default() } else { self.load(tx, context, rest).await? };
                left.books.clone().with(more).of_lanes(partitions(batch))
            }
            None => self.load(tx, context, batch).await?,
        };
        Ok(Rows::new(books, answered.outcomes.clone()))
    }

    fn decide(
        &self,
        context: &Context,
        rows: &mut Rows,
        delivery: &Delivery<PaymentCommand>,
        out: &mut Out,
    ) -> Result<Verdict, Rejection> {
        decide::decide(rows, context.now, &self.retry, delivery, out)
    }

    /// What may have been called is asked about on and on until the provider's answer settles it.
    fn discarded(
        &self,
        rows: &Rows,
        delivery: &Delivery<PaymentCommand>,
    ) -> Result<Option<Outgoing>, Rejection> {
        let effect = match &delivery.command {
            PaymentCommand::CapturePayment(command) => command.capture_id,
            PaymentCommand::RefundPayment(command) => command.refund_id,
            PaymentCommand::ResumeEffect(command) => command.effect_id,
            PaymentCommand::RetryRefund(command) => command.refund_id,
            // neither begins anything
            PaymentCommand::VoidCapture(_) | PaymentCommand::ProviderNotice(_) => return Ok(None),
        };
        let order = order_of(&delivery.command);
        let is_open = rows.books.capture(effect).is_some_and(|row| row.state == CaptureState::Calling)
            || rows.books.refund(effect).is_some_and(|row| row.state == RefundState::Calling);
        if is_open { say::resume_after(order, effect, delivery.envelope.message).map(Some) } else { Ok(None) }
    }

    async fn save_in_tx(&self, tx: &mut PgConnection, _context: &Context, rows: Rows) -> sqlx::Result<Tally> {
        store::save_in_tx(tx, &rows.books).await?;
        let mut tally = rows.tally;
        tally.deferred(rows.books.deferrals().len());
        Ok(tally)
    }

    fn committed(&self, tally: Tally) {
        tally.publish();
    }

    async fn is_due(&self, connection: &mut PgConnection, lanes: &[(i32, Timestamp)]) -> sqlx::Result<bool> {
        let partitions: Vec<i32> = lanes.iter().map(|(partition, _)| *partition).collect();
        let is_old = store::history::is_old(connection, &self.walks, &partitions).await?;
        Ok(store::is_due(connection, &partitions).await? || is_old)
    }

    /// Whatever is due is deleted here, so the mark only says how far time has come: a row that was written behind it
    /// (the database's clock stepped back) is found all the same.
    async fn due_in_tx(
        &self,
        tx: &mut PgConnection,
        context: &Context,
        partition: i32,
        mark: Timestamp,
        out: &mut Out,
    ) -> sqlx::Result<Timestamp> {
        for due in store::take_due_in_tx(tx, partition, context.now).await? {
            let outgoing = say::resume(due.order_id, due.effect, due.due_at)
                .map_err(|rejection| sqlx::Error::Encode(rejection.detail.into()))?;
            out.send_from(partition, outgoing);
        }
        Ok(mark.max(context.now))
    }

    async fn age_in_tx(&self, tx: &mut PgConnection, context: &Context, partition: i32) -> sqlx::Result<()> {
        store::history::age_in_tx(tx, &self.walks, partition, context.now).await
    }
}

/// The partition of each order of a batch.
fn partitions(batch: &[Delivery<PaymentCommand>]) -> impl Iterator<Item = (OrderId, i32)> + '_ {
    batch.iter().map(|it| (order_of(&it.command), it.partition))
}

fn order_of(command: &PaymentCommand) -> OrderId {
    match command {
        PaymentCommand::CapturePayment(command) => command.order_id,
        PaymentCommand::VoidCapture(command) => command.order_id,
        PaymentCommand::RefundPayment(command) => command.order_id,
        PaymentCommand::ResumeEffect(command) => command.order_id,
        PaymentCommand::ProviderNotice(notice) => notice.order_id,
        PaymentCommand::RetryRefund(command) => command.order_id,
    }
}

/// What a row could not hold is refused before anything is written.
fn check_fields(command: &PaymentCommand) -> Result<(), Rejection> {
    let (texts, deadline) = match command {
        PaymentCommand::CapturePayment(command) => ([command.payment_method.as_str(), ""], command.deadline),
        PaymentCommand::RefundPayment(command) => ([command.reason.as_str(), ""], Timestamp(0)),
        PaymentCommand::ProviderNotice(notice) => {
            ([notice.reference.as_str(), notice.reason.as_deref().unwrap_or_default()], Timestamp(0))
        }
        PaymentCommand::VoidCapture(_) | PaymentCommand::ResumeEffect(_) | PaymentCommand::RetryRefund(_) => {
            (["", ""], Timestamp(0))
        }
    };
    if texts.iter().any(|text| text.contains('\0')) {
        return Err(Rejection::new("text", format!("a {} with a NUL in its text", command.name())));
    }
    // none at all is how a capture is told that nobody asked for
    if matches!(command, PaymentCommand::CapturePayment(command) if command.payment_method.is_empty()) {
        return Err(Rejection::new("text", "a CapturePayment without a payment method"));
    }
    if let PaymentCommand::CapturePayment(CapturePayment { amount: amount @ ..1, .. }) = command {
        return Err(Rejection::new("amount", format!("a capture of {amount}")));
    }
    if deadline < Timestamp(0) || deadline > END_OF_TIME {
        return Err(Rejection::new("deadline", format!("a deadline of {} ms", deadline.0)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Sandbox;
    use schemas::{
        envelope::EnvelopeError,
        ids::EffectId,
        messages::{CapturePayment, Message},
        money::Currency,
        wire,
    };
    use uuid::Uuid;

    fn service() -> Payments {
        let sandbox = Sandbox::connect("postgres://nobody@127.0.0.1:1/none", 1).unwrap();
        Payments::new(Arc::new(sandbox), CallLimits::default(), Retry::default(), Duration::ZERO)
    }

    fn record<M: Message>(key: Uuid, body: &M) -> Record {
        Record {
            topic: Topic::PaymentCommands,
            partition: 0,
            offset: 0,
            timestamp: Timestamp(0),
            key: topics::key(key).to_vec(),
            envelope: Err(EnvelopeError::Missing),
            header: None,
            payload: wire::encode(body).unwrap(),
            traceparent: None,
        }
    }

    #[tokio::test]
    async fn what_a_row_could_not_hold_is_refused_at_the_door() {
        let order = Uuid::from_u128(7);
        let good = CapturePayment {
            order_id: OrderId(order),
            capture_id: EffectId(Uuid::from_u128(8)),
            amount: 1,
            currency: Currency::USD,
            payment_method: "CREDIT_CARD".to_owned(),
            deadline: END_OF_TIME,
        };
        let service = service();
        assert_eq!(service.decode(&record(order, &good)), Ok(good.clone().into()));
        let cause = |key, body: &CapturePayment| service.decode(&record(key, body)).unwrap_err().cause;
        assert_eq!(cause(Uuid::from_u128(9), &good), "key_mismatch");
        let late = CapturePayment { deadline: Timestamp(i64::MAX), ..good.clone() };
        assert_eq!(cause(order, &late), "deadline");
        let nothing = CapturePayment { amount: 0, ..good.clone() };
        assert_eq!(cause(order, &nothing), "amount");
        let odd = CapturePayment { payment_method: "A\0B".to_owned(), ..good };
        assert_eq!(cause(order, &odd), "text");
        let none = CapturePayment { payment_method: String::new(), ..odd };
        assert_eq!(cause(order, &none), "text");
    }
}
