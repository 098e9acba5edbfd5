//! The load generator against the whole system: one order a call and many, ends seen by reads and on the log, repeats
//! and other bodies under a key; every promise kept.

use crate::system::System;
use serde_json::Value;

async fn load(system: &System, gateway: &str, arguments: &[&str]) -> Value {
    let json = tempfile::NamedTempFile::new().unwrap();
    let html = tempfile::NamedTempFile::new().unwrap();
    let files = ["--json", json.path().to_str().unwrap(), "--html", html.path().to_str().unwrap()];
    let always = ["load", "--insist", "60s", "--settle", "60s", "--for", "60s"];
    let all: Vec<&str> = always.iter().chain(arguments).chain(&files).copied().collect();
    let said = system.tool_with(&all, &[("GATEWAY_ADDR", gateway)]).await;
    assert!(said.contains("every promise kept"), "{said}");
    let page = std::fs::read_to_string(html.path()).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg") && !page.contains("<script"));
    serde_json::from_slice(&std::fs::read(json.path()).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_promised_under_load_is_kept_and_measured() {
    let system = System::build(&[]).await;
    let process = system.start(&["all"]).await;
    let (gateway, pid) = (process.gateway().to_string(), format!("mambogo={}", process.pid()));
    let alone =
        ["--rate", "50", "--orders", "100", "--repeats", "0.2", "--other-bodies", "0.1", "--cancels", "0.1"];
    let alone = load(&system, &gateway, &[&alone[..], &["--watch", &pid]].concat()).await;
    assert_eq!(alone["report"]["accepted"], 100);
    assert_eq!((&alone["verdict"]["accepted"], &alone["verdict"]["settled"]), (&100.into(), &100.into()));
    assert!(alone["report"]["answers"]["422"].as_u64().unwrap() > 0);
    assert_eq!(alone["spent"][0]["name"], "mambogo");
    assert!(alone["spent"][0]["cpuSeconds"].as_f64().unwrap() > 0.0);
    let bulk = ["--rate", "500", "--orders", "500", "--bulk", "25", "--follow", "nothing", "--on-log"];
    let bulk = load(&system, &gateway, &bulk).await;
    assert_eq!((&bulk["report"]["accepted"], &bulk["verdict"]["settled"]), (&500.into(), &500.into()));
    assert_eq!(bulk["report"]["complete"]["count"], 500, "each end was seen on the log");
}
