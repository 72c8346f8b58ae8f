//! Relations in Deployments and `DaemonSets`.

use serde_json::{Map, Value};

use super::{Broken, Fields, NULL, is_set, maps, number, one, text, when};

/// The selector of a workload selects its pods.
pub(super) fn selector(spec: &Fields) -> Vec<Broken> {
    let Some(selector) = spec.get("selector").and_then(Value::as_object) else {
        // It is required, which is told elsewhere.
        return Vec::new();
    };
    let labels = spec
        .get("template")
        .and_then(|template| template.get("metadata"));
    let labels = labels.and_then(|metadata| metadata.get("labels"));
    let none = Map::new();
    let labels = labels.and_then(Value::as_object).unwrap_or(&none);
    let wanted = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let mut requirements = maps(selector, "matchExpressions").peekable();
    if wanted.is_empty() && requirements.peek().is_none() {
        return one(&["selector"], "selects nothing");
    }
    let missing = wanted
        .iter()
        .find(|(key, value)| label(labels, key) != value.as_str());
    if let Some((key, _)) = missing {
        let text = format!("do not have the label {key} of the selector");
        return one(&["template", "metadata", "labels"], text);
    }
    let is_broken = requirements.any(|(_, requirement)| !selects(requirement, labels));
    let text = "are not what the selector asks for";
    when(is_broken, &["template", "metadata", "labels"], text)
}

/// A label; a null is an empty text.
fn label<'l>(labels: &'l Fields, key: &str) -> Option<&'l str> {
    labels
        .get(key)
        .map(|value| value.as_str().unwrap_or_default())
}

fn selects(requirement: &Fields, labels: &Fields) -> bool {
    let found = label(labels, text(requirement, "key"));
    let values = requirement.get("values").and_then(Value::as_array);
    let mut values = values.into_iter().flatten().filter_map(Value::as_str);
    let is_listed = found.is_some_and(|found| values.any(|value| value == found));
    match text(requirement, "operator") {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        // That is told elsewhere.
        _ => true,
    }
}

/// A rollout has more time than a pod needs to be ready.
pub(super) fn deadline(spec: &Fields) -> Vec<Broken> {
    let deadline = number(spec, "progressDeadlineSeconds").unwrap_or(600);
    let ready = number(spec, "minReadySeconds").unwrap_or(0);
    let text = format!("expected more than the minReadySeconds {ready}, found {deadline}");
    when(deadline <= ready, &["progressDeadlineSeconds"], text)
}

/// Only a rolling update has settings.
pub(super) fn recreate(strategy: &Fields) -> Vec<Broken> {
    let both = text(strategy, "type") == "Recreate" && is_set(strategy, "rollingUpdate");
    let text = format!("cannot stand beside the type Recreate{NULL}");
    when(both, &["rollingUpdate"], text)
}

/// A rolling update of a Deployment may change one pod at least.
pub(super) fn deployment_update(update: &Fields) -> Vec<Broken> {
    let is_stuck = is_zero(update, "maxSurge", false) && is_zero(update, "maxUnavailable", false);
    when(
        is_stuck,
        &["maxUnavailable"],
        "cannot be 0 beside a maxSurge of 0",
    )
}

/// A rolling update of a `DaemonSet` either adds pods or takes some away.
pub(super) fn daemon_set_update(update: &Fields) -> Vec<Broken> {
    let zeros = (
        is_zero(update, "maxSurge", true),
        is_zero(update, "maxUnavailable", false),
    );
    match zeros {
        (true, true) => one(&["maxUnavailable"], "cannot be 0 beside a maxSurge of 0"),
        (false, false) => one(&["maxSurge"], "needs a maxUnavailable of 0"),
        _ => Vec::new(),
    }
}

/// Whether a number of pods or a share is zero; `otherwise` if it is absent.
fn is_zero(update: &Fields, key: &str, otherwise: bool) -> bool {
    match update.get(key) {
        None | Some(Value::Null) => otherwise,
        Some(Value::String(share)) => share.trim_end_matches('%').parse() == Ok(0_u64),
        Some(number) => number.as_i64() == Some(0),
    }
}
