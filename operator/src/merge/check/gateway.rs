//! Checks gateways: their names, lists of values, replicas, and ports that only root may open.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Checked, Findings, elements, unlike};
use crate::api::{ComponentKind, Path};
use crate::charts::tree::at;
use crate::merge::tree::is_true;

pub(super) fn check(checked: &Checked, findings: &mut Findings) {
    names(checked, findings);
    for kind in ComponentKind::ALL {
        let Some(root) = kind.gateway_key() else {
            continue;
        };
        let key = kind.spec_key();
        let path = Path::root("spec").key("components").key(key);
        if at(checked.user, &["components", key]) == Some(&Value::Null) {
            let expected = "a list of gateways (without this field the profile's, [] for none)";
            findings.errors.push(unlike(expected, &Value::Null, &path));
        }
        required_fields(checked, root, findings);
        replicas(checked, kind, root, &path, findings);
        if !is_true(checked.spec, &["values", "gateways", root, "runAsRoot"]) {
            let list = at(checked.spec, &["components", key]);
            for (path, gateway) in elements(list, &path) {
                let ports = at(gateway, &["k8s", "service", "ports"]);
                let path = path.key("k8s").key("service").key("ports");
                privileged_ports(ports, root, &path, findings);
            }
        }
    }
    ingress_ports(checked, findings);
}

/// The fields that charts read of each element of a list of values.
const NEEDED: [(&str, &[&str]); 4] = [
    ("configVolumes", &["name", "configMapName"]),
    (
        "podAntiAffinityLabelSelector",
        &["key", "operator", "topologyKey"],
    ),
    (
        "podAntiAffinityTermLabelSelector",
        &["key", "operator", "topologyKey"],
    ),
    ("secretVolumes", &["name", "secretName", "mountPath"]),
];

/// Checks that no element of these lists lacks a field that the chart writes. Upstream renders an empty value, which the API
/// server refuses.
fn required_fields(checked: &Checked, root: &str, findings: &mut Findings) {
    let gateway = Path::root("spec").key("values").key("gateways").key(root);
    for (list, needed) in NEEDED {
        let path = gateway.key(list);
        for (path, element) in
            elements(at(checked.spec, &["values", "gateways", root, list]), &path)
        {
            for key in needed {
                if element.get(key).is_none_or(Value::is_null) {
                    let problem = "is required";
                    let path = path.key(key);
                    findings.error(path, problem);
                }
            }
        }
    }
}

/// Checks that each gateway has a name, and that no two in one namespace have the same: they would render the same objects.
fn names(checked: &Checked, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    let gateways = checked
        .components
        .iter()
        .filter(|c| c.kind.gateway_key().is_some());
    for gateway in gateways {
        let path = gateway.path.key("name");
        if gateway.name.is_empty() {
            let problem = "expected the name of the gateway, found none";
            findings.error(path, problem);
        } else if !seen.insert((&gateway.namespace, &gateway.name)) {
            let (name, namespace) = (&gateway.name, &gateway.namespace);
            let problem = format!("another gateway in namespace {namespace} is called {name} too");
            findings.error(path, problem);
        }
    }
}

/// Checks the ports of a gateway whose proxy does not run as root: below 1024 only root may open one.
fn privileged_ports(ports: Option<&Value>, root: &str, path: &Path, findings: &mut Findings) {
    for (path, port) in elements(ports, path) {
        let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
        if let Some(problem) = privileged(number, port) {
            let problem = format!("{problem} or values.gateways.{root}.runAsRoot to true");
            findings.error(path, problem);
        }
    }
}

/// Checks the older list of ports as upstream does: it refuses low ones even if the proxy runs as root, and skips ports whose
/// number is in quotes.
fn ingress_ports(checked: &Checked, findings: &mut Findings) {
    let keys = ["values", "gateways", "istio-ingressgateway", "ingressPorts"];
    let path = Path::root("spec").keys(&keys);
    for (path, port) in elements(at(checked.spec, &keys), &path) {
        let number = port.get("port").and_then(Value::as_i64);
        if let Some(problem) = number.and_then(|number| privileged(number, port)) {
            findings.error(path, problem);
        }
    }
}

/// The problem of a port that only root may open, and the remedy; none for any other port.
fn privileged(number: i64, port: &Value) -> Option<String> {
    let target = match port.get("targetPort") {
        None | Some(Value::Null) => 0,
        // A name refers to a container port, whose number is not known here.
        Some(target) => target.as_i64()?,
    };
    match target {
        0 if number > 1024 => None,
        0 => Some(format!(
            "port {number} has no targetPort, and its own number needs root: set targetPort above 1024"
        )),
        1024.. => None,
        _ => Some(format!("targetPort {target} needs root: set it above 1024")),
    }
}

/// Warns of replicas that an autoscaler changes again at once.
fn replicas(
    checked: &Checked,
    kind: ComponentKind,
    root: &str,
    path: &Path,
    findings: &mut Findings,
) {
    if !is_true(
        checked.spec,
        &["values", "gateways", root, "autoscaleEnabled"],
    ) {
        return;
    }
    for (path, gateway) in elements(at(checked.spec, &["components", kind.spec_key()]), path) {
        let count = at(gateway, &["k8s", "replicaCount"]);
        if count.is_some_and(|count| !count.is_null() && *count != json!(0)) {
            let problem = format!(
                "has no lasting effect while values.gateways.{root}.autoscaleEnabled is true"
            );
            let path = path.key("k8s").key("replicaCount");
            findings.warn(path, problem);
        }
    }
}
