//! Carts on a Redis Cluster of three nodes: every script's keys share a slot, and slots that move or nodes that die are
//! met as a client meets them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "a test says what is wrong by failing; not every stage is used whole"
)]

mod cluster;
mod stage;

use axum::http::StatusCode;
use cart_api::config::CartRedis;
use chassis::settings::Secret;
use cluster::Cluster;
use schemas::{ids, messages::BodyHash};
use sha2::{Digest, Sha256};
use stage::{Stage, Who};

async fn set() -> (Stage, Cluster) {
    let cluster = Cluster::start().await;
    // one node is enough to find the others
    let nodes = vec![Secret::new(cluster.urls()[0].clone())];
    let stage = Stage::set(CartRedis::Cluster(nodes)).await;
    testbed::eventually("carts can be read", async || {
        stage.get(Who::User("u0")).await.status == StatusCode::OK
    })
    .await;
    (stage, cluster)
}

/// The key of a user's cart.
fn key(user: &str) -> String {
    let owner = ids::owner("mambogo-local", user);
    format!("cart:{{u{}}}", BodyHash(Sha256::digest(owner.as_bytes()).into()))
}

/// A user whose cart lies on that node.
async fn user_on(cluster: &Cluster, node: usize) -> (String, u16) {
    for n in 0.. {
        let user = format!("u{n}");
        let (at, slot) = cluster.place(&key(&user)).await;
        if at == node {
            return (user, slot);
        }
    }
    unreachable!()
}

#[tokio::test]
async fn every_call_works_wherever_a_cart_lies() {
    let (stage, cluster) = set().await;
    let mut seen = [false; 3];
    for n in 0..12 {
        let user = format!("u{n}");
        let who = Who::User(&user);
        seen[cluster.place(&key(&user)).await.0] = true;
        let token = stage.add(Who::Stranger, 1, 2).await.header("cart-token");
        assert_eq!(stage.add(who, 1, 1).await.lines(), [(1, 1)]);
        // the guest's cart lies in a slot of its own
        assert_eq!(stage.merge(&user, &token).await.lines(), [(1, 3)]);
        assert_eq!(stage.merge(&user, &token).await.lines(), [(1, 3)]);
        stage.put(who, 2, 5).await;
        assert_eq!(stage.remove(who, 1).await.lines(), [(2, 5)]);
        let bought = stage.checkout(&user, "1 Road").await;
        let again = stage.checkout(&user, "1 Road").await;
        assert_eq!((bought.status, &bought.body), (StatusCode::ACCEPTED, &again.body));
        assert_eq!(stage.clear(who).await.status, StatusCode::NO_CONTENT);
    }
    assert_eq!((seen, stage.log.submits().len()), ([true; 3], 12));
}

#[tokio::test]
async fn a_cart_whose_slot_moves_is_found_on_the_way_and_afterwards() {
    let (stage, cluster) = set().await;
    let (user, slot) = user_on(&cluster, 1).await;
    let who = Who::User(&user);
    assert_eq!(stage.add(who, 1, 1).await.lines(), [(1, 1)]);
    cluster.begin_move(slot, 1, 2).await;
    assert_eq!(stage.get(who).await.lines(), [(1, 1)], "not carried over yet");
    cluster.carry(slot, 1, 2).await;
    assert_eq!(stage.get(who).await.lines(), [(1, 1)], "by ASK");
    assert_eq!(stage.put(who, 2, 1).await.lines(), [(1, 1), (2, 1)], "changed by ASK");
    assert_eq!(stage.remove(who, 2).await.lines(), [(1, 1)]);
    cluster.end_move(slot, 1, 2).await;
    assert_eq!(stage.add(who, 1, 1).await.lines(), [(1, 2)], "by MOVED");
    assert_eq!(cluster.nodes[2].command(&format!("EXISTS {}", key(&user))).await, ":1");
}

#[tokio::test]
async fn a_node_that_dies_takes_its_own_carts_only_and_brings_them_back() {
    let (stage, mut cluster) = set().await;
    let mut users = Vec::new();
    for node in 0..3 {
        let user = user_on(&cluster, node).await.0;
        assert_eq!(stage.add(Who::User(&user), 1, 1).await.lines(), [(1, 1)]);
        users.push(user);
    }
    // the one that the client was told of
    cluster.nodes[0].stop();
    assert_eq!(stage.get(Who::User(&users[0])).await.status, StatusCode::SERVICE_UNAVAILABLE);
    for user in &users[1..] {
        testbed::eventually("the others go on", async || {
            stage.get(Who::User(user)).await.status == StatusCode::OK
        })
        .await;
    }
    cluster.nodes[0].start().await;
    testbed::eventually("its carts are back", async || {
        let cart = stage.get(Who::User(&users[0])).await;
        cart.status == StatusCode::OK && cart.lines() == [(1, 1)]
    })
    .await;
    for node in &mut cluster.nodes {
        node.stop();
    }
    assert_eq!(stage.get(Who::User(&users[1])).await.status, StatusCode::SERVICE_UNAVAILABLE);
    for node in &mut cluster.nodes {
        node.start().await;
    }
    testbed::eventually("and after all were gone, all are", async || {
        let mut well = true;
        for user in &users {
            well &= stage.get(Who::User(user)).await.status == StatusCode::OK;
        }
        well
    })
    .await;
}
