//! Ten thousand clients that hold a connection and say nothing. The gateway has room for all of them, whatever number of
//! descriptors it was started with; who speaks is served meanwhile; who comes when every place is taken waits, and is
//! served when there is one.

use crate::system::{Process, System, order_of};
use futures_util::{StreamExt, stream};
use std::{process::Command, time::Duration};
use testbed::eventually_within;
use tokio::{net::TcpStream, task::JoinSet};

/// As many as the gateway takes by default.
const PLACES: usize = 10_000;
/// Come when every place is taken.
const LATE: usize = 5;

/// This process holds the other ends of all of them.
fn make_room() {
    let own = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &own, "--nofile=16000:"]).output().unwrap();
    let error = String::from_utf8_lossy(&raised.stderr);
    assert!(raised.status.success(), "ten thousand connections need 16,000 open files (ulimit -Hn): {error}");
}

/// Longer than any machine takes to open them all: that idle connections are given up is a test of ingress.
const IDLE: [(&str, &str); 2] = [("HTTP_HEADER_TIMEOUT", "10m"), ("HTTP_IDLE_TIMEOUT", "10m")];

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_keep_nobody_from_being_served() {
    make_room();
    let system = System::build(&IDLE).await;
    let _work = system.start(&["work"]).await;
    let _relay = system.start(&["relay"]).await;
    let edge = Process::launch_with_descriptors(1_024, &["serve"], system.settings());
    edge.is_ready().await;
    let order = order_of(&system.product(100).await, 1, "CREDIT_CARD");
    // its connection is kept open, and is the one place that is not idle
    let early = system.client(&edge, "early").await;
    early.submit_patiently("first", &order).await;

    let connect = |_| async { TcpStream::connect(edge.gateway()).await.unwrap() };
    let idle: Vec<TcpStream> = stream::iter(0..PLACES - 1).map(connect).buffer_unordered(100).collect().await;
    let full = async || edge.metric("mambogo_http_connections").await == Some(10_000.0);
    eventually_within(Duration::from_secs(60), "every place is taken", full).await;

    let mut late = JoinSet::new();
    for n in 0..LATE {
        let (client, order) = (system.client(&edge, &format!("late-{n}")).await, order.clone());
        late.spawn(async move {
            let id = client.submit_patiently("late", &order).await;
            client.settled(&id).await["status"].clone()
        });
    }
    let id = early.submit_patiently("amid", &order).await;
    assert_eq!(early.settled(&id).await["status"], "CONFIRMED");
    assert!(full().await, "the idle ones are all there still, and no more than may be");
    assert!(late.try_join_next().is_none(), "a place was given to one too many");

    drop(idle);
    let ends = late.join_all().await;
    assert!(ends.iter().all(|status| status == "CONFIRMED"), "{ends:?}");
    edge.stop().await;
}
