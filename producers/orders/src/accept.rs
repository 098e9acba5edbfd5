//! Accepting an order once: claim, look, produce, answer. After this says yes, the order is on the log, for this body
//! and no other.
//!
//! Two roads. Where Redis is *proved* (see [`crate::proof`]), a new claim that Postgres knows nothing of is the first,
//! and the acknowledgement is the answer. Where Redis is away or not proved, the record is produced all the same, but
//! only the row (or the parked record) tells whose body came first on the log.

use crate::{
    claims::{Claim, Outcome, ToClaim},
    metrics,
    read::{Found, pending},
    state::Orders,
};
use ingress::{
    log::{Command, SendError},
    problem::{Kind, Problem},
    redis_link::RedisAway,
};
use schemas::{
    ids,
    messages::{BodyHash, SubmitOrder},
};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// From the claim, a record is handed over within this time or not at all; what is left of the lease's margin is for
/// the scheduler.
const HAND_OVER: Duration = Duration::from_secs(4);
/// How often a row that is waited for is looked at.
const ROW_POLL: Duration = Duration::from_millis(25);

/// How an order was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// By this request.
    Now,
    /// By an earlier one with the same body.
    Before,
}

/// A claim's answer, and what was known when it was asked.
struct Held {
    claim: Claim,
    /// Whether a miss under its mark is a proof.
    proved: bool,
    began: Instant,
    /// Records that this gateway had produced without a claim.
    unclaimed: u64,
}

impl Orders {
    /// Accepts `submit`.
    ///
    /// # Errors
    /// 422 when the key stands for another body, 409 while the first request is in flight, 503 when it is not known.
    pub(crate) async fn accept(&self, submit: &SubmitOrder) -> Result<Accepted, Problem> {
        let began = Instant::now();
        match self.claim(submit, began).await? {
            Ok(claim) => self.accept_claimed(submit, &claim).await,
            Err(RedisAway) => self.accept_unclaimed(submit).await,
        }
    }

    /// What an earlier request with this body made of the key, where this one cannot go on by itself.
    pub(crate) async fn accepted_before(&self, submit: &Submitted) -> Result<Option<Accepted>, Problem> {
        if let Ok(held) = self.shared.claims.look(submit.order, None).await
            && let Some(hash) = held.answered
        {
            return verdict_of(hash == submit.hash.to_string()).map(Some);
        }
        let found = self.lookup(submit.order, submit.owner.clone()).await?;
        verdict(&found, &submit.hash)
    }

    async fn claim(&self, submit: &SubmitOrder, began: Instant) -> Result<Result<Held, RedisAway>, Problem> {
        let partition = self.partition(submit.order_id).await?;
        if self.regain_trust().await.is_err() {
            return Ok(Err(RedisAway));
        }
        let unclaimed = self.shared.unclaimed.load(Ordering::Acquire);
        let proved = self.shared.watch.proved_mark(partition);
        let first = pending(submit.clone());
        let wanted = ToClaim { order: &first, proved: proved.as_ref(), lease: self.shared.config.lease };
        Ok(self.shared.claims.claim(wanted).await.map(|claim| {
            let proved = self.shared.watch.claimed(&claim.mark, claim.age, partition);
            Held { claim, proved, began, unclaimed }
        }))
    }

    /// Before the first claim after records without one: a new mark, so that no gateway takes a miss for a proof
    /// until the lanes have passed those records.
    async fn regain_trust(&self) -> Result<(), RedisAway> {
        let is_due =
            || self.shared.renewed.load(Ordering::Acquire) < self.shared.unclaimed.load(Ordering::Acquire);
        if !is_due() {
            return Ok(());
        }
        let _one_at_a_time = self.shared.renewing.lock().await;
        if is_due() {
            let followed = self.shared.unclaimed.load(Ordering::Acquire);
            self.shared.claims.renew().await?;
            self.shared.renewed.store(followed, Ordering::Release);
        }
        Ok(())
    }

    async fn accept_claimed(&self, submit: &SubmitOrder, held: &Held) -> Result<Accepted, Problem> {
        match held.claim.outcome {
            Outcome::New | Outcome::Taken => self.produce_claimed(submit, held).await,
            Outcome::Same => Ok(Accepted::Before),
            Outcome::InFlight(left) => Err(in_flight(left)),
            Outcome::SettledOther => verdict_of(false),
            // a claim that was never settled is only a hint: another body may have come first all the same
            Outcome::Other => match self.judged(submit).await? {
                Some(accepted) => Ok(accepted),
                None if held.proved => verdict_of(false),
                None => self.row_decides(submit).await,
            },
        }
    }

    async fn produce_claimed(&self, submit: &SubmitOrder, held: &Held) -> Result<Accepted, Problem> {
        let release = || self.shared.claims.release(&held.claim, submit.order_id);
        // whatever is known or not known already, nothing was handed over
        if let Some(judged) = self.judged(submit).await.transpose() {
            release().await;
            return judged;
        }
        if held.began.elapsed() > HAND_OVER {
            release().await;
            return Err(Problem::unavailable("the order could not be handed over in time"));
        }
        match self.produce(submit).await {
            Ok(()) => {}
            Err(SendError::NotSent(why)) => {
                release().await;
                return Err(refused(&why));
            }
            Err(SendError::Unknown(why)) => return Err(unknown(&why)),
        }
        // an acknowledgement alone does not do: while it was on its way, Redis may have forgotten the claim, or been
        // away, and another body may have been produced before ours. The count is read after the acknowledgement and
        // before the answer is stored: a record counted later is handed over later, and stands behind ours
        let holds = held.proved
            && self.shared.unclaimed.load(Ordering::Acquire) == held.unclaimed
            && self.shared.claims.answer(&held.claim, submit.order_id, submit.body_hash).await == Ok(true);
        if holds { Ok(Accepted::Now) } else { self.row_decides(submit).await }
    }

    async fn accept_unclaimed(&self, submit: &SubmitOrder) -> Result<Accepted, Problem> {
        if let Some(accepted) = self.judged(submit).await? {
            return Ok(accepted);
        }
        // counted before it is handed over: whoever sees a lower count sees a record not yet sent
        self.shared.unclaimed.fetch_add(1, Ordering::AcqRel);
        match self.produce(submit).await {
            Ok(()) => self.row_decides(submit).await,
            Err(SendError::NotSent(why)) => Err(refused(&why)),
            Err(SendError::Unknown(why)) => Err(unknown(&why)),
        }
    }

    /// What Postgres says of the key, if anything; a row found is written back to Redis.
    async fn judged(&self, submit: &SubmitOrder) -> Result<Option<Accepted>, Problem> {
        let found = self.lookup(submit.order_id, submit.owner.as_str().into()).await?;
        let verdict = verdict(&found, &submit.body_hash);
        if let Found::Row(order) = found {
            self.shared.claims.write(*order);
        }
        verdict
    }

    /// Waits for the row (or the parked record): the first body on the log made it.
    async fn row_decides(&self, submit: &SubmitOrder) -> Result<Accepted, Problem> {
        ::metrics::counter!(metrics::UNPROVED).increment(1);
        let deadline = Instant::now() + self.shared.config.row_patience;
        loop {
            if let Some(accepted) = self.judged(submit).await? {
                return Ok(accepted);
            }
            if Instant::now() + ROW_POLL > deadline {
                let problem =
                    Problem::unavailable("the order was sent, but is not seen yet; repeat the request");
                return Err(problem.with_retry_after(Duration::from_secs(2)));
            }
            tokio::time::sleep(ROW_POLL).await;
        }
    }

    async fn produce(&self, submit: &SubmitOrder) -> Result<(), SendError> {
        let message = ids::message_id(submit.order_id.0, "submit");
        let (at, deadline) = (submit.accepted_at, Some(submit.deadline));
        let command = Command::new(submit.order_id.0, message, at, deadline, submit)
            .map_err(|problem| SendError::NotSent(problem.detail))?;
        self.shared.log.send(command).await.map(drop)
    }
}

/// What a repeat has to be compared by.
#[derive(Debug, Clone)]
pub(crate) struct Submitted {
    pub(crate) order: ids::OrderId,
    pub(crate) owner: std::sync::Arc<str>,
    pub(crate) hash: BodyHash,
}

fn verdict(found: &Found, hash: &BodyHash) -> Result<Option<Accepted>, Problem> {
    match found {
        Found::Row(order) | Found::Parked(order) => verdict_of(order.body_hash == *hash).map(Some),
        Found::Unreadable => Err(Problem::unavailable("the order waits for a newer release")),
        Found::Nothing => Ok(None),
    }
}

fn verdict_of(is_same: bool) -> Result<Accepted, Problem> {
    if is_same {
        return Ok(Accepted::Before);
    }
    Err(Problem::new(Kind::KeyReused, "this idempotency key stands for an order with another body"))
}

fn in_flight(left: Duration) -> Problem {
    // most are done in milliseconds; a second is the least that Retry-After can say
    let after = left.min(Duration::from_secs(1));
    Problem::new(Kind::InFlight, "an identical request is being worked on").with_retry_after(after)
}

fn refused(why: &str) -> Problem {
    tracing::warn!(why, "an order was not handed over to Kafka");
    Problem::unavailable("the order could not be taken; nothing was done")
}

fn unknown(why: &str) -> Problem {
    tracing::warn!(why, "an order's outcome is unknown");
    Problem::unavailable("it is not known whether the order was taken; repeat the request with the same key")
}
