//! Claims against a real Redis that is flushed, restarted and cut off.

use super::*;
use crate::read::tests::order;
use ingress::redis_link::RedisConfig;
use schemas::{messages::OrderStatus, wire};
use tokio_util::sync::CancellationToken;

const LEASE: Duration = Duration::from_secs(10);

async fn start() -> (testbed::Redis, Claims, tokio_util::sync::DropGuard) {
    let server = testbed::Redis::start().await;
    let config = RedisConfig {
        url: chassis::settings::Secret::new(server.url()),
        response_timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_millis(500),
    };
    let stop = CancellationToken::new();
    let link = RedisLink::start(config, stop.clone()).unwrap();
    link.connects().wait_for(|generation| *generation > 0).await.unwrap();
    (server, Claims::new(link, LEASE, "gw1"), stop.drop_guard())
}

fn hashed(n: u8) -> OrderState {
    OrderState { version: 0, body_hash: BodyHash([n; 32]), ..order(1) }
}

fn to_claim(order: &OrderState, proved: Option<&Mark>) -> ToClaim {
    let submit = crate::read::tests::submit(order.order_id.0.as_u128());
    ToClaim {
        order: order.order_id,
        hash: order.body_hash,
        payload: wire::encode(&submit).unwrap().into(),
        proved: proved.cloned(),
        id: chassis::ids::random().into_bytes(),
    }
}

async fn claim(claims: &Claims, order: &OrderState, proved: Option<&Mark>) -> Claim {
    claims.claim(vec![to_claim(order, proved)]).await.unwrap().remove(0)
}

async fn answer(claims: &Claims, claim: &Claim, order: &OrderState) -> bool {
    let answered = ToAnswer { claim: claim.clone(), order: order.order_id, hash: order.body_hash };
    claims.answer(vec![answered]).await.unwrap() == [true]
}

/// The same server's claims with a lease of their own.
fn leasing(claims: &Claims, lease: Duration) -> Claims {
    Claims::new(claims.redis.link.clone(), lease, "gw2")
}

#[tokio::test]
async fn one_body_claims_and_its_repeats_find_it() {
    let (_server, claims, _stop) = start().await;
    let (first, other) = (hashed(1), hashed(2));
    let mine = claim(&claims, &first, None).await;
    assert_eq!(mine.outcome, Outcome::New);
    let repeat = claim(&claims, &first, None).await;
    assert!(matches!(repeat.outcome, Outcome::InFlight(left) if left <= LEASE), "{repeat:?}");
    assert_eq!(repeat.mark, mine.mark);
    assert_eq!(claim(&claims, &other, None).await.outcome, Outcome::Other);
    assert!(answer(&claims, &mine, &first).await);
    assert_eq!(claim(&claims, &first, None).await.outcome, Outcome::Same);
    assert_eq!(claim(&claims, &other, None).await.outcome, Outcome::SettledOther);
}

#[tokio::test]
async fn the_first_view_is_written_only_under_a_proved_mark() {
    let (server, claims, _stop) = start().await;
    let first = hashed(1);
    let unproved = claim(&leasing(&claims, Duration::ZERO), &first, None).await;
    assert_eq!(claims.look(first.order_id).await.unwrap().view, None);
    let taken = claim(&claims, &first, Some(&unproved.mark)).await;
    assert_eq!(taken.outcome, Outcome::Taken);
    let held = claims.look(first.order_id).await.unwrap();
    assert_eq!(held.view, Some(order(1)));
    assert_eq!(held.memory.unwrap().mark, unproved.mark);
    assert_eq!(held.answered, None);
    server.flush().await;
    let held = claims.look(first.order_id).await.unwrap();
    assert!(held.view.is_none() && held.memory.is_none());
}

#[tokio::test]
async fn a_new_claim_is_released_and_one_taken_over_only_lapses() {
    let (_server, claims, _stop) = start().await;
    let (first, other) = (hashed(1), hashed(2));
    let mine = claim(&claims, &first, None).await;
    claims.release(&mine, first.order_id).await;
    let others = claim(&leasing(&claims, Duration::ZERO), &other, None).await;
    assert_eq!(others.outcome, Outcome::New);
    // the second owner of a lapsed claim never produced, but the first may have
    let taken = claim(&claims, &other, None).await;
    assert_eq!(taken.outcome, Outcome::Taken);
    claims.release(&taken, first.order_id).await;
    assert_eq!(claim(&claims, &first, None).await.outcome, Outcome::Other);
    assert_eq!(claim(&claims, &other, None).await.outcome, Outcome::Taken);
    claims.release(&mine, first.order_id).await;
    assert!(matches!(claim(&claims, &other, None).await.outcome, Outcome::InFlight(_)));
}

#[tokio::test]
async fn an_answer_after_a_flush_or_a_restart_does_not_hold() {
    let (mut server, claims, _stop) = start().await;
    let first = hashed(1);
    let mine = claim(&claims, &first, None).await;
    server.flush().await;
    assert!(!answer(&claims, &mine, &first).await);
    let again = claim(&claims, &first, None).await;
    assert_ne!(again.mark, mine.mark);
    assert!(!answer(&claims, &mine, &first).await);
    claims.renew().await.unwrap();
    assert!(!answer(&claims, &again, &first).await);
    let mut connects = claims.redis.link.connects();
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
    let mine = claim(&claims, &first, None).await;
    let mut connects = claims.redis.link.connects();
    let mut other =
        redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let _: i64 = redis::cmd("CLIENT").arg(&["KILL", "SKIPME", "yes"]).query_async(&mut other).await.unwrap();
    let reconnected = connects.wait_for(|generation| *generation > 1);
    tokio::time::timeout(Duration::from_secs(10), reconnected).await.unwrap().unwrap();
    let again = claim(&claims, &first, None).await;
    assert_eq!(again.mark, mine.mark, "it is the same memory");
    assert!(!answer(&claims, &mine, &first).await);
}

#[tokio::test]
async fn what_postgres_says_is_written_over_the_next_connection_when_this_one_is_lost() {
    let (server, claims, _stop) = start().await;
    let order = OrderState { version: 3, status: OrderStatus::Confirmed, ..order(1) };
    server.command("CLIENT KILL SKIPME yes").await;
    claims.write(vec![order.clone()]).await;
    assert_eq!(claims.look(order.order_id).await.unwrap().view, Some(order));
}

#[tokio::test]
async fn a_view_goes_by_version_and_registers_who_waits() {
    let (_server, claims, _stop) = start().await;
    let newest = OrderState { version: 3, status: OrderStatus::Confirmed, ..order(1) };
    let other = leasing(&claims, LEASE);
    claims.watch(newest.order_id).await.unwrap();
    other.watch(newest.order_id).await.unwrap();
    claims.watch(newest.order_id).await.unwrap();
    claims.write(vec![newest.clone()]).await;
    claims.write(vec![OrderState { version: 2, status: OrderStatus::Reserved, ..newest.clone() }]).await;
    let held = claims.look(newest.order_id).await.unwrap();
    assert_eq!(held.view, Some(newest.clone()));
    assert_eq!(held.answered, Some(newest.body_hash));
    let life = claims.redis.link.life().unwrap();
    let key = view::key(newest.order_id);
    let (packed, left): (Vec<u8>, i64) = claims
        .redis
        .link
        .query(&life, redis::pipe().cmd("GET").arg(&key).cmd("PTTL").arg(&key))
        .await
        .unwrap();
    assert_eq!(Packed::read(&packed).unwrap().waiters, b"gw1,gw2");
    assert!(left > 60_000);
}
#[tokio::test]
async fn who_waits_before_a_claim_is_told_after_it_and_after_its_release() {
    let (_server, claims, _stop) = start().await;
    let first = hashed(1);
    let waiters = async || {
        let life = claims.redis.link.life().unwrap();
        let asked = redis::pipe().cmd("GET").arg(view::key(first.order_id)).to_owned();
        let (packed,): (Vec<u8>,) = claims.redis.link.query(&life, &asked).await.unwrap();
        Packed::read(&packed).unwrap().waiters.to_vec()
    };
    assert!(claims.watch(first.order_id).await.unwrap().view.is_none());
    let mark = claim(&claims, &order(9), None).await.mark;
    let mine = claim(&claims, &first, Some(&mark)).await;
    assert_eq!((mine.outcome, waiters().await.as_slice()), (Outcome::New, b"gw1".as_slice()));
    let held = leasing(&claims, LEASE).watch(first.order_id).await.unwrap();
    assert_eq!(held.view.map(|view| view.version), Some(0));
    claims.release(&mine, first.order_id).await;
    assert_eq!(waiters().await, b"gw1,gw2");
    assert!(claims.look(first.order_id).await.unwrap().view.is_none());
    assert_eq!(claim(&claims, &hashed(2), Some(&mark)).await.outcome, Outcome::New);
    assert_eq!(waiters().await, b"gw1,gw2");
}

#[tokio::test]
async fn many_orders_are_claimed_each_with_its_own_outcome() {
    let (_server, claims, _stop) = start().await;
    let orders: Vec<OrderState> = (0..250).map(order).collect();
    let known = claim(&claims, &orders[170], None).await;
    assert!(answer(&claims, &known, &orders[170]).await);
    let wanted = orders.iter().map(|order| to_claim(order, Some(&known.mark))).collect();
    let claimed = claims.claim(wanted).await.unwrap();
    for (n, claim) in claimed.iter().enumerate() {
        let expected = if n == 170 { Outcome::Same } else { Outcome::New };
        assert_eq!(claim.outcome, expected, "{n}");
    }
    let answers = orders.iter().zip(&claimed).map(|(order, claim)| {
        let hash = if order.order_id.0.as_u128() == 99 { BodyHash([0; 32]) } else { order.body_hash };
        ToAnswer { claim: claim.clone(), order: order.order_id, hash }
    });
    let held = claims.answer(answers.collect()).await.unwrap();
    assert_eq!(held.iter().enumerate().filter(|(_, held)| !**held).map(|(n, _)| n).collect::<Vec<_>>(), [99]);
    let looks = orders.iter().map(|order| claims.look(order.order_id));
    let looked = futures_util::future::join_all(looks).await;
    let views: Vec<_> = looked.into_iter().map(|held| held.unwrap().view.map(|view| view.order_id)).collect();
    let expected = orders.iter().enumerate().map(|(n, order)| (n != 170).then_some(order.order_id));
    assert_eq!(views, expected.collect::<Vec<_>>(), "the first was claimed before anything was proved");
}
