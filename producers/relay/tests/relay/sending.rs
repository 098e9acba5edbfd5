//! Against the real Kafka and Postgres: what a relay sends and deletes, and who sends it.

use crate::bed::{Outbox, Running, each_is_taken_once, log};
use chassis::settings::Secret;
use relay::{RelayConfig, SourceConfig};
use schemas::topics::Topic;
use sqlx::{Executor, Row};
use std::time::{Duration, Instant};

const TO: Topic = Topic::OrderCommands;
#[tokio::test]
async fn rows_are_sent_in_sequence_with_their_source_and_deleted() {
    let (mut outbox, lanes) = Outbox::create(1).await;
    let topics = testbed::Topics::create(2).await;
    for i in 0..50u8 {
        let row = [(TO, 1, vec![i, 0]), (Topic::OrderEvents, 0, vec![i]), (TO, 1, vec![i, 1])];
        outbox.say(lanes[0], &row).await;
    }
    let relay = Running::start(outbox.config(topics.publisher()));
    outbox.emptied().await;
    relay.ready().await;

    let records = log(&topics.publisher(), TO, 1).await;
    assert_eq!(records.len(), 100);
    for (i, record) in records.iter().enumerate() {
        let (n, byte) = (i as u64 + 1, u8::try_from(i / 2).unwrap());
        assert_eq!((record.source.lane, record.source.n), (lanes[0], n));
        assert!(record.source.floor < n);
        assert_eq!(record.payload, [byte, u8::try_from(i % 2).unwrap()]);
        assert_eq!(record.key, format!("key-{n}").into_bytes());
        assert_eq!(record.headers, ["mb", "mb-cause"]);
        assert_eq!(record.envelope.occurred_at.0, 1_700_000_000_000);
    }
    assert_eq!(log(&topics.publisher(), Topic::OrderEvents, 0).await.len(), 50);

    // once all is acknowledged, the next record's floor says so
    outbox.say(lanes[0], &[(TO, 1, vec![9])]).await;
    relay.wake.notify("orders");
    outbox.emptied().await;
    let records = log(&topics.publisher(), TO, 1).await;
    assert_eq!((records[100].source.n, records[100].source.floor), (101, 100));

    relay.stop().await;
    assert_eq!(outbox.leases().await, Vec::<i64>::new(), "a stop gives the lanes back");
}

#[tokio::test]
async fn it_is_woken_in_process_and_by_notification() {
    let (mut outbox, lanes) = Outbox::create(1).await;
    let topics = testbed::Topics::create(1).await;
    let slow = RelayConfig {
        // nothing but the first tick comes in this test's time
        tick: Duration::from_secs(120),
        ..outbox.config(topics.publisher())
    };
    let relay = Running::start(slow);
    testbed::eventually("it has its lane", async || !outbox.leases().await.is_empty()).await;
    testbed::eventually("it says that it sends all", async || relay.wake.covers_all()).await;
    outbox.say(lanes[0], &[(TO, 0, vec![1])]).await;
    relay.wake.notify("orders");
    outbox.emptied().await;

    let begun = Instant::now();
    outbox.say(lanes[0], &[(TO, 0, vec![2])]).await;
    let mut other = outbox.database.connect("orders").await;
    // its ear may not be up yet, and nobody tells: notify until it has heard
    testbed::eventually("it has heard", async || {
        other.execute("SELECT pg_notify('mambogo_outbox', '')").await.unwrap();
        outbox.rows_left().await.is_empty()
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(60));
    relay.stop().await;
}

#[tokio::test]
async fn killed_between_acknowledgement_and_delete_it_sends_the_same_numbers_again() {
    let (mut outbox, lanes) = Outbox::create(1).await;
    let topics = testbed::Topics::create(1).await;
    for i in 0..5 {
        outbox.say(lanes[0], &[(TO, 0, vec![i])]).await;
    }
    let mut lock = outbox.database.connect("orders").await;
    lock.execute("BEGIN; SELECT * FROM outbox FOR UPDATE").await.unwrap();
    let first = Running::start(outbox.config(topics.publisher()));
    testbed::eventually("all is on the log", async || log(&topics.publisher(), TO, 0).await.len() >= 5).await;
    first.kill().await;
    let mut admin = outbox.database.connect_admin().await;
    testbed::eventually("its connections are gone", async || {
        let busy = "SELECT count(*) AS n FROM pg_stat_activity
                    WHERE datname = current_database() AND usename = 'mambogo_relay'";
        admin.fetch_one(busy).await.unwrap().get::<i64, _>("n") == 0
    })
    .await;
    lock.execute("COMMIT").await.unwrap();
    assert_eq!(outbox.rows_left().await[&lanes[0]], 5);

    let second = Running::start(outbox.config(topics.publisher()));
    outbox.emptied().await;
    second.stop().await;
    let numbers: Vec<u64> = log(&topics.publisher(), TO, 0).await.iter().map(|r| r.source.n).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]);
    each_is_taken_once(&outbox, &topics.publisher()).await;
}

#[tokio::test]
async fn two_relays_that_send_everything_spoil_nothing() {
    let (mut outbox, lanes) = Outbox::create(2).await;
    let topics = testbed::Topics::create(2).await;
    let config = RelayConfig { leases: false, ..outbox.config(topics.publisher()) };
    let relays = [Running::start(config.clone()), Running::start(config.clone())];
    for i in 0..150u8 {
        for lane in &lanes {
            outbox.say(*lane, &[(TO, i32::from(i % 2), vec![i]), (Topic::OrderEvents, 0, vec![i])]).await;
        }
        relays.iter().for_each(|relay| relay.wake.notify("orders"));
    }
    outbox.emptied().await;
    for relay in relays {
        relay.stop().await;
    }
    each_is_taken_once(&outbox, &topics.publisher()).await;
}

#[tokio::test]
async fn relays_share_the_lanes_and_one_takes_over_when_another_dies() {
    let (mut outbox, lanes) = Outbox::create(4).await;
    let topics = testbed::Topics::create(1).await;
    let config = RelayConfig { lease_time: Duration::from_millis(900), ..outbox.config(topics.publisher()) };
    let first = Running::start(config.clone());
    testbed::eventually("one relay has all", async || outbox.leases().await == [4]).await;
    testbed::eventually("and says so", async || first.wake.covers_all()).await;
    let second = Running::start(config.clone());
    testbed::eventually("two have half each", async || outbox.leases().await == [2, 2]).await;
    testbed::eventually("and neither has all", async || !first.wake.covers_all()).await;
    first.kill().await;
    let begun = Instant::now();
    for lane in &lanes {
        outbox.say(*lane, &[(TO, 0, vec![1])]).await;
    }
    outbox.emptied().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(outbox.leases().await, [4]);
    let third = Running::start(config);
    testbed::eventually("a new one gets its share", async || outbox.leases().await == [2, 2]).await;
    second.stop().await;
    testbed::eventually("what is given back is taken", async || outbox.leases().await == [4]).await;
    third.stop().await;
    each_is_taken_once(&outbox, &topics.publisher()).await;
}

#[tokio::test]
async fn a_large_backlog_in_one_lane_does_not_hold_up_another_and_flows_whole() {
    let (mut outbox, lanes) = Outbox::create(2).await;
    let topics = testbed::Topics::create(1).await;
    for _ in 0..300 {
        outbox.say(lanes[0], &[(TO, 0, crate::bed::noise(20_000))]).await;
    }
    outbox.say(lanes[1], &[(TO, 0, vec![1])]).await;
    let mut config = outbox.config(topics.publisher());
    (config.limits.records, config.limits.lane_records) = (20, 10);
    (config.limits.bytes, config.limits.lane_bytes) = (400_000, 100_000);
    let relay = Running::start(config);
    outbox.emptied().await;
    relay.stop().await;
    let log = log(&topics.publisher(), TO, 0).await;
    assert_eq!(log.len(), 301);
    let at = log.iter().position(|record| record.source.lane == lanes[1]).unwrap();
    assert!(at < 20, "the other lane's record came after {at} of the backlog");
}

#[tokio::test]
async fn lost_connections_and_a_database_that_is_away_are_waited_for() {
    let (mut outbox, lanes) = Outbox::create(2).await;
    let topics = testbed::Topics::create(1).await;
    let relay = Running::start(outbox.config(topics.publisher()));
    relay.ready().await;
    let mut admin = outbox.database.connect_admin().await;
    for i in 0..60 {
        outbox.say(lanes[usize::from(i % 2)], &[(TO, 0, vec![i])]).await;
        if i % 20 == 10 {
            let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE datname = current_database() AND usename = 'mambogo_relay'";
            admin.execute(all).await.unwrap();
        }
    }
    outbox.emptied().await;
    relay.ready().await;
    relay.stop().await;
    each_is_taken_once(&outbox, &topics.publisher()).await;

    let url = Secret::new("postgres://nobody:nothing@127.0.0.1:1/nowhere");
    let nowhere = vec![SourceConfig { url, schema: "orders".to_owned() }];
    let away = Running::start(RelayConfig::new(topics.publisher(), nowhere));
    away.not_ready("Postgres").await;
    away.stop().await;
}

/// A server that dies forgets deletes that it has answered: they do not wait for its disk. Nobody but the relay takes those
/// rows away, and a worker whose outbox is old waits for it.
#[tokio::test]
async fn rows_that_a_server_has_back_after_it_died_are_sent_again_and_deleted() {
    let (mut outbox, lanes) = Outbox::create(2).await;
    let topics = testbed::Topics::create(1).await;
    for i in 0..10 {
        outbox.say(lanes[usize::from(i % 2)], &[(TO, 0, vec![i])]).await;
    }
    let mut admin = outbox.database.connect_admin().await;
    admin.execute("CREATE TABLE orders.remembered AS SELECT * FROM orders.outbox").await.unwrap();
    let relay = Running::start(outbox.config(topics.publisher()));
    outbox.emptied().await;
    admin.execute("INSERT INTO orders.outbox SELECT * FROM orders.remembered").await.unwrap();
    let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND usename = 'mambogo_relay'";
    admin.execute(all).await.unwrap();
    outbox.emptied().await;
    relay.ready().await;
    relay.stop().await;
    each_is_taken_once(&outbox, &topics.publisher()).await;
}
