//! The API against a fuzzer that knows nothing of it but its own document: schemathesis reads `/openapi.json` and sends
//! what fits the document and what does not, with and without a token. Every check is on: no fault of ours, no status,
//! header, media type or shape that is not told, nothing bad that is taken, nothing good that is refused.
//!
//! `make api-fuzz` tries more: `API_FUZZ_EXAMPLES` calls of each kind, `API_FUZZ_ONLY` one operation, `API_FUZZ_SEED`
//! another choice.

use crate::system::System;
use chassis::settings::Environment;
use std::{process::Stdio, time::Duration};

const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../local/api-fuzz");
/// Longest run.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// What the run is to be.
struct Plan {
    program: String,
    examples: String,
    seed: String,
    only: Option<String>,
}

impl Plan {
    fn read() -> Self {
        let environment = Environment::process();
        let program = environment.text("TEST_SCHEMATHESIS");
        Self {
            program: program.expect("TEST_SCHEMATHESIS names the program; `make test-stack-up` installs it"),
            examples: environment.text_or("API_FUZZ_EXAMPLES", "2"),
            seed: environment.text_or("API_FUZZ_SEED", "1"),
            only: environment.text("API_FUZZ_ONLY"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fuzz_a_stranger_finds_the_api_as_it_is_told() {
    let plan = Plan::read();
    // a fuzzer calls more often than a client may, and reads a stream to its end
    let settings = [("RATE_LIMITS", "off"), ("WATCH_TIME", "1s"), ("STRIPE_WEBHOOK_SECRET", "whsec_fuzz")];
    let system = System::build(&settings).await;
    let all = system.start(&["all"]).await;
    let api = format!("http://{}", all.gateway());
    let scopes = [
        "--scope",
        "inventory:write",
        "--scope",
        "payments:refund",
        "--scope",
        "catalog:write",
        "--scope",
        "inventory:reserve",
    ];
    let token = system.tool(&[&["token", "--user", "stranger"], scopes.as_slice()].concat()).await;
    let work = tempfile::tempdir().unwrap();
    let mut fuzzer = tokio::process::Command::new(&plan.program);
    fuzzer
        .args(["--config-file", &format!("{TOOLS}/schemathesis.toml"), "run", &format!("{api}/openapi.json")])
        .args(["--header", &format!("Authorization: Bearer {}", token.trim()), "--checks", "all"])
        .args(["--max-examples", &plan.examples, "--seed", &plan.seed, "--continue-on-failure"])
        .args(plan.only.iter().flat_map(|id| ["--include-operation-id", id]))
        .current_dir(work.path())
        .env("PYTHONPATH", TOOLS)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .envs([("API", api.as_str()), ("TOKEN", token.trim())])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, fuzzer.output()).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
}
