//! What a change does to what runs: objects that are created, changed field by field, and deleted, and pods that restart.
//!
//! What an object becomes is not computed here but asked from the API server in a dry run, so that defaults and the fields of
//! other field managers are as they will be. Drift is no part of it: what was applied before comes back without being asked.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use super::precheck::Precheck;
use crate::api::{Annotations, PlanState, PlanStatus, UpgradeStatus};
use crate::charts::tree::at;
use crate::cluster::digest;
use crate::render::{ObjectKey, Rendered};

/// The kinds whose pods restart when their template changes.
const WORKLOADS: [&str; 2] = ["Deployment", "DaemonSet"];
/// Metadata that the API server keeps for itself.
const BOOKKEEPING: [&str; 5] = [
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
];
/// Restarts that the status spells out.
const MAX_RESTARTS: usize = 20;
/// Reasons for one restart that are spelled out.
const MAX_REASONS: usize = 3;

/// What a change does.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// The digest that an approval names.
    pub digest: String,
    /// The change of the version, its checks and what it changes beside objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeStatus>,
    /// Every object that does not stay as it is.
    pub objects: Vec<ObjectChange>,
    #[serde(skip)]
    target: String,
}

/// What happens to one object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectChange {
    /// The object, such as `Deployment istio-system/istiod`.
    pub object: String,
    /// What happens to it.
    pub action: Action,
    /// Every field that changes, if it is there and stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
    /// Why its pods are replaced or deleted, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Action {
    /// There is none, and there will be.
    Create,
    /// Some of its fields change.
    Change,
    /// It goes at the end.
    Delete,
}

/// One field that changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldChange {
    /// Its path, written as in an overlay.
    pub path: String,
    /// Its value; absent if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What it becomes; absent if it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

impl ObjectChange {
    /// An object that is created.
    #[must_use]
    pub fn created(key: &ObjectKey) -> Self {
        Self::without_fields(key, Action::Create)
    }

    /// An object that is deleted.
    #[must_use]
    pub fn deleted(key: &ObjectKey) -> Self {
        Self {
            restart: is_workload(key).then(|| "it is deleted".to_owned()),
            ..Self::without_fields(key, Action::Delete)
        }
    }

    fn without_fields(key: &ObjectKey, action: Action) -> Self {
        Self {
            object: key.to_string(),
            action,
            fields: Vec::new(),
            restart: None,
        }
    }

    /// What becomes of an object that is `old` now and will be `new`; none if nothing changes.
    #[must_use]
    pub fn between(key: &ObjectKey, old: &Value, new: &Value) -> Option<Self> {
        let mut fields = Vec::new();
        compare("", &essence(old), &essence(new), &mut fields);
        if fields.is_empty() {
            return None;
        }
        Some(Self {
            restart: restart(key, old, &fields),
            fields,
            ..Self::without_fields(key, Action::Change)
        })
    }
}

/// Whether an object has pods of its own.
#[must_use]
pub fn is_workload(key: &ObjectKey) -> bool {
    WORKLOADS.contains(&key.kind.as_str())
}

/// Why the pods of a workload are replaced when these fields change; none if they stay.
fn restart(key: &ObjectKey, old: &Value, fields: &[FieldChange]) -> Option<String> {
    let waits_for_deletion =
        at(old, &["spec", "updateStrategy", "type"]).is_some_and(|strategy| strategy == "OnDelete");
    if !is_workload(key) || waits_for_deletion {
        return None;
    }
    let template = "spec.template.";
    let paths = fields
        .iter()
        .filter_map(|field| field.path.strip_prefix(template));
    let paths: Vec<_> = paths.collect();
    if paths.is_empty() {
        return None;
    }
    let pods = at(old, &["status", "replicas"]);
    let pods = pods.or_else(|| at(old, &["status", "desiredNumberScheduled"]));
    let pods = pods.and_then(Value::as_u64).unwrap_or_default();
    let mut reasons: Vec<_> = paths.iter().take(MAX_REASONS).copied().collect();
    let more = format!("{} more", paths.len().saturating_sub(MAX_REASONS));
    if paths.len() > MAX_REASONS {
        reasons.push(&more);
    }
    let reasons = reasons.join(", ");
    Some(format!("{pods} pods are replaced, because of {reasons}"))
}

/// An object without what only its status and the API server's bookkeeping say.
fn essence(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
            metadata.retain(|key, _| !BOOKKEEPING.contains(&key.as_str()));
        }
    }
    object
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<FieldChange>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => compare_maps(path, old, new, found),
        (Value::Array(old), Value::Array(new)) => compare_lists(path, old, new, found),
        _ if old == new => {}
        _ => found.push(FieldChange {
            path: path.to_owned(),
            old: Some(old.clone()),
            new: Some(new.clone()),
        }),
    }
}

fn compare_maps(
    path: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    found: &mut Vec<FieldChange>,
) {
    let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let name = key.replace('.', "\\.");
        let path = match path {
            "" => name,
            _ => format!("{path}.{name}"),
        };
        compare_entries(path, old.get(key), new.get(key), found);
    }
}

fn compare_entries(
    path: String,
    old: Option<&Value>,
    new: Option<&Value>,
    found: &mut Vec<FieldChange>,
) {
    match (old, new) {
        (Some(old), Some(new)) => compare(&path, old, new, found),
        _ => found.push(FieldChange {
            path,
            old: old.cloned(),
            new: new.cloned(),
        }),
    }
}

/// Compares lists whose entries have names by name, and others position by position.
fn compare_lists(path: &str, old: &[Value], new: &[Value], found: &mut Vec<FieldChange>) {
    if let (Some(old), Some(new)) = (by_name(old), by_name(new)) {
        let names: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
        for name in names {
            let (old, new) = (old.get(name), new.get(name));
            compare_entries(
                format!("{path}.[name:{name}]"),
                old.copied(),
                new.copied(),
                found,
            );
        }
        return;
    }
    for index in 0..old.len().max(new.len()) {
        let path = format!("{path}.[{index}]");
        compare_entries(path, old.get(index), new.get(index), found);
    }
}

/// The entries of a list by their names; none if some have none, or two have the same.
fn by_name(list: &[Value]) -> Option<BTreeMap<&str, &Value>> {
    let mut named = BTreeMap::new();
    for entry in list {
        let name = entry.get("name")?.as_str()?;
        if named.insert(name, entry).is_some() {
            return None;
        }
    }
    Some(named)
}

/// A digest of the manifests that a CR renders. It stays the same while they are being applied.
#[must_use]
pub fn target_of(rendered: &Rendered) -> String {
    let objects = rendered
        .components
        .iter()
        .flat_map(|component| &component.objects);
    let mut digests: Vec<_> = objects
        .map(|object| (&object.key, digest(&object.body)))
        .collect();
    digests.sort();
    format!("{:016x}", digest(&digests))
}

impl Preview {
    /// What a change to the manifests with the digest `target` does.
    #[must_use]
    pub fn of(mut objects: Vec<ObjectChange>, target: String, upgrade: Option<&Precheck>) -> Self {
        objects.sort_by(|a, b| a.object.cmp(&b.object));
        let upgrade = upgrade.map(Precheck::status);
        let step = upgrade.as_ref().map(|upgrade| (&upgrade.from, &upgrade.to));
        // An object that is created is as its manifest says, which the target stands for.
        let content = serde_json::to_string(&(&objects, &target, step)).unwrap_or_default();
        Self {
            digest: format!("{:016x}", digest(&content)),
            upgrade,
            objects,
            target,
        }
    }

    /// What the status tells of a change that replaces no pod. Its objects are not compared one by one.
    #[must_use]
    pub fn harmless(target: String) -> PlanStatus {
        PlanStatus {
            digest: target.clone(),
            state: PlanState::UnderWay,
            target,
            summary: "no pod that runs is replaced".to_owned(),
            restarts: Vec::new(),
        }
    }

    /// Whether the change has to be agreed to where a person decides: it is one of the version, or pods go.
    fn is_grave(&self) -> bool {
        let is_change = self.upgrade.is_some() && !self.objects.is_empty();
        is_change || self.objects.iter().any(|object| object.restart.is_some())
    }

    /// Whether, where a person decides, it has to be agreed to, and these annotations do not.
    #[must_use]
    pub fn awaits_approval(&self, annotations: &Annotations) -> bool {
        self.is_grave() && annotations.approved_plan.as_ref() != Some(&self.digest)
    }

    /// What the status tells of it.
    #[must_use]
    pub fn status(&self, state: PlanState) -> PlanStatus {
        let restarts = self.restarts();
        let mut told: Vec<_> = restarts.iter().take(MAX_RESTARTS).cloned().collect();
        if restarts.len() > MAX_RESTARTS {
            told.push(format!("{} more", restarts.len() - MAX_RESTARTS));
        }
        PlanStatus {
            digest: self.digest.clone(),
            state,
            target: self.target.clone(),
            summary: self.summary(),
            restarts: told,
        }
    }

    /// How many objects are created, changed and deleted.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |action| {
            let of_action = self.objects.iter().filter(|object| object.action == action);
            of_action.count()
        };
        format!(
            "{} objects are created, {} changed, {} deleted",
            count(Action::Create),
            count(Action::Change),
            count(Action::Delete)
        )
    }

    fn restarts(&self) -> Vec<String> {
        let restart = |change: &ObjectChange| {
            let why = change.restart.as_ref()?;
            Some(format!("{}: {why}", change.object))
        };
        self.objects.iter().filter_map(restart).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::key;

    fn workload(image: &str, cpu: &str) -> Value {
        json!({
            "metadata": {"name": "istiod", "generation": 3, "labels": {"operator.istio.io/version": image}},
            "spec": {"template": {"spec": {"containers": [
                {"name": "discovery", "image": image, "args": ["a", cpu]},
                {"name": "other"},
            ]}}},
            "status": {"replicas": 2},
        })
    }

    #[test]
    fn fields_are_told_one_by_one() {
        let (old, new) = (workload("1.30", "1"), workload("1.31", "2"));
        let change = ObjectChange::between(&key("Deployment", "istiod"), &old, &new).unwrap();
        let told: Vec<_> = change
            .fields
            .iter()
            .map(|field| field.path.as_str())
            .collect();
        assert_eq!(
            told,
            [
                "metadata.labels.operator\\.istio\\.io/version",
                "spec.template.spec.containers.[name:discovery].args.[1]",
                "spec.template.spec.containers.[name:discovery].image",
            ]
        );
        assert_eq!(change.fields[2].old, Some(json!("1.30")));
        assert_eq!(change.fields[2].new, Some(json!("1.31")));
        let why = change.restart.unwrap();
        assert!(
            why.starts_with("2 pods are replaced, because of spec.containers"),
            "{why}"
        );
    }

    #[test]
    fn what_only_the_api_server_counts_is_no_change() {
        let old = workload("1.30", "1");
        let mut new = old.clone();
        new["metadata"]["generation"] = json!(4);
        new["metadata"]["resourceVersion"] = json!("17");
        new["status"] = json!({});
        assert_eq!(
            ObjectChange::between(&key("Deployment", "istiod"), &old, &new),
            None
        );
    }

    #[test]
    fn pods_restart_only_for_their_template_and_not_where_people_delete_them() {
        let (old, mut new) = (workload("1.30", "1"), workload("1.30", "1"));
        new["spec"]["replicas"] = json!(3);
        let change = |kind: &str, old: &Value, new: &Value| {
            ObjectChange::between(&key(kind, "istiod"), old, new)
                .unwrap()
                .restart
        };
        assert_eq!(change("Deployment", &old, &new), None);
        let mut old = old;
        let new = workload("1.31", "1");
        assert!(change("DaemonSet", &old, &new).is_some());
        assert_eq!(change("ConfigMap", &old, &new), None);
        old["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
        assert_eq!(change("DaemonSet", &old, &new["spec"].clone()), None);
    }

    #[test]
    fn the_digest_covers_every_value() {
        let key = key("ConfigMap", "istio");
        let preview = |new: &str, target: &str| {
            let (old, new) = (json!({"data": "a"}), json!({"data": new}));
            let changes = ObjectChange::between(&key, &old, &new)
                .into_iter()
                .collect();
            Preview::of(changes, target.to_owned(), None)
        };
        let first = preview("b", "t");
        assert_eq!(first.digest, preview("b", "t").digest);
        for other in [preview("c", "t"), preview("b", "u"), preview("a", "t")] {
            assert_ne!(first.digest, other.digest);
        }
        assert!(!first.is_grave());
        assert_eq!(
            first.summary(),
            "0 objects are created, 1 changed, 0 deleted"
        );
        let delete = vec![ObjectChange::deleted(&crate::cluster::key(
            "Deployment",
            "edge",
        ))];
        assert!(Preview::of(delete, String::new(), None).is_grave());
    }
}
