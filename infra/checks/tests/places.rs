//! One thing has one place: SQL in a service's store, the producer in the publisher, topics in the schemas, metric
//! names in `metrics.rs`, settings in a `config.rs`. Code that is only for tests is not looked at.

use checks::{Code, production};
use std::path::Path;

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
}

fn none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

fn literals(of: impl Fn(&Code) -> bool, is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for code in production().iter().filter(|code| of(code)) {
        let wrong = code.literals.iter().filter(|(_, text)| is_wrong(text));
        found.extend(wrong.map(|(line, text)| {
            format!("{}:{line}: {:?}", code.path.display(), text.chars().take(60).collect::<String>())
        }));
    }
    found
}

/// `store.rs`, what stands in `store/`, `read.rs`; migrations and the tools of `infra` besides.
fn may_hold_sql(code: &Code) -> bool {
    let in_store = code.path.components().any(|part| part.as_os_str() == "store");
    in_store
        || matches!(stem(&code.path), "store" | "read")
        || code.path.starts_with("migrations")
        || code.path.starts_with("infra")
}

#[test]
fn sql_stands_in_stores_and_reads() {
    const WORDS: [&str; 9] =
        ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "TRUNCATE", "LOCK TABLE", "LISTEN", "NOTIFY"];
    let is_sql = |text: &str| {
        let text = text.trim_start();
        WORDS.iter().any(|word| {
            text.strip_prefix(word).is_some_and(|rest| rest.starts_with(|c: char| c.is_whitespace()))
        })
    };
    let mut found = literals(|code| !may_hold_sql(code), is_sql);
    for code in production().iter().filter(|code| !may_hold_sql(code)) {
        found.extend(
            ["sqlx::query", "sqlx::query_as", "sqlx::query_scalar"].iter().flat_map(|q| code.places(q)),
        );
    }
    none(found, "SQL outside of store.rs, read.rs, migrations and infra");
}

#[test]
fn the_producer_is_in_the_publisher() {
    let mut found = Vec::new();
    for code in production().iter().filter(|code| !code.path.starts_with("producers/publisher")) {
        for word in ["rdkafka::producer", "FutureProducer", "BaseProducer", "ThreadedProducer", "producer::"]
        {
            found.extend(code.places(word));
        }
    }
    none(found, "a Kafka producer outside of producers/publisher");
}

#[test]
fn topics_and_headers_are_spelled_in_the_schemas() {
    const SPELLED: [&str; 13] = [
        "order.commands",
        "inventory.commands",
        "payment.commands",
        "order.events",
        "inventory.events",
        "payment.events",
        "catalog.events",
        "orders.dlq",
        "inventory.dlq",
        "payments.dlq",
        "mb",
        "mb-cause",
        "traceparent",
    ];
    none(
        literals(|code| !code.path.starts_with("schemas"), |text| SPELLED.contains(&text)),
        "topics and headers spelled outside of schemas",
    );
}

#[test]
fn metric_names_are_constants_in_metrics_rs() {
    let is_name = |text: &str| {
        text.starts_with("mambogo_")
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && ["_total", "_seconds", "_records", "_bytes"].iter().any(|unit| text.ends_with(unit))
    };
    none(literals(|code| stem(&code.path) != "metrics", is_name), "metric names outside of metrics.rs");
    let mut found = Vec::new();
    for code in production() {
        for made in ["counter!(\"", "gauge!(\"", "histogram!(\""] {
            found.extend(code.places(made));
        }
    }
    none(found, "metrics named where they are made");
}

#[test]
fn metric_names_have_our_prefix() {
    let wrong =
        |text: &str| text.ends_with("_total") || text.ends_with("_seconds") || text.ends_with("_records");
    none(
        literals(|code| stem(&code.path) == "metrics", |text| wrong(text) && !text.starts_with("mambogo_")),
        "metric names without the prefix mambogo_",
    );
}
