//! Three levels: what a reader sees while they fill, age, forget, and go away.

use crate::stage::{Stage, path};
use axum::http::StatusCode;
use futures_util::future::join_all;
use schemas::{
    ids::ProductId,
    money::{Currency, Money},
    shelf::{CHANNEL, Change, Facts, Stock},
    time::Timestamp,
};
use std::time::{Duration, Instant};
use uuid::Uuid;

fn facts(n: u128, version: i64) -> Facts {
    Facts {
        id: ProductId(Uuid::from_u128(n)),
        version,
        name: format!("version {version}"),
        description: "d".to_owned(),
        category: "toys".to_owned(),
        price: Money::new(100, Currency::USD),
        active: true,
    }
}

fn change(n: u128, version: Option<i64>, stock: Option<Stock>) -> Change {
    let facts = version.map(|version| facts(n, version));
    Change { id: ProductId(Uuid::from_u128(n)), facts, stock, at: Timestamp(0) }
}

/// Tells the gateways, as the worker does.
async fn tell(stage: &Stage, changes: &[Change]) {
    let text = serde_json::to_string(changes).unwrap().replace('\\', "\\\\").replace('"', "\\\"");
    assert_eq!(stage.redis.command(&format!("PUBLISH {CHANNEL} \"{text}\"")).await, ":1");
}

async fn shown(stage: &Stage, n: u128) -> (StatusCode, Option<String>, Option<i64>) {
    let answer = stage.get(&path(n)).await;
    (answer.status, answer.body["name"].as_str().map(str::to_owned), answer.body["available"].as_i64())
}

#[tokio::test]
async fn a_stampede_on_a_cold_key_is_one_read() {
    let stage = Stage::set().await;
    let before = stage.reads().await;
    let answers = join_all((0..1_000).map(|_| shown(&stage, 3))).await;
    let expected = (StatusCode::OK, Some("product 3".to_owned()), Some(7));
    assert!(answers.iter().all(|answer| *answer == expected));
    assert_eq!(stage.reads().await - before, 1);
    // and one for a product that there is not, however often it is asked for
    join_all((0..1_000).map(|_| async { assert_eq!(shown(&stage, 77).await.0, StatusCode::NOT_FOUND) }))
        .await;
    assert_eq!(stage.reads().await - before, 2);
}

#[tokio::test]
async fn a_change_is_seen_when_it_is_told_and_an_older_one_never_replaces_it() {
    let stage = Stage::set().await;
    assert_eq!(shown(&stage, 1).await.1.unwrap(), "product 1");
    let stock = |version, available| Some(Stock { version, available });
    tell(&stage, &[change(1, Some(3), stock(9, 5)), change(2, Some(8), None)]).await;
    testbed::eventually("the newer version is shown", async || {
        shown(&stage, 1).await == (StatusCode::OK, Some("version 3".to_owned()), Some(5))
    })
    .await;
    tell(&stage, &[change(1, Some(2), stock(8, 99))]).await;
    tell(&stage, &[change(1, None, stock(10, 4))]).await;
    testbed::eventually("the newer stock is shown", async || shown(&stage, 1).await.2 == Some(4)).await;
    let answer = stage.get(&path(1)).await;
    assert_eq!((&answer.body["version"], &answer.headers["etag"]), (&3.into(), &"\"3-10\"".parse().unwrap()));
}

#[tokio::test]
async fn a_read_of_an_old_row_cannot_pass_what_redis_was_told() {
    let stage = Stage::set().await;
    // the worker heard of version 5 and of stock 4 while the row, of a replica, is still at version 1
    let json = serde_json::to_string(&facts(2, 5)).unwrap().replace('"', "\\\"");
    let key = schemas::shelf::key(ProductId(Uuid::from_u128(2)));
    stage.redis.command(&format!("HSET {key} v 5 f \"{json}\"")).await;
    assert_eq!(shown(&stage, 2).await, (StatusCode::OK, Some("version 5".to_owned()), Some(7)));
    let key = schemas::shelf::key(ProductId(Uuid::from_u128(3)));
    stage.redis.command(&format!("HSET {key} sv 4 s 1")).await;
    assert_eq!(shown(&stage, 3).await, (StatusCode::OK, Some("product 3".to_owned()), Some(1)));
    let left: i64 = stage.redis.command(&format!("TTL {key}")).await.trim_start_matches(':').parse().unwrap();
    assert!((1_600..=1_800).contains(&left), "{left}");
}

#[tokio::test]
async fn redis_away_is_no_error_and_when_it_is_back_changes_are_heard_again() {
    let stage = Stage::set().await;
    let all_answer = async |when: &str| {
        for n in 1..=5 {
            let began = Instant::now();
            assert_eq!(shown(&stage, n).await.0, StatusCode::OK, "{when}");
            assert!(began.elapsed() < Duration::from_secs(5), "{when}: {:?}", began.elapsed());
        }
        assert_eq!(shown(&stage, 50).await.0, StatusCode::NOT_FOUND, "{when}");
    };
    all_answer("cold").await;
    stage.way.cut();
    all_answer("cut").await;
    stage.way.open();
    stage.until_it_hears().await;
    all_answer("back").await;
    stage.way.silence();
    all_answer("silent").await;
    tell_until_heard(&stage).await;
    all_answer("back again").await;
}

/// The old listener is silent, its place is taken by a new one.
async fn tell_until_heard(stage: &Stage) {
    let mut version = 10;
    testbed::eventually("a change is heard again", async || {
        version += 1;
        let text = serde_json::to_string(&[change(4, Some(version), None)]).unwrap().replace('"', "\\\"");
        assert_eq!(shown(stage, 4).await.0, StatusCode::OK);
        stage.redis.command(&format!("PUBLISH {CHANNEL} \"{text}\"")).await;
        shown(stage, 4).await.1.is_some_and(|name| name.starts_with("version"))
    })
    .await;
}
