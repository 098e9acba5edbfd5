//! A real streaming replica: near, held back, and gone.

use crate::stage::{Stage, path};
use axum::http::StatusCode;
use serde_json::json;
use testbed::{Replicated, eventually};

/// The names in the list of toys, for somebody who wrote nothing, or for who wrote at `after`.
async fn first(stage: &Stage, after: Option<&str>) -> String {
    let headers: Vec<_> = after.iter().map(|place| ("read-after", *place)).collect();
    let answer = stage.get_with("/api/products?category=toys&limit=1", &headers).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body["items"][0]["name"].as_str().unwrap().to_owned()
}

/// Renames the first toy; the place of the change.
async fn rename(stage: &Stage, version: u32, name: &str) -> String {
    let changed = stage.write("PATCH", &path(1), &format!("\"{version}\""), &json!({"name": name})).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    changed.headers["read-after"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_to_the_replica_unless_it_lags_is_away_or_has_not_what_the_caller_wrote() {
    let mut both = Replicated::start().await;
    let replica = both.replica("edge");
    let patient = [("CATALOG_REPLICA_URL", replica.as_str()), ("CATALOG_REPLICA_MAX_LAG", "1h")];
    let strict = [("CATALOG_REPLICA_URL", replica.as_str()), ("CATALOG_REPLICA_MAX_LAG", "100ms")];
    let patient = Stage::on_replicated(&both, &patient).await;
    let strict = Stage::on_replicated(&both, &strict).await;
    let is_read = async |stage: &Stage, name: &str| first(stage, None).await == name;

    let place = rename(&patient, 1, "one").await;
    assert_eq!(first(&patient, Some(&place)).await, "one", "near or not, who wrote reads it");
    eventually("the replica follows", async || is_read(&patient, "one").await).await;

    both.hold_replica().await;
    let place = rename(&patient, 2, "two").await;
    // that it is the replica that is read shows in what it does not know
    eventually("who wrote nothing has the replica's answer", async || is_read(&patient, "one").await).await;
    assert_eq!(first(&patient, Some(&place)).await, "two");
    let read = patient.get_with(&path(1), &[("read-after", &place)]).await;
    assert_eq!(read.body["name"], "two");
    eventually("a replica that lags is not read", async || is_read(&strict, "two").await).await;

    both.release_replica().await;
    eventually("it has caught up", async || is_read(&patient, "two").await).await;

    both.stop_replica();
    assert_eq!(first(&patient, None).await, "two", "away is no error");
    let place = rename(&patient, 3, "three").await;
    assert_eq!(first(&strict, None).await, "three");
    assert_eq!(first(&patient, Some(&place)).await, "three");

    both.start_replica().await;
    both.hold_replica().await;
    rename(&patient, 4, "four").await;
    eventually("it is read again when it is back", async || !is_read(&patient, "four").await).await;
}
