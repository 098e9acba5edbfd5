//! Arrows between crates point one way. One that is not in this table is a change of the design: change
//! ARCHITECTURE.md with it.

use checks::crates;
use std::collections::{BTreeMap, BTreeSet};

/// What of ours each crate is built with, at most. `infra/mambogo` assembles and may take everything.
const ARROWS: &[(&str, &[&str])] = &[
    ("schemas", &[]),
    ("migrations", &[]),
    ("chassis", &[]),
    // producers put records on Kafka
    ("publisher", &["schemas", "chassis"]),
    ("ingress", &["schemas", "chassis", "publisher"]),
    ("orders-api", &["schemas", "chassis", "publisher", "ingress"]),
    ("inventory-api", &["schemas", "chassis", "publisher", "ingress"]),
    // whether an order is there can be proved by its own service alone
    ("payments-api", &["schemas", "chassis", "publisher", "ingress", "orders-api"]),
    ("catalog-api", &["schemas", "chassis", "publisher", "ingress"]),
    ("webhooks-api", &["schemas", "chassis", "ingress"]),
    // a checkout takes the road of every order
    ("cart-api", &["schemas", "chassis", "publisher", "ingress", "orders-api"]),
    (
        "gateway",
        &[
            "schemas",
            "chassis",
            "publisher",
            "ingress",
            "orders-api",
            "inventory-api",
            "payments-api",
            "catalog-api",
            "cart-api",
            "webhooks-api",
        ],
    ),
    ("relay", &["schemas", "chassis", "publisher"]),
    // consumers take them off
    ("harness", &["schemas", "chassis"]),
    ("saga", &["schemas"]),
    ("orders-worker", &["schemas", "chassis", "harness", "saga"]),
    ("inventory-worker", &["schemas", "chassis", "harness"]),
    ("payments-worker", &["schemas", "chassis", "harness"]),
    ("follower", &["schemas", "chassis"]),
    ("status-worker", &["schemas", "chassis", "follower"]),
    ("catalog-worker", &["schemas", "chassis", "follower"]),
    ("webhooks-worker", &["schemas", "chassis", "follower"]),
    ("replay", &["schemas", "chassis"]),
    // around them
    ("testbed", &["schemas", "migrations", "chassis", "publisher"]),
    ("sandbox-provider", &["schemas", "chassis"]),
    ("checks", &[]),
    // it sees the system from outside, as its clients do
    ("loadtest", &["schemas", "chassis"]),
    ("auditor", &["schemas", "chassis"]),
    ("chaos", &["schemas", "chassis", "replay", "auditor", "testbed"]),
    // the pure parts of both sides
    (
        "simulator",
        &[
            "schemas",
            "harness",
            "saga",
            "orders-worker",
            "inventory-worker",
            "payments-worker",
            "relay",
            "orders-api",
        ],
    ),
];

/// What of ours only tests are built with, at most: a test has to put records on Kafka.
const IN_TESTS: &[&str] = &["testbed", "publisher", "migrations", "chassis", "sandbox-provider"];

/// Who may be built with a library that reaches the outside.
const DOORS: &[(&str, &[&str])] = &[
    ("rdkafka", &["publisher", "harness", "follower", "replay", "loadtest", "mambogo"]),
    (
        "sqlx",
        &[
            "migrations",
            "chassis",
            "harness",
            "orders-worker",
            "inventory-worker",
            "payments-worker",
            "relay",
            "ingress",
            "orders-api",
            "inventory-api",
            "catalog-api",
            "catalog-worker",
            "webhooks-api",
            "webhooks-worker",
            "gateway",
            "auditor",
            "mambogo",
            "testbed",
            "chaos",
        ],
    ),
    (
        "redis",
        &[
            "ingress",
            "orders-api",
            "inventory-api",
            "catalog-api",
            "cart-api",
            "gateway",
            "status-worker",
            "catalog-worker",
            "mambogo",
        ],
    ),
    // who calls others by HTTP: the token issuer's keys, the payment provider and its webhooks, the endpoints of clients,
    // and, as a client, our own gateway
    ("reqwest", &["ingress", "payments-worker", "webhooks-worker", "sandbox-provider", "chaos"]),
    (
        "axum",
        &[
            "chassis",
            "ingress",
            "orders-api",
            "inventory-api",
            "payments-api",
            "catalog-api",
            "cart-api",
            "webhooks-api",
            "gateway",
            "sandbox-provider",
            "mambogo",
        ],
    ),
];

/// Crates that are functions of their arguments: no runtime, no metrics, no logs.
const PURE: &[&str] = &["schemas", "saga"];
const NOT_PURE: &[&str] =
    &["tokio", "tokio-util", "metrics", "tracing", "rdkafka", "sqlx", "redis", "axum", "rand"];

#[test]
fn every_arrow_is_in_the_design() {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let crates = crates();
    let ours: BTreeSet<&str> = crates.iter().map(|krate| krate.name.as_str()).collect();
    let mut wrong = Vec::new();
    for krate in crates.iter().filter(|krate| krate.name != "mambogo") {
        let Some(allowed) = arrows.get(krate.name.as_str()) else {
            wrong.push(format!("{}: a crate without a line in the table", krate.name));
            continue;
        };
        let of_ours = |names: &BTreeSet<String>| -> Vec<String> {
            names.iter().filter(|name| ours.contains(name.as_str())).cloned().collect()
        };
        for target in of_ours(&krate.dependencies) {
            if !allowed.contains(&target.as_str()) {
                wrong.push(format!("{} → {target}", krate.name));
            }
        }
        for target in of_ours(&krate.dev_dependencies) {
            if !allowed.contains(&target.as_str()) && !IN_TESTS.contains(&target.as_str()) {
                wrong.push(format!("{} → {target}, in tests", krate.name));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that the design does not have:\n{}", wrong.join("\n"));
}

/// The table itself keeps the rule that everything else follows from.
#[test]
fn producers_and_consumers_never_import_each_other() {
    let crates = crates();
    let room = |name: &str| {
        let krate = crates.iter().find(|krate| krate.name == name);
        krate.and_then(|krate| krate.folder.iter().next()).and_then(|room| room.to_str()).unwrap_or_default()
    };
    for krate in &crates {
        for target in &krate.dependencies {
            let arrow = (room(&krate.name), room(target));
            assert!(
                !matches!(arrow, ("producers", "consumers") | ("consumers", "producers")),
                "{} → {target}",
                krate.name
            );
        }
    }
}

#[test]
fn who_reaches_the_outside_is_known() {
    let mut wrong = Vec::new();
    for krate in crates() {
        for (door, allowed) in DOORS {
            if krate.dependencies.contains(*door) && !allowed.contains(&krate.name.as_str()) {
                wrong.push(format!("{} → {door}", krate.name));
            }
        }
        if PURE.contains(&krate.name.as_str()) {
            let found = NOT_PURE.iter().filter(|name| krate.dependencies.contains(**name));
            wrong.extend(found.map(|name| format!("{} → {name}: it is pure", krate.name)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
