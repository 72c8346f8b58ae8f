//! What upstream's istioctl renders and injects in every Istio minor, for tests to compare with.
//!
//! The inputs and digests of upstream's answers are in this directory, so a clone needs nothing else to see whether ours
//! are equal. The texts of the answers lie outside the repository; with them, a test also shows in which fields ours
//! differ. `README.md` tells about the files.
//!
//! Everything here is for tests and panics where a file is absent or malformed, so that no test passes without data.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test without its data fails by panicking"
)]

mod canonical;
mod difference;
mod rendering;
mod table;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

pub use canonical::{as_admitted, as_stored};
pub use difference::differences;
pub use rendering::{Answer, Rendering, answer_rows, user_templates};
pub use table::{Rows, Table, differing_rows};
pub use texts::Texts;

/// The releases of upstream whose answers these are, one for each minor.
const VERSIONS: [&str; 8] = [
    "1.24.6", "1.25.5", "1.26.8", "1.27.9", "1.28.10", "1.29.6", "1.30.3", "1.31.1",
];

/// The release of a minor, such as `1.30`, whose answers these are.
#[must_use]
pub fn version(minor: &str) -> &'static str {
    let is_of_minor = |version: &&&str| version.rsplit_once('.').is_some_and(|(of, _)| of == minor);
    VERSIONS.iter().find(is_of_minor).unwrap()
}

/// The row of a case that says whether upstream accepts the input: `accepted` or `refused`.
pub const ANSWER: &str = "answer";

/// The row of a case with the names of the CRDs.
pub const CRDS: &str = "crd-names";

/// The row of a case with the values that upstream's istiod chart was called with; published since 1.26.
pub const ISTIOD_VALUES: &str = "istiod-values";

/// What a failure adds where the texts of upstream's objects are not at hand.
pub const HINT: &str = "only digests are at hand; goldens/README.md says how to see the fields";

/// What a failure says where the texts were changed without the digests.
pub const STALE: &str = "the digest is not that of upstream's text; run `cargo run -p goldens`";

/// The directory of this crate.
#[must_use]
pub fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The IstioOperators that upstream was given, as YAML text by the name of the case.
#[must_use]
pub fn inputs() -> BTreeMap<String, String> {
    files(&directory().join("inputs"))
}

/// The objects whose pods were injected, as YAML text by name.
#[must_use]
pub fn pods() -> BTreeMap<String, String> {
    files(&directory().join("pods"))
}

/// Upstream's answers to one case, by minor.
#[must_use]
pub fn case(case: &str) -> Table {
    Table::read(&format!("cases/{case}"))
}

/// The names of the cases whose `ConfigMaps` pods were injected with.
#[must_use]
pub fn installs() -> Vec<String> {
    files(&directory().join("digests/pods"))
        .into_keys()
        .collect()
}

/// The pods that upstream injects with the `ConfigMaps` of one case, in the form of [`as_stored`].
#[must_use]
pub fn injected(install: &str) -> Table {
    Table::read(&format!("pods/{install}"))
}

/// The pods that upstream injects with the default profile, in the form of [`as_admitted`].
#[must_use]
pub fn admitted() -> Table {
    Table::read("admitted-pods")
}

/// Istio's CRDs without descriptions.
#[must_use]
pub fn crds() -> Table {
    Table::read("crds")
}

/// A kind that upstream renders.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Whether the object stands in a namespace.
    pub is_namespaced: bool,
}

/// The kinds of all objects of all cases and minors.
#[must_use]
pub fn kinds() -> BTreeSet<Kind> {
    let tables = inputs().into_keys().map(|name| case(&name));
    tables.flat_map(|table| table.kinds()).collect()
}

/// The first 16 hexadecimal digits of the SHA-256 of the JSON text with sorted keys.
#[must_use]
pub fn digest(value: &Value) -> String {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    let hash = Sha256::digest(sorted.to_string().as_bytes());
    hash.iter()
        .take(8)
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Digests of several values.
#[must_use]
pub fn digests<'a>(values: impl IntoIterator<Item = (&'a String, &'a Value)>) -> Rows {
    let digests = values
        .into_iter()
        .map(|(name, v)| (name.clone(), digest(v)));
    digests.collect()
}

/// Prints how many things were compared, even where the test passes and its output is captured.
pub fn report(text: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The files of a directory: text by name without extension.
fn files(directory: &Path) -> BTreeMap<String, String> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    let named = paths.map(|path| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(&path).unwrap())
    });
    named.collect()
}
