//! Crash points: each stands in the code of a role, each durable step has one beside it, and no build has them but that
//! of the tests.

use checks::{Code, production, root};
use std::process::Command;

/// The table of all points.
const TABLE: &str = "infra/chassis/src/crash/points.rs";

/// What makes a step durable, in the code of a role.
const DURABLE: [&str; 4] = [".commit().await", ".commit(", ".send_tagged(", "Self::send("];

/// Not swept: what the catalogue and the webhooks write is compared by version and told again, and no order or money stands
/// on it. Their own tests kill them.
const UNSWEPT: [&str; 3] = ["consumers/catalog", "producers/catalog", "consumers/webhooks"];

fn of_roles() -> impl Iterator<Item = Code> {
    production()
        .into_iter()
        .filter(|code| code.path.starts_with("producers") || code.path.starts_with("consumers"))
}

/// The names of the points, as the table has them: `Name = "role's name for it" of ROLES;`
fn points() -> Vec<String> {
    let table = Code::read(&root(), TABLE.into());
    let lines = table.text.lines().filter(|line| line.contains(" of ") && line.trim_end().ends_with(';'));
    let names = lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim().to_owned());
    names.filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric())).collect()
}

#[test]
fn every_crash_point_stands_in_the_code_of_a_role() {
    let points = points();
    assert!(points.len() > 30, "the table reads otherwise than this test does: {points:?}");
    let code: Vec<Code> = of_roles().filter(|code| !code.places("CrashPoint").is_empty()).collect();
    let passed = |point: &&String| code.iter().any(|code| !code.places(point).is_empty());
    let unpassed: Vec<_> = points.iter().filter(|point| !passed(point)).collect();
    assert!(unpassed.is_empty(), "in {TABLE}, and passed by no code: {unpassed:?}");
}

#[test]
fn every_durable_step_of_a_role_has_a_crash_point_beside_it() {
    let mut without = Vec::new();
    let is_swept = |code: &Code| !UNSWEPT.iter().any(|room| code.path.starts_with(room));
    for code in of_roles().filter(|code| !code.path.starts_with("producers/publisher")).filter(is_swept) {
        let steps: Vec<String> = DURABLE.iter().flat_map(|step| code.places(step)).collect();
        if code.places("CrashPoint").is_empty() {
            without.extend(steps);
        }
    }
    assert!(without.is_empty(), "durable steps in files that name no crash point:\n{}", without.join("\n"));
}

/// `cargo build` of the binary, features of the tests left out, as cargo itself resolves it.
#[test]
fn no_build_but_the_tests_has_crash_points() {
    let features = |edges: &str| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--package", "mambogo", "--prefix", "none", "--edges", edges])
            .args(["--format", "{p} {f}", "--invert", "chassis", "--depth", "0"])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let built = features("normal,build");
    assert!(built.starts_with("chassis ") && !built.contains("crash-points"), "{built}");
    let tested = features("normal,build,dev");
    assert!(tested.contains("crash-points"), "the tests' binary has none, so nothing is swept: {tested}");
}
