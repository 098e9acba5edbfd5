//! Orders watched as server-sent events: as they come, after a break, by slow readers, by too many, and by others.
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

use axum::{
    body::{Body, BodyDataStream},
    http::{Request, StatusCode},
};
use futures_util::StreamExt;
use ingress::serve::Stopping;
use schemas::messages::OrderStatus;
use serde_json::Value;
use stage::Stage;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// An open stream, and what of it has been read but not taken.
struct Reader {
    stream: BodyDataStream,
    text: String,
}

/// One event: its id and the order in it.
type Event = (i64, Value);

impl Reader {
    async fn open(stage: &Stage, request: Request<Body>) -> Self {
        let response = stage.app().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert!(response.headers()["cache-control"].to_str().unwrap().contains("no-transform"));
        Self { stream: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event; `None` at the end of the stream. Comments, and all but id and data, are passed over.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let event = event_of(block);
                self.text = rest.to_owned();
                match event {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.stream.next()).await.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk?.unwrap()).unwrap());
        }
    }

    async fn ids(mut self) -> Vec<i64> {
        let mut ids = Vec::new();
        while let Some((id, _)) = self.next().await {
            ids.push(id);
        }
        ids
    }
}

fn event_of(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let id = field("id: ")?.parse().unwrap();
    Some((id, serde_json::from_str(field("data: ")?).unwrap()))
}

fn watch(stage: &Stage, id: &str, user: &str, last: Option<i64>) -> Request<Body> {
    let request = stage.request("GET", &format!("/api/orders/{id}/events"), user);
    let request = last.into_iter().fold(request, |request, last| request.header("last-event-id", last));
    request.body(Body::empty()).unwrap()
}

async fn order(stage: &Stage) -> String {
    stage.until_proved().await;
    stage.post("k", 7).await.body["orderId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_state_is_told_as_it_comes_and_the_end_ends_it() {
    let stage = Stage::set().await;
    let id = order(&stage).await;
    let mut reader = Reader::open(&stage, watch(&stage, &id, "ann", None)).await;
    let (version, told) = reader.next().await.unwrap();
    assert_eq!((version, &told["status"]), (0, &"PENDING".into()));
    for (version, status) in [(2, OrderStatus::Reserved), (3, OrderStatus::Confirmed)] {
        stage.publish(&stage.state(&id, version, status)).await;
        let (id, told) = reader.next().await.unwrap();
        assert_eq!((id, &told["status"]), (version, &status.as_str().into()));
        assert_eq!(told["version"], version);
    }
    assert!(reader.next().await.is_none());
}

#[tokio::test]
async fn who_was_away_is_told_what_is_newer_and_not_to_come_again_after_the_end() {
    let stage = Stage::set().await;
    let id = order(&stage).await;
    stage.publish(&stage.state(&id, 2, OrderStatus::Reserved)).await;
    let mut reader = Reader::open(&stage, watch(&stage, &id, "ann", Some(2))).await;
    let (next, _) = tokio::join!(reader.next(), async {
        stage.publish(&stage.state(&id, 3, OrderStatus::Confirmed)).await;
    });
    assert_eq!(next.unwrap().0, 3);
    assert!(reader.next().await.is_none());
    assert_eq!(Reader::open(&stage, watch(&stage, &id, "ann", Some(1))).await.ids().await, [3]);
    let over = stage.call(watch(&stage, &id, "ann", Some(3))).await;
    assert_eq!((over.status, over.body), (StatusCode::NO_CONTENT, Value::Null));
    // what does not read is a reader that has nothing
    let mut odd = watch(&stage, &id, "ann", None);
    odd.headers_mut().insert("last-event-id", "newest".parse().unwrap());
    assert_eq!(Reader::open(&stage, odd).await.ids().await, [3]);
}

#[tokio::test]
async fn a_slow_reader_is_told_the_newest_state_and_nothing_waits_for_it() {
    let stage = Stage::set().await;
    let id = order(&stage).await;
    let reader = Reader::open(&stage, watch(&stage, &id, "ann", None)).await;
    for version in 2..100 {
        stage.publish(&stage.state(&id, version, OrderStatus::Reserved)).await;
    }
    stage.publish(&stage.state(&id, 100, OrderStatus::Confirmed)).await;
    assert_eq!(reader.ids().await, [0, 100]);
}

#[tokio::test]
async fn nobody_watches_what_is_not_theirs_or_takes_every_place() {
    let stage = Stage::set().await;
    let id = order(&stage).await;
    stage.work().await;
    let others = stage.call(watch(&stage, &id, "bob", None)).await;
    let absent = stage.call(watch(&stage, "00000000-0000-0000-0000-000000000001", "bob", None)).await;
    assert_eq!((others.status, &others.body), (StatusCode::NOT_FOUND, &absent.body));
    let mut open = Vec::new();
    for _ in 0..50 {
        open.push(Reader::open(&stage, watch(&stage, &id, "ann", None)).await);
    }
    let refused = stage.call(watch(&stage, &id, "ann", None)).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers.contains_key("retry-after"));
    open.pop();
    Reader::open(&stage, watch(&stage, &id, "ann", None)).await;
}

#[tokio::test]
async fn a_port_that_stops_ends_its_streams() {
    let stage = Stage::set().await;
    let id = order(&stage).await;
    let stop = CancellationToken::new();
    let mut request = watch(&stage, &id, "ann", None);
    request.extensions_mut().insert(Stopping(stop.clone()));
    let mut reader = Reader::open(&stage, request).await;
    assert_eq!(reader.next().await.unwrap().0, 0);
    stop.cancel();
    assert!(reader.next().await.is_none());
}
