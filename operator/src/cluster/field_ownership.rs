//! Fields that others may own beside us.
//!
//! With server-side apply, sending a field takes it, and no longer sending one that only we own removes it. So such a
//! field is sent when the object is created, and left out only once somebody else holds it: istiod writes the CA and
//! the failure policy of its webhooks, an autoscaler writes replicas, a restart writes an annotation.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::{Map, Value};

use super::owner_labels::MANAGER;
use crate::charts::yaml::Manifest;

/// One co-owned field.
struct Rule {
    kinds: &'static [&'static str],
    path: &'static [PathStep],
    /// The managers that the field is left to; empty means any other than ours. Where a person's edit would do harm
    /// (a webhook that fails open), only the program that is meant to write the field is named.
    left_to: &'static [&'static str],
}

/// One step on the way to a field.
#[derive(Clone, Copy)]
enum PathStep {
    /// The field of this name.
    Field(&'static str),
    /// Every element of a list whose elements are told apart by `name`.
    Each,
}

use PathStep::{Each, Field};

/// The kinds whose webhooks have a CA.
pub(crate) const WEBHOOKS: &[&str] = &[
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];
/// The path of the replicas of a Deployment.
pub(super) const REPLICAS: &str = "spec.replicas";

const RULES: [Rule; 5] = [
    // istiod, or cert-manager's injector, fills in the CA that signs its serving certificate.
    Rule {
        kinds: WEBHOOKS,
        path: &[
            Field("webhooks"),
            Each,
            Field("clientConfig"),
            Field("caBundle"),
        ],
        left_to: &[],
    },
    // Charts say Ignore so that nothing is refused before istiod runs; istiod says Fail once it answers.
    Rule {
        kinds: WEBHOOKS,
        path: &[Field("webhooks"), Each, Field("failurePolicy")],
        left_to: &["pilot-discovery"],
    },
    // AKS excludes its own namespaces from every webhook; the selector is one value to server-side apply.
    Rule {
        kinds: WEBHOOKS,
        path: &[Field("webhooks"), Each, Field("namespaceSelector")],
        left_to: &["admissionsenforcer"],
    },
    // Applies only under an autoscaler, see [`omit_co_owned`].
    Rule {
        kinds: &["Deployment"],
        path: &[Field("spec"), Field("replicas")],
        left_to: &[],
    },
    // `kubectl rollout restart`; dropping or resetting it would restart the pods once more.
    Rule {
        kinds: &["Deployment", "DaemonSet"],
        path: &[
            Field("spec"),
            Field("template"),
            Field("metadata"),
            Field("annotations"),
            Field("kubectl.kubernetes.io/restartedAt"),
        ],
        left_to: &[],
    },
];

/// Which co-owned fields of a live object are whose, as paths such as `webhooks[name].failurePolicy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CoOwnedFields {
    /// Held by a manager that the field is left to.
    pub others: Vec<String>,
    /// Held by us.
    pub ours: Vec<String>,
}

impl CoOwnedFields {
    /// Reads the managed fields of an object of `kind`.
    #[must_use]
    pub fn read(kind: &str, entries: &[ManagedFieldsEntry]) -> Self {
        let mut co_owned = Self::default();
        for rule in RULES.iter().filter(|rule| rule.kinds.contains(&kind)) {
            for entry in entries {
                let manager = entry.manager.as_deref().unwrap_or_default();
                let list = if is_ours(entry) {
                    &mut co_owned.ours
                } else if manager != MANAGER
                    && (rule.left_to.is_empty() || rule.left_to.contains(&manager))
                {
                    &mut co_owned.others
                } else {
                    continue;
                };
                if let Some(fields) = entry
                    .fields_v1
                    .as_ref()
                    .and_then(|fields| fields.0.as_object())
                {
                    find(fields, rule.path, String::new(), list);
                }
            }
        }
        for list in [&mut co_owned.others, &mut co_owned.ours] {
            list.sort_unstable();
            list.dedup();
        }
        co_owned
    }
}

/// Whether `entry` records what our applies set.
#[must_use]
pub fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(MANAGER)
        && entry.operation.as_deref() == Some("Apply")
        && entry.subresource.as_deref().is_none_or(str::is_empty)
}

/// Appends the paths below `fields` that `path` matches.
fn find(fields: &Map<String, Value>, path: &[PathStep], at: String, found: &mut Vec<String>) {
    let Some((step, rest)) = path.split_first() else {
        found.push(at);
        return;
    };
    match step {
        Field(name) => {
            let below = fields.get(&format!("f:{name}")).and_then(Value::as_object);
            let dot = if at.is_empty() { "" } else { "." };
            if let Some(below) = below {
                find(below, rest, format!("{at}{dot}{name}"), found);
            }
        }
        Each => {
            for (key, below) in fields {
                let name = key.strip_prefix("k:").and_then(element_name);
                if let (Some(name), Some(below)) = (name, below.as_object()) {
                    find(below, rest, format!("{at}[{name}]"), found);
                }
            }
        }
    }
}

fn element_name(key: &str) -> Option<String> {
    let key: Value = serde_json::from_str(key).ok()?;
    Some(key.get("name")?.as_str()?.to_owned())
}

/// What is known of the replicas of a workload.
#[derive(Clone, Copy, Debug)]
pub struct Scaling {
    /// Whether an autoscaler is rendered for it.
    pub autoscaled: bool,
    /// The replicas of the live object, if there is one.
    pub live: Option<i64>,
}

/// Takes the fields that others hold out of `body`; gives the paths that were taken out or carried over.
///
/// Under an autoscaler that has not written yet, replicas that we set earlier are carried over from the live object:
/// leaving them out would remove the only claim to the field, and the server's default of one would end running pods.
pub fn omit_co_owned(
    body: &mut Manifest,
    kind: &str,
    co_owned: &CoOwnedFields,
    scaling: Scaling,
) -> Vec<String> {
    if !RULES.iter().any(|rule| rule.kinds.contains(&kind)) {
        return Vec::new();
    }
    body.change_all(|body| take_out(body, kind, co_owned, scaling))
}

fn take_out(
    body: &mut Value,
    kind: &str,
    co_owned: &CoOwnedFields,
    scaling: Scaling,
) -> Vec<String> {
    let mut changed = Vec::new();
    for rule in RULES.iter().filter(|rule| rule.kinds.contains(&kind)) {
        take(body, rule.path, "", &mut |path| {
            let left = co_owned.others.iter().any(|other| other == path)
                && (path != REPLICAS || scaling.autoscaled);
            if left {
                changed.push(path.to_owned());
            }
            left
        });
    }
    let ours = co_owned.ours.iter().any(|path| path == REPLICAS)
        && !co_owned.others.iter().any(|path| path == REPLICAS);
    if let (true, true, Some(live), Some(spec)) = (
        scaling.autoscaled,
        ours,
        scaling.live,
        body.get_mut("spec").and_then(Value::as_object_mut),
    ) && !spec.contains_key("replicas")
    {
        spec.insert("replicas".to_owned(), live.into());
        changed.push(format!("{REPLICAS}={live}"));
    }
    changed
}

/// Removes every field below `value` that `path` matches and `unwanted` names.
fn take(value: &mut Value, path: &[PathStep], at: &str, unwanted: &mut impl FnMut(&str) -> bool) {
    match path {
        [] => {}
        [Each, rest @ ..] => {
            for element in value.as_array_mut().into_iter().flatten() {
                let Some(name) = element.get("name").and_then(Value::as_str) else {
                    continue;
                };
                let at = format!("{at}[{name}]");
                take(element, rest, &at, unwanted);
            }
        }
        [Field(name), rest @ ..] => {
            let Some(object) = value.as_object_mut() else {
                return;
            };
            let dot = if at.is_empty() { "" } else { "." };
            let at = format!("{at}{dot}{name}");
            if !rest.is_empty() {
                if let Some(below) = object.get_mut(*name) {
                    take(below, rest, &at, unwanted);
                }
            } else if object.contains_key(*name) && unwanted(&at) {
                object.remove(*name);
            }
        }
    }
}

/// Who else holds a field that `body` sets and our entry lost: the manager and the field, for the message of a fight.
#[must_use]
pub fn conflicting_manager(
    body: &Value,
    entries: &[ManagedFieldsEntry],
) -> Option<(String, String)> {
    let set = |entry: &ManagedFieldsEntry| entry.fields_v1.as_ref().map(|fields| fields.0.clone());
    let ours = entries
        .iter()
        .find(|entry| is_ours(entry))
        .and_then(set)
        .unwrap_or_default();
    let mut others: Vec<_> = entries.iter().filter(|entry| !is_ours(entry)).collect();
    others.sort_by_key(|entry| entry.time.clone().map(|time| time.0));
    others.iter().rev().find_map(|entry| {
        let field = taken(body, &set(entry)?, &ours, "")?;
        Some((entry.manager.clone().unwrap_or_default(), field))
    })
}

/// The first field of `theirs` that `body` sets and `ours` lacks.
fn taken(body: &Value, theirs: &Value, ours: &Value, at: &str) -> Option<String> {
    for (step, below) in theirs.as_object()? {
        let (set, path) = if let Some(name) = step.strip_prefix("f:") {
            (body.get(name), format!("{at}.{name}"))
        } else if let Some(name) = step.strip_prefix("k:").and_then(element_name) {
            let elements = body.as_array().into_iter().flatten();
            let same =
                |element: &&Value| element.get("name").and_then(Value::as_str) == Some(&name);
            (elements.into_iter().find(same), format!("{at}[{name}]"))
        } else {
            continue;
        };
        let Some(set) = set else { continue };
        let none = Value::Null;
        let mine = ours.get(step);
        let is_leaf = below.as_object().is_none_or(Map::is_empty);
        if is_leaf && mine.is_none() {
            return Some(path.trim_start_matches('.').to_owned());
        }
        if let Some(found) = taken(set, below, mine.unwrap_or(&none), &path) {
            return Some(found);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entries(entries: Value) -> Vec<ManagedFieldsEntry> {
        serde_json::from_value(entries).unwrap()
    }

    /// Managed fields of an object whose field `path` is held by `manager`, as the API server writes them.
    fn held_by(manager: &str, path: &[&str]) -> Vec<ManagedFieldsEntry> {
        let fields = path
            .iter()
            .rev()
            .fold(json!({}), |below, step| json!({*step: below}));
        entries(json!([{"manager": manager, "operation": "Update", "fieldsV1": fields}]))
    }

    const FIXED: Scaling = Scaling {
        autoscaled: false,
        live: None,
    };
    const SCALED: Scaling = Scaling {
        autoscaled: true,
        live: Some(4),
    };

    /// What is sent of `body` when `manager` holds `path`.
    fn sent(kind: &str, body: &Value, manager: &str, path: &[&str], scaling: Scaling) -> Value {
        let co_owned = CoOwnedFields::read(kind, &held_by(manager, path));
        let mut body = Manifest::from(body);
        omit_co_owned(&mut body, kind, &co_owned, scaling);
        body.value()
    }

    const ELEMENT: &str = r#"k:{"name":"a.istio.io"}"#;

    #[test]
    fn the_ca_of_a_webhook_is_left_to_whoever_wrote_it() {
        let body = json!({"webhooks": [
            {"name": "a.istio.io", "clientConfig": {"caBundle": "", "url": "u"}},
            {"name": "b.istio.io", "clientConfig": {"caBundle": ""}},
        ]});
        let path = ["f:webhooks", ELEMENT, "f:clientConfig", "f:caBundle"];
        let kind = "MutatingWebhookConfiguration";
        let left = sent(kind, &body, "pilot-discovery", &path, FIXED);
        assert_eq!(left["webhooks"][0]["clientConfig"], json!({"url": "u"}));
        assert_eq!(left["webhooks"][1], body["webhooks"][1]);
        assert_eq!(sent(kind, &body, MANAGER, &path, FIXED), body);
        assert_eq!(sent(kind, &body, "x", &["f:webhooks"], FIXED), body);
    }

    #[test]
    fn the_failure_policy_is_left_to_istiod_alone() {
        let body = json!({"webhooks": [{"name": "a.istio.io", "failurePolicy": "Ignore"}]});
        let path = ["f:webhooks", ELEMENT, "f:failurePolicy"];
        let kind = "ValidatingWebhookConfiguration";
        let left = sent(kind, &body, "pilot-discovery", &path, FIXED);
        assert_eq!(left["webhooks"][0], json!({"name": "a.istio.io"}));
        assert_eq!(sent(kind, &body, "kubectl-edit", &path, FIXED), body);
    }

    #[test]
    fn the_namespace_selector_is_left_to_aks_alone() {
        let body = json!({"webhooks": [{"name": "a.istio.io", "namespaceSelector": {}}]});
        let path = ["f:webhooks", ELEMENT, "f:namespaceSelector"];
        let kind = "MutatingWebhookConfiguration";
        let left = sent(kind, &body, "admissionsenforcer", &path, FIXED);
        assert_eq!(left["webhooks"][0], json!({"name": "a.istio.io"}));
        assert_eq!(sent(kind, &body, "kubectl-edit", &path, FIXED), body);
    }

    #[test]
    fn replicas_are_left_to_an_autoscaler_only() {
        let body = json!({"spec": {"replicas": 1, "paused": false}});
        let path = ["f:spec", "f:replicas"];
        let manager = "kube-controller-manager";
        let left = sent("Deployment", &body, manager, &path, SCALED);
        assert_eq!(left, json!({"spec": {"paused": false}}));
        assert_eq!(sent("Deployment", &body, manager, &path, FIXED), body);
    }

    #[test]
    fn replicas_that_only_we_hold_are_carried_over_to_an_autoscaler() {
        let body = json!({"spec": {}});
        let path = ["f:spec", "f:replicas"];
        let ours = |operation: &str| {
            let mut entries = held_by(MANAGER, &path);
            entries[0].operation = Some(operation.to_owned());
            CoOwnedFields::read("Deployment", &entries)
        };
        let mut carried = Manifest::from(&body);
        let changed = omit_co_owned(&mut carried, "Deployment", &ours("Apply"), SCALED);
        assert_eq!(carried.value(), json!({"spec": {"replicas": 4}}));
        assert_eq!(changed, ["spec.replicas=4"]);
        let mut fixed = Manifest::from(&body);
        omit_co_owned(&mut fixed, "Deployment", &ours("Apply"), FIXED);
        assert_eq!(fixed.value(), body);
    }

    #[test]
    fn the_mark_of_a_restart_is_left_to_whoever_restarted() {
        let mark = "kubectl.kubernetes.io/restartedAt";
        let body =
            json!({"spec": {"template": {"metadata": {"annotations": {mark: "x", "a": "b"}}}}});
        let field = format!("f:{mark}");
        let path = [
            "f:spec",
            "f:template",
            "f:metadata",
            "f:annotations",
            &field,
        ];
        let left = sent("DaemonSet", &body, "kubectl-rollout", &path, FIXED);
        assert_eq!(
            left["spec"]["template"]["metadata"]["annotations"],
            json!({"a": "b"})
        );
    }

    #[test]
    fn the_rival_is_whoever_holds_what_we_set() {
        let body = json!({"metadata": {"name": "x"}, "webhooks": [{"name": "a.istio.io", "sideEffects": "None"}]});
        let lost = entries(json!([
            {"manager": MANAGER, "operation": "Apply", "fieldsV1": {"f:webhooks": {ELEMENT: {".": {}, "f:name": {}}}}},
            {"manager": "argocd-controller", "operation": "Apply", "time": "2026-01-01T00:00:00Z",
                "fieldsV1": {"f:webhooks": {ELEMENT: {"f:name": {}, "f:sideEffects": {}}}}},
            {"manager": "kubectl", "operation": "Update", "time": "2026-01-02T00:00:00Z",
                "fieldsV1": {"f:metadata": {"f:annotations": {"f:note": {}}}}},
        ]));
        let conflicting_manager = conflicting_manager(&body, &lost);
        let expected = (
            "argocd-controller".to_owned(),
            "webhooks[a.istio.io].sideEffects".to_owned(),
        );
        assert_eq!(conflicting_manager, Some(expected));
    }
}
