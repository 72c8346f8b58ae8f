//! Relations in pods.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Broken, Fields, is_set, maps, one, text, when};
use crate::api::quantity;
use crate::render::kubernetes::place::Place;

/// A container has an image.
pub(super) fn image(container: &Fields) -> Vec<Broken> {
    when(
        text(container, "image").is_empty(),
        &["image"],
        "is required",
    )
}

/// Only a probe that ends the container says how long it may take to end.
pub(super) fn readiness(container: &Fields) -> Vec<Broken> {
    const PERIOD: &str = "terminationGracePeriodSeconds";
    let probe = container.get("readinessProbe").and_then(Value::as_object);
    let is_there = probe.is_some_and(|probe| is_set(probe, PERIOD));
    when(
        is_there,
        &["readinessProbe", PERIOD],
        "cannot be set for a readiness probe",
    )
}

/// A variable has a value or a source.
pub(super) fn value_or_source(variable: &Fields) -> Vec<Broken> {
    let both = is_set(variable, "valueFrom") && !text(variable, "value").is_empty();
    when(both, &["valueFrom"], "cannot stand beside value")
}

/// The values of a requirement are as its operator says.
pub(super) fn requirement(requirement: &Fields) -> Vec<Broken> {
    let values = requirement
        .get("values")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    match text(requirement, "operator") {
        "In" | "NotIn" if values == 0 => one(&["values"], "is required by In and NotIn"),
        "Exists" | "DoesNotExist" if values > 0 => {
            one(&["values"], "cannot stand beside Exists and DoesNotExist")
        }
        "Gt" | "Lt" if values != 1 => one(&["values"], "expected one value for Gt and Lt"),
        _ => Vec::new(),
    }
}

/// A toleration says what it tolerates.
pub(super) fn toleration(toleration: &Fields) -> Vec<Broken> {
    let operator = text(toleration, "operator");
    let (key, value) = (text(toleration, "key"), text(toleration, "value"));
    let seconds = is_set(toleration, "tolerationSeconds");
    let is_comparison = matches!(operator, "Lt" | "Gt");
    let mut broken = when(
        key.is_empty() && operator != "Exists",
        &["operator"],
        "expected Exists where there is no key",
    );
    broken.extend(when(
        operator == "Exists" && !value.is_empty(),
        &["value"],
        "cannot stand beside Exists",
    ));
    broken.extend(when(
        is_comparison && value.parse::<i64>().is_err(),
        &["value"],
        "expected a whole number for Gt and Lt",
    ));
    broken.extend(when(
        seconds && text(toleration, "effect") != "NoExecute",
        &["effect"],
        "expected NoExecute beside tolerationSeconds",
    ));
    broken
}

/// A number of domains is for pods that have to be spread.
pub(super) fn spread(constraint: &Fields) -> Vec<Broken> {
    let is_soft = text(constraint, "whenUnsatisfiable") == "ScheduleAnyway";
    let text = "cannot stand beside ScheduleAnyway";
    when(
        is_soft && is_set(constraint, "minDomains"),
        &["minDomains"],
        text,
    )
}

/// A file names the profile if and only if the profile is local.
pub(super) fn local_profile(profile: &Fields) -> Vec<Broken> {
    let is_local = text(profile, "type") == "Localhost";
    match (is_local, is_set(profile, "localhostProfile")) {
        (true, false) => one(&["localhostProfile"], "is required by Localhost"),
        (false, true) => one(&["localhostProfile"], "cannot stand without Localhost"),
        _ => Vec::new(),
    }
}

/// What is privileged can escalate.
pub(super) fn escalation(context: &Fields) -> Vec<Broken> {
    let is = |key: &str, flag: bool| context.get(key) == Some(&Value::Bool(flag));
    let added = context.get("capabilities").and_then(|all| all.get("add"));
    let added = added.and_then(Value::as_array).into_iter().flatten();
    let is_admin = added
        .filter_map(Value::as_str)
        .any(|name| name == "CAP_SYS_ADMIN");
    let text = "cannot be false beside privileged and CAP_SYS_ADMIN";
    let both = is("allowPrivilegeEscalation", false) && (is("privileged", true) || is_admin);
    when(both, &["allowPrivilegeEscalation"], text)
}

/// The resources that a name without a domain can mean.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Amounts are not negative, and no request is above its limit.
pub(super) fn resources(resources: &Fields) -> Vec<Broken> {
    let side = |key: &str| resources.get(key).and_then(Value::as_object);
    let mut broken = Vec::new();
    for key in ["limits", "requests"] {
        for (name, value) in side(key).into_iter().flatten() {
            let is_known = name.contains('/') || name.starts_with("hugepages-");
            if !is_known && !RESOURCES.contains(&name.as_str()) {
                let text = format!(
                    "expected one of {}, or example.com/name",
                    RESOURCES.join(", ")
                );
                broken.extend(one(&[key, name], text));
            }
            if quantity::amount(value).is_some_and(|amount| amount < 0) {
                broken.extend(one(&[key, name], "expected a quantity of at least 0"));
            }
        }
    }
    for (name, request) in side("requests").into_iter().flatten() {
        let limit = side("limits").and_then(|limits| limits.get(name));
        let amounts = (quantity::amount(request), limit.and_then(quantity::amount));
        if let (Some(request), Some(limit)) = amounts
            && request > limit
        {
            broken.extend(one(&["requests", name], "expected at most the limit"));
        }
    }
    broken
}

/// No two containers of a pod have one name.
pub(super) fn container_names(pod: &Fields) -> Vec<Broken> {
    let names: BTreeSet<&str> = maps(pod, "containers")
        .map(|(_, one)| text(one, "name"))
        .collect();
    let first = maps(pod, "initContainers").filter(|(_, one)| names.contains(text(one, "name")));
    first
        .map(|(index, _)| {
            let place = Place::of(&["initContainers"]).then(index).then("name");
            (place, "is the name of a container too".to_owned())
        })
        .collect()
}

/// What is mounted is a volume of the pod.
pub(super) fn mounts(pod: &Fields) -> Vec<Broken> {
    let volumes: BTreeSet<&str> = maps(pod, "volumes")
        .map(|(_, one)| text(one, "name"))
        .collect();
    let mut broken = Vec::new();
    for list in ["containers", "initContainers"] {
        for (index, container) in maps(pod, list) {
            for mounted in ["volumeMounts", "volumeDevices"] {
                for (mount, fields) in maps(container, mounted) {
                    let name = text(fields, "name");
                    if !volumes.contains(name) {
                        let place = Place::of(&[list]).then(index).then(mounted).then(mount);
                        broken.push((place.then("name"), format!("there is no volume {name}")));
                    }
                }
            }
        }
    }
    broken
}
