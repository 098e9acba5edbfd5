//! From valid requests to verdicts, for one order or for many: each gets its id, its prices and its deadline, then
//! [`crate::accept`] takes it in.

use crate::{
    accept::{Accepted, Submitted, ToAccept, Verdict},
    metrics,
    request::SubmitRequest,
    state::Orders,
};
use futures_util::future::join_all;
use ingress::{
    auth::Caller,
    idempotency::IdempotencyKey,
    problem::{Kind, Problem},
    trace,
};
use schemas::{
    ids::{self, OrderId},
    messages::SubmitOrder,
    wire,
};
use std::sync::Arc;

/// Separates keys of orders from those of other endpoints.
const SCOPE: &str = "orders";

/// One order as asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) order: OrderId,
    pub(crate) request: SubmitRequest,
}

impl Orders {
    /// The order that the caller's key stands for.
    pub(crate) fn order_of(&self, caller: &Caller, key: &IdempotencyKey) -> OrderId {
        ids::order_id(&self.shared.config.namespace, &caller.owner, SCOPE, key.as_str())
    }

    /// Takes orders in; one verdict each, in their order. It runs in a task of its own: a client that goes away does not
    /// leave a claim half-way.
    pub(crate) async fn take_in(&self, caller: &Caller, asked: Vec<Asked>) -> Vec<Verdict> {
        let (orders, owner, count) = (self.clone(), caller.owner.clone(), asked.len());
        let room = match self.shared.room.enter(count).await {
            Ok(room) => room,
            Err(problem) => return vec![Err(problem); count],
        };
        let going = trace::spawn(async move {
            let _room = room;
            orders.verdicts(&owner, &asked).await
        });
        let verdicts = match going.await {
            Ok(verdicts) => verdicts,
            Err(error) => vec![Err(Problem::internal("accepting orders", &error)); count],
        };
        verdicts.iter().for_each(tally);
        verdicts
    }

    /// Takes one order in.
    pub(crate) async fn take_in_one(&self, caller: &Caller, asked: Asked) -> Result<(), Problem> {
        for verdict in self.take_in(caller, vec![asked]).await {
            verdict?;
        }
        Ok(())
    }

    async fn verdicts(&self, owner: &Arc<str>, asked: &[Asked]) -> Vec<Verdict> {
        let (mut submits, mut refusals) = (Vec::with_capacity(asked.len()), Vec::new());
        let mut price = |one| match self.priced(owner, one) {
            Ok(submit) => {
                submits.push(submit);
                true
            }
            Err(problem) => {
                refusals.push(self.refuse_unless_accepted_before(owner, one, problem));
                false
            }
        };
        let are_priced: Vec<bool> = asked.iter().map(&mut price).collect();
        let (accepted, refused) = tokio::join!(self.accept(&submits), join_all(refusals));
        // both lists keep the order of what was asked
        let (mut accepted, mut refused) = (accepted.into_iter(), refused.into_iter());
        let of = |is_priced| {
            let verdict = if is_priced { accepted.next() } else { refused.next() };
            verdict.unwrap_or_else(|| Err(Problem::internal("accepting orders", &"a verdict is missing")))
        };
        are_priced.into_iter().map(of).collect()
    }

    fn priced(&self, owner: &Arc<str>, asked: &Asked) -> Result<ToAccept, Problem> {
        let Asked { order, request } = asked;
        let priced = self.shared.prices.price(&request.lines)?;
        let now = self.now();
        let submit = SubmitOrder {
            order_id: *order,
            owner: owner.to_string(),
            body_hash: request.hash(),
            accepted_at: now,
            deadline: now.plus(self.shared.config.deadline),
            currency: priced.total.currency,
            total: priced.total.amount,
            lines: priced.lines,
            shipping_address: request.shipping_address.clone(),
            payment_method: request.payment_method.clone(),
        };
        let payload =
            wire::encode(&submit).map_err(|error| Problem::internal("encoding an order", &error))?;
        Ok(ToAccept { submit, payload: payload.into() })
    }

    /// What is no longer sold may have been when this key was first used.
    async fn refuse_unless_accepted_before(
        &self,
        owner: &Arc<str>,
        asked: &Asked,
        problem: Problem,
    ) -> Verdict {
        let submitted = Submitted { order: asked.order, owner: owner.clone(), hash: asked.request.hash() };
        self.accepted_before(&submitted).await?.ok_or(problem)
    }
}

fn tally(verdict: &Verdict) {
    let name = match verdict {
        Ok(Accepted::Now) => "accepted",
        Ok(Accepted::Before) => "repeated",
        Err(problem) => match problem.kind {
            Kind::KeyReused => "key_reused",
            Kind::InFlight => "in_flight",
            Kind::Invalid => "invalid",
            _ => "unavailable",
        },
    };
    ::metrics::counter!(metrics::SUBMITS, "outcome" => name).increment(1);
}
