//! Accepting an order once: claim, look, produce, answer. After this says yes, the order is on the log, for this body
//! and no other.
//!
//! Two roads. Where Redis is *proved* (see [`crate::proof`]), a new claim that Postgres knows nothing of is the first,
//! and the acknowledgement is the answer. Where Redis is away or not proved, the record is produced all the same, but
//! only the row (or the parked record) tells whose body came first on the log.

use crate::{
    claims::{Claim, ToClaim},
    metrics,
    read::{Found, pending},
    road::{HAND_OVER, Road, may_answer},
    state::Orders,
};
use futures_util::future::join_all;
use ingress::{
    log::{Command, SendError},
    problem::{Kind, Problem},
    redis_link::RedisAway,
};
use schemas::{
    ids,
    messages::{BodyHash, OrderState, SubmitOrder},
    topics,
};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

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

/// What becomes of one submit.
pub(crate) type Verdict = Result<Accepted, Problem>;

/// One submit under its claim, on its way through the steps.
struct Going<'a> {
    submit: &'a SubmitOrder,
    claim: Claim,
    /// Whether a miss under the claim's mark is a proof.
    proved: bool,
    step: Step,
}

/// How far one has come.
enum Step {
    /// Claimed; not looked at.
    Claimed,
    /// The first, as far as is known: to be handed over.
    Clear,
    /// On the log; the answer is not stored.
    Acknowledged,
    /// Only the row can tell.
    AskRow,
    Decided(Verdict),
}

/// What was known when a set was claimed.
#[derive(Clone, Copy)]
struct Known {
    began: Instant,
    /// Records that this gateway had produced without a claim.
    unclaimed: u64,
}

impl Orders {
    /// Accepts `submits` (one, or those of a bulk call), each by itself; one verdict each, in their order. Every step
    /// is made for all at once: one round trip for the claims, one question to Postgres, one for the answers.
    ///
    /// A verdict's errors: 422 when the key stands for another body, 409 while the first request is in flight, 503 when
    /// it is not known.
    pub(crate) async fn accept(&self, submits: &[SubmitOrder]) -> Vec<Verdict> {
        if submits.is_empty() {
            return Vec::new();
        }
        let began = Instant::now();
        let (mut going, known) = match self.claim(submits, began).await {
            Ok(Ok(claimed)) => claimed,
            Ok(Err(RedisAway)) => {
                return join_all(submits.iter().map(|submit| self.accept_unclaimed(submit, began))).await;
            }
            Err(problem) => return vec![Err(problem); submits.len()],
        };
        join_all(going.iter_mut().map(|one| self.meet(one))).await;
        self.hand_over(&mut going, known).await;
        self.store_answers(&mut going, known).await;
        join_all(going.into_iter().map(|one| self.conclude(one))).await
    }

    /// What an earlier request with this body made of the key, where this one cannot go on by itself.
    pub(crate) async fn accepted_before(&self, submit: &Submitted) -> Result<Option<Accepted>, Problem> {
        if let Ok(held) = self.shared.claims.look(submit.order, None).await
            && let Some(hash) = held.answered
        {
            return verdict_of(hash == submit.hash.to_string()).map(Some);
        }
        let found = self.lookup(submit.order, Some(submit.owner.clone())).await?;
        verdict(&found, &submit.hash)
    }

    async fn claim<'a>(
        &self,
        submits: &'a [SubmitOrder],
        began: Instant,
    ) -> Result<Result<(Vec<Going<'a>>, Known), RedisAway>, Problem> {
        let partitions = self.partitions().await?;
        let partition =
            |submit: &SubmitOrder| topics::partition_of(&topics::key(submit.order_id.0), partitions);
        if self.regain_trust().await.is_err() {
            return Ok(Err(RedisAway));
        }
        let unclaimed = self.shared.unclaimed.load(Ordering::Acquire);
        let firsts: Vec<OrderState> = submits.iter().cloned().map(pending).collect();
        let wanted: Vec<ToClaim<'_>> = submits
            .iter()
            .zip(&firsts)
            .map(|(submit, order)| {
                let proved = self.shared.watch.proved_mark(partition(submit));
                ToClaim { order, proved, lease: self.shared.config.lease }
            })
            .collect();
        let Ok(claims) = self.shared.claims.claim(&wanted).await else { return Ok(Err(RedisAway)) };
        let going = submits.iter().zip(claims).map(|(submit, claim)| {
            // a connection that is newer than the mark may have missed records without a claim
            let trusted = self.shared.trusted.load(Ordering::Acquire) == claim.generation;
            let proved = self.shared.watch.claimed(&claim.mark, claim.age, partition(submit)) && trusted;
            Going { submit, claim, proved, step: Step::Claimed }
        });
        Ok(Ok((going.collect(), Known { began, unclaimed })))
    }

    /// Before the first claim after records without one, of ours or, while we were not connected, perhaps of others: a
    /// new mark, so that no gateway takes a miss for a proof until the lanes have passed those records.
    async fn regain_trust(&self) -> Result<(), RedisAway> {
        let is_due = |generation| {
            self.shared.renewed.load(Ordering::Acquire) < self.shared.unclaimed.load(Ordering::Acquire)
                || self.shared.trusted.load(Ordering::Acquire) != generation
        };
        if !is_due(self.shared.claims.generation()?) {
            return Ok(());
        }
        let _one_at_a_time = self.shared.renewing.lock().await;
        if is_due(self.shared.claims.generation()?) {
            let followed = self.shared.unclaimed.load(Ordering::Acquire);
            let generation = self.shared.claims.renew().await?;
            self.shared.renewed.store(followed, Ordering::Release);
            self.shared.trusted.store(generation, Ordering::Release);
        }
        Ok(())
    }

    /// What the claim met, and what Postgres knows of the key.
    async fn meet(&self, one: &mut Going<'_>) {
        one.step = match Road::after(one.claim.outcome) {
            Road::Before => Step::Decided(Ok(Accepted::Before)),
            Road::InFlight(left) => Step::Decided(Err(in_flight(left))),
            Road::Refused => Step::Decided(verdict_of(false)),
            Road::Produce => match self.judged(one.submit).await.transpose() {
                // whatever is known or not known already, nothing was handed over
                Some(judged) => {
                    self.shared.claims.release(&one.claim, one.submit.order_id).await;
                    Step::Decided(judged)
                }
                None => Step::Clear,
            },
            Road::Look => match self.judged(one.submit).await.transpose() {
                Some(judged) => Step::Decided(judged),
                None if one.proved => Step::Decided(verdict_of(false)),
                None => Step::AskRow,
            },
        };
    }

    /// Hands over all that are clear, one after the other without a wait between, and waits for what becomes of them.
    async fn hand_over(&self, going: &mut [Going<'_>], known: Known) {
        let is_late = known.began.elapsed() > HAND_OVER;
        let clear = going.iter_mut().filter(|one| matches!(one.step, Step::Clear));
        join_all(clear.map(|one| async move {
            let release = || self.shared.claims.release(&one.claim, one.submit.order_id);
            one.step = if is_late {
                release().await;
                Step::Decided(Err(Problem::unavailable("the order could not be handed over in time")))
            } else {
                match self.produce(one.submit).await {
                    Ok(()) => Step::Acknowledged,
                    Err(SendError::NotSent(why)) => {
                        release().await;
                        Step::Decided(Err(refused(&why)))
                    }
                    Err(SendError::Unknown(why)) => Step::Decided(Err(unknown(&why))),
                }
            };
        }))
        .await;
    }

    /// An acknowledgement alone does not do: while it was on its way, Redis may have forgotten the claim, or been away,
    /// and another body may have been produced before ours. The count is read after the acknowledgement and before the
    /// answer is stored: a record counted later is handed over later, and stands behind ours.
    async fn store_answers(&self, going: &mut [Going<'_>], known: Known) {
        let unclaimed = self.shared.unclaimed.load(Ordering::Acquire);
        let is_safe = |one: &Going<'_>| {
            may_answer(one.proved, known.unclaimed, unclaimed) && matches!(one.step, Step::Acknowledged)
        };
        let safe: Vec<_> = going.iter().filter(|one| is_safe(one)).collect();
        let answers: Vec<_> =
            safe.iter().map(|one| (&one.claim, one.submit.order_id, one.submit.body_hash)).collect();
        let stored = match answers.as_slice() {
            [] => Vec::new(),
            some => self.shared.claims.answer(some).await.unwrap_or_default(),
        };
        let mut stored = stored.into_iter();
        for one in going.iter_mut().filter(|one| matches!(one.step, Step::Acknowledged)) {
            let holds = is_safe(one) && stored.next() == Some(true);
            one.step = if holds { Step::Decided(Ok(Accepted::Now)) } else { Step::AskRow };
        }
    }

    async fn conclude(&self, one: Going<'_>) -> Verdict {
        match one.step {
            Step::Decided(verdict) => verdict,
            Step::Claimed | Step::Clear | Step::Acknowledged | Step::AskRow => {
                self.row_decides(one.submit).await
            }
        }
    }

    async fn accept_unclaimed(&self, submit: &SubmitOrder, began: Instant) -> Verdict {
        if let Some(accepted) = self.judged(submit).await? {
            return Ok(accepted);
        }
        // whoever makes a mark after this began waits for one lease: by then it is on the log, or never will be
        if began.elapsed() > HAND_OVER {
            return Err(Problem::unavailable("the order could not be handed over in time"));
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
        let found = self.lookup(submit.order_id, Some(submit.owner.as_str().into())).await?;
        let verdict = verdict(&found, &submit.body_hash);
        if let Found::Row(order) = found {
            // the answer does not rest on it
            drop(tokio::spawn(self.shared.claims.write(*order)));
        }
        verdict
    }

    /// Waits for the row (or the parked record): the first body on the log made it.
    async fn row_decides(&self, submit: &SubmitOrder) -> Verdict {
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

fn verdict_of(is_same: bool) -> Verdict {
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
