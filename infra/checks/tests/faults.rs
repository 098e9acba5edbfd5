//! The table of faults names tests that there are, and leaves no case out.

use checks::{crates, files, root};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

const TABLE: &str = "infra/checks/faults.md";
/// How many cases the list of faults has.
const CASES: usize = 62;

fn table() -> String {
    std::fs::read_to_string(root().join(TABLE)).unwrap()
}

/// Names of functions behind a `#[test]` of any kind.
fn tests_of(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let Some(rest) = line.strip_prefix("async fn ").or(line.strip_prefix("fn ")) else { continue };
        if std::mem::take(&mut is_test) {
            found.extend(rest.split(['(', '<']).next().map(str::to_owned));
        }
    }
    found
}

/// Every test of the workspace, by its crate.
fn tests() -> BTreeMap<String, BTreeSet<String>> {
    let crates = crates();
    let krate_of = |path: &Path| {
        let holds = crates.iter().filter(|krate| path.starts_with(&krate.folder));
        holds.max_by_key(|krate| krate.folder.components().count()).unwrap().name.clone()
    };
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in files() {
        let source = std::fs::read_to_string(root().join(&path)).unwrap();
        found.entry(krate_of(&path)).or_default().extend(tests_of(&source));
    }
    found
}

/// `crate::test` of each reference to a test: two lower-case words of which the second is long, for `Pool::begin` and
/// the like are code.
fn references(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_word =
        |word: &str| word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
    quoted
        .filter_map(|quote| quote.split_once("::"))
        .filter(|(krate, test)| is_word(krate) && is_word(test) && test.contains('_'))
        .collect()
}

#[test]
fn every_test_that_the_table_names_is_there() {
    let tests = tests();
    let table = table();
    let missing: Vec<String> = references(&table)
        .into_iter()
        .filter(|(krate, test)| !tests.get(*krate).is_some_and(|tests| tests.contains(*test)))
        .map(|(krate, test)| format!("{krate}::{test}"))
        .collect();
    assert!(missing.is_empty(), "in {TABLE}, and not in the code:\n{}", missing.join("\n"));
    assert!(references(&table).len() > CASES, "the table's references are read");
}

#[test]
fn every_case_has_a_test_or_a_reason() {
    let table = table();
    let mut seen = BTreeSet::new();
    for line in table.lines() {
        let Some((number, rest)) = line.strip_prefix("| ").and_then(|line| line.split_once(" | ")) else {
            continue;
        };
        let Ok(number) = number.parse::<usize>() else { continue };
        assert!(seen.insert(number), "case {number} stands there twice");
        let shown = rest.split_once(" | ").map(|(_, shown)| shown).unwrap_or_default().to_lowercase();
        let has_reason = shown.contains("cannot occur") || shown.contains("open:");
        assert!(has_reason || !references(&shown).is_empty(), "case {number} has neither test nor reason");
    }
    assert_eq!(seen, (1..=CASES).collect(), "each case once");
}
