//! Relations in autoscalers and disruption budgets.

use serde_json::Value;

use super::{Broken, Fields, is_set, maps, number, one, text, when};
use crate::render::kubernetes::place::Place;

/// An autoscaler has room between its bounds, and a metric that works without pods if there may be none.
pub(super) fn bounds(spec: &Fields) -> Vec<Broken> {
    let least = number(spec, "minReplicas").unwrap_or(1);
    let mut broken = Vec::new();
    if let Some(most) = number(spec, "maxReplicas").filter(|most| *most < least) {
        let text = format!("expected at most the maxReplicas {most}, found {least}");
        broken.extend(one(&["minReplicas"], text));
    }
    let works_without =
        |(_, metric): (_, &Fields)| matches!(text(metric, "type"), "Object" | "External");
    if least == 0 && !maps(spec, "metrics").any(works_without) {
        broken.extend(one(
            &["minReplicas"],
            "can be 0 only with a metric of type Object or External",
        ));
    }
    broken
}

/// The source of each type of metric, and the fields of its target of which one has to be set.
const METRICS: [(&str, &str, &[&str]); 5] = [
    (
        "ContainerResource",
        "containerResource",
        &["averageUtilization", "averageValue"],
    ),
    ("External", "external", &["averageValue", "value"]),
    ("Object", "object", &["averageValue", "value"]),
    ("Pods", "pods", &["averageValue"]),
    (
        "Resource",
        "resource",
        &["averageUtilization", "averageValue"],
    ),
];

/// A metric has the one source that its type names, and the source has a target.
pub(super) fn metric(metric: &Fields) -> Vec<Broken> {
    let kind = text(metric, "type");
    let mut broken = Vec::new();
    for (name, source, targets) in METRICS {
        let set = is_set(metric, source);
        if kind != name {
            let text = format!("cannot stand beside the type {kind}");
            broken.extend(when(set, &[source], text));
            continue;
        }
        broken.extend(when(
            !set,
            &[source],
            format!("is required by the type {kind}"),
        ));
        let target = metric.get(source).and_then(|source| source.get("target"));
        let Some(target) = target.and_then(Value::as_object) else {
            continue;
        };
        let found = targets.iter().filter(|key| is_set(target, key)).count();
        let is_broken = found == 0 || (found > 1 && name != "Object");
        let expected = format!("expected one of {}", targets.join(", "));
        broken.extend(when(is_broken, &[source, "target"], expected));
    }
    broken
}

/// A disruption budget has one bound.
pub(super) fn one_bound(spec: &Fields) -> Vec<Broken> {
    let both = is_set(spec, "minAvailable") && is_set(spec, "maxUnavailable");
    let text = "cannot stand beside maxUnavailable".to_owned();
    if both {
        vec![(Place::of(&["minAvailable"]), text)]
    } else {
        Vec::new()
    }
}
