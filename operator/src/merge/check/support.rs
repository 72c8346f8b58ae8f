//! Refuses what this operator or the charts of a minor do not support, and warns of settings without effect.

use serde_json::Value;

use super::{Checked, Findings};
use crate::api::{ComponentKind, Path};
use crate::catalogue::Behavior;
use crate::charts::tree::at;
use crate::merge::tree::{is_true, text_at};
use crate::merge::{chart_layers, restarts};

/// The settings of the removed Stackdriver tracer.
pub(super) const STACKDRIVER: [&str; 4] = [
    "debug",
    "maxNumberOfAnnotations",
    "maxNumberOfAttributes",
    "maxNumberOfMessageEvents",
];

/// What is said of [`STACKDRIVER`]. Upstream refuses even a `false` there.
pub(super) const STACKDRIVER_REMOVED: &str =
    "was removed after Istio 1.22; use an OpenTelemetry provider in meshConfig.extensionProviders";

pub(super) fn check(checked: &Checked, findings: &mut Findings) {
    not_implemented(checked, findings);
    without_effect(checked, findings);
    overlays(checked, findings);
    removed(checked, findings);
    pilot_replicas(checked, findings);
}

/// Refuses fields that the operator does not implement yet. Their authors rely on them, so ignoring them would be wrong.
fn not_implemented(checked: &Checked, findings: &mut Findings) {
    let spec = Path::root("spec");
    let strategy = spec.key("updateStrategy");
    let is_canary = text_at(checked.user, &["updateStrategy", "type"]) == Some("Canary");
    if is_canary && !runs_istiod(checked) {
        let problem = "Canary installs a second istiod, and this IstioOperator installs none";
        findings.error(strategy.key("type"), problem.to_owned());
    }
    if let Some((field, problem)) = restarts::check(checked.user) {
        findings.error(strategy.key("dataPlane").key(field), problem);
    }
    if !checked.has(Behavior::IgnoresIstiodRemote)
        && is_true(checked.spec, &["components", "istiodRemote", "enabled"])
    {
        let path = spec.key("components").key("istiodRemote").key("enabled");
        let problem = "Istio has no chart for it any more; use the profile remote";
        findings.error(path, problem);
    }
}

/// Whether istiod runs in this cluster and belongs to this CR.
fn runs_istiod(checked: &Checked) -> bool {
    checked.components.iter().any(|component| {
        component.kind == ComponentKind::Pilot
            && text_at(&component.values, &["profile"]) != Some("remote")
    })
}

/// Warns of settings that upstream accepts and ignores, and of one of ours beside another one.
fn without_effect(checked: &Checked, findings: &mut Findings) {
    let mut warn = |path: Path, instead: &str| {
        findings.warn(path, format!("has no effect{instead}"));
    };
    let spec = Path::root("spec");
    let strategy = |keys: &[&str]| text_at(checked.user, &[&["updateStrategy"], keys].concat());
    if strategy(&["type"]) == Some("Canary") && strategy(&["dataPlane", "image"]) == Some("Hold") {
        let path = spec.keys(&["updateStrategy", "dataPlane", "image"]);
        warn(path, ": a canary is taken back without it");
    }
    let installed = text_at(checked.spec, &["values", "global", "istioNamespace"]);
    let namespace = text_at(checked.user, &["namespace"]);
    if namespace.is_some() && namespace != installed {
        let instead = "; set values.global.istioNamespace to install into another namespace";
        warn(spec.key("namespace"), instead);
    }
    if checked.user.get("installPackagePath").is_some() {
        warn(
            spec.key("installPackagePath"),
            "; the charts are part of the operator",
        );
    }
    if checked.has(Behavior::IgnoresIstiodRemote)
        && is_true(checked.spec, &["components", "istiodRemote", "enabled"])
    {
        warn(
            spec.key("components").key("istiodRemote"),
            "; use the profile remote",
        );
    }
    for component in checked.components {
        let path = component.path.key("k8s");
        let keys = component
            .k8s
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key);
        for key in keys {
            if component.kind.info().workload.is_none() {
                let name = component.kind.spec_key();
                let instead = format!("; {name} has no workload, only overlays apply");
                warn(path.key(key), &instead);
            } else if matches!(key.as_str(), "volumes" | "volumeMounts") {
                warn(path.key(key), " in any Istio version; use overlays");
            }
        }
    }
}

/// Checks that every patch has a path; the schema checks its syntax.
fn overlays(checked: &Checked, findings: &mut Findings) {
    let patches = checked
        .components
        .iter()
        .flat_map(|component| &component.overlays);
    for patch in patches.flat_map(|overlay| &overlay.patches) {
        if patch.target.is_empty() {
            let problem = "expected the path of the field to change, found none";
            findings.error(patch.path.key("path"), problem);
        }
    }
}

/// Names of chart profile, compatibility version and platform, which have to exist in the minor.
pub(super) fn layers(checked: &mut Checked, findings: &mut Findings) {
    let values = &checked.spec["values"];
    // Broken charts are reported where they are rendered.
    let found = chart_layers(checked.charts, checked.version.minor, values);
    let (layers, errors) = found.unwrap_or_default();
    checked.layers = layers;
    let compatibility = Path::root("spec").keys(&["values", "compatibilityVersion"]);
    for mut error in errors {
        // The path is that of the field where the author wrote it.
        if error.path == compatibility && checked.user.get("compatibilityVersion").is_some() {
            error.path = Path::root("spec").key("compatibilityVersion");
        }
        // A name of a wrong type is an error already.
        if findings.errors.iter().all(|known| known.path != error.path) {
            findings.errors.push(error);
        }
    }
}

/// Refuses settings that upstream's charts refuse.
fn removed(checked: &Checked, findings: &mut Findings) {
    // Only istiod's chart looks at them.
    let mut kinds = checked.components.iter().map(|component| component.kind);
    if !kinds.any(|kind| kind == ComponentKind::Pilot) {
        return;
    }
    let values = Path::root("spec").key("values");
    let path = |keys: &[&str]| values.keys(keys);
    let provider = ["global", "pilotCertProvider"];
    if text_at(checked.spec, &["values", provider[0], provider[1]]) == Some("kubernetes") {
        let problem = "Istio no longer has the certificate provider kubernetes";
        findings.error(path(&provider), problem);
    }
    let set = |keys: &[&str]| {
        let value = checked
            .spec
            .get("values")
            .and_then(|values| at(values, keys));
        value.is_some_and(|value| !value.is_null() && *value != "")
    };
    for key in STACKDRIVER {
        let keys = ["global", "tracer", "stackdriver", key];
        if set(&keys) {
            findings.error(path(&keys), STACKDRIVER_REMOVED);
        }
    }
    // In `values`, these are refused like everything else that was removed.
    for (provider, key) in [
        ("prometheus", "configOverride"),
        ("stackdriver", "disableOutbound"),
    ] {
        let keys = ["telemetry", "v2", provider, key];
        if set(&keys) {
            let problem = "was removed after Istio 1.20; use a Telemetry";
            findings.error(path(&keys), problem);
        }
    }
    let lightstep = ["global", "tracer", "lightstep"];
    let tracer = ["values", "global", "proxy", "tracer"];
    let lacking = text_at(checked.spec, &tracer) == Some("lightstep") && !set(&lightstep);
    if lacking && writes_mesh_config(checked) {
        let problem = "is required by the lightstep tracer: address and accessToken";
        let path = path(&lightstep);
        findings.error(path, problem);
    }
}

/// Whether istiod's chart renders the mesh config. A cluster whose istiod runs elsewhere has none.
fn writes_mesh_config(checked: &Checked) -> bool {
    let pilot = checked
        .components
        .iter()
        .find(|component| component.kind == ComponentKind::Pilot);
    pilot.is_some_and(|pilot| {
        text_at(&pilot.values, &["profile"]) != Some("remote")
            && at(&pilot.values, &["pilot", "configMap"]) != Some(&Value::Bool(false))
    })
}

/// Warns of replicas of istiod that an autoscaler changes again at once.
fn pilot_replicas(checked: &Checked, findings: &mut Findings) {
    let keys = ["components", "pilot", "k8s", "replicaCount"];
    let count = at(checked.spec, &keys).and_then(Value::as_i64).unwrap_or(0);
    if count > 1 && is_true(checked.spec, &["values", "pilot", "autoscaleEnabled"]) {
        let path = Path::root("spec").keys(&keys);
        let problem = "has no lasting effect while values.pilot.autoscaleEnabled is true";
        findings.warn(path, problem);
    }
}
