//! Checks what names of images are made of: the hub in front of them and the tag behind them.

use serde_json::Value;

use super::{Checked, Findings, unlike, written_components};
use crate::api::{Path, format};
use crate::charts::tree::at;
use crate::merge::tree::scalar_text;
use crate::merge::version::minor_of;

/// Where hubs stand below `spec`, beside those of components.
const HUBS: [&[&str]; 9] = [
    &["hub"],
    &["values", "global", "hub"],
    &["values", "pilot", "hub"],
    &["values", "cni", "hub"],
    &["values", "prometheus", "hub"],
    &["values", "grafana", "hub"],
    &["values", "kiali", "hub"],
    &["values", "tracing", "jaeger", "hub"],
    &["values", "tracing", "zipkin", "hub"],
];

/// Where tags of all images stand below `spec`.
const TAGS: [&[&str]; 2] = [&["tag"], &["values", "global", "tag"]];

pub(super) fn check(checked: &Checked, findings: &mut Findings) {
    let spec = Path::root("spec");
    for keys in HUBS {
        hub(at(checked.user, keys), &spec.keys(keys), findings);
    }
    for keys in TAGS {
        tag(checked, at(checked.user, keys), &spec.keys(keys), findings);
    }
    for (path, component) in written_components(checked.user) {
        hub(component.get("hub"), &path.key("hub"), findings);
        // The images of addons have versions of their own.
        if !path.to_string().starts_with("spec.addonComponents.") {
            tag(checked, component.get("tag"), &path.key("tag"), findings);
        }
    }
}

/// Refuses what people copy from the address line of a browser: no image has such a name.
fn hub(hub: Option<&Value>, path: &Path, findings: &mut Findings) {
    let Some(text) = hub.and_then(Value::as_str) else {
        return;
    };
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let bare = bare.trim_end_matches('/');
    // If more is wrong with it, the check of its format says so.
    if bare != text && format::holds("hub", &bare.into()) {
        let expected = "a registry and path without a scheme and without a slash at the end";
        let mut error = unlike(expected, &text.into(), path);
        let hint = format!("; write {bare}");
        error.problem += &hint;
        findings.errors.push(error);
    }
}

/// Warns of images whose minor is not that of the charts, and refuses a number that is only what YAML left of one.
fn tag(checked: &Checked, tag: Option<&Value>, path: &Path, findings: &mut Findings) {
    if let Some(number) = tag.filter(|tag| tag.is_number()) {
        let whole = format!("{number}0");
        if checked.charts.catalogue().version(&whole).is_some() {
            let problem = format!(
                "is the number {number}, which no images have as their tag; put it in quotes: tag: \"{whole}\""
            );
            // Where the tag chooses the version, this has been said.
            if findings.errors.iter().all(|error| error.path != *path) {
                findings.error(path.clone(), problem);
            }
            return;
        }
    }
    let minor = tag.and_then(scalar_text).and_then(|tag| minor_of(&tag));
    if let Some(minor) = minor.filter(|minor| *minor != checked.version.minor) {
        let charts = checked.version.minor_text();
        let text = format!(
            "names images of Istio 1.{minor}, but the charts are those of {charts}; change it or spec.version"
        );
        findings.warn(path.clone(), text);
    }
}
