//! What users rely on, each shown on a real control plane with the release binary of the operator
//! and the rights that its own manifests give it. One file is one scenario.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on may stop anywhere, and says what it measured"
)]

mod acceptance;
mod accepted_crs;
mod accepted_inputs;
mod accepted_objects;
mod addons;
mod adopt;
mod bystander;
mod canary;
mod commands;
mod crash;
mod crash_upgrades;
mod data_plane;
mod default_tag;
mod deletion;
mod drift;
mod edited_revisions;
mod gitops_health;
mod held_proxies;
mod installed_istiod;
mod interference;
mod leader;
mod minors;
mod old_installations;
mod one_cr_alone;
mod operator_itself;
mod other_clusters;
mod other_tools;
mod packaging;
mod pages;
mod plans;
mod proxies_before_upgrades;
mod prune;
mod refused_changes;
mod remote;
mod replicas;
mod restarts;
mod restarts_of_workloads;
mod restored_backup;
mod revisions_in_use;
mod rights;
mod rights_to_grant;
mod security;
mod status;
mod stopped_upgrades;
mod tag_in_use;
mod takeovers;
mod traffic;
mod truthful_status;
mod two_owners;
mod upgrades;
mod users;
mod what_is_in_use;
mod without_operator;

#[path = "../random/mod.rs"]
mod random;

use std::fs;

use e2e::{
    actions::cr::{Cr, manifest},
    control_plane::ControlPlane,
    host::workspace::root,
    operator::Operator,
    wait::SOON,
};

/// A control plane with the operator at work on it.
async fn running() -> (ControlPlane, Operator) {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let operator = Operator::start(&plane).await.unwrap();
    (plane, operator)
}

/// Applies an IstioOperator and waits until it is HEALTHY.
async fn healthy(plane: &ControlPlane, text: &str) -> Cr {
    let cr = Cr::apply(plane, text).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    cr
}

/// The text of a sample.
fn sample(name: &str) -> String {
    fs::read_to_string(root().join("samples").join(name)).unwrap()
}
