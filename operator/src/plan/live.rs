//! What the cluster holds: one small record for every object that carries an owner label.
//!
//! Records are reduced from watch events at once. Bodies and managed fields are not kept: what is compared is a digest
//! of the set of fields that our applies own. It stays as it was while controllers write status and autoscalers write
//! replicas, and changes when somebody edits or removes a field of ours, which is exactly when a repair is due.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::owner::{CrKey, Ownership};
use super::ownership::{Holdings, is_ours};
use crate::render::ObjectKey;

/// Every live object that carries an owner label, of whichever CR.
#[derive(Clone, Debug, Default)]
pub struct Live {
    objects: HashMap<ObjectKey, LiveObject>,
}

/// What is kept of one live object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveObject {
    /// Tells the object from another one of the same name.
    pub uid: String,
    /// Its resource version, to tell an old event from a newer answer; 0 if it is no number.
    pub version: u64,
    /// Whose it is.
    pub ownership: Ownership,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The generation of its spec.
    pub generation: i64,
    /// Digest of the fields that our applies own; absent if we never applied it.
    pub ours: Option<u64>,
    /// Who holds its co-owned fields.
    pub held: Holdings,
    /// How far it is, for kinds whose status says so.
    pub progress: Option<Progress>,
}

/// How far a live object is, from its status.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// A `Deployment` or a `DaemonSet`.
    Workload(Workload),
    /// A CRD.
    Definition {
        /// Whether the API server serves it.
        established: bool,
    },
}

/// How far a `Deployment` or a `DaemonSet` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The generation that the numbers below were counted for.
    pub observed_generation: i64,
    /// Pods that there should be.
    pub desired: i64,
    /// Pods that there are, of whichever generation.
    pub current: i64,
    /// Pods of the newest generation.
    pub updated: i64,
    /// Pods that serve.
    pub available: i64,
}

impl LiveObject {
    /// Reduces the metadata of an object of `kind`.
    #[must_use]
    pub fn read(kind: &str, meta: &ObjectMeta) -> Self {
        let entries = meta.managed_fields.as_deref().unwrap_or_default();
        let ours = entries.iter().find(|entry| is_ours(entry));
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            version: version(meta),
            ownership: meta
                .labels
                .as_ref()
                .map(Ownership::read)
                .unwrap_or_default(),
            terminating: meta.deletion_timestamp.is_some(),
            generation: meta.generation.unwrap_or_default(),
            ours: ours.map(|entry| digest(&entry.fields_v1.as_ref().map(|fields| &fields.0))),
            held: Holdings::read(kind, entries),
            progress: None,
        }
    }

    /// Whether two states of an object differ in nothing but their version.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let Self {
            uid,
            version: _,
            ownership,
            terminating,
            generation,
            ours,
            held,
            progress,
        } = self;
        *uid == other.uid
            && *ownership == other.ownership
            && *terminating == other.terminating
            && *generation == other.generation
            && *ours == other.ours
            && *held == other.held
            && *progress == other.progress
    }

    /// Whether the object belongs to `cr` by its labels, and our applies made it or took it over.
    #[must_use]
    pub fn is_owned_by(&self, cr: &CrKey) -> bool {
        self.ours.is_some() && self.ownership.owner.as_ref() == Some(cr)
    }

    /// The replicas that the object asks for, if it is a workload whose status was seen.
    #[must_use]
    pub fn replicas(&self) -> Option<i64> {
        match self.progress {
            Some(Progress::Workload(workload)) => Some(workload.desired),
            _ => None,
        }
    }

    /// What this object lacks to be ready, such as `1 of 2 replicas are available`. `None` means ready.
    #[must_use]
    pub fn gap(&self) -> Option<String> {
        if self.terminating {
            return Some("it is being deleted".to_owned());
        }
        match self.progress.as_ref()? {
            Progress::Definition { established: true } => None,
            Progress::Definition { established: false } => Some("it is not served yet".to_owned()),
            Progress::Workload(workload) => workload.gap(self.generation),
        }
    }
}

impl Workload {
    fn gap(&self, generation: i64) -> Option<String> {
        let Self {
            observed_generation,
            desired,
            current,
            updated,
            available,
        } = *self;
        if observed_generation < generation {
            Some("its newest generation is not being rolled out yet".to_owned())
        } else if updated < desired {
            Some(format!("{updated} of {desired} replicas are updated"))
        } else if current > updated {
            Some(format!(
                "{} old replicas are still there",
                current - updated
            ))
        } else if available < desired {
            Some(format!("{available} of {desired} replicas are available"))
        } else {
            None
        }
    }
}

impl Live {
    /// The object of this identity.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&LiveObject> {
        self.objects.get(key)
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &LiveObject)> {
        self.objects.iter()
    }

    /// Whether an object is known to exist in this namespace, and with it the namespace.
    #[must_use]
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.objects
            .iter()
            .any(|(key, object)| key.namespace.as_deref() == Some(namespace) && !object.terminating)
    }

    /// What the object lacks to be ready; a missing object lacks everything.
    #[must_use]
    pub fn gap(&self, key: &ObjectKey) -> Option<String> {
        match self.get(key) {
            None => Some("it does not exist".to_owned()),
            Some(object) => object.gap(),
        }
    }

    /// Takes in an object as a list has it; gives what was known before.
    pub fn put(&mut self, key: ObjectKey, object: LiveObject) -> Option<LiveObject> {
        self.objects.insert(key, object)
    }

    /// Whether a newer state of the same object is known than `object`, which then is an event that was overtaken by
    /// the answer to a write. Lists are never asked: after a restore from a backup, versions start again lower.
    #[must_use]
    pub fn is_overtaken(&self, key: &ObjectKey, object: &LiveObject) -> bool {
        let known = self.get(key).filter(|known| known.uid == object.uid);
        known.is_some_and(|known| known.version > object.version)
    }

    /// Takes in what the answer to an apply said. Answers carry metadata only, so what is known of the status of the
    /// same object stays.
    pub fn put_answer(&mut self, key: ObjectKey, mut object: LiveObject) {
        if self.is_overtaken(&key, &object) {
            return;
        }
        if let Some(before) = self.get(&key).filter(|before| before.uid == object.uid) {
            object.progress.clone_from(&before.progress);
        } else {
            object.progress = Progress::unseen(&key.kind);
        }
        self.objects.insert(key, object);
    }

    /// Takes in that an object is gone; gives what was known of it.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<LiveObject> {
        self.objects.remove(key)
    }

    /// Takes in that an object is on its way out.
    pub fn mark_terminating(&mut self, key: &ObjectKey) {
        if let Some(object) = self.objects.get_mut(key) {
            object.terminating = true;
        }
    }

    /// The keys of all objects of a kind.
    #[must_use]
    pub fn keys_of(&self, group: &str, kind: &str) -> Vec<ObjectKey> {
        let same = |key: &&ObjectKey| key.group == group && key.kind == kind;
        self.objects.keys().filter(same).cloned().collect()
    }
}

impl Progress {
    /// What is assumed of a new object until its status is seen: that it is not ready.
    fn unseen(kind: &str) -> Option<Self> {
        match kind {
            "CustomResourceDefinition" => Some(Self::Definition { established: false }),
            "Deployment" | "DaemonSet" => {
                let observed_generation = -1;
                Some(Self::Workload(Workload {
                    observed_generation,
                    ..Workload::default()
                }))
            }
            _ => None,
        }
    }

    /// Reads the spec and the status of an object of `kind`.
    #[must_use]
    pub fn read(kind: &str, spec: &WatchedSpec, status: &WatchedStatus) -> Option<Self> {
        let workload = |desired, current, updated, available| {
            Some(Self::Workload(Workload {
                observed_generation: status.observed_generation.unwrap_or(-1),
                desired,
                current,
                updated,
                available,
            }))
        };
        match kind {
            "CustomResourceDefinition" => {
                let is_established = |condition: &WatchedCondition| {
                    condition.r#type == "Established" && condition.status == "True"
                };
                let established = status.conditions.iter().flatten().any(is_established);
                Some(Self::Definition { established })
            }
            "Deployment" => workload(
                spec.replicas.unwrap_or(1),
                status.replicas,
                status.updated_replicas,
                status.available_replicas,
            ),
            // Pods of an older generation are not counted apart, so those that are not updated stand for them.
            "DaemonSet" => workload(
                status.desired_number_scheduled,
                status.updated_number_scheduled,
                status.updated_number_scheduled,
                status.number_available,
            ),
            _ => None,
        }
    }
}

/// The part of a spec that says how many pods there should be; everything else is skipped while parsing.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct WatchedSpec {
    replicas: Option<i64>,
}

/// The part of a status that says how far an object is; everything else is skipped while parsing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WatchedStatus {
    observed_generation: Option<i64>,
    replicas: i64,
    updated_replicas: i64,
    available_replicas: i64,
    desired_number_scheduled: i64,
    updated_number_scheduled: i64,
    number_available: i64,
    // Null, not absent, in a CRD that was just created.
    conditions: Option<Vec<WatchedCondition>>,
}

/// The part of a condition that says whether it holds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WatchedCondition {
    r#type: String,
    status: String,
}

/// The resource version as a number. The API promises that versions of one object compare as numbers.
#[must_use]
pub fn version(meta: &ObjectMeta) -> u64 {
    let text = meta.resource_version.as_deref();
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// A digest that is compared within this process only.
#[must_use]
pub fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(kind: &str, body: &Value) -> LiveObject {
        let meta: ObjectMeta = serde_json::from_value(body["metadata"].clone()).unwrap();
        let spec = WatchedSpec::deserialize(&body["spec"]).unwrap_or_default();
        let status = WatchedStatus::deserialize(&body["status"]).unwrap_or_default();
        let progress = Progress::read(kind, &spec, &status);
        LiveObject {
            progress,
            ..LiveObject::read(kind, &meta)
        }
    }

    #[test]
    fn a_deployment_is_ready_when_its_newest_generation_is_available() {
        let gap = |status: Value| {
            let metadata = json!({"generation": 3});
            let spec = json!({"replicas": 2});
            object(
                "Deployment",
                &json!({"metadata": metadata, "spec": spec, "status": status}),
            )
            .gap()
        };
        let status = |observed, replicas, updated, available| {
            json!({"observedGeneration": observed, "replicas": replicas,
                "updatedReplicas": updated, "availableReplicas": available})
        };
        assert_eq!(gap(status(3, 2, 2, 2)), None);
        assert_eq!(
            gap(json!(null)).unwrap(),
            "its newest generation is not being rolled out yet"
        );
        assert!(gap(status(2, 2, 2, 2)).is_some());
        assert_eq!(
            gap(status(3, 3, 1, 3)).unwrap(),
            "1 of 2 replicas are updated"
        );
        assert_eq!(
            gap(status(3, 3, 2, 3)).unwrap(),
            "1 old replicas are still there"
        );
        assert_eq!(
            gap(status(3, 2, 2, 1)).unwrap(),
            "1 of 2 replicas are available"
        );
    }

    #[test]
    fn a_daemon_set_without_nodes_is_ready() {
        let body = json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1}});
        assert_eq!(object("DaemonSet", &body).gap(), None);
    }

    #[test]
    fn a_definition_is_ready_when_it_is_served() {
        let gap = |status: &str| {
            let conditions = json!([{"type": "Established", "status": status}]);
            let body = json!({"metadata": {}, "status": {"conditions": conditions}});
            object("CustomResourceDefinition", &body).gap()
        };
        assert_eq!(gap("True"), None);
        assert!(gap("False").is_some());
        assert!(WatchedStatus::deserialize(&json!({"conditions": null})).is_ok());
    }

    #[test]
    fn only_our_own_fields_count_as_drift() {
        let digest_of = |entries: Value| {
            object(
                "ConfigMap",
                &json!({"metadata": {"managedFields": entries}}),
            )
            .ours
        };
        let ours = |fields: Value| json!({"manager": "istio-operator", "operation": "Apply", "fieldsV1": fields});
        let status = json!({"manager": "istio-operator", "operation": "Apply",
            "subresource": "status", "fieldsV1": {"f:status": {}}});
        let other =
            json!({"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:b": {}}});
        let calm = digest_of(json!([ours(json!({"f:data": {"f:a": {}}}))]));
        let churned = digest_of(json!([other, status, ours(json!({"f:data": {"f:a": {}}}))]));
        let edited = digest_of(json!([other, ours(json!({"f:data": {}}))]));
        assert!(calm.is_some());
        assert_eq!(calm, churned);
        assert_ne!(calm, edited);
        assert_eq!(digest_of(json!([other])), None);
    }

    #[test]
    fn an_answer_keeps_the_progress_of_the_same_object_only() {
        let key = ObjectKey {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: Some("a".into()),
            name: "b".into(),
        };
        let ready = Workload {
            observed_generation: 1,
            ..Workload::default()
        };
        let seen = |uid: &str, progress| LiveObject {
            uid: uid.into(),
            progress,
            ..Default::default()
        };
        let mut live = Live::default();
        live.put(key.clone(), seen("1", Some(Progress::Workload(ready))));
        live.put_answer(key.clone(), seen("1", None));
        assert_eq!(live.gap(&key), None);
        live.put_answer(key.clone(), seen("2", None));
        assert!(live.gap(&key).is_some());
    }
}
