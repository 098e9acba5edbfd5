//! The order's hash in Redis: claim, answer, release, view. One hash an order, changed only by the scripts here and by
//! the status worker's. What a missing claim proves is for [`crate::proof`] to say.

use crate::{
    proof::{Mark, Memory},
    scripts::{Scripts, model::Outcome},
};
use chassis::crash::{self, CrashPoint};
use ingress::redis_link::{Life, RedisAway, RedisLink, ScriptRuns};
use schemas::{
    ids::OrderId,
    messages::{BodyHash, OrderState, OrderStatus},
    view,
};
use std::{sync::Arc, time::Duration};

/// The key of the `since` mark: one a server (one a shard, where there are shards).
const SINCE: &str = "since";
/// How long a claim is kept that nobody settles: longer than `order.commands` keeps its record.
const CLAIM_TTL: Duration = Duration::from_secs(8 * 24 * 60 * 60);
/// How long a view is kept that a read found in Postgres.
const VIEW_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// A claim's answer.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) outcome: Outcome,
    pub(crate) mark: Mark,
    pub(crate) age: Duration,
    /// The connection it was made over.
    pub(crate) generation: u64,
    id: String,
}

/// What is to be claimed.
#[derive(Debug, Clone)]
pub(crate) struct ToClaim<'a> {
    pub(crate) order: &'a OrderState,
    pub(crate) proved: Option<Mark>,
    pub(crate) lease: Duration,
}

/// A view as it stands in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldView {
    pub(crate) owner: String,
    pub(crate) version: i64,
    pub(crate) status: OrderStatus,
    pub(crate) json: String,
}

/// What a look into the hash found.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) view: Option<HeldView>,
    /// Body hash of an order that was acknowledged.
    pub(crate) answered: Option<String>,
    /// The memory it was read from; `None` where no mark of this server stands.
    pub(crate) memory: Option<Memory>,
}

/// The scripts and the link.
#[derive(Clone)]
pub(crate) struct Claims {
    link: RedisLink,
    scripts: Arc<Scripts>,
}

/// Mark, its age, outcome, what is left of another's lease.
type Claimed = (String, i64, String, i64);

type Looked = (
    Option<String>,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
);

impl Claims {
    pub(crate) fn new(link: RedisLink) -> Self {
        Self { link, scripts: Arc::new(Scripts::new()) }
    }

    /// Claims orders for their bodies, in one round trip; one answer each, in their order. Safe to run twice: a claim
    /// knows its own id again.
    pub(crate) async fn claim(&self, wanted: &[ToClaim<'_>]) -> Result<Vec<Claim>, RedisAway> {
        let life = self.link.life()?;
        // a server that evicts can lose a claim and keep the mark
        if !life.keeps {
            return Err(RedisAway);
        }
        let mut runs = ScriptRuns::new(&self.scripts.claim, wanted.len());
        let mut ids = Vec::with_capacity(wanted.len());
        for ToClaim { order, proved, lease } in wanted {
            let json = view::public_json(order).map_err(|_| RedisAway)?;
            let id = chassis::ids::random().as_simple().to_string();
            runs.add(&[&view::key(order.order_id), SINCE])
                .arg(&life.run_id)
                .arg(&id)
                .arg(proved.as_ref().map_or("", Mark::as_str))
                .arg(&order.owner)
                .arg(order.body_hash.to_string())
                .arg(&id)
                .arg(millis(*lease))
                .arg(millis(CLAIM_TTL))
                .arg(json);
            ids.push(id);
        }
        crash::point(CrashPoint::ClaimBefore);
        let answers: Vec<Claimed> = self.link.run_all(&life, &runs).await?;
        crash::point(CrashPoint::ClaimAfter);
        Ok(ids.into_iter().zip(answers).map(|(id, answer)| claim_of(id, &life, answer)).collect())
    }

    /// Stores that claimed records were acknowledged, in one round trip; one answer each. `false` when Redis has lost
    /// its memory since the claim, is another server, or was away: then somebody else may have claimed or produced in
    /// between, and only the row can tell.
    pub(crate) async fn answer(
        &self,
        claims: &[(&Claim, OrderId, BodyHash)],
    ) -> Result<Vec<bool>, RedisAway> {
        let life = self.link.life()?;
        if claims.iter().any(|(claim, ..)| claim.generation != life.generation) {
            return Ok(vec![false; claims.len()]);
        }
        let mut runs = ScriptRuns::new(&self.scripts.answer, claims.len());
        for (claim, order, hash) in claims {
            runs.add(&[&view::key(*order), SINCE]).arg(claim.mark.as_str()).arg(hash.to_string());
        }
        crash::point(CrashPoint::AnswerBefore);
        let held: Vec<i64> = self.link.run_all(&life, &runs).await?;
        crash::point(CrashPoint::AnswerAfter);
        Ok(held.into_iter().map(|held| held == 1).collect())
    }

    /// Gives a claim back whose record was never handed over. Best effort: otherwise it lapses.
    pub(crate) async fn release(&self, claim: &Claim, order: OrderId) {
        let Ok(life) = self.link.life() else { return };
        let mut script = self.scripts.release.key(view::key(order));
        script.arg(&claim.id);
        let _: Result<i64, RedisAway> = self.link.run(&life, &script).await;
    }

    /// Which connection a command would go over now.
    pub(crate) fn generation(&self) -> Result<u64, RedisAway> {
        self.link.life().map(|life| life.generation)
    }

    /// Makes a new mark: records may have been produced without a claim, so no miss proves anything until the lanes have
    /// passed them. Returns the connection over which it was made.
    pub(crate) async fn renew(&self) -> Result<u64, RedisAway> {
        let life = self.link.life()?;
        let mut script = self.scripts.renew.key(SINCE);
        script.arg(&life.run_id).arg(chassis::ids::random().as_simple().to_string());
        self.link.run(&life, &script).await.map(|_: i64| life.generation)
    }

    /// Looks, and registers `waiting` (a gateway) for the next change.
    pub(crate) async fn look(&self, order: OrderId, waiting: Option<&str>) -> Result<Held, RedisAway> {
        let life = self.link.life()?;
        let mut script = self.scripts.look.key(view::key(order));
        script.key(SINCE).arg(waiting.unwrap_or_default());
        let looked: Looked = self.link.run(&life, &script).await?;
        Ok(held(looked, &life))
    }

    /// Writes what Postgres says, by version. A reader waits for it before it tells what it found: another gateway, whose
    /// proof stands, reads Redis alone, and must not tell less. Without Redis nothing is written.
    pub(crate) fn write(&self, order: OrderState) -> impl Future<Output = ()> + Send + 'static {
        let (link, scripts) = (self.link.clone(), self.scripts.clone());
        async move {
            let (Ok(life), Ok(json)) = (link.life(), view::public_json(&order)) else { return };
            let mut script = scripts.write.key(view::key(order.order_id));
            script
                .arg(order.version)
                .arg(&order.owner)
                .arg(order.body_hash.to_string())
                .arg(order.status.as_str())
                .arg(json)
                .arg(millis(VIEW_TTL))
                .arg(order.order_id.to_string());
            let _: Result<i64, RedisAway> = link.run(&life, &script).await;
        }
    }
}

fn claim_of(id: String, life: &Life, (mark, age, outcome, left): Claimed) -> Claim {
    let outcome = match outcome.as_str() {
        "new" => Outcome::New,
        "taken" => Outcome::Taken,
        "flight" => Outcome::InFlight(from_millis(left)),
        "same" => Outcome::Same,
        "settled-other" => Outcome::SettledOther,
        _ => Outcome::Other,
    };
    Claim { outcome, mark: Mark::new(&mark), age: from_millis(age), id, generation: life.generation }
}

fn held((owner, version, status, json, hash, claim, mark): Looked, life: &Life) -> Held {
    let status = status.as_deref().and_then(OrderStatus::from_name);
    let view = match (owner, version, status, json) {
        (Some(owner), Some(version), Some(status), Some(json)) => {
            Some(HeldView { owner, version, status, json })
        }
        _ => None,
    };
    let mark = mark.map(|text| Mark::new(&text)).filter(|mark| life.keeps && mark.is_of(&life.run_id));
    Held {
        view,
        answered: hash.filter(|_| claim.as_deref() == Some(view::ANSWERED)),
        memory: mark.map(|mark| Memory { mark, generation: life.generation }),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn from_millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::tests::order;
    use ingress::redis_link::RedisConfig;
    use testbed::Redis;
    use tokio_util::sync::CancellationToken;

    const LEASE: Duration = Duration::from_secs(10);

    async fn start() -> (Redis, Claims, tokio_util::sync::DropGuard) {
        let server = Redis::start().await;
        let config = RedisConfig {
            url: chassis::settings::Secret::new(server.url()),
            response_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_millis(500),
        };
        let stop = CancellationToken::new();
        let link = RedisLink::start(config, stop.clone()).unwrap();
        link.connects().wait_for(|generation| *generation > 0).await.unwrap();
        (server, Claims::new(link), stop.drop_guard())
    }

    fn hashed(n: u8) -> OrderState {
        OrderState { version: 0, body_hash: BodyHash([n; 32]), ..order(1) }
    }

    async fn claim(claims: &Claims, order: &OrderState, proved: Option<&Mark>, lease: Duration) -> Claim {
        let claimed = claims.claim(&[ToClaim { order, proved: proved.cloned(), lease }]).await;
        claimed.unwrap().remove(0)
    }

    async fn answer(claims: &Claims, claim: &Claim, order: &OrderState) -> bool {
        claims.answer(&[(claim, order.order_id, order.body_hash)]).await.unwrap() == [true]
    }

    #[tokio::test]
    async fn one_body_claims_and_its_repeats_find_it() {
        let (_server, claims, _stop) = start().await;
        let (first, other) = (hashed(1), hashed(2));
        let mine = claim(&claims, &first, None, LEASE).await;
        assert_eq!(mine.outcome, Outcome::New);
        let repeat = claim(&claims, &first, None, LEASE).await;
        assert!(matches!(repeat.outcome, Outcome::InFlight(left) if left <= LEASE), "{repeat:?}");
        assert_eq!(repeat.mark, mine.mark);
        assert_eq!(claim(&claims, &other, None, LEASE).await.outcome, Outcome::Other);
        assert!(answer(&claims, &mine, &first).await);
        assert_eq!(claim(&claims, &first, None, LEASE).await.outcome, Outcome::Same);
        assert_eq!(claim(&claims, &other, None, LEASE).await.outcome, Outcome::SettledOther);
    }

    #[tokio::test]
    async fn the_first_view_is_written_only_under_a_proved_mark() {
        let (server, claims, _stop) = start().await;
        let first = hashed(1);
        let unproved = claim(&claims, &first, None, Duration::ZERO).await;
        assert_eq!(claims.look(first.order_id, None).await.unwrap().view, None);
        let taken = claim(&claims, &first, Some(&unproved.mark), LEASE).await;
        assert_eq!(taken.outcome, Outcome::Taken);
        let held = claims.look(first.order_id, None).await.unwrap();
        let view = held.view.unwrap();
        assert_eq!((view.owner, view.version, view.status), (first.owner.clone(), 0, OrderStatus::Pending));
        assert_eq!(held.memory.unwrap().mark, unproved.mark);
        assert_eq!(held.answered, None);
        server.flush().await;
        let held = claims.look(first.order_id, None).await.unwrap();
        assert!(held.view.is_none() && held.memory.is_none());
    }

    #[tokio::test]
    async fn a_new_claim_is_released_and_one_taken_over_only_lapses() {
        let (_server, claims, _stop) = start().await;
        let (first, other) = (hashed(1), hashed(2));
        let mine = claim(&claims, &first, None, LEASE).await;
        claims.release(&mine, first.order_id).await;
        let others = claim(&claims, &other, None, Duration::ZERO).await;
        assert_eq!(others.outcome, Outcome::New);
        // the second owner of a lapsed claim never produced, but the first may have
        let taken = claim(&claims, &other, None, LEASE).await;
        assert_eq!(taken.outcome, Outcome::Taken);
        claims.release(&taken, first.order_id).await;
        assert_eq!(claim(&claims, &first, None, LEASE).await.outcome, Outcome::Other);
        assert_eq!(claim(&claims, &other, None, LEASE).await.outcome, Outcome::Taken);
        claims.release(&mine, first.order_id).await;
        assert!(matches!(claim(&claims, &other, None, LEASE).await.outcome, Outcome::InFlight(_)));
    }

    #[tokio::test]
    async fn an_answer_after_a_flush_or_a_restart_does_not_hold() {
        let (mut server, claims, _stop) = start().await;
        let first = hashed(1);
        let mine = claim(&claims, &first, None, LEASE).await;
        server.flush().await;
        assert!(!answer(&claims, &mine, &first).await);
        let again = claim(&claims, &first, None, LEASE).await;
        assert_ne!(again.mark, mine.mark);
        assert!(!answer(&claims, &mine, &first).await);
        claims.renew().await.unwrap();
        assert!(!answer(&claims, &again, &first).await);
        let mut connects = claims.link.connects();
        server.restart().await;
        let reconnected = connects.wait_for(|generation| *generation > 1);
        tokio::time::timeout(Duration::from_secs(10), reconnected).await.unwrap().unwrap();
        assert!(!answer(&claims, &again, &first).await);
    }

    /// The server remembers everything; but while we were not connected, others may have produced without a claim.
    #[tokio::test]
    async fn an_answer_over_a_new_connection_does_not_hold() {
        let (server, claims, _stop) = start().await;
        let first = hashed(1);
        let mine = claim(&claims, &first, None, LEASE).await;
        let mut connects = claims.link.connects();
        let mut other =
            redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
        let _: i64 =
            redis::cmd("CLIENT").arg(&["KILL", "SKIPME", "yes"]).query_async(&mut other).await.unwrap();
        let reconnected = connects.wait_for(|generation| *generation > 1);
        tokio::time::timeout(Duration::from_secs(10), reconnected).await.unwrap().unwrap();
        let again = claim(&claims, &first, None, LEASE).await;
        assert_eq!(again.mark, mine.mark, "it is the same memory");
        assert!(!answer(&claims, &mine, &first).await);
    }

    #[tokio::test]
    async fn a_view_goes_by_version_and_registers_who_waits() {
        let (_server, claims, _stop) = start().await;
        let newest = OrderState { version: 3, status: OrderStatus::Confirmed, ..order(1) };
        claims.look(newest.order_id, Some("gw1")).await.unwrap();
        claims.look(newest.order_id, Some("gw2")).await.unwrap();
        claims.look(newest.order_id, Some("gw1")).await.unwrap();
        claims.write(newest.clone()).await;
        claims.write(OrderState { version: 2, status: OrderStatus::Reserved, ..newest.clone() }).await;
        testbed::eventually("the newest view stands", async || {
            let held = claims.look(newest.order_id, None).await.unwrap();
            held.view.is_some_and(|view| view.version == 3)
        })
        .await;
        let held = claims.look(newest.order_id, None).await.unwrap();
        assert_eq!(held.answered, Some(newest.body_hash.to_string()));
        let life = claims.link.life().unwrap();
        let key = view::key(newest.order_id);
        let (waiters, left): (String, i64) = claims
            .link
            .query(&life, redis::pipe().cmd("HGET").arg(&key).arg(view::WAITERS).cmd("PTTL").arg(&key))
            .await
            .unwrap();
        assert_eq!(waiters, "gw1,gw2");
        assert!(left > 60_000);
    }
}
