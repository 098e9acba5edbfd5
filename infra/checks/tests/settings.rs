//! Settings: read in a `config.rs`, each one listed in `.env.example`, and nothing listed that nobody reads.

use checks::{Code, production, root};
use std::{collections::BTreeSet, path::Path};

/// The file that lists them.
const LIST: &str = ".env.example";

/// Where settings are read: each crate's `config.rs`, and what chassis reads for all.
fn reads_settings(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "config.rs") || path.starts_with("infra/chassis")
}

fn is_name(text: &str) -> bool {
    let word = text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    word && text.contains('_') && text.starts_with(|c: char| c.is_ascii_uppercase())
}

/// Names that stand as literals in the files that read settings.
fn read_by_name(code: &[Code]) -> BTreeSet<String> {
    let readers = code.iter().filter(|code| reads_settings(&code.path));
    let literals = readers.flat_map(|code| code.literals.iter().map(|(_, text)| text.clone()));
    literals.filter(|text| is_name(text)).collect()
}

/// Endings of names that are put together: `_DATABASE_URL` of `{}_DATABASE_URL`.
fn read_by_ending(code: &[Code]) -> Vec<String> {
    let readers = code.iter().filter(|code| reads_settings(&code.path));
    readers
        .flat_map(|code| code.literals.iter().filter_map(|(_, text)| text.strip_prefix("{}")))
        .filter(|ending| ending.starts_with('_') && is_name(&ending[1..]))
        .map(str::to_owned)
        .collect()
}

/// Names listed, with whether they are the local stack's own: they stand before the binary's.
fn listed() -> Vec<(String, bool)> {
    let text = std::fs::read_to_string(root().join(LIST)).unwrap();
    let mut of_stack = false;
    let mut names = Vec::new();
    for line in text.lines() {
        if line.starts_with("# ----") {
            of_stack = line.contains("infra/local only");
        }
        let setting = line.trim_start_matches('#').trim_start().split_once('=');
        if let Some((name, _)) = setting.filter(|(name, _)| is_name(name)) {
            names.push((name.to_owned(), of_stack));
        }
    }
    names
}

#[test]
fn every_setting_is_listed() {
    let listed: BTreeSet<String> = listed().into_iter().map(|(name, _)| name).collect();
    let read = read_by_name(&production());
    let missing: Vec<_> = read.difference(&listed).cloned().collect();
    assert!(missing.is_empty(), "read, and not in {LIST}:\n{}", missing.join("\n"));
}

#[test]
fn what_is_listed_is_read() {
    let code = production();
    let (read, endings) = (read_by_name(&code), read_by_ending(&code));
    let scripts = scripts();
    let unread: Vec<String> = listed()
        .into_iter()
        .filter(|(name, of_stack)| {
            let by_binary = read.contains(name) || endings.iter().any(|ending| name.ends_with(ending));
            // the stack makes names of its instances: DEV_ and TEST_ before KAFKA_PORT
            let rest = name.strip_prefix("DEV_").or(name.strip_prefix("TEST_")).unwrap_or(name);
            let by_stack = scripts.contains(rest);
            !(if *of_stack { by_stack } else { by_binary })
        })
        .map(|(name, _)| name)
        .collect();
    assert!(unread.is_empty(), "in {LIST}, and read by nobody:\n{}", unread.join("\n"));
}

fn scripts() -> String {
    let local = root().join("infra/local");
    let folders = [local.clone(), local.join("lib")];
    let files =
        folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()));
    files.filter(|path| path.is_file()).filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

#[test]
fn settings_are_read_in_a_config_rs() {
    let mut found = Vec::new();
    for code in production().iter().filter(|code| !reads_settings(&code.path)) {
        for call in [".text_or(\"", ".secret_or(\"", ".parse_or(\"", ".duration_or(\"", "std::env::var"] {
            found.extend(code.places(call));
        }
    }
    assert!(found.is_empty(), "settings read outside of a config.rs:\n{}", found.join("\n"));
}

#[test]
fn no_setting_is_listed_twice() {
    let mut seen = BTreeSet::new();
    let twice: Vec<String> =
        listed().into_iter().map(|(name, _)| name).filter(|name| !seen.insert(name.clone())).collect();
    assert!(twice.is_empty(), "listed twice in {LIST}: {twice:?}");
}
