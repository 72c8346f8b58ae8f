//! Copies the inputs from the texts of upstream's objects, and writes the digests of these.
//!
//! `cargo run -p goldens`; `GOLDEN_TEXTS=DIR` names another directory of the texts than `../shared/goldens`.

#![allow(clippy::unwrap_used, reason = "it stops at what is malformed")]

use std::fs;
use std::path::Path;

use goldens::{Rows, Table, Texts, answer_rows, as_admitted, as_stored, digests};
use serde_json::Value;

/// The case whose pods the real istiod injects too.
const DEFAULT: &str = "profile-default";

fn main() {
    let texts = Texts::find().expect("the texts of upstream's objects; see goldens/README.md");
    let ours = goldens::directory();
    copy(&texts.directory().join("inputs"), &ours.join("inputs"));
    copy(
        &texts.directory().join("injection-inputs"),
        &ours.join("pods"),
    );
    let digests_directory = ours.join("digests");
    if digests_directory.exists() {
        fs::remove_dir_all(digests_directory).unwrap();
    }
    let minors = texts.minors();
    let write = |name: &str, rows: &dyn Fn(&str) -> Rows| {
        let columns = minors.iter().map(|minor| (minor.clone(), rows(minor)));
        Table::new(name, columns.collect()).write();
    };
    for case in goldens::inputs().keys() {
        let rows = |minor: &str| answer_rows(&texts.case(minor, case));
        write(&format!("cases/{case}"), &rows);
    }
    let injected = |minor: &str, install: &str, form: fn(Value) -> Value| {
        let pods = texts.injected(minor, install).into_iter();
        let pods: Vec<_> = pods.map(|(name, pod)| (name, form(pod))).collect();
        digests(pods.iter().map(|(name, pod)| (name, pod)))
    };
    for install in texts.installs(minors.last().unwrap()) {
        let rows = |minor: &str| injected(minor, &install, as_stored);
        write(&format!("pods/{install}"), &rows);
    }
    write("admitted-pods", &|minor| {
        injected(minor, DEFAULT, as_admitted)
    });
    write("crds", &|minor| digests(&texts.crds(minor)));
}

/// Makes `to` a copy of the directory `from`.
fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // Read and written, because a copy would be as read-only as the original may be.
        let text = fs::read(entry.path()).unwrap();
        fs::write(to.join(entry.file_name()), text).unwrap();
    }
}
