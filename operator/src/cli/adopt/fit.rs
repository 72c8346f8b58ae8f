//! Makes an IstioOperator match what is installed: what a dry run would still change becomes an overlay.

use istio_operator::api::StoredCr;
use istio_operator::charts::Charts;
use istio_operator::render::{ObjectKey, Rendered};
use serde_json::{Value, json};

use super::overlays::{is_bookkeeping, is_generated, overlay_path};
use super::taking_over;
use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::cli::diff::{Change, Report};
use crate::cli::fields::Difference;
use crate::cli::observed::Observed;

/// An overlay may bring out another difference, such as one of a list whose element was another one before.
const ROUNDS: usize = 4;

/// Fields of one object that are named.
const NAMED: usize = 5;

/// Adds what is missing; gives what cannot be expressed.
pub(super) async fn fit(
    cr: &mut StoredCr,
    observed: &mut Observed,
    connection: &Connection,
    charts: &Charts,
) -> Result<Vec<String>, Failure> {
    for round in 0..ROUNDS {
        let report = taking_over(cr, observed, connection, charts).await?;
        let spec = observed.rendered(cr, connection.cluster(), charts)?;
        // What the API server adds may follow from a field that changed in the first round.
        let removes = round > 0;
        let is_off = switch_off(&mut cr.spec.0, &report);
        let is_changed = lay_over(&mut cr.spec.0, &report, &spec.rendered, removes) || is_off;
        if removes && !is_changed {
            return Ok(rest(&report));
        }
    }
    let report = taking_over(cr, observed, connection, charts).await?;
    Ok(rest(&report))
}

/// Switches off what would be created; gives whether that changed anything.
fn switch_off(spec: &mut Value, report: &Report) -> bool {
    let mut is_changed = false;
    for entry in &report.entries {
        if !matches!(entry.change, Change::Create) {
            continue;
        }
        let keys: &[&str] = match (entry.key.kind.as_str(), entry.key.name.as_str()) {
            ("PodDisruptionBudget", _) => {
                &["values", "global", "defaultPodDisruptionBudget", "enabled"]
            }
            ("HorizontalPodAutoscaler", name) if name.starts_with("istiod") => {
                &["values", "pilot", "autoscaleEnabled"]
            }
            _ => continue,
        };
        let mut node = &mut *spec;
        for key in keys {
            node = &mut node[*key];
        }
        if *node != json!(false) {
            *node = json!(false);
            is_changed = true;
        }
    }
    is_changed
}

/// Adds an overlay for each field that would change; gives whether there was one.
fn lay_over(spec: &mut Value, report: &Report, rendered: &Rendered, removes: bool) -> bool {
    let mut is_changed = false;
    for entry in &report.entries {
        let Change::Update(found) = &entry.change else {
            continue;
        };
        if is_generated(&entry.key) {
            continue;
        }
        let patches = found
            .iter()
            .filter(|one| removes || one.before.is_some())
            .filter_map(|one| patch(&entry.key, one));
        let patches: Vec<_> = patches.collect();
        if patches.is_empty() {
            continue;
        }
        let Some(block) = block_of(spec, &entry.key, rendered) else {
            continue;
        };
        let overlay = json!({"kind": entry.key.kind, "name": entry.key.name, "patches": patches});
        match &mut block["overlays"] {
            Value::Array(overlays) if overlays.contains(&overlay) => continue,
            Value::Array(overlays) => overlays.push(overlay),
            none => *none = json!([overlay]),
        }
        is_changed = true;
    }
    is_changed
}

/// The patch that keeps a field as it is.
fn patch(key: &ObjectKey, difference: &Difference) -> Option<Value> {
    if is_bookkeeping(key, &difference.path) {
        return None;
    }
    let path = overlay_path(&difference.path);
    Some(match &difference.before {
        Some(value) => json!({"path": path, "value": value}),
        None => json!({"path": path}),
    })
}

/// The `k8s` block of the component that renders an object.
fn block_of<'s>(
    spec: &'s mut Value,
    key: &ObjectKey,
    rendered: &Rendered,
) -> Option<&'s mut Value> {
    let renders = |component: &&istio_operator::render::RenderedComponent| {
        component.objects.iter().any(|object| object.key == *key)
    };
    let component = rendered.components.iter().find(renders)?;
    let field = component.kind.spec_key();
    let written = &mut spec["components"][field];
    if component.kind.gateway_key().is_none() {
        return Some(&mut written["k8s"]);
    }
    let mut entries = written.as_array_mut()?.iter_mut();
    let entry = entries.find(|entry| entry["name"] == component.name.as_str())?;
    Some(&mut entry["k8s"])
}

/// What an apply would still do.
fn rest(report: &Report) -> Vec<String> {
    let mut rest = Vec::new();
    for entry in &report.entries {
        let key = &entry.key;
        match &entry.change {
            Change::Create => rest.push(format!("{key} would be created")),
            Change::Delete => rest.push(format!("{key} would be deleted")),
            Change::Update(found) => {
                let paths = found.iter().filter(|one| !is_bookkeeping(key, &one.path));
                let paths: Vec<_> = paths.map(|one| one.path.to_string()).collect();
                rest.extend(
                    paths
                        .iter()
                        .take(NAMED)
                        .map(|path| format!("{key} {path} would change")),
                );
                if let Some(more) = paths.len().checked_sub(NAMED + 1) {
                    rest.push(format!("{key}: {} further fields would change", more + 1));
                }
            }
            Change::LeftAlone(why) | Change::Refused(why) | Change::Unknown(why) => {
                rest.push(format!("{key}: {why}"));
            }
        }
    }
    rest
}
