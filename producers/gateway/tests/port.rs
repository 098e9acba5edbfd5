//! The public port as a whole: it starts before what it stands on, says what is away, serves, and stops.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use chassis::{clock::Clock, health::Health, settings::Environment};
use gateway::{GatewayConfig, GatewayParts};
use publisher::{Publisher, PublisherConfig};
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn without_brokers_the_port_answers_and_is_not_ready() {
    let database = testbed::Database::create().await;
    let pairs = [
        ("EDGE_DATABASE_URL", database.url("edge")),
        ("REDIS_URL", "redis://127.0.0.1:1/0".to_owned()),
        ("KAFKA_BROKERS", "127.0.0.1:1".to_owned()),
    ];
    let environment = Environment::of(pairs.map(|(key, value)| (key.to_owned(), value)));
    let config = GatewayConfig::from_environment(&environment).unwrap();
    let publisher = PublisherConfig::from_environment(&environment, "test").unwrap();
    let log = Arc::new(Publisher::start(publisher).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (health, stop) = (Health::default(), CancellationToken::new());
    let parts = GatewayParts { log, clock: Clock::system() };
    let served = tokio::spawn(gateway::run(listener, config, parts, health.part("gateway"), stop.clone()));

    testbed::eventually("it says what is away", async || {
        matches!(health.parts().get("gateway"), Some(Err(why)) if why.contains("Kafka") && !why.contains("Postgres"))
    })
    .await;
    let get = async |path: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let products = get("/api/products").await;
    assert!(products.starts_with("HTTP/1.1 200"), "{products}");
    let nothing = get("/nothing").await;
    assert!(nothing.starts_with("HTTP/1.1 404") && nothing.contains("application/problem+json"), "{nothing}");
    let orders = get("/api/orders").await;
    assert!(orders.starts_with("HTTP/1.1 401"), "{orders}");
    stop.cancel();
    served.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
}
