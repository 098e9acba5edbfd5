//! Postgres away in each way there is: gone, frozen, fallen silent, full, busy. The worker says so, lives, blames no
//! record, and goes on by itself.

use super::{
    road::{Road, Running, assert_each_once_in_order, keys},
    toy::{Step, Toy},
};
use crate::config::WorkerConfig;
use chassis::settings::Secret;
use std::time::Duration;
use testbed::{Proxy, eventually};
use uuid::Uuid;

async fn all_stand_at(road: &Road, keys: &[Uuid], n: i64) {
    eventually("every key is done", async || {
        let stands = road.stands().await;
        keys.iter().all(|key| stands.get(key) == Some(&n))
    })
    .await;
}

async fn says(worker: &Running, what: &str) {
    eventually(what, async || {
        worker.health.parts().values().any(|state| state.as_ref().is_err_and(|why| why.contains(what)))
    })
    .await;
    assert!(!worker.task.is_finished(), "it is alive");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_cut_off_frozen_or_silent_is_waited_for_and_nothing_is_lost_or_done_twice() {
    let road = Road::build().await;
    let url = road.database.url("orders");
    let host = url.rsplit_once('@').unwrap().1.split_once('/').unwrap().0;
    let proxy = Proxy::to(host).await;
    let config = WorkerConfig {
        database: Secret::new(proxy.in_url(&url)),
        batch_timeout: Duration::from_secs(2),
        ..road.config()
    };
    let toy = Toy::default();
    let worker = Road::work_with(&toy, config);
    worker.is_ready().await;
    let keys = keys(20);
    let mut n = 0;
    for what in ["cut", "held", "silent", "answers held"] {
        n += 1;
        for key in &keys {
            road.send(*key, Step::To(n)).await;
        }
        match what {
            "cut" => proxy.cut(),
            "held" => proxy.hold(),
            // a commit may be on its way back just now: then nobody knows whether it happened
            "answers held" => proxy.hold_answers(),
            // new connections work at once, and only the old one must be found out
            _ => proxy.silence(),
        }
        n += 1;
        for key in &keys {
            road.send(*key, Step::To(n)).await;
        }
        if what != "silent" {
            says(&worker, "Postgres").await;
            proxy.open();
        }
        all_stand_at(&road, &keys, n).await;
        worker.is_ready().await;
    }
    assert_eq!(road.parked().await, []);
    worker.end().await;
    // what was committed without an answer is not in `seen`; what is there is in order and never twice
    let seen = toy.seen.lock().unwrap();
    for key in &keys {
        let numbers: Vec<i64> = seen.iter().filter(|(of, _)| of == key).map(|(_, n)| *n).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{key}: {numbers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_cannot_do_just_now_is_tried_again_and_no_record_is_blamed() {
    // serialization failure, deadlock, lock not available, disk full, shutting down, out of memory
    let refusals = ["40001", "40P01", "55P03", "53100", "57P01", "53200"];
    let road = Road::build().await;
    let mut admin = road.database.connect_admin().await;
    // each of the first writes is refused with the next code; a sequence counts on although its transaction is undone
    for statement in [
        "CREATE SEQUENCE orders.refused".to_owned(),
        "GRANT USAGE ON SEQUENCE orders.refused TO mambogo_orders".to_owned(),
        format!(
            "CREATE FUNCTION orders.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE codes text[] := ARRAY['{}']; turn bigint := nextval('orders.refused');
             BEGIN
               IF turn <= cardinality(codes) THEN RAISE EXCEPTION 'not now' USING ERRCODE = codes[turn]; END IF;
               RETURN NEW;
             END $$",
            refusals.join("','")
        ),
        "CREATE TRIGGER refuse BEFORE INSERT ON orders.toy FOR EACH STATEMENT EXECUTE FUNCTION orders.refuse()"
            .to_owned(),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut admin).await.unwrap();
    }
    // one record: halving its batch would blame it at once
    let keys = keys(1);
    for key in &keys {
        road.send(*key, Step::To(1)).await;
    }
    let toy = Toy::default();
    let worker = road.work(&toy);
    all_stand_at(&road, &keys, 1).await;
    let turns: i64 =
        sqlx::query_scalar("SELECT last_value FROM orders.refused").fetch_one(&mut admin).await.unwrap();
    assert!(turns > i64::try_from(refusals.len()).unwrap(), "all of them were met");
    assert_eq!(road.parked().await, [], "no record is to blame");
    worker.is_ready().await;
    worker.end().await;
    assert_each_once_in_order(&toy.seen.lock().unwrap(), &keys, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_stray_session_holds_is_waited_for_and_no_record_is_blamed() {
    let road = Road::build().await;
    let toy = Toy::default();
    let worker = road.work(&toy);
    worker.is_ready().await;
    let keys = keys(20);
    for key in &keys {
        road.send(*key, Step::To(1)).await;
    }
    all_stand_at(&road, &keys, 1).await;
    // a stray session reads, forgets to end its transaction, and holds one row of one key as well
    let held = keys[0];
    let mut stray = road.database.connect("orders").await;
    let mut tx = sqlx::Connection::begin(&mut stray).await.unwrap();
    sqlx::query("SELECT n FROM orders.toy WHERE key = $1 FOR UPDATE")
        .bind(held)
        .execute(&mut *tx)
        .await
        .unwrap();
    for key in &keys {
        road.send(*key, Step::To(2)).await;
    }
    eventually("batches with that key are tried again", async || {
        let locked: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        locked > 0
    })
    .await;
    assert_eq!(road.parked().await, []);
    tx.rollback().await.unwrap();
    all_stand_at(&road, &keys, 2).await;
    assert_eq!(road.parked().await, []);
    worker.end().await;
    assert_each_once_in_order(&toy.seen.lock().unwrap(), &keys, 2);
}
