//! Invariant 1 and 2 at the edge: one order a key, and a 202 for one body only, with Redis present, absent, or emptied
//! in between, while the orders worker stands still.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "a test says what is wrong by failing; not every stage is used whole"
)]

mod stage;

use axum::http::StatusCode;
use futures_util::future::join_all;
use schemas::messages::OrderCommand;
use stage::{Fate, Stage};

const OK: StatusCode = StatusCode::ACCEPTED;
const REUSED: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
const LATER: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

fn submits(stage: &Stage, quantity: i32) -> usize {
    let is_it = |command: &OrderCommand| match command {
        OrderCommand::SubmitOrder(submit) => submit.lines[0].quantity == quantity,
        _ => false,
    };
    stage.log.commands().iter().filter(|command| is_it(command)).count()
}

#[tokio::test]
async fn two_hundred_same_posts_are_one_order() {
    let stage = Stage::set().await;
    stage.until_proved().await;
    let answers = join_all((0..200).map(|_| stage.post("k", 7))).await;
    let mut bodies = Vec::new();
    for answer in answers {
        match answer.status {
            OK => bodies.push(answer.body),
            // a machine under load may be late; it is never wrong
            StatusCode::CONFLICT | LATER => {
                assert!(answer.headers.contains_key("retry-after"));
                testbed::eventually("a repeat gets the answer", async || {
                    stage.post("k", 7).await.status == OK
                })
                .await;
            }
            other => panic!("{other}: {}", answer.body),
        }
    }
    assert!(!bodies.is_empty() && bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    assert_eq!(submits(&stage, 7), 1);
    assert_eq!(stage.post("k", 8).await.status, REUSED);
    let path = bodies[0]["statusUrl"].as_str().unwrap();
    let read = stage.get(path, "ann").await;
    assert_eq!((read.status, &read.body["status"]), (StatusCode::OK, &"PENDING".into()), "no row exists yet");
}

#[tokio::test]
async fn a_flush_before_the_row_exists_never_makes_two_orders() {
    let stage = Stage::set().await;
    stage.until_proved().await;
    let first = stage.post("k", 7).await;
    assert_eq!(first.status, OK);
    let path = first.body["statusUrl"].as_str().unwrap().to_owned();
    stage.redis.flush().await;
    // the worker stands still: nobody can know
    let answers =
        join_all([stage.post("k", 8), stage.post("k", 7), stage.post("k", 8), stage.post("k", 9)]).await;
    for answer in &answers {
        assert!([LATER, StatusCode::CONFLICT].contains(&answer.status), "{answer:?}");
    }
    let read = stage.get(&path, "ann").await;
    assert_ne!(read.status, StatusCode::NOT_FOUND, "never 404 after a 202");
    stage.work().await;
    testbed::eventually("the first body is told again", async || stage.post("k", 7).await.status == OK).await;
    testbed::eventually("the others are refused", async || stage.post("k", 8).await.status == REUSED).await;
    assert_eq!(stage.get(&path, "ann").await.body["items"][0]["quantity"], 7);
}

#[tokio::test]
async fn without_redis_the_row_decides() {
    let mut stage = Stage::set().await;
    stage.until_proved().await;
    let first = stage.post("k", 7).await;
    assert_eq!(first.status, OK);
    let path = first.body["statusUrl"].as_str().unwrap().to_owned();
    stage.redis.stop();
    let answers = join_all((0..20).map(|n| stage.post("k", 7 + n % 2))).await;
    assert!(answers.iter().all(|answer| answer.status == LATER), "{answers:?}");
    assert_ne!(stage.get(&path, "ann").await.status, StatusCode::NOT_FOUND);
    // another key, two bodies at once, the worker at work: one of them is the order
    let mut accepted = [false; 2];
    let posts = testbed::eventually("one of two bodies is accepted", async || {
        for (n, answer) in join_all((0..20).map(|n| stage.post("other", 3 + n % 2))).await.iter().enumerate()
        {
            accepted[n % 2] |= answer.status == OK;
        }
        accepted[0] || accepted[1]
    });
    stage.working(posts).await;
    assert_ne!(accepted[0], accepted[1]);
    testbed::eventually("with the row there, all is told", async || {
        stage.post("k", 7).await.status == OK && stage.post("k", 8).await.status == REUSED
    })
    .await;
    assert_eq!(stage.get(&path, "ann").await.status, StatusCode::OK);
}

/// A record in flight while Redis forgets its claim: whichever body reaches the log first, only one gets its 202.
async fn forgotten_in_flight(forget: impl AsyncFnOnce(&mut Stage)) {
    let mut stage = Stage::set().await;
    stage.until_proved().await;
    stage.log.set(Fate::Held);
    let request = stage.submit("k", 7);
    let app = stage.app();
    let first = tokio::spawn(async move { Stage::send(app, request).await });
    stage.log.until_held().await;
    forget(&mut stage).await;
    stage.log.set(Fate::Acknowledged);
    let second = stage.post("k", 8).await;
    stage.log.deliver();
    let first = first.await.unwrap();
    assert_eq!(submits(&stage, 7), 1, "it reached the log");
    assert_eq!((first.status, second.status), (LATER, LATER), "{first:?} {second:?}");
    assert_eq!(submits(&stage, 8), 1, "and so did the other, before it");
    stage.work().await;
    testbed::eventually("the body that came first is the order", async || {
        stage.post("k", 8).await.status == OK && stage.post("k", 7).await.status == REUSED
    })
    .await;
}

#[tokio::test]
async fn a_flush_while_a_record_is_in_flight() {
    forgotten_in_flight(async |stage: &mut Stage| stage.redis.flush().await).await;
}

#[tokio::test]
async fn a_restart_while_a_record_is_in_flight() {
    forgotten_in_flight(async |stage: &mut Stage| stage.redis.restart().await).await;
}

#[tokio::test]
async fn an_outage_while_a_record_is_in_flight() {
    forgotten_in_flight(async |stage: &mut Stage| stage.redis.stop()).await;
}

/// Redis stalls and comes back with all it knew: its claim still stands, but a record went past it.
#[tokio::test]
async fn a_stall_while_a_record_is_in_flight() {
    let stage = Stage::set().await;
    stage.until_proved().await;
    stage.log.set(Fate::Held);
    let (app, request) = (stage.app(), stage.submit("k", 7));
    let first = tokio::spawn(async move { Stage::send(app, request).await });
    stage.log.until_held().await;
    assert_eq!(stage.redis.command("CLIENT PAUSE 2500").await, "+OK");
    stage.log.set(Fate::Acknowledged);
    let second = stage.post("k", 8).await;
    assert_eq!(second.status, LATER);
    assert_eq!(submits(&stage, 8), 1, "it went past the claim");
    testbed::eventually("Redis answers again", async || {
        let Ok(life) = stage.link.life() else { return false };
        stage.link.query::<(String,)>(&life, redis::pipe().cmd("PING")).await.is_ok()
    })
    .await;
    stage.log.deliver();
    assert_eq!(first.await.unwrap().status, LATER, "the claim stands, but it is not the first record");
    stage.work().await;
    testbed::eventually("the body that came first is the order", async || {
        stage.post("k", 8).await.status == OK && stage.post("k", 7).await.status == REUSED
    })
    .await;
}

#[tokio::test]
async fn what_was_never_handed_over_is_given_back_and_what_was_is_not() {
    let stage = Stage::set().await;
    stage.until_proved().await;
    stage.log.set(Fate::QueueFull);
    let full = stage.post("full", 7).await;
    assert_eq!(full.status, LATER);
    assert!(full.headers.contains_key("retry-after"));
    stage.log.set(Fate::Acknowledged);
    assert_eq!(stage.post("full", 8).await.status, OK, "the key is free for another body");

    stage.log.set(Fate::Lost);
    assert_eq!(stage.post("lost", 7).await.status, LATER);
    stage.log.set(Fate::Acknowledged);
    assert_eq!(stage.post("lost", 8).await.status, REUSED, "the key is taken from then on");
    testbed::eventually("after the lease the same body is produced again", async || {
        stage.post("lost", 7).await.status == OK
    })
    .await;
    assert_eq!(submits(&stage, 8), 1);
}
