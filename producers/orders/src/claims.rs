//! What stands in Redis for an order: claim, answer, release, view. Changed only by the scripts here and by the status
//! worker's; asked for many orders at once. What a missing claim proves is for [`crate::proof`] to say.

#[cfg(test)]
mod tests;

use crate::{
    proof::{Mark, Memory},
    scripts::{AT_ONCE, Scripts, model::Outcome},
};
use chassis::crash::{self, CrashPoint};
use ingress::{
    coalesce::{Bounds, Coalescer, Unanswered},
    redis_link::{Life, RedisAway, RedisLink, ScriptRuns},
};
use schemas::{
    ids::OrderId,
    messages::{BodyHash, OrderState},
    view::{
        self,
        packed::{self, ClaimId, ClaimState, Packed},
    },
};
use std::{sync::Arc, time::Duration};

/// The key of the `since` mark: one a server (one a shard, where there are shards).
const SINCE: &str = "since";
/// How long a claim is kept that nobody settles: longer than `order.commands` keeps its record.
const CLAIM_TTL: Duration = Duration::from_secs(8 * 24 * 60 * 60);
/// How long a view is kept that a read found in Postgres.
const VIEW_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Over how many connections one write is tried.
const WRITE_ATTEMPTS: u32 = 5;
/// How long a Redis may be away until it is taken for one that stays away.
const RECONNECTS_WITHIN: Duration = Duration::from_secs(1);
/// Two tries of the link, and a turn in the queue.
const BOUNDS: Bounds =
    Bounds { batch: AT_ONCE, queue: 10_000, concurrent: 2, patience: Duration::from_secs(4) };

/// Why an order was not claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unclaimed {
    /// Redis is away.
    Away,
    /// More is asked of it than it does. The claim may be made yet.
    Busy,
}

/// A claim's answer.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) outcome: Outcome,
    pub(crate) mark: Mark,
    pub(crate) age: Duration,
    /// The connection it was made over.
    pub(crate) generation: u64,
    id: ClaimId,
}

/// What is to be claimed.
#[derive(Debug, Clone)]
pub(crate) struct ToClaim {
    pub(crate) order: OrderId,
    pub(crate) hash: BodyHash,
    /// The record, which is the view's version 0.
    pub(crate) payload: Arc<[u8]>,
    pub(crate) proved: Option<Mark>,
    /// This claim's own id. Claims of different orders may share one.
    pub(crate) id: ClaimId,
}

/// A claim whose record was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct ToAnswer {
    pub(crate) claim: Claim,
    pub(crate) order: OrderId,
    pub(crate) hash: BodyHash,
}

/// What a look found.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// The view, where there is one that this release reads.
    pub(crate) view: Option<OrderState>,
    /// Body hash of an order that was acknowledged.
    pub(crate) answered: Option<BodyHash>,
    /// The memory it was read from; `None` where no mark of this server stands.
    pub(crate) memory: Option<Memory>,
}

/// The scripts and the link.
#[derive(Clone)]
pub(crate) struct Claims {
    redis: Redis,
    claims: Coalescer<ToClaim, Claim>,
    answers: Coalescer<ToAnswer, bool>,
    looks: Coalescer<OrderId, Held>,
    watches: Coalescer<OrderId, Held>,
}

impl Claims {
    /// `lease` is that of a claim, `gateway` who registers for wake-ups.
    pub(crate) fn new(link: RedisLink, lease: Duration, gateway: &str) -> Self {
        let redis = Redis { link, scripts: Arc::new(Scripts::new()), lease, gateway: gateway.into() };
        let away = |error: RedisAway| error.to_string();
        let (claims, answers, looks, watches) = (redis.clone(), redis.clone(), redis.clone(), redis.clone());
        Self {
            redis,
            claims: Coalescer::start("claims", BOUNDS, move |wanted: Vec<ToClaim>| {
                let redis = claims.clone();
                async move { redis.claim(&wanted).await.map_err(away) }
            }),
            answers: Coalescer::start("answers", BOUNDS, move |claims: Vec<ToAnswer>| {
                let redis = answers.clone();
                async move { redis.answer(&claims).await.map_err(away) }
            }),
            looks: Coalescer::start("looks", BOUNDS, move |orders: Vec<OrderId>| {
                let redis = looks.clone();
                async move { redis.look(&orders).await.map_err(away) }
            }),
            watches: Coalescer::start("watches", BOUNDS, move |orders: Vec<OrderId>| {
                let redis = watches.clone();
                async move { redis.watch(&orders).await.map_err(away) }
            }),
        }
    }

    /// Claims orders for their bodies; one answer each, in their order. Safe to run twice: a claim knows its own id again.
    pub(crate) async fn claim(&self, wanted: Vec<ToClaim>) -> Result<Vec<Claim>, Unclaimed> {
        self.claims.ask_all(wanted).await.map_err(|error| match error {
            Unanswered::Failed(..) => Unclaimed::Away,
            Unanswered::Full(_) | Unanswered::Late(_) => Unclaimed::Busy,
        })
    }

    /// Stores that claimed records were acknowledged; one answer each. `false` when Redis has lost its memory since the
    /// claim, is another server, or was away: then somebody else may have claimed or produced in between, and only the
    /// row can tell.
    pub(crate) async fn answer(&self, claims: Vec<ToAnswer>) -> Result<Vec<bool>, RedisAway> {
        self.answers.ask_all(claims).await.map_err(|_| RedisAway)
    }

    /// Looks.
    pub(crate) async fn look(&self, order: OrderId) -> Result<Held, RedisAway> {
        self.looks.ask(order).await.map_err(|_| RedisAway)
    }

    /// Looks, and registers this gateway for the next change.
    pub(crate) async fn watch(&self, order: OrderId) -> Result<Held, RedisAway> {
        self.watches.ask(order).await.map_err(|_| RedisAway)
    }

    /// Gives a claim back whose record was never handed over. Best effort: otherwise it lapses.
    pub(crate) async fn release(&self, claim: &Claim, order: OrderId) {
        let Ok(life) = self.redis.link.life() else { return };
        let mut script = self.redis.scripts.release.key(view::key(order));
        script.arg(&claim.id);
        let _: Result<i64, RedisAway> = self.redis.link.run(&life, &script).await;
    }

    /// Which connection a command would go over now.
    pub(crate) fn generation(&self) -> Result<u64, RedisAway> {
        self.redis.link.life().map(|life| life.generation)
    }

    /// Makes a new mark: records may have been produced without a claim, so no miss proves anything until the lanes have
    /// passed them. Returns the connection over which it was made.
    pub(crate) async fn renew(&self) -> Result<u64, RedisAway> {
        let life = self.redis.link.life()?;
        let mut script = self.redis.scripts.renew.key(SINCE);
        script.arg(&life.run_id).arg(chassis::ids::random().as_simple().to_string());
        self.redis.link.run(&life, &script).await.map(|_: i64| life.generation)
    }

    /// Writes what Postgres says, by version. A reader waits for it before it tells what it found: another gateway, whose
    /// proof stands, reads Redis alone, and must not tell less. So a connection that was lost just now is waited for, as
    /// it is lost for one gateway alone more often than for all. Of a Redis that stays away nobody reads.
    pub(crate) fn write(&self, orders: Vec<OrderState>) -> impl Future<Output = ()> + Send + 'static {
        let redis = self.redis.clone();
        async move {
            // an order that does not encode would be no row of ours
            let packed = |order: OrderState| Some((order.order_id, packed::written_of(order).ok()?));
            let packed: Vec<_> = orders.into_iter().filter_map(packed).collect();
            let mut runs = ScriptRuns::new(&redis.scripts.write, packed.len().div_ceil(AT_ONCE));
            for some in packed.chunks(AT_ONCE) {
                let run = runs.add(&keys(some.iter().map(|(order, _)| *order))).arg(millis(VIEW_TTL));
                for (_, packed) in some {
                    run.arg(packed);
                }
            }
            // over the next connection again, and not for ever: it may be that Redis takes no write at all
            let mut failed = 0;
            for _ in 0..WRITE_ATTEMPTS {
                let Some(life) = redis.link.life_within(RECONNECTS_WITHIN, failed).await else { return };
                match redis.link.run_all::<Vec<u8>>(&life, &runs).await {
                    Ok(_) => return,
                    Err(RedisAway) => failed = life.generation,
                }
            }
        }
    }
}

/// Runs the scripts, for many orders in one round trip.
#[derive(Clone)]
struct Redis {
    link: RedisLink,
    scripts: Arc<Scripts>,
    lease: Duration,
    gateway: Arc<str>,
}

impl Redis {
    async fn claim(&self, wanted: &[ToClaim]) -> Result<Vec<Claim>, RedisAway> {
        let life = self.link.life()?;
        // a server that evicts can lose a claim and keep the mark
        if !life.keeps {
            return Err(RedisAway);
        }
        let proved = wanted.iter().find_map(|one| one.proved.as_ref());
        let mut runs = ScriptRuns::new(&self.scripts.claim, wanted.len().div_ceil(AT_ONCE));
        for some in wanted.chunks(AT_ONCE) {
            let run = runs
                .add(&since_and(some.iter().map(|one| one.order)))
                .arg(&life.run_id)
                .arg(chassis::ids::random().as_simple().to_string())
                .arg(proved.map_or("", Mark::as_str))
                .arg(millis(self.lease))
                .arg(millis(CLAIM_TTL));
            for one in some {
                let has_view = proved.is_some() && one.proved.as_ref() == proved;
                let payload = has_view.then_some(&*one.payload);
                run.arg(packed::claimed(one.hash, one.id, payload));
            }
        }
        crash::point(CrashPoint::ClaimBefore);
        let answers: Vec<Claimed> = self.link.run_all(&life, &runs).await?;
        crash::point(CrashPoint::ClaimAfter);
        let mut ids = wanted.iter().map(|one| one.id);
        Ok(answers.into_iter().flat_map(|answer| claims_of(answer, &life, &mut ids)).collect())
    }

    async fn answer(&self, claims: &[ToAnswer]) -> Result<Vec<bool>, RedisAway> {
        let life = self.link.life()?;
        let mut runs = ScriptRuns::new(&self.scripts.answer, claims.len().div_ceil(AT_ONCE));
        for some in claims.chunks(AT_ONCE) {
            let run = runs.add(&since_and(some.iter().map(|one| one.order)));
            for one in some {
                // no mark where the claim went over another connection: then it does not hold
                let is_ours = one.claim.generation == life.generation;
                run.arg(if is_ours { one.claim.mark.as_str() } else { "" }).arg(&one.hash.0);
            }
        }
        crash::point(CrashPoint::AnswerBefore);
        let held: Vec<Vec<u8>> = self.link.run_all(&life, &runs).await?;
        crash::point(CrashPoint::AnswerAfter);
        Ok(held.into_iter().flatten().map(|held| held == 1).collect())
    }

    /// The mark is read with the rest: nothing comes between.
    async fn look(&self, orders: &[OrderId]) -> Result<Vec<Held>, RedisAway> {
        let life = self.link.life()?;
        let mut found = Vec::with_capacity(orders.len());
        for some in orders.chunks(AT_ONCE) {
            let mut asked = redis::pipe();
            asked.cmd("MGET").arg(since_and(some.iter().copied()));
            let (looked,): (Looked,) = self.link.query(&life, &asked).await?;
            found.extend(held(looked, &life));
        }
        Ok(found)
    }

    async fn watch(&self, orders: &[OrderId]) -> Result<Vec<Held>, RedisAway> {
        let life = self.link.life()?;
        let mut runs = ScriptRuns::new(&self.scripts.watch, orders.len().div_ceil(AT_ONCE));
        for some in orders.chunks(AT_ONCE) {
            runs.add(&since_and(some.iter().copied())).arg(&*self.gateway);
        }
        let looked: Vec<Looked> = self.link.run_all(&life, &runs).await?;
        Ok(looked.into_iter().flat_map(|looked| held(looked, &life)).collect())
    }
}

/// Mark, its age, outcomes, what is left of others' leases.
type Claimed = (String, i64, Vec<u8>, Vec<i64>);

/// Mark, and what stands for each order.
type Looked = Vec<Option<Vec<u8>>>;

fn keys(orders: impl Iterator<Item = OrderId>) -> Vec<String> {
    orders.map(view::key).collect()
}

fn since_and(orders: impl Iterator<Item = OrderId>) -> Vec<String> {
    std::iter::once(SINCE.to_owned()).chain(orders.map(view::key)).collect()
}

fn claims_of(
    (mark, age, outcomes, left): Claimed,
    life: &Life,
    ids: &mut impl Iterator<Item = ClaimId>,
) -> Vec<Claim> {
    let (mark, age, generation) = (Mark::new(&mark), from_millis(age), life.generation);
    let outcome = |outcome: u8, left: i64| match outcome {
        0 => Outcome::New,
        1 => Outcome::Taken,
        2 => Outcome::Same,
        3 => Outcome::SettledOther,
        5 => Outcome::InFlight(from_millis(left)),
        _ => Outcome::Other,
    };
    let met = outcomes.into_iter().zip(left).zip(ids);
    met.map(|((met, left), id)| Claim {
        outcome: outcome(met, left),
        mark: mark.clone(),
        age,
        generation,
        id,
    })
    .collect()
}

fn held(looked: Looked, life: &Life) -> Vec<Held> {
    let mut looked = looked.into_iter();
    let mark = looked.next().flatten().map(|text| Mark::new(&String::from_utf8_lossy(&text)));
    let mark = mark.filter(|mark| life.keeps && mark.is_of(&life.run_id));
    let memory = mark.map(|mark| Memory { mark, generation: life.generation });
    let read = |bytes: Option<Vec<u8>>| {
        let packed = bytes.as_deref().and_then(Packed::read);
        let answered = packed.filter(|packed| packed.claim == ClaimState::Answered);
        let view = packed.and_then(|packed| packed.view);
        Held {
            view: view.and_then(|(_, payload)| packed::order_of(payload).ok()),
            answered: answered.and_then(|packed| packed.body_hash),
            memory: memory.clone(),
        }
    };
    looked.map(read).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn from_millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
