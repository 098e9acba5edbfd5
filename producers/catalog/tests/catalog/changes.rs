//! Changes: who may make them, on which version, and what is said of them.

use crate::stage::{Answer, Stage, path};
use axum::http::StatusCode;
use futures_util::future::join_all;
use schemas::{
    messages::{CatalogEvent, ProductChanged},
    outbox,
    topics::{self, Topic},
};
use serde_json::{Value, json};
use sqlx::Row;

/// What the outbox holds, in the order it is sent.
async fn said(stage: &Stage) -> Vec<(u64, ProductChanged)> {
    let mut relay = stage.connect("relay").await;
    let rows = sqlx::query("SELECT format, records FROM catalog.outbox ORDER BY lane, seq");
    let rows = rows.fetch_all(&mut relay).await.unwrap();
    let records = rows.iter().flat_map(|row| outbox::unpack(row.get(0), row.get(1)).unwrap());
    let of = |record: outbox::OutboxRecord| {
        let CatalogEvent::ProductChanged(event) = CatalogEvent::decode(&record.payload).unwrap();
        assert_eq!(record.topic, Topic::CatalogEvents);
        assert_eq!(record.key, topics::key(event.product_id.0));
        assert_eq!(record.partition, topics::partition_of(&record.key, 4));
        (record.n, event)
    };
    records.map(of).collect()
}

fn tag(answer: &Answer) -> &str {
    answer.headers["etag"].to_str().unwrap()
}

fn product(name: &str) -> Value {
    json!({"name": name, "description": "d", "category": "toys", "price": {"amount": 5, "currency": "USD"}})
}

#[tokio::test]
async fn a_change_is_a_row_and_an_event_and_a_version() {
    let stage = Stage::set().await;
    let seen = stage.get(&path(1)).await;
    let made = stage
        .write("PATCH", &path(1), tag(&seen), &json!({"price": {"amount": 90, "currency": "USD"}}))
        .await;
    assert_eq!((made.status, tag(&made)), (StatusCode::OK, "\"2\""));
    let off = stage.write("PATCH", &path(1), "\"2\"", &json!({"active": false, "name": "gone"})).await;
    assert_eq!(
        (off.status, &off.body["version"], &off.body["active"]),
        (StatusCode::OK, &json!(3), &json!(false))
    );
    let same = stage.write("PATCH", &path(1), "\"3\"", &json!({"active": false})).await;
    assert_eq!((same.status, tag(&same)), (StatusCode::OK, "\"3\""), "nothing changes, nothing is said");
    let said = said(&stage).await;
    let changed: Vec<_> =
        said.iter().map(|(n, event)| (*n, event.version, event.changed.join(" "))).collect();
    assert_eq!(changed, [(1, 2, "price".to_owned()), (2, 3, "name active".to_owned())]);
    let last = &said[1].1;
    assert_eq!((last.price, last.is_active, last.name.as_str()), (90, false, "gone"));
    assert!(last.changed_by.ends_with("ann"));
    // a reader who names the change has it, whatever is cached
    let place = off.headers["read-after"].to_str().unwrap();
    let read = stage.get_with(&path(1), &[("read-after", place)]).await;
    assert_eq!(read.body["name"], "gone");
    let list = stage.get_with("/api/products?category=toys", &[("read-after", place)]).await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
    let bad = stage.get_with(&path(1), &[("read-after", "yesterday")]).await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn of_many_who_saw_one_version_one_changes_it() {
    let stage = Stage::set().await;
    let changes = (0..10).map(|n| {
        let body = json!({"price": {"amount": 1_000 + n, "currency": "USD"}});
        let stage = &stage;
        async move { stage.write("PATCH", &path(2), "\"1-0\"", &body).await.status }
    });
    let mut outcomes = join_all(changes).await;
    outcomes.sort_unstable();
    assert_eq!(outcomes[0], StatusCode::OK);
    assert!(outcomes[1..].iter().all(|status| *status == StatusCode::PRECONDITION_FAILED), "{outcomes:?}");
    assert_eq!(said(&stage).await.len(), 1);
}

#[tokio::test]
async fn a_product_is_added_once() {
    let stage = Stage::set().await;
    assert_eq!(stage.get(&path(60)).await.status, StatusCode::NOT_FOUND);
    let added = stage.write("PUT", &path(60), "", &product("new")).await;
    assert_eq!((added.status, tag(&added)), (StatusCode::CREATED, "\"1\""));
    assert_eq!(added.headers["location"], path(60).as_str());
    assert_eq!(stage.write("PUT", &path(60), "", &product("new")).await.status, StatusCode::OK);
    let other = stage.write("PUT", &path(60), "", &product("other")).await;
    assert_eq!(other.status, StatusCode::PRECONDITION_FAILED);
    let place = added.headers["read-after"].to_str().unwrap();
    let read = stage.get_with(&path(60), &[("read-after", place)]).await;
    assert_eq!((read.status, &read.body["available"]), (StatusCode::OK, &json!(0)));
    let said = said(&stage).await;
    assert_eq!((said.len(), said[0].1.version, said[0].1.changed.len()), (1, 1, 5));
}

#[tokio::test]
async fn a_change_that_cannot_be_is_refused_and_says_why() {
    let stage = Stage::set().await;
    let body = json!({"active": false});
    let plain = stage.token(&[]);
    for (method, headers, status) in [
        ("PATCH", vec![], StatusCode::UNAUTHORIZED),
        ("PATCH", vec![("authorization", plain.as_str())], StatusCode::FORBIDDEN),
        ("PUT", vec![("authorization", plain.as_str())], StatusCode::FORBIDDEN),
    ] {
        assert_eq!(stage.call(method, &path(1), &headers, Some(&body)).await.status, status);
    }
    let patch = async |n, tag: &str, body: Value| stage.write("PATCH", &path(n), tag, &body).await.status;
    assert_eq!(patch(1, "*", body.clone()).await, StatusCode::BAD_REQUEST);
    assert_eq!(patch(1, "\"7\"", body.clone()).await, StatusCode::PRECONDITION_FAILED);
    assert_eq!(patch(99, "\"1\"", body).await, StatusCode::NOT_FOUND);
    assert_eq!(patch(1, "\"1\"", json!({"category": "cars"})).await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(patch(1, "\"1\"", json!({"stock": 5})).await, StatusCode::UNPROCESSABLE_ENTITY);
    let mut nowhere = product("new");
    nowhere["category"] = json!("cars");
    let refused = stage.write("PUT", &path(61), "", &nowhere).await;
    assert_eq!(
        (refused.status, &refused.body["errors"][0]["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("category"))
    );
    assert!(said(&stage).await.is_empty());
}
