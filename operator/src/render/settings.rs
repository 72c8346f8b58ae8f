//! Applies the `k8s` block of a component to the objects that its chart rendered.
//!
//! Each field but `overlays` becomes a strategic merge patch of the objects of one kind and name
//! (upstream's `postprocess.go` since 1.24). If no such object is rendered, the field has no effect,
//! which is a warning.

use serde_json::{Value, json};

use super::entries::keep_the_users_source;
use super::{Object, RenderError, strategic};
use crate::api::{FieldError, Warning, Workload, WorkloadName};
use crate::merge::{Component, Merged};

/// The objects that a field patches.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// The Deployment or `DaemonSet` of the component.
    Workload,
    /// The object of this kind that has the workload's name.
    SameName(&'static str),
    /// The Service that people and other workloads reach the component by.
    Service,
    /// Nothing: upstream accepts the field and ignores it.
    Nothing,
}

/// Where a field's value goes in the patch.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// At these keys of the object.
    At(&'static [&'static str]),
    /// In the component's container, under this key.
    Container(&'static str),
}

const POD: &[&str] = &["spec", "template", "spec"];

/// What each field of the block patches (facts: upstream's `postprocess.go`, the same in every
/// minor since 1.24).
const FIELDS: [(&str, Target, Place); 18] = [
    (
        "affinity",
        Target::Workload,
        Place::At(&["spec", "template", "spec", "affinity"]),
    ),
    (VARIABLES, Target::Workload, Place::Container("env")),
    (
        "hpaSpec",
        Target::SameName("HorizontalPodAutoscaler"),
        Place::At(&["spec"]),
    ),
    (
        "imagePullPolicy",
        Target::Workload,
        Place::Container("imagePullPolicy"),
    ),
    (
        "nodeSelector",
        Target::Workload,
        Place::At(&["spec", "template", "spec", "nodeSelector"]),
    ),
    (
        "podAnnotations",
        Target::Workload,
        Place::At(&["spec", "template", "metadata", "annotations"]),
    ),
    (
        BUDGET,
        Target::SameName("PodDisruptionBudget"),
        Place::At(&["spec"]),
    ),
    (
        "priorityClassName",
        Target::Workload,
        Place::At(&["spec", "template", "spec", "priorityClassName"]),
    ),
    (
        "readinessProbe",
        Target::Workload,
        Place::Container("readinessProbe"),
    ),
    (
        "replicaCount",
        Target::Workload,
        Place::At(&["spec", "replicas"]),
    ),
    ("resources", Target::Workload, Place::Container("resources")),
    (
        "securityContext",
        Target::Workload,
        Place::At(&["spec", "template", "spec", "securityContext"]),
    ),
    ("service", Target::Service, Place::At(&["spec"])),
    (
        "serviceAnnotations",
        Target::Service,
        Place::At(&["metadata", "annotations"]),
    ),
    (
        "strategy",
        Target::Workload,
        Place::At(&["spec", "strategy"]),
    ),
    (
        "tolerations",
        Target::Workload,
        Place::At(&["spec", "template", "spec", "tolerations"]),
    ),
    (
        "volumeMounts",
        Target::Nothing,
        Place::Container("volumeMounts"),
    ),
    ("volumes", Target::Nothing, Place::At(POD)),
];

/// The field whose patch may leave two bounds of which the API server accepts one.
const BUDGET: &str = "podDisruptionBudget";
/// The field whose patch may leave a variable with a value and a source, of which the API server accepts one.
const VARIABLES: &str = "env";

/// Patches the objects of a component with its `k8s` block, and warns of settings that have no effect.
pub(super) fn apply(
    merged: &Merged,
    component: &Component,
    objects: &mut [Object],
    warnings: &mut Vec<Warning>,
) -> Result<(), RenderError> {
    // Without a workload there is nothing to patch, and `merge` has warned of every field.
    let Some(workload) = component.kind.info().workload else {
        return Ok(());
    };
    let name = target_name(merged, component, workload);
    let service = workload.service.unwrap_or(name);
    for (field, target, place) in FIELDS {
        let Some(value) = component.k8s.get(field) else {
            continue;
        };
        let path = component.path.key("k8s").key(field);
        let kind = match target {
            Target::Workload => workload.kind,
            Target::SameName(kind) => kind,
            Target::Service => "Service",
            // `merge` has warned of it.
            Target::Nothing => continue,
        };
        let change = patch(place, workload.container, with_exclusions(field, value));
        let name = match target {
            Target::Service => service,
            _ => name,
        };
        let mut found = false;
        for object in objects
            .iter_mut()
            .filter(|o| o.key.kind == kind && o.key.name == name)
        {
            found = true;
            let changed = object.body.change_all(|body| {
                strategic::apply(kind, body, &change)?;
                match field {
                    BUDGET => keep_one_bound(body),
                    VARIABLES => keep_the_users_source(body, workload.container, value),
                    _ => {}
                }
                Ok(())
            });
            changed.map_err(|problem: String| {
                RenderError::Setting(FieldError::new(path.clone(), problem))
            })?;
        }
        if !found && !value.is_null() && value != &json!({}) {
            let text = format!("has no effect: no {kind} {name} is rendered");
            warnings.push(Warning::new(path, text));
        }
    }
    Ok(())
}

/// The name of the objects that upstream patches. For the revision `default` it is `istiod`, although the chart calls them
/// `istiod-default`: the settings then have no effect, which is a warning.
fn target_name<'a>(merged: &Merged, component: &'a Component, workload: Workload) -> &'a str {
    match workload.name {
        WorkloadName::WithRevision(name) if merged.revision == "default" => name,
        _ => &component.name,
    }
}

fn patch(place: Place, container: &str, value: Value) -> Value {
    let nested = |keys: &[&str], value: Value| {
        keys.iter()
            .rev()
            .fold(value, |value, key| json!({ (*key): value }))
    };
    match place {
        Place::At(keys) => nested(keys, value),
        Place::Container(key) => {
            let container = json!({"name": container, (key): value});
            nested(POD, json!({"containers": [container]}))
        }
    }
}

/// The fields of a probe of which one may be there.
const PROBE_HANDLERS: [&str; 4] = ["exec", "grpc", "httpGet", "tcpSocket"];

/// The setting with nulls for those fields that cannot stand beside what it asks for, so that the chart's go away.
fn with_exclusions(field: &str, value: &Value) -> Value {
    let mut value = value.clone();
    let Value::Object(block) = &mut value else {
        return value;
    };
    let mut excluded = Vec::new();
    if field == "strategy" && block.get("type").is_some_and(|kind| kind == "Recreate") {
        excluded.push("rollingUpdate");
    }
    let is_set = |name: &&str| block.get(*name).is_some_and(Value::is_object);
    if field == "readinessProbe" && PROBE_HANDLERS.iter().any(is_set) {
        excluded.extend(PROBE_HANDLERS);
    }
    for name in excluded {
        block.entry(name).or_insert(Value::Null);
    }
    value
}

/// Removes the chart's `minAvailable` if `maxUnavailable` is set: the API server refuses a budget with both.
fn keep_one_bound(budget: &mut Value) {
    if let Some(Value::Object(spec)) = budget.get_mut("spec")
        && spec.contains_key("maxUnavailable")
    {
        spec.remove("minAvailable");
    }
}

#[cfg(test)]
mod tests;
