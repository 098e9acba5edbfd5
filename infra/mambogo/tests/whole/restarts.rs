//! Two gateways restarted in turn under load. Each call of a client that knows one address only is answered, or refused
//! so that the client sees it; a client that knows both and asks the other one under the same key gets every order taken.

use crate::system::{Client, Process, System, assert_conserved, free_address, order_of};
use reqwest::Method;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use testbed::eventually_within;
use tokio::task::JoinSet;

/// Calls of each kind of client, one each 10 ms.
const CALLS: usize = 600;

struct Load {
    one: [Client; 2],
    order: Value,
}

impl Load {
    /// What a client that knows one address only sees of one call.
    async fn once(&self, n: usize) -> &'static str {
        let client = &self.one[n % 2];
        let key = format!("once-{n}");
        let call =
            client.request(Method::POST, "/api/orders").header("Idempotency-Key", key).json(&self.order);
        match call.send().await {
            Ok(answer) if answer.status() == 202 => "accepted",
            Ok(answer) if answer.status() == 503 => "refused: 503",
            Ok(answer) => panic!("{}: {}", answer.status(), answer.text().await.unwrap_or_default()),
            Err(error) if error.is_connect() => "refused: no connection",
            Err(error) if error.is_timeout() => panic!("a call was left without an answer: {error}"),
            Err(_) => "refused: connection closed",
        }
    }

    /// The order of a client that asks the other address after each refusal, under the same key.
    async fn both(&self, n: usize) -> (String, usize) {
        let key = format!("both-{n}");
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        for tries in 1..=1_200 {
            pace.tick().await;
            let client = &self.one[(n + tries) % 2];
            let call =
                client.request(Method::POST, "/api/orders").header("Idempotency-Key", &key).json(&self.order);
            match client.try_send(call).await {
                Some(answer) if answer.status == 202 => return (answer.order_id(), tries),
                // 409: cut off while the order was on its way, and the key is still taken
                Some(answer) => {
                    assert!(
                        [409, 503].contains(&answer.status.as_u16()),
                        "{}: {}",
                        answer.status,
                        answer.body
                    );
                }
                None => {}
            }
        }
        panic!("{key} was refused by both gateways for a minute");
    }
}

fn gateway(system: &System, address: SocketAddr) -> Process {
    system.launch(&["serve"], &[("GATEWAY_ADDR", &address.to_string())])
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_restart_in_turn_and_a_client_of_both_loses_nothing() {
    let system = System::build(&[]).await;
    let _work = system.start(&["work"]).await;
    let _relay = system.start(&["relay"]).await;
    let addresses = [free_address(), free_address()];
    let mut gateways = addresses.map(|address| Some(gateway(&system, address)));
    for gateway in gateways.iter().flatten() {
        gateway.is_ready().await;
    }
    let token = system.tool(&["token", "--user", "crowd"]).await;
    let one = addresses.map(|address| Client::new(address, token.trim()));
    let order = order_of(&system.product(1_000).await, 1, "CREDIT_CARD");
    let load = Arc::new(Load { one, order });

    let calls = tokio::spawn(async move {
        let (mut once, mut both) = (JoinSet::new(), JoinSet::new());
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        for n in 0..CALLS {
            pace.tick().await;
            let (of_once, of_both) = (load.clone(), load.clone());
            once.spawn(async move { of_once.once(n).await });
            both.spawn(async move { of_both.both(n).await });
        }
        (once.join_all().await, both.join_all().await)
    });
    for (address, running) in addresses.iter().zip(&mut gateways) {
        running.take().unwrap().stop().await;
        let next = gateway(&system, *address);
        next.is_ready().await;
        *running = Some(next);
    }
    assert!(!calls.is_finished(), "the load ended before the restarts did");
    let (once, both) = calls.await.unwrap();

    let mut seen = BTreeMap::<_, usize>::new();
    once.iter().for_each(|what| *seen.entry(*what).or_default() += 1);
    let asked_twice = both.iter().filter(|(_, tries)| *tries > 1).count();
    println!("of {CALLS} calls to one address: {seen:?}; of {CALLS} to both, {asked_twice} were asked again");
    let accepted = seen["accepted"];
    assert!(accepted < CALLS, "no call met a restart");
    let orders: BTreeSet<_> = both.iter().map(|(id, _)| id).collect();
    assert_eq!(orders.len(), CALLS, "one order a key");
    // a call that was cut off may have been taken: those may add orders, and no others
    eventually_within(Duration::from_secs(60), "every order is confirmed", async || {
        let statuses = system.statuses().await;
        let confirmed = usize::try_from(statuses.get("CONFIRMED").copied().unwrap_or(0)).unwrap();
        let all = usize::try_from(statuses.values().sum::<i64>()).unwrap();
        confirmed == all && (CALLS + accepted..=2 * CALLS).contains(&all)
    })
    .await;
    assert_conserved(&system.database).await;
}
