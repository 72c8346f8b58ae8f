//! Relations in Services.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Broken, Fields, is_set, maps, number, one, text, when};
use crate::render::kubernetes::place::Place;

fn port(index: usize, key: &str) -> Place {
    Place::of(&["ports"]).then(index).then(key)
}

/// Several ports have names.
pub(super) fn names(spec: &Fields) -> Vec<Broken> {
    if maps(spec, "ports").count() < 2 {
        return Vec::new();
    }
    let unnamed = maps(spec, "ports").filter(|(_, one)| text(one, "name").is_empty());
    let told = unnamed.map(|(index, _)| {
        (
            port(index, "name"),
            "is required of several ports".to_owned(),
        )
    });
    told.collect()
}

/// A Service has what its type needs.
pub(super) fn needs(spec: &Fields) -> Vec<Broken> {
    let is_headless = text(spec, "clusterIP") == "None";
    let has_ports = maps(spec, "ports").next().is_some();
    match text(spec, "type") {
        "ExternalName" => {
            let is_absent = text(spec, "externalName").is_empty();
            when(
                is_absent,
                &["externalName"],
                "is required by the type ExternalName",
            )
        }
        "LoadBalancer" | "NodePort" if is_headless => {
            one(&["clusterIP"], "cannot be None for a Service of this type")
        }
        _ => when(!has_ports && !is_headless, &["ports"], "is required"),
    }
}

/// The fields that a Service has only if it is of one of these types.
const FIELDS: [(&str, &[&str]); 5] = [
    ("allocateLoadBalancerNodePorts", &["LoadBalancer"]),
    ("externalTrafficPolicy", &["LoadBalancer", "NodePort"]),
    ("healthCheckNodePort", &["LoadBalancer"]),
    ("loadBalancerClass", &["LoadBalancer"]),
    ("loadBalancerSourceRanges", &["LoadBalancer"]),
];

/// A Service has only what its type knows.
pub(super) fn kinds(spec: &Fields) -> Vec<Broken> {
    let kind = match text(spec, "type") {
        "" => "ClusterIP",
        kind => kind,
    };
    let is_empty =
        |value: &Value| value == 0 || value == "" || value.as_array().is_some_and(Vec::is_empty);
    let is_there =
        |key: &str| is_set(spec, key) && spec.get(key).is_some_and(|value| !is_empty(value));
    let reaches_out = is_there("externalIPs");
    let mut broken = Vec::new();
    for (key, kinds) in FIELDS {
        let is_known = kinds.contains(&kind) || (key == "externalTrafficPolicy" && reaches_out);
        if !is_known && is_there(key) {
            let text = format!("needs the type {}, not {kind}", kinds.join(" or "));
            broken.extend(one(&[key], text));
        }
    }
    let affine = text(spec, "sessionAffinity") == "ClientIP";
    let text = "needs the sessionAffinity ClientIP";
    broken.extend(when(
        !affine && is_set(spec, "sessionAffinityConfig"),
        &["sessionAffinityConfig"],
        text,
    ));
    broken
}

/// Ports of nodes are those of one port each.
pub(super) fn node_ports(spec: &Fields) -> Vec<Broken> {
    let is_inside = matches!(text(spec, "type"), "" | "ClusterIP");
    let mut seen = BTreeSet::new();
    let mut broken = Vec::new();
    for (index, fields) in maps(spec, "ports") {
        let Some(number) = number(fields, "nodePort").filter(|number| *number > 0) else {
            continue;
        };
        let place = port(index, "nodePort");
        let protocol = match text(fields, "protocol") {
            "" => "TCP",
            protocol => protocol,
        };
        if is_inside {
            broken.push((place, "cannot be set for the type ClusterIP".to_owned()));
        } else if !seen.insert((number, protocol)) {
            broken.push((place, "is the nodePort of another port too".to_owned()));
        }
    }
    broken
}

/// The first of several addresses is that which a Service had when it could have only one.
pub(super) fn addresses(spec: &Fields) -> Vec<Broken> {
    let several = spec.get("clusterIPs").and_then(Value::as_array);
    let first = several.and_then(|all| all.first()).and_then(Value::as_str);
    let text = "expected the address of clusterIP first";
    when(
        first.is_some_and(|first| first != self::text(spec, "clusterIP")),
        &["clusterIPs"],
        text,
    )
}

/// Several address families need a policy that lets them in, which no policy is not where the Service has an address.
pub(super) fn families(spec: &Fields) -> Vec<Broken> {
    let families = spec
        .get("ipFamilies")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    let is_single = match text(spec, "ipFamilyPolicy") {
        "" => text(spec, "clusterIP") != "None",
        policy => policy == "SingleStack",
    };
    let text = "expected PreferDualStack or RequireDualStack beside several ipFamilies";
    when(is_single && families > 1, &["ipFamilyPolicy"], text)
}
