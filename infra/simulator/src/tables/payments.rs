//! Captures, refunds, deferrals.

use super::{Due, Tables};
use crate::{
    check::{self, Violation},
    digest::Digest,
    plant::Plant,
    shop::Base,
};
use async_trait::async_trait;
use harness::record::{Delivery, Out};
use payments_worker::{
    Payments,
    books::{Books, Capture, Deferral, Refund},
    calls::{CallLimits, Outcomes},
    decide::Rows,
    handler::Answered,
    plan::{self, Intent},
    provider::{CaptureRequest, Found, Outcome, Provider, RefundRequest, Sought},
    retry::Retry,
    say,
};
use schemas::{
    ids::{EffectId, OrderId},
    messages::PaymentCommand,
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Calls are the simulator's own: nobody asks this one.
struct Nobody;

#[async_trait]
impl Provider for Nobody {
    async fn capture(&self, _request: &CaptureRequest) -> Outcome {
        Outcome::unknown("nobody")
    }

    async fn refund(&self, _request: &RefundRequest) -> Outcome {
        Outcome::unknown("nobody")
    }

    async fn lookup(&self, _sought: Sought<'_>) -> Found {
        Found::Known(Outcome::unknown("nobody"))
    }
}

#[derive(Clone)]
pub(crate) struct PaymentsTables {
    service: Arc<Payments>,
    retry: Retry,
    pub(crate) captures: BTreeMap<EffectId, Capture>,
    pub(crate) refunds: BTreeMap<EffectId, Refund>,
    pub(crate) deferred: BTreeMap<EffectId, Deferral>,
}

impl PaymentsTables {
    pub(crate) fn new() -> Self {
        let retry = Retry::default();
        Self {
            service: Arc::new(Payments::new(
                Arc::new(Nobody),
                CallLimits::default(),
                retry.clone(),
                Duration::ZERO,
            )),
            retry,
            captures: BTreeMap::new(),
            refunds: BTreeMap::new(),
            deferred: BTreeMap::new(),
        }
    }

    fn books(&self, batch: &[Delivery<PaymentCommand>]) -> Books {
        let orders: BTreeSet<OrderId> = batch.iter().map(|delivery| OrderId(delivery.key)).collect();
        Books::of(
            self.captures.values().filter(|row| orders.contains(&row.order_id)).cloned().collect(),
            self.refunds.values().filter(|row| orders.contains(&row.order_id)).cloned().collect(),
        )
    }

    fn commit(&mut self, books: &Books) -> Result<(), Violation> {
        for row in books.new_captures().into_iter().chain(books.changed_captures()) {
            check::capture(self.captures.get(&row.id), row)?;
            self.captures.insert(row.id, row.clone());
        }
        for row in books.new_refunds().into_iter().chain(books.changed_refunds()) {
            self.refunds.insert(row.id, row.clone());
        }
        for effect in books.forgotten() {
            self.deferred.remove(effect);
        }
        self.deferred.extend(books.deferrals().iter().map(|(effect, row)| (*effect, row.clone())));
        Ok(())
    }
}

impl Tables for PaymentsTables {
    type Service = Payments;

    fn service(&self) -> &Payments {
        &self.service
    }

    fn trace(
        &mut self,
        now: Timestamp,
        batch: &[Delivery<PaymentCommand>],
    ) -> Result<Vec<Intent>, Violation> {
        let mut books = self.books(batch);
        let intents = plan::plan(&mut books, batch, now, &self.retry);
        self.commit(&books)?;
        Ok(intents)
    }

    fn outcomes(heard: Outcomes) -> Answered {
        heard.into()
    }

    fn load(&self, _plant: Plant, batch: &[Delivery<PaymentCommand>], answered: &Answered) -> Rows {
        Rows::new(self.books(batch), answered.outcomes.clone())
    }

    fn due(&self, now: Timestamp, partition: i32, mark: Timestamp, out: &mut Out) -> Result<Due, Violation> {
        let mut due: Vec<(&EffectId, &Deferral)> =
            self.deferred.iter().filter(|(_, row)| row.partition == partition && row.due_at <= now).collect();
        due.sort_by_key(|(effect, row)| (row.due_at, **effect));
        for (effect, row) in &due {
            out.send_from(partition, say::resume(row.order_id, **effect, row.due_at)?);
        }
        Ok(Due { mark: mark.max(now), taken: due.into_iter().map(|(effect, _)| *effect).collect() })
    }

    fn save(&mut self, _now: Timestamp, rows: Option<Rows>, due: &[EffectId]) -> Result<(), Violation> {
        for effect in due {
            self.deferred.remove(effect);
        }
        match rows {
            Some(rows) => self.commit(&rows.books),
            None => Ok(()),
        }
    }

    fn digest(&self, digest: &mut Digest) {
        digest.add(&(&self.captures, &self.refunds, &self.deferred));
    }

    fn digest_outcomes(answered: &Answered, digest: &mut Digest) {
        digest.add(&answered.outcomes.0.iter().collect::<BTreeMap<_, _>>());
    }

    fn next_due(&self, _base: &Base) -> Option<Timestamp> {
        self.deferred.values().map(|row| row.due_at).min()
    }
}
