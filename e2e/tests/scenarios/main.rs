//! What users rely on, each shown on a real control plane with the release binary of the operator
//! and the rights that its own manifests give it. One file is one scenario.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on may stop anywhere, and says what it measured"
)]

mod acceptance;
mod accepted_inputs;
mod accepted_objects;
mod bystander;
mod crash;
mod default_tag;
mod deletion;
mod drift;
mod installed_istiod;
mod leader;
mod minors;
mod other_clusters;
mod prune;
mod remote;
mod replicas;
mod truthful_status;

use std::fs;

use e2e::{wait::SOON, workspace::root};

/// The text of a sample.
fn sample(name: &str) -> String {
    fs::read_to_string(root().join("samples").join(name)).unwrap()
}

/// Upstream's behavior in files; not part of the repository.
const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/goldens");
