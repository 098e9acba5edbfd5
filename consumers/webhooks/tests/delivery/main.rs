//! Deliveries to endpoints that listen, fail, hang or send elsewhere, from events on a real log.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod receiver;
mod stage;

use receiver::{Heard, SILENCE};
use schemas::webhook_signature::{self, TOLERANCE};
use stage::{SECRET, Stage};
use std::time::Duration;
use testbed::eventually;

const ANN: &str = "i\nann";
const BOB: &str = "i\nbob";

#[tokio::test]
async fn an_order_is_told_to_its_owner_in_order_signed_and_no_more_once_heard() {
    let stage = Stage::build().await;
    let _worker = stage.worker();
    stage.register(ANN, "/ann").await;
    stage.say(BOB, 2, 1..=2).await;
    stage.say(ANN, 1, 1..=4).await;
    eventually("all is told", async || stage.receiver.heard("/ann").len() >= 4).await;
    for heard in stage.receiver.heard("/ann") {
        let signature = &heard.headers["mambogo-signature"];
        let signed = |body: &[u8]| {
            webhook_signature::verify(SECRET.as_bytes(), signature, body, Stage::now(), TOLERANCE)
        };
        assert!(signed(&heard.body).is_ok() && signed(b"another body").is_err());
        assert_eq!(heard.json()["id"].as_str().unwrap(), heard.id());
        assert!(!heard.json().to_string().contains("ann"), "owners stay inside");
    }
    eventually("what was heard is gone", async || stage.waiting().await == 0).await;
    // a relay that died says again what it had said, and then goes on
    stage.say(ANN, 1, 2..=5).await;
    eventually("the next is told", async || stage.receiver.heard("/ann").len() >= 5).await;
    assert_eq!(stage.receiver.versions("/ann"), [1, 2, 3, 4, 5], "and nothing of bob's order");
}

#[tokio::test]
async fn while_a_secret_is_replaced_both_sign_and_then_the_new_one_alone() {
    let stage = Stage::build().await;
    let _worker = stage.worker();
    stage.register(ANN, "/ann").await;
    let replace = "UPDATE endpoints SET secret = 'whsec_new', old_secret = secret, old_until = now() + interval '1 hour'";
    stage.run(replace).await;
    stage.say(ANN, 1, 1..=1).await;
    eventually("it is told", async || stage.receiver.heard("/ann").len() == 1).await;
    stage.run("UPDATE endpoints SET old_until = now()").await;
    stage.say(ANN, 1, 2..=2).await;
    eventually("the next is told", async || stage.receiver.heard("/ann").len() == 2).await;
    let fit = |heard: &Heard, secret: &str| {
        let signature = &heard.headers["mambogo-signature"];
        webhook_signature::verify(secret.as_bytes(), signature, &heard.body, Stage::now(), TOLERANCE).is_ok()
    };
    let heard = stage.receiver.heard("/ann");
    let fits: Vec<_> = heard.iter().map(|heard| (fit(heard, "whsec_new"), fit(heard, SECRET))).collect();
    assert_eq!(fits, [(true, true), (true, false)]);
}

#[tokio::test]
async fn what_is_refused_comes_again_under_its_id_before_anything_later_of_its_order() {
    let stage = Stage::build().await;
    let _worker = stage.worker();
    stage.register(ANN, "/ann").await;
    stage.receiver.answers("/ann", &[500, 429, 200]);
    stage.say(ANN, 1, 1..=2).await;
    eventually("both are heard", async || stage.receiver.heard("/ann").len() >= 4).await;
    assert_eq!(stage.receiver.versions("/ann"), [1, 1, 1, 2]);
    let ids: Vec<_> = stage.receiver.heard("/ann").iter().map(Heard::id).collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{ids:?}");
}

#[tokio::test]
async fn an_endpoint_that_hangs_delays_itself_alone() {
    let stage = Stage::build().await;
    let _worker = stage.worker_with(|config| {
        (config.in_flight, config.in_flight_each, config.timeout) = (3, 2, Stage::LONG);
    });
    stage.register(ANN, "/ann").await;
    stage.register(BOB, "/bob").await;
    stage.receiver.answers("/ann", &[SILENCE]);
    for order in 0..10 {
        stage.say(ANN, order, 1..=1).await;
    }
    eventually("ann's endpoint holds its share", async || stage.receiver.heard("/ann").len() == 2).await;
    for order in 100..110 {
        stage.say(BOB, order, 1..=1).await;
    }
    eventually("bob hears all of his", async || stage.receiver.heard("/bob").len() == 10).await;
    assert_eq!(stage.receiver.heard("/ann").len(), 2, "no more than its share");
}

#[tokio::test]
async fn endpoints_in_trouble_however_many_leave_half_of_the_calls_to_the_others() {
    let stage = Stage::build().await;
    for n in 0..5 {
        stage.register(ANN, "/hangs").await;
        stage.say(ANN, n, 1..=1).await;
    }
    stage.register(BOB, "/bob").await;
    stage.run("UPDATE endpoints SET failing_since = now() WHERE owner LIKE '%ann'").await;
    stage.receiver.answers("/hangs", &[SILENCE]);
    let _worker = stage.worker_with(|config| (config.in_flight, config.timeout) = (4, Stage::LONG));
    eventually("half of the calls hang", async || stage.receiver.heard("/hangs").len() == 2).await;
    for order in 100..110 {
        stage.say(BOB, order, 1..=1).await;
    }
    eventually("bob hears all of his", async || stage.receiver.heard("/bob").len() == 10).await;
    assert_eq!(stage.receiver.heard("/hangs").len(), 2, "no more than half");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_silence_is_left_in_time() {
    let stage = Stage::build().await;
    let _worker = stage.worker_with(|config| config.timeout = Duration::from_millis(300));
    let endpoint = stage.register(ANN, "/moved").await;
    stage.receiver.answers("/moved", &[307]);
    stage.say(ANN, 1, 1..=1).await;
    eventually("it was refused", async || stage.standing(endpoint).await.1 == "it answered 307").await;
    stage.receiver.answers("/moved", &[SILENCE]);
    let why = "it did not answer in time";
    eventually("it was silent", async || stage.standing(endpoint).await.1 == why).await;
    assert!(stage.receiver.heard("/elsewhere").is_empty());
    stage.receiver.answers("/moved", &[204]);
    eventually("it is well again", async || stage.standing(endpoint).await == (false, String::new())).await;
}

#[tokio::test]
async fn what_a_worker_had_in_hand_when_it_died_is_told_by_the_next_under_the_same_id() {
    let stage = Stage::build().await;
    let first = stage.worker_with(|config| config.timeout = Stage::LONG);
    stage.register(ANN, "/ann").await;
    stage.receiver.answers("/ann", &[SILENCE, 200]);
    stage.say(ANN, 1, 1..=3).await;
    eventually("it has a call under way", async || stage.receiver.heard("/ann").len() == 1).await;
    eventually("it took the rest in", async || stage.waiting().await == 3).await;
    drop(first);
    let _second = stage.worker();
    stage.say(ANN, 2, 1..=1).await;
    eventually("the next worker is at work", async || stage.receiver.heard("/ann").len() == 2).await;
    // nobody takes what another one has, until its time is over
    let orders: Vec<_> =
        stage.receiver.heard("/ann").iter().map(|heard| heard.json()["order"].clone()).collect();
    assert_ne!(orders[0]["orderId"], orders[1]["orderId"]);
    stage.run("UPDATE deliveries SET leased_until = now() WHERE leased_until IS NOT NULL").await;
    eventually("all is told", async || stage.waiting().await == 0).await;
    let heard = stage.receiver.heard("/ann");
    assert_eq!(stage.receiver.versions("/ann"), [1, 1, 1, 2, 3]);
    assert_eq!(heard[0].id(), heard[2].id());
}

#[tokio::test]
async fn an_endpoint_that_does_not_take_an_event_for_long_is_disabled_and_says_why() {
    let stage = Stage::build().await;
    let _worker = stage.worker_with(|config| config.disable_after = Duration::from_millis(500));
    let ann = stage.register(ANN, "/ann").await;
    let other = stage.register(ANN, "/other").await;
    stage.receiver.answers("/ann", &[503]);
    stage.say(ANN, 1, 1..=1).await;
    eventually("it is disabled", async || stage.standing(ann).await.0).await;
    let reason = stage.standing(ann).await.1;
    let order = "version 1 of order 00000000-0000-0000-0000-000000000001 was not taken since 20";
    assert!(reason.contains(order) && reason.ends_with("Z; at last, it answered 503"), "{reason}");
    let tried = stage.receiver.heard("/ann").len();
    assert!(tried > 1, "not for one failure");
    stage.say(ANN, 1, 2..=2).await;
    eventually("the other one goes on", async || stage.receiver.versions("/other") == [1, 2]).await;
    eventually("for it nothing more is kept", async || stage.waiting().await == 1).await;
    assert_eq!(stage.receiver.heard("/ann").len(), tried);
    assert_eq!(stage.standing(other).await, (false, String::new()));
}

#[tokio::test]
async fn an_endpoint_that_too_much_waits_for_is_disabled() {
    let stage = Stage::build().await;
    let (ann, bob) = (stage.register(ANN, "/ann").await, stage.register(BOB, "/bob").await);
    stage
        .run(
            "INSERT INTO deliveries (endpoint_id, order_id, version, event_id, body, due_at)
             SELECT id, gen_random_uuid(), 1, gen_random_uuid(), '', now() + interval '1 hour'
             FROM endpoints, generate_series(1, CASE WHEN owner LIKE '%ann' THEN 4 ELSE 3 END)",
        )
        .await;
    let _worker = stage.worker_with(|config| config.backlog = 3);
    eventually("it is disabled", async || stage.standing(ann).await.0).await;
    assert_eq!(stage.standing(ann).await.1, "disabled: 4 events wait for it, and no more than 3 are kept");
    assert!(!stage.standing(bob).await.0);
}
