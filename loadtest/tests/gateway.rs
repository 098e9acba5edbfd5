//! A run against a small gateway in memory whose faults are known: what the generator measures, what its history says,
//! and what the check makes of it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use loadtest::{Follow, History, Pace, Plan, Report, Rule, Second, Target, Verdict, Way, check, run};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// A repeat makes another order.
    SecondOrder,
    /// Orders are forgotten at once.
    Forgets,
    /// Every second submit is told to come again.
    Busy,
    /// Half of the submits get no answer.
    Silent,
    /// Submits are answered when the run's first second is over.
    Slow,
}

#[derive(Clone)]
struct Gateway {
    fault: Fault,
    orders: Arc<Mutex<HashMap<String, (Uuid, Value)>>>,
    calls: Arc<Mutex<u32>>,
    /// That the first second is over.
    later: watch::Receiver<bool>,
}

impl Gateway {
    fn submit(&self, key: &str, body: Value) -> (StatusCode, Option<Uuid>) {
        let call = {
            let mut calls = self.calls.lock().unwrap();
            *calls += 1;
            *calls
        };
        if self.fault == Fault::Busy && call % 2 == 0 {
            return (StatusCode::SERVICE_UNAVAILABLE, None);
        }
        let mut orders = self.orders.lock().unwrap();
        let known = orders.get(key).filter(|_| self.fault != Fault::SecondOrder);
        match known {
            Some((_, other)) if *other != body => (StatusCode::UNPROCESSABLE_ENTITY, None),
            Some((id, _)) => (StatusCode::ACCEPTED, Some(*id)),
            None => {
                let id = chassis::ids::random();
                orders.insert(key.to_owned(), (id, body));
                (StatusCode::ACCEPTED, Some(id))
            }
        }
    }
}

async fn submit(State(mut gateway): State<Gateway>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    assert_eq!(headers["authorization"], "Bearer secret");
    let (status, id) = gateway.submit(headers["idempotency-key"].to_str().unwrap(), body);
    if gateway.fault == Fault::Silent && *gateway.calls.lock().unwrap() % 2 == 0 {
        std::future::pending::<()>().await;
    }
    if gateway.fault == Fault::Slow {
        gateway.later.wait_for(|is_later| *is_later).await.unwrap();
    }
    match id {
        Some(id) => (status, Json(json!({"orderId": id, "status": "PENDING"}))).into_response(),
        None => status.into_response(),
    }
}

async fn batch(State(gateway): State<Gateway>, Json(body): Json<Value>) -> Response {
    let one = |order: &Value| {
        let mut order = order.clone();
        let key = order.as_object_mut().unwrap().remove("idempotencyKey").unwrap();
        let (status, id) = gateway.submit(key.as_str().unwrap(), order);
        json!({"status": status.as_u16(), "orderId": id})
    };
    let results: Vec<Value> = body["orders"].as_array().unwrap().iter().map(one).collect();
    (StatusCode::MULTI_STATUS, Json(json!({"results": results}))).into_response()
}

async fn read(State(gateway): State<Gateway>, Path(id): Path<Uuid>) -> Response {
    let orders = gateway.orders.lock().unwrap();
    if gateway.fault == Fault::Forgets || !orders.values().any(|(known, _)| *known == id) {
        return StatusCode::NOT_FOUND.into_response();
    }
    Json(json!({"orderId": id, "status": "CONFIRMED", "version": 3})).into_response()
}

/// As slow networks cut it, in the middle of an event.
async fn events(State(gateway): State<Gateway>, Path(id): Path<Uuid>) -> Response {
    let orders = gateway.orders.lock().unwrap();
    if !orders.values().any(|(known, _)| *known == id) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let state = json!({"orderId": id, "status": "CONFIRMED", "version": 3});
    let text = format!("retry: 1000\n:\n\nid: 3\ndata: {state}\n\n");
    let (first, second) = text.split_at(60);
    let parts = [first.to_owned(), second.to_owned()].map(Ok::<_, std::convert::Infallible>);
    axum::body::Body::from_stream(futures_util::stream::iter(parts)).into_response()
}

async fn go(fault: Fault, plan: Plan) -> (Report, Verdict, usize) {
    let (is_later, later) = watch::channel(false);
    let gateway = Gateway { fault, orders: Arc::default(), calls: Arc::default(), later };
    let app = Router::new()
        .route("/api/orders", post(submit))
        .route("/api/orders/batch", post(batch))
        .route("/api/orders/{id}", get(read))
        .route("/api/orders/{id}/events", get(events))
        .route("/api/orders/{id}/cancel", post(read))
        .with_state(gateway.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let history = Arc::new(History::in_memory(100_000));
    let target = Target {
        gateway: address,
        token: "secret".to_owned(),
        events: None,
        products: (1..=50).map(Uuid::from_u128).collect(),
    };
    let on_second = |_: &Second| {
        is_later.send_replace(true);
    };
    let report = run(&plan, target, history.clone(), CancellationToken::new(), on_second).await.unwrap();
    server.abort();
    let verdict = check(history.records(), true);
    let orders = gateway.orders.lock().unwrap().len();
    (report, verdict, orders)
}

fn plan() -> Plan {
    Plan {
        pace: Pace::Rate(5_000.0),
        length: Duration::from_secs(60),
        orders: Some(300),
        repeats: 0.2,
        other_bodies: 0.2,
        cancels: 0.1,
        settle: Duration::from_secs(5),
        connections: 64,
        ..Plan::default()
    }
}

fn broken(verdict: &Verdict) -> Vec<Rule> {
    verdict.broken.iter().filter(|(_, count)| **count > 0).map(|(rule, _)| *rule).collect()
}

#[tokio::test]
async fn a_good_gateway_is_found_good_by_every_way_and_pace() {
    for way in [Way::Single, Way::Bulk(50), Way::Bulk(7)] {
        for pace in [Pace::Rate(5_000.0), Pace::Clients(8)] {
            for follow in [
                Follow::Nothing,
                Follow::ReadOnce,
                Follow::Poll(Duration::from_millis(5)),
                Follow::Wait,
                Follow::Events,
            ] {
                let plan = Plan { way, pace, follow: follow.always(), ..plan() };
                let (report, verdict, orders) = go(Fault::None, plan).await;
                assert!(verdict.is_clean(), "{way:?} {pace:?} {follow:?}: {:?}", verdict.violations);
                println!(
                    "{way:?} {pace:?} {follow:?} {} {} {:?} {:?}",
                    report.sending_seconds, report.seconds, report.submit, report.complete
                );
                assert_eq!((orders, report.begun, report.accepted, report.ended()), (300, 300, 300, 300));
                assert_eq!((verdict.accepted, verdict.settled), (300, 300));
                assert!(report.answers[&202] > 300 && report.answers[&422] > 0, "{:?}", report.answers);
                let waited = matches!(follow, Follow::Poll(_) | Follow::Wait | Follow::Events);
                assert_eq!(report.complete.count, if waited { 300 } else { 0 });
            }
        }
    }
}

#[tokio::test]
async fn a_second_order_under_a_key_is_found() {
    let (_, verdict, _) = go(Fault::SecondOrder, plan()).await;
    assert!(broken(&verdict).contains(&Rule::OneOrderAKey), "{verdict:?}");
    assert!(broken(&verdict).contains(&Rule::OneBodyAKey), "{verdict:?}");
}

#[tokio::test]
async fn a_forgotten_order_is_found() {
    let plan = Plan {
        orders: Some(5),
        settle: Duration::from_millis(300),
        patience: Duration::from_millis(300),
        ..plan()
    };
    let (_, verdict, _) = go(Fault::Forgets, plan).await;
    assert_eq!(broken(&verdict), [Rule::AcceptedIsThere, Rule::AcceptedSettles]);
    assert_eq!(verdict.broken[&Rule::AcceptedSettles], 5);
}

#[tokio::test]
async fn who_insists_gets_its_order_and_who_does_not_is_counted() {
    for way in [Way::Single, Way::Bulk(20)] {
        let patient = Plan { way, insist: Duration::from_secs(20), ..plan() };
        let (report, verdict, orders) = go(Fault::Busy, patient).await;
        assert_eq!((report.accepted, orders), (300, 300));
        assert!(verdict.is_clean() && report.answers[&503] >= 100, "{verdict:?}");
        let (report, verdict, orders) = go(Fault::Busy, Plan { way, ..plan() }).await;
        assert!(report.accepted < 300 && u64::try_from(orders).unwrap() == report.accepted);
        assert_eq!(verdict.unknown, 300 - report.accepted);
    }
}

#[tokio::test]
async fn no_answer_claims_nothing_and_a_repeat_finds_the_order() {
    let plan = Plan {
        orders: Some(40),
        repeats: 0.0,
        other_bodies: 0.0,
        patience: Duration::from_millis(300),
        insist: Duration::from_secs(30),
        ..plan()
    };
    let (report, verdict, orders) = go(Fault::Silent, plan).await;
    assert!(report.answers[&0] > 0);
    assert_eq!((report.accepted, orders), (40, 40));
    assert!(verdict.is_clean(), "{:?}", verdict.violations);
}

/// Fifty orders due within 50 ms over one connection, on which nothing is answered for a second: all of them wait most of
/// it, and a generator that counts from the real send would say so of the first alone.
#[tokio::test]
async fn latency_counts_from_the_intended_send() {
    let plan = Plan {
        pace: Pace::Rate(1_000.0),
        orders: Some(50),
        connections: 1,
        follow: Follow::Nothing.always(),
        repeats: 0.0,
        other_bodies: 0.0,
        cancels: 0.0,
        ..plan()
    };
    let (report, verdict, _) = go(Fault::Slow, plan).await;
    assert!(verdict.is_clean());
    assert!(report.submit.max > 900.0 && report.submit.p50 > 400.0, "{:?}", report.submit);
}

#[tokio::test]
async fn a_plan_that_orders_nothing_is_refused() {
    let target = Target {
        gateway: "127.0.0.1:1".parse().unwrap(),
        token: "x".to_owned(),
        events: None,
        products: vec![],
    };
    let history = Arc::new(History::in_memory(1));
    let refused = run(&plan(), target, history, CancellationToken::new(), |_| {}).await;
    assert!(refused.unwrap_err().to_string().contains("product"));
}
