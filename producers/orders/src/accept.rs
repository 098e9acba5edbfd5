//! Accepting an order once: claim, look, produce, answer. After this says yes, the order is on the log, for this body
//! and no other.
//!
//! Two roads. Where Redis is *proved* (see [`crate::proof`]), a new claim that Postgres knows nothing of is the first,
//! and the acknowledgement is the answer. Where Redis is away or not proved, the record is produced all the same, but
//! only the row (or the parked record) tells whose body came first on the log.

use crate::{
    claims::{Claim, ToAnswer, ToClaim, Unclaimed},
    metrics,
    read::{Found, Wanted},
    road::{HAND_OVER, Road, may_answer},
    state::Orders,
};
use futures_util::future::join_all;
use ingress::{
    log::{Command, Delivered, SendError},
    problem::{Kind, Problem},
    redis_link::RedisAway,
};
use schemas::{
    ids,
    messages::{BodyHash, SubmitOrder},
    topics::{self, Topic},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// How often a row is looked at that somebody else's record makes; each time half as often as before.
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

/// An order to be accepted, and its record.
#[derive(Debug, Clone)]
pub(crate) struct ToAccept {
    pub(crate) submit: SubmitOrder,
    /// The payload, in the wire format.
    pub(crate) payload: Arc<[u8]>,
}

/// One submit under its claim, on its way through the steps.
struct Going<'a> {
    wanted: &'a ToAccept,
    claim: Claim,
    /// Whether a miss under the claim's mark is a proof.
    proved: bool,
    step: Step,
}

/// How far one has come.
enum Step {
    /// Claimed; not looked at. The road that the claim showed.
    Claimed(Road),
    /// The first, as far as is known: to be handed over.
    Clear,
    /// On the log, there; the answer is not stored.
    Acknowledged(Delivered),
    /// Only the row can tell; made by the record there, or by somebody else's.
    AskRow(Option<Delivered>),
    Decided(Verdict),
}

/// What was known when a set was claimed.
#[derive(Clone, Copy)]
struct Known {
    began: Instant,
    /// Records that this gateway had produced without a claim.
    unclaimed: u64,
}

/// Why a set was not claimed.
enum NotClaimed {
    /// Redis is away: there is another road.
    Away,
    Refused(Problem),
}

impl Orders {
    /// Accepts `wanted` (one, or those of a bulk call), each by itself; one verdict each, in their order. Every step
    /// is made for all at once: one round trip for the claims, one question to Postgres, one for the answers.
    ///
    /// A verdict's errors: 422 when the key stands for another body, 409 while the first request is in flight, 503 when
    /// it is not known.
    pub(crate) async fn accept(&self, wanted: &[ToAccept]) -> Vec<Verdict> {
        if wanted.is_empty() {
            return Vec::new();
        }
        let began = Instant::now();
        let (mut going, known) = match self.claim(wanted, began).await {
            Ok(claimed) => claimed,
            Err(NotClaimed::Away) => return self.accept_unclaimed(wanted, began).await,
            Err(NotClaimed::Refused(problem)) => return vec![Err(problem); wanted.len()],
        };
        self.meet(&mut going).await;
        self.hand_over(&mut going, known).await;
        self.store_answers(&mut going, known).await;
        join_all(going.into_iter().map(|one| self.conclude(one))).await
    }

    /// What an earlier request with this body made of the key, where this one cannot go on by itself.
    pub(crate) async fn accepted_before(&self, submit: &Submitted) -> Result<Option<Accepted>, Problem> {
        if let Ok(held) = self.shared.claims.look(submit.order).await
            && let Some(hash) = held.answered
        {
            return verdict_of(hash == submit.hash).map(Some);
        }
        let found = self.lookup(submit.order, Some(submit.owner.clone())).await?;
        verdict(&found, &submit.hash).transpose()
    }

    async fn claim<'a>(
        &self,
        wanted: &'a [ToAccept],
        began: Instant,
    ) -> Result<(Vec<Going<'a>>, Known), NotClaimed> {
        let partitions = self.partitions().await.map_err(NotClaimed::Refused)?;
        let partition =
            |wanted: &ToAccept| topics::partition_of(&topics::key(wanted.submit.order_id.0), partitions);
        self.regain_trust().await.map_err(|RedisAway| NotClaimed::Away)?;
        let unclaimed = self.shared.unclaimed.load(Ordering::Acquire);
        let id = chassis::ids::random().into_bytes();
        let to_claim = |one: &ToAccept| ToClaim {
            order: one.submit.order_id,
            hash: one.submit.body_hash,
            payload: one.payload.clone(),
            proved: self.shared.watch.proved_mark(partition(one)),
            id,
        };
        let claims = self.shared.claims.claim(wanted.iter().map(to_claim).collect()).await;
        let claims = claims.map_err(|why| match why {
            Unclaimed::Away => NotClaimed::Away,
            Unclaimed::Busy => NotClaimed::Refused(busy()),
        })?;
        // a connection that is newer than the mark may have missed records without a claim
        let trusted = self.shared.trusted.load(Ordering::Acquire);
        let going = wanted.iter().zip(claims).map(|(wanted, claim)| {
            let proved = self.shared.watch.claimed(&claim.mark, claim.age, partition(wanted));
            let proved = proved && claim.generation == trusted;
            let step = Step::Claimed(Road::after(claim.outcome));
            Going { wanted, claim, proved, step }
        });
        Ok((going.collect(), Known { began, unclaimed }))
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

    /// What the claims met, and what Postgres knows of the keys.
    async fn meet(&self, going: &mut [Going<'_>]) {
        let is_asked = |one: &&Going<'_>| matches!(one.step, Step::Claimed(Road::Produce | Road::Look));
        let judged = self.judged(going.iter().filter(is_asked).map(|one| one.wanted)).await;
        let mut judged = judged.into_iter();
        for one in going.iter_mut() {
            let Step::Claimed(road) = one.step else { continue };
            one.step = match road {
                Road::Before => Step::Decided(Ok(Accepted::Before)),
                Road::InFlight(left) => Step::Decided(Err(in_flight(left))),
                Road::Refused => Step::Decided(verdict_of(false)),
                Road::Produce | Road::Look => match (judged.next().flatten(), road) {
                    (Some(judged), _) => Step::Decided(judged),
                    (None, Road::Produce) => Step::Clear,
                    (None, _) if one.proved => Step::Decided(verdict_of(false)),
                    (None, _) => Step::AskRow(None),
                },
            };
        }
        // whatever is known or not known already, nothing was handed over
        let is_ours = |one: &&Going<'_>| Road::after(one.claim.outcome) == Road::Produce;
        let done = going.iter().filter(|one| matches!(one.step, Step::Decided(_))).filter(is_ours);
        join_all(done.map(|one| self.release(one))).await;
    }

    /// Hands over all that are clear, one after the other without a wait between, and waits for what becomes of them.
    async fn hand_over(&self, going: &mut [Going<'_>], known: Known) {
        let mut clear: Vec<_> = going.iter_mut().filter(|one| matches!(one.step, Step::Clear)).collect();
        if known.began.elapsed() > HAND_OVER {
            for one in &mut clear {
                one.step = Step::Decided(Err(late()));
            }
            join_all(clear.iter().map(|one| self.release(one))).await;
            return;
        }
        let outcomes = self.produce(clear.iter().map(|one| one.wanted)).await;
        let mut not_sent = Vec::new();
        for (one, outcome) in clear.into_iter().zip(outcomes) {
            let is_sent = !matches!(outcome, Err(SendError::NotSent(_)));
            one.step = match outcome {
                Ok(at) => Step::Acknowledged(at),
                Err(SendError::NotSent(why)) => Step::Decided(Err(refused(&why))),
                Err(SendError::Unknown(why)) => Step::Decided(Err(unknown(&why))),
            };
            if !is_sent {
                not_sent.push(self.release(one));
            }
        }
        join_all(not_sent).await;
    }

    async fn release(&self, one: &Going<'_>) {
        self.shared.claims.release(&one.claim, one.wanted.submit.order_id).await;
    }

    /// An acknowledgement alone does not do: while it was on its way, Redis may have forgotten the claim, or been away,
    /// and another body may have been produced before ours. The count is read after the acknowledgement and before the
    /// answer is stored: a record counted later is handed over later, and stands behind ours.
    async fn store_answers(&self, going: &mut [Going<'_>], known: Known) {
        let unclaimed = self.shared.unclaimed.load(Ordering::Acquire);
        let is_safe = |one: &Going<'_>| {
            may_answer(one.proved, known.unclaimed, unclaimed) && matches!(one.step, Step::Acknowledged(_))
        };
        let to_answer = |one: &Going<'_>| ToAnswer {
            claim: one.claim.clone(),
            order: one.wanted.submit.order_id,
            hash: one.wanted.submit.body_hash,
        };
        let safe = going.iter().filter(|one| is_safe(one)).map(to_answer).collect();
        let mut stored = self.shared.claims.answer(safe).await.unwrap_or_default().into_iter();
        for one in going.iter_mut() {
            let Step::Acknowledged(at) = one.step else { continue };
            let holds = is_safe(one) && stored.next() == Some(true);
            one.step = if holds { Step::Decided(Ok(Accepted::Now)) } else { Step::AskRow(Some(at)) };
        }
    }

    async fn conclude(&self, one: Going<'_>) -> Verdict {
        match one.step {
            Step::Decided(verdict) => verdict,
            Step::AskRow(at) => self.row_decides(one.wanted, at).await,
            Step::Claimed(_) | Step::Clear | Step::Acknowledged(_) => {
                self.row_decides(one.wanted, None).await
            }
        }
    }

    async fn accept_unclaimed(&self, wanted: &[ToAccept], began: Instant) -> Vec<Verdict> {
        let judged = self.judged(wanted.iter()).await;
        // whoever makes a mark after this began waits for one lease: by then it is on the log, or never will be
        if began.elapsed() > HAND_OVER {
            return judged.into_iter().map(|judged| judged.unwrap_or_else(|| Err(late()))).collect();
        }
        let open = || wanted.iter().zip(&judged).filter(|(_, judged)| judged.is_none()).map(|(one, _)| one);
        // counted before it is handed over: whoever sees a lower count sees a record not yet sent
        self.shared.unclaimed.fetch_add(open().count() as u64, Ordering::AcqRel);
        let mut outcomes = self.produce(open()).await.into_iter();
        let decided = wanted.iter().zip(judged).map(|(one, judged)| {
            let outcome = if judged.is_none() { outcomes.next() } else { None };
            async move {
                match (judged, outcome) {
                    (Some(judged), _) => judged,
                    (None, Some(Ok(at))) => self.row_decides(one, Some(at)).await,
                    (None, Some(Err(SendError::NotSent(why)))) => Err(refused(&why)),
                    (None, Some(Err(SendError::Unknown(why)))) => Err(unknown(&why)),
                    (None, None) => Err(Problem::internal("accepting orders", &"an outcome is missing")),
                }
            }
        });
        join_all(decided).await
    }

    /// What Postgres says of the keys, if anything; rows found are written back to Redis.
    async fn judged(&self, wanted: impl Iterator<Item = &ToAccept>) -> Vec<Option<Verdict>> {
        let (asked, hashes): (Vec<Wanted>, Vec<BodyHash>) = wanted
            .map(|one| {
                let owner = Some(one.submit.owner.as_str().into());
                (Wanted { order: one.submit.order_id, owner }, one.submit.body_hash)
            })
            .unzip();
        let found = match self.lookup_all(asked).await {
            Ok(found) => found,
            Err(problem) => return vec![Some(Err(problem)); hashes.len()],
        };
        let verdicts = found.iter().zip(&hashes).map(|(found, hash)| verdict(found, hash)).collect();
        let rows = found.into_iter().filter_map(|found| match found {
            Found::Row(order) => Some(*order),
            Found::Parked(_) | Found::Kept(_) | Found::Unreadable | Found::Nothing => None,
        });
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            // the answer does not rest on it
            drop(tokio::spawn(self.shared.claims.write(rows)));
        }
        verdicts
    }

    /// Waits for the row (or the parked record): the first body on the log made it. Where that is known to be no later
    /// than `at`, the lane is waited for, once for all who wait, and the row read when it is there.
    async fn row_decides(&self, wanted: &ToAccept, at: Option<Delivered>) -> Verdict {
        ::metrics::counter!(metrics::UNPROVED).increment(1);
        let deadline = tokio::time::Instant::now() + self.shared.config.row_patience;
        if let Some(Delivered { partition, offset: offset @ 0.. }) = at {
            let reached = self.shared.positions.reach(partition, offset + 1, deadline).await;
            if reached.is_err() {
                return Err(unseen());
            }
            return self.judged_alone(wanted).await.unwrap_or_else(|| Err(unseen()));
        }
        let mut pause = ROW_POLL;
        loop {
            if let Some(judged) = self.judged_alone(wanted).await {
                return judged;
            }
            if tokio::time::Instant::now() + pause > deadline {
                return Err(unseen());
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn judged_alone(&self, wanted: &ToAccept) -> Option<Verdict> {
        self.judged(std::iter::once(wanted)).await.pop().flatten()
    }

    async fn produce(&self, wanted: impl Iterator<Item = &ToAccept>) -> Vec<Result<Delivered, SendError>> {
        let command = |ToAccept { submit, payload }: &ToAccept| {
            let order = submit.order_id.0;
            let (at, deadline) = (submit.accepted_at, Some(submit.deadline));
            let message = ids::message_id(order, "submit");
            Command::encoded(Topic::OrderCommands, order, message, at, deadline, payload.to_vec())
        };
        let commands: Vec<Command> = wanted.map(command).collect();
        self.shared.log.send_all(commands).await
    }
}

/// What a repeat has to be compared by.
#[derive(Debug, Clone)]
pub(crate) struct Submitted {
    pub(crate) order: ids::OrderId,
    pub(crate) owner: std::sync::Arc<str>,
    pub(crate) hash: BodyHash,
}

fn verdict(found: &Found, hash: &BodyHash) -> Option<Verdict> {
    match found {
        Found::Row(order) | Found::Parked(order) => Some(verdict_of(order.body_hash == *hash)),
        Found::Kept(kept) => Some(verdict_of(kept == hash)),
        Found::Unreadable => Some(Err(Problem::unavailable("the order waits for a newer release"))),
        Found::Nothing => None,
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

fn unseen() -> Problem {
    let problem = Problem::unavailable("the order was sent, but is not seen yet; repeat the request");
    problem.with_retry_after(Duration::from_secs(2))
}

fn late() -> Problem {
    Problem::unavailable("the order could not be handed over in time")
}

/// More orders are on their way than are taken at once.
pub(crate) fn busy() -> Problem {
    let problem =
        Problem::unavailable("more orders are on their way than are taken at once; repeat the request");
    problem.with_retry_after(Duration::from_secs(1))
}
