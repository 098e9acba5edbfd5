//! Writes the bytes of new golden examples: `cargo run -p schemas --example golden`.
//!
//! Write `golden/<record>.v<n>.json` by hand first. Bytes that are there are never written again: what once was on a
//! topic does not change.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a tool of developers")]

#[path = "../tests/golden/example.rs"]
mod example;

use schemas::catalogue::ENTRIES;

fn main() {
    for entry in ENTRIES {
        let path = example::path(entry, "hex");
        if !path.exists() {
            let bytes = example::encode(entry, &example::read(entry));
            std::fs::write(&path, example::to_hex(&bytes)).unwrap();
            println!("{} written, {} bytes", path.display(), bytes.len());
        }
    }
}
