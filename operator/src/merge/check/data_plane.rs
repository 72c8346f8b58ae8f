//! Warns of settings of the data plane that do not fit together: ambient mode without its parts, and injection templates
//! that expect another kind of sidecar.

use serde_json::Value;

use super::{Checked, Findings, elements};
use crate::api::{ComponentKind, Path};
use crate::charts::tree::at;
use crate::merge::Component;
use crate::merge::tree::scalar_text;

pub(super) fn check(checked: &Checked, findings: &mut Findings) {
    let find = |kind| {
        checked
            .components
            .iter()
            .find(|component| component.kind == kind)
    };
    let pilot = find(ComponentKind::Pilot);
    if let Some(ztunnel) = find(ComponentKind::Ztunnel) {
        ambient(checked, ztunnel, pilot, find(ComponentKind::Cni), findings);
    }
    if let Some(pilot) = pilot {
        templates(checked, pilot, findings);
    }
}

/// Warns of a ztunnel that gets no traffic, because istiod or the CNI agent is not in ambient mode. Another CR may install
/// what this one lacks.
fn ambient(
    checked: &Checked,
    ztunnel: &Component,
    pilot: Option<&Component>,
    cni: Option<&Component>,
    findings: &mut Findings,
) {
    let name = "PILOT_ENABLE_AMBIENT";
    let serves = |pilot| variable(checked, pilot, name).as_deref() == Some("true");
    let redirects = checked.value(&["cni", "ambient", "enabled"]) == Some(&Value::Bool(true));
    let mut lacking = Vec::new();
    if pilot.is_some_and(|pilot| !serves(pilot)) {
        lacking.push("values.pilot.env.PILOT_ENABLE_AMBIENT: \"true\"");
    }
    if cni.is_some() && !redirects {
        lacking.push("values.cni.ambient.enabled: true");
    }
    if !lacking.is_empty() {
        let lacking = lacking.join(" and ");
        let text =
            format!("has no effect without {lacking}; the profile ambient sets what it needs");
        findings.warn(ztunnel.path.clone(), text);
    }
}

/// An environment variable of istiod.
fn variable(checked: &Checked, pilot: &Component, name: &str) -> Option<String> {
    let own = elements(pilot.k8s.get("env"), &pilot.path);
    let mut own = own.filter(|(_, variable)| variable["name"] == name);
    match own.next() {
        Some((_, variable)) => scalar_text(&variable["value"]),
        None => checked.value(&["pilot", "env", name]).and_then(scalar_text),
    }
}

/// Templates that stand in the place of one of Istio's own, which say themselves where the proxy runs.
const OWN_TEMPLATES: [&str; 4] = ["sidecar", "gateway", "grpc-simple", "grpc-agent"];

/// Warns of templates that change the proxy as a container while it is an init container (its issue 56455).
fn templates(checked: &Checked, pilot: &Component, findings: &mut Findings) {
    let mode = variable(checked, pilot, "ENABLE_NATIVE_SIDECARS");
    let when = match mode.as_deref() {
        Some("true") => "native sidecars are on",
        None | Some("auto") if checked.version.minor >= 27 => {
            "from Kubernetes 1.33 on sidecars are native"
        }
        _ => return,
    };
    let keys = ["sidecarInjectorWebhook", "templates"];
    let path = Path::root("spec").key("values").keys(&keys);
    let templates = at(&checked.spec["values"], &keys).and_then(Value::as_object);
    for (name, template) in templates.into_iter().flatten() {
        let text = template.as_str().unwrap_or_default();
        if !OWN_TEMPLATES.contains(&name.as_str()) && changes_proxy_container(text) {
            let text = format!(
                "has istio-proxy under containers, but {when}: pods would get a second one, and the API server refuses \
                 them; write it under initContainers"
            );
            findings.warn(path.key(name), text);
        }
    }
}

/// Whether a template of a pod has `istio-proxy` among its containers. It is a Go template, so it is read line by line.
fn changes_proxy_container(template: &str) -> bool {
    if template.contains("NativeSidecars") {
        return false;
    }
    let mut lines = template.lines().map(str::trim).scan("", |list, line| {
        if let Some(key) = line
            .strip_suffix(':')
            .filter(|key| key.ends_with("ontainers"))
        {
            *list = key;
        }
        Some((*list, line.trim_start_matches("- ")))
    });
    lines.any(|(list, line)| {
        let name = line
            .strip_prefix("name:")
            .map(|name| name.trim().trim_matches(['"', '\'']));
        list == "containers" && name == Some("istio-proxy")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_is_found_among_the_containers_only() {
        for (template, expected) in [
            (
                "spec:\n  containers:\n  - name: istio-proxy\n    env: []",
                true,
            ),
            (
                "spec:\n  containers:\n  - env: []\n    name: \"istio-proxy\"",
                true,
            ),
            ("spec:\n  initContainers:\n  - name: istio-proxy", false),
            (
                "spec:\n  containers:\n  - name: app\n  initContainers:\n  - name: istio-proxy",
                false,
            ),
            (
                "spec:\n  {{ if .NativeSidecars }}\n  containers:\n  - name: istio-proxy",
                false,
            ),
            ("metadata:\n  labels:\n    name: istio-proxy", false),
            ("", false),
        ] {
            assert_eq!(changes_proxy_container(template), expected, "{template}");
        }
    }
}
