//! The trace of one order through every topic, by its id, as two readers see it: `mambogo replay`, and a program in
//! Python with a Kafka client and an Avro library of its own.

use crate::system::{System, order_of};
use chassis::settings::Environment;
use reqwest::Method;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Stdio,
    time::Duration,
};
use testbed::eventually;

/// What is said about an order that goes straight to its end; the first is the edge's.
const RECORDS: [&str; 10] = [
    "SubmitOrder",
    "OrderAccepted",
    "ReserveStock",
    "StockReserved",
    "OrderReserved",
    "CapturePayment",
    "PaymentCaptured",
    "CaptureSettled",
    "OrderConfirmed",
    "SettleStock",
];

/// The trace that the client samples.
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Each JSON line as a value.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn record(line: &Value) -> &str {
    line["schema"]["record"].as_str().unwrap()
}

/// The order's records as we read them, once all that belong to it are there: the last may be on their way still
/// when a client hears of the end.
async fn our_trace(system: &System, id: &str) -> Vec<Value> {
    let expected = BTreeSet::from(RECORDS);
    let mut trace = Vec::new();
    let whole = tokio::time::timeout(Duration::from_secs(30), async {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            trace = lines(&system.tool(&["replay", "--topic", "all", "--key", id]).await);
            if trace.iter().map(record).collect::<BTreeSet<_>>().is_superset(&expected) {
                return;
            }
        }
    });
    let whole = whole.await.is_ok();
    assert!(whole, "after 30 s the trace has only {:?}", trace.iter().map(record).collect::<Vec<_>>());
    trace
}

/// What the Python program prints.
async fn python(argument: &str, settings: &BTreeMap<String, String>) -> Vec<Value> {
    let python = Environment::process()
        .text("TEST_PYTHON")
        .expect("TEST_PYTHON names the Python with the packages of infra/local/trace; `make test-stack-up` installs it");
    let output = tokio::process::Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../local/trace/trace.py"))
        .arg(argument)
        .env_clear()
        .envs(settings)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "trace.py: {}", String::from_utf8_lossy(&output.stderr));
    lines(&String::from_utf8(output.stdout).unwrap())
}

/// Follows every record back to the one that began it all, by causation ids.
fn assert_causes_lead_back_to_the_submit(trace: &[Value]) {
    let by_message: BTreeMap<_, _> =
        trace.iter().map(|line| (line["messageId"].as_str().unwrap(), line)).collect();
    for line in trace {
        let mut at = line;
        for _ in 0..trace.len() {
            if at["causationId"] == at["messageId"] {
                break;
            }
            at = by_message
                .get(at["causationId"].as_str().unwrap())
                .unwrap_or_else(|| panic!("nothing in the trace caused {at}"));
        }
        assert_eq!(record(at), RECORDS[0], "where {} came from", record(line));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_is_traced_through_all_records_by_two_readers() {
    // a payment that outlasts its batch would come back by a command of its own
    let patient = [("PAYMENT_CALL_BUDGET", "20s")];
    let system = System::build(&patient).await;
    let process = system.start(&["all"]).await;
    let client = system.client(&process, "alice").await;
    let product = system.product(2).await;
    // others pass through the same topics and are not in its trace
    let other = client.submit_patiently("another", &order_of(&product, 1, "CREDIT_CARD")).await;
    let mut id = String::new();
    eventually("the order is taken in", async || {
        let request = client.request(Method::POST, "/api/orders").header("Idempotency-Key", "traced");
        let request = request.header("traceparent", SAMPLED).json(&order_of(&product, 1, "CREDIT_CARD"));
        let answer = client.try_send(request).await.filter(|answer| answer.status == 202);
        answer.inspect(|answer| id = answer.order_id()).is_some()
    })
    .await;
    assert_eq!(client.settled(&id).await["status"], "CONFIRMED");
    assert_eq!(client.settled(&other).await["status"], "CONFIRMED");

    let ours = our_trace(&system, &id).await;
    for line in &ours {
        assert_eq!(
            (line["key"].as_str(), line["correlationId"].as_str()),
            (Some(&*id), Some(&*id)),
            "{line}"
        );
        assert_eq!(line["error"], Value::Null, "{line}");
        assert_eq!(line["traceparent"], SAMPLED, "{line}");
    }
    // a client that repeats itself, or a relay that sends again, says the same message
    let told: BTreeMap<_, _> = ours.iter().map(|line| (line["messageId"].as_str(), record(line))).collect();
    assert_eq!(told.len(), RECORDS.len(), "{told:?}");
    assert_causes_lead_back_to_the_submit(&ours);
    let confirmed = ours.iter().find(|line| record(line) == "OrderConfirmed").unwrap();
    assert_eq!(confirmed["value"]["order"]["status"], "CONFIRMED");

    let theirs = python(&id, system.settings()).await;
    assert_eq!(theirs.len(), ours.len(), "{theirs:#?}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    process.stop().await;
}

/// The bytes that every schema's example has on the wire, read by a library that is not ours.
#[tokio::test]
async fn every_golden_example_is_read_by_the_other_reader() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/golden"));
    let read = python("--golden", &BTreeMap::new()).await;
    for example in &read {
        let file = folder.join(example["file"].as_str().unwrap()).with_added_extension("json");
        let expected: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        for part in ["schema", "record", "value"] {
            assert_eq!(example[part], expected[part], "{}", file.display());
        }
    }
    assert_eq!(read.len(), schemas::catalogue::ENTRIES.len());
}
