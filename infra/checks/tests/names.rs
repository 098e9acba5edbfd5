//! Names that say nothing are refused, and every file says its one job.

use checks::{crates, files, root};

const SAY_NOTHING: [&str; 8] = ["core", "utils", "util", "common", "types", "helpers", "manager", "misc"];

#[test]
fn no_crate_file_or_module_has_a_name_that_says_nothing() {
    let mut wrong: Vec<String> = crates()
        .into_iter()
        .map(|krate| krate.name)
        .filter(|name| SAY_NOTHING.contains(&name.as_str()))
        .collect();
    for path in files() {
        let without = path.with_extension("");
        if without.iter().any(|part| part.to_str().is_some_and(|part| SAY_NOTHING.contains(&part))) {
            wrong.push(path.display().to_string());
        }
        let code = checks::Code::read(&root(), path);
        wrong.extend(SAY_NOTHING.iter().flat_map(|name| code.places(&format!("mod {name}"))));
    }
    assert!(wrong.is_empty(), "names that say nothing:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_begins_with_its_job() {
    let without: Vec<String> = files()
        .into_iter()
        .filter(|path| !std::fs::read_to_string(root().join(path)).unwrap().starts_with("//! "))
        .map(|path| path.display().to_string())
        .collect();
    assert!(without.is_empty(), "no `//!` header:\n{}", without.join("\n"));
}
