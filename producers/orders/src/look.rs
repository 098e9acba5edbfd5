//! Reading an order: Redis, then Postgres, the higher version wins; waiting for its end; and the proof that it is not
//! there.

use crate::{metrics, read::Found, state::Orders};
use ingress::problem::Problem;
use schemas::{
    ids::OrderId,
    messages::{OrderState, OrderStatus},
    view,
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Wake-ups may be lost: a waiting request looks by itself this often.
const TICK: Duration = Duration::from_millis(250);

/// The version known to a reader that knows none: below every version.
pub(crate) const NO_VERSION: i64 = -1;

/// An order as it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) version: i64,
    pub(crate) status: OrderStatus,
    pub(crate) json: String,
}

impl Seen {
    pub(crate) fn of(order: &OrderState) -> Result<Self, Problem> {
        let json = view::public_json(order).map_err(|error| Problem::internal("writing a view", &error))?;
        Ok(Self { version: order.version, status: order.status, json })
    }
}

impl Orders {
    /// The order, if it is `owner`'s. `known` is the version that the reader has: Redis is not believed to know less.
    ///
    /// # Errors
    /// 404 only with proof; 503 when that cannot be had in time.
    pub(crate) async fn find(&self, order: OrderId, owner: &Arc<str>, known: i64) -> Result<Seen, Problem> {
        if let Some(seen) = self.look(order, owner, known, false).await? {
            return Ok(seen);
        }
        // nothing was seen; now it must be shown that nothing is there. Somebody else's order takes the same road
        self.pass_the_end(order).await?;
        let found = self.found(order, Some(owner)).await?.ok_or_else(absent)?;
        Seen::of(&found)
    }

    /// The order, whoever's it is: for operators, and for what a provider tells of it.
    ///
    /// # Errors
    /// As `Orders::find`.
    pub async fn find_anybodys(&self, order: OrderId) -> Result<Box<OrderState>, Problem> {
        if let Some(found) = self.found(order, None).await? {
            return Ok(found);
        }
        self.pass_the_end(order).await?;
        self.found(order, None).await?.ok_or_else(absent)
    }

    /// Waits until the orders worker has read all that was on the log when this was called.
    async fn pass_the_end(&self, order: OrderId) -> Result<(), Problem> {
        let deadline = Instant::now() + self.shared.config.absence_patience;
        let partition = self.partition(order).await?;
        let passed = self.shared.positions.pass(partition, deadline).await;
        match passed {
            Ok(true) => Ok(()),
            Ok(false) => Err(Problem::unavailable("it is not known yet whether there is such an order")),
            Err(_) => {
                Err(Problem::unavailable("it cannot be told at the moment whether there is such an order"))
            }
        }
    }

    /// Waits until the order has ended, or for `patience`, and tells where it stands then.
    ///
    /// # Errors
    /// As [`Orders::find`].
    pub(crate) async fn find_end(
        &self,
        order: OrderId,
        owner: &Arc<str>,
        known: i64,
        patience: Duration,
    ) -> Result<Seen, Problem> {
        let deadline = Instant::now() + patience;
        let registration = self.shared.wakeups.register(order);
        let mut last: Option<Seen> = None;
        loop {
            let mut woken = std::pin::pin!(registration.notify().notified());
            // registered, then looked: what changes from here on wakes us
            woken.as_mut().enable();
            let known = last.as_ref().map_or(known, |seen| known.max(seen.version));
            let seen = match (self.look(order, owner, known, true).await?, last) {
                (Some(seen), _) => seen,
                // what was seen once is there, and nothing newer is known
                (None, Some(seen)) => seen,
                (None, None) => self.find(order, owner, known).await?,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if seen.status.is_terminal() || left.is_zero() {
                return Ok(seen);
            }
            last = Some(seen);
            let _ = tokio::time::timeout(TICK.min(left), woken).await;
        }
    }

    /// What is seen now, by one who has the version `known` and waits for more: the status worker wakes this gateway
    /// when it changes. `None` proves nothing.
    pub(crate) async fn look_again(
        &self,
        order: OrderId,
        owner: &Arc<str>,
        known: i64,
    ) -> Result<Option<Seen>, Problem> {
        self.look(order, owner, known, true).await
    }

    /// What is seen at first sight; `waits` registers for the next change. `None` proves nothing.
    async fn look(
        &self,
        order: OrderId,
        owner: &Arc<str>,
        known: i64,
        waits: bool,
    ) -> Result<Option<Seen>, Problem> {
        let claims = &self.shared.claims;
        let held = if waits { claims.watch(order).await.ok() } else { claims.look(order).await.ok() };
        let is_proved = held
            .as_ref()
            .and_then(|held| held.memory.as_ref())
            .is_some_and(|memory| self.shared.watch.looked(memory));
        let hit = held.and_then(|held| held.view).filter(|view| *view.owner == **owner);
        let hit = hit.map(|view| Seen::of(&view)).transpose()?;
        // a gateway that alone was cut off from Redis tells what Redis has not heard yet: the reader may know more
        if is_proved && hit.as_ref().is_some_and(|seen| seen.version >= known) {
            ::metrics::counter!(metrics::READS, "source" => "redis").increment(1);
            return Ok(hit);
        }
        let found = self.found(order, Some(owner)).await?;
        ::metrics::counter!(metrics::READS, "source" => "postgres").increment(1);
        let found = found.map(|found| Seen::of(&found)).transpose()?;
        Ok(hit.into_iter().chain(found).max_by_key(|seen| seen.version))
    }

    /// What Postgres has; a row found is written to Redis, by version, before anybody is told of it.
    async fn found(
        &self,
        order: OrderId,
        owner: Option<&Arc<str>>,
    ) -> Result<Option<Box<OrderState>>, Problem> {
        match self.lookup(order, owner.cloned()).await? {
            Found::Row(found) => {
                self.shared.claims.write(vec![(*found).clone()]).await;
                Ok(Some(found))
            }
            Found::Parked(found) => Ok(Some(found)),
            Found::Unreadable => Err(Problem::unavailable("the order waits for a newer release")),
            // of one whose row has left there is nothing to tell
            Found::Kept(_) | Found::Nothing => Ok(None),
        }
    }
}

fn absent() -> Problem {
    ::metrics::counter!(metrics::READS, "source" => "absent").increment(1);
    Problem::no_such_order()
}
