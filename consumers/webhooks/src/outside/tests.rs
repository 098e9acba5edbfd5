//! Where the way out leads, whatever was registered, and whatever a name means by now.

mod tls;

use super::*;
use chassis::settings::Environment;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

fn config(loopback: bool) -> WebhooksConfig {
    let mut config = WebhooksConfig::from_environment(&Environment::of([])).unwrap();
    config.egress.loopback = loopback;
    config.timeout = Duration::from_secs(5);
    config
}

fn letter(url: &str) -> Letter<'_> {
    Letter { url, event: Uuid::nil(), signature: "s".to_owned(), body: "{}".to_owned() }
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// The way out, where every name means `addresses`; how often it was asked.
fn meaning(config: &WebhooksConfig, addresses: &[&str]) -> (Outside, Arc<AtomicUsize>) {
    meaning_to(config, addresses, Vec::new())
}

/// The same, where `roots` vouch for endpoints as well.
fn meaning_to(
    config: &WebhooksConfig,
    addresses: &[&str],
    roots: Vec<Certificate>,
) -> (Outside, Arc<AtomicUsize>) {
    let addresses: Vec<SocketAddr> =
        addresses.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let lookup = move |_| -> Looking {
        counted.fetch_add(1, Ordering::SeqCst);
        let addresses = addresses.clone();
        Box::pin(async move { Ok(addresses) })
    };
    let outside = Outside::resolving(config, lookup, roots);
    (outside.unwrap(), asked)
}

/// A name that was fine when it was registered is judged by what it means at the moment of the connection.
#[tokio::test]
async fn a_name_that_leads_inside_by_now_is_not_connected_to() {
    let (listener, port) = listener().await;
    let mut config = config(false);
    config.egress.ports = vec![port];
    let accepted = tokio::spawn(async move { listener.accept().await.is_ok() });
    let url = format!("https://hooks.example:{port}/");
    let inside: [&[&str]; 4] =
        [&["127.0.0.1"], &["::ffff:127.0.0.1"], &["169.254.169.254"], &["93.184.215.14", "127.0.0.1"]];
    for addresses in inside {
        let (outside, _) = meaning(&config, addresses);
        assert!(matches!(outside.send(letter(&url)).await, Reply::Forbidden(_)), "{addresses:?}");
    }
    assert!(!accepted.is_finished(), "somebody was connected to");
    accepted.abort();
}

/// A second look at a name could be answered differently: there is none.
#[tokio::test]
async fn a_name_is_resolved_once_and_what_was_checked_is_connected_to() {
    let (listener, port) = listener().await;
    let mut config = config(true);
    config.egress.ports = vec![port];
    let accepted = tokio::spawn(async move { listener.accept().await.map(drop) });
    let (outside, asked) = meaning(&config, &["127.0.0.1"]);
    let reply = outside.send(letter(&format!("https://hooks.example:{port}/"))).await;
    accepted.await.unwrap().unwrap();
    assert!(matches!(reply, Reply::Silent(_)), "it speaks no TLS: {reply:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_address_of_the_inside_is_not_called_whatever_was_registered() {
    let outside = Outside::new(&config(false)).unwrap();
    let (listener, port) = listener().await;
    let accepted = tokio::spawn(async move { listener.accept().await.is_ok() });
    let here = format!("http://127.0.0.1:{port}/");
    for url in [
        &here,
        "https://127.0.0.1/",
        "https://169.254.169.254/",
        "https://[::ffff:10.0.0.1]/",
        "http://example.com/",
    ] {
        assert!(matches!(outside.send(letter(url)).await, Reply::Forbidden(_)), "{url}");
    }
    assert!(!accepted.is_finished(), "somebody was connected to");
    accepted.abort();
}

/// Of an endpoint that talks without end nothing is read but the head, and one whose head has no end is left.
#[tokio::test]
async fn an_answer_without_end_is_not_listened_to() {
    let outside = Outside::new(&config(true)).unwrap();
    for (head, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n", Reply::Heard),
        ("HTTP/1.1 200 OK\r\n", Reply::Silent("the connection broke")),
    ] {
        let (listener, port) = listener().await;
        let talking = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4_096]).await;
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut written = 0_usize;
            while stream
                .write_all(b"x-filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")
                .await
                .is_ok()
            {
                written += 50;
            }
            written
        });
        assert_eq!(outside.send(letter(&format!("http://127.0.0.1:{port}/"))).await, expected);
        let written = talking.await.unwrap();
        assert!(written < 64 << 20, "{written} bytes were taken before the connection was closed");
    }
}
