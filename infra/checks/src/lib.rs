//! Tests only: they read the workspace and fail where its shape is not what ARCHITECTURE.md says. Here is what they
//! share: the crates, and the source files without what is only for tests.

mod code;

pub use code::Code;

use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

/// The workspace's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// A crate of the workspace.
#[derive(Debug)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its folder, from the workspace's.
    pub folder: PathBuf,
    /// What it is built with.
    pub dependencies: BTreeSet<String>,
    /// What only its tests and examples are built with.
    pub dev_dependencies: BTreeSet<String>,
}

/// Every crate of the workspace, from `cargo metadata`.
pub fn crates() -> Vec<Crate> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().iter().map(read_crate).collect()
}

fn read_crate(package: &Value) -> Crate {
    let of_kind = |wanted: &dyn Fn(&Value) -> bool| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|d| wanted(&d["kind"])).map(|d| d["name"].as_str().unwrap().to_owned()).collect()
    };
    let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
    Crate {
        name: package["name"].as_str().unwrap().to_owned(),
        folder: folder.strip_prefix(root()).unwrap().to_owned(),
        dependencies: of_kind(&|kind| kind != "dev"),
        dev_dependencies: of_kind(&|kind| kind == "dev"),
    }
}

/// Every Rust file of the workspace's crates, by path from the workspace's folder.
pub fn files() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for krate in crates() {
        collect(&root().join(krate.folder), &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.insert(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
}

/// The files that are part of what runs, each without its `#[cfg(test)]` items.
pub fn production() -> Vec<Code> {
    let all: Vec<Code> = files()
        .into_iter()
        .filter(|path| path.components().any(|part| part.as_os_str() == "src"))
        .map(|path| Code::read(&root(), path))
        .collect();
    let for_tests: BTreeSet<PathBuf> = all.iter().flat_map(Code::modules_for_tests).collect();
    all.into_iter()
        .filter(|code| !code.path.starts_with("infra/checks") && !code.path.starts_with("infra/testbed"))
        .filter(|code| !code.path.ancestors().any(|path| for_tests.contains(&path.with_extension(""))))
        .collect()
}
