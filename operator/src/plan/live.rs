//! What the cluster holds: one small record for every object that carries an owner label, and for every injector.
//!
//! Records are reduced from watch events at once. Bodies and managed fields are not kept: what is compared is a digest
//! of the set of fields that our applies own. It stays as it was while controllers write status and autoscalers write
//! replicas, and changes when somebody edits or removes a field of ours, which is exactly when a repair is due.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::owner::{CrKey, Ownership};
use super::ownership::{Holdings, is_ours};
use super::progress::Progress;
use super::tag::{Injector, is_moved};
use crate::render::ObjectKey;

/// Every live object that carries an owner label, of whichever CR, and every configuration of injection webhooks.
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
    /// Whom it injects for, if that is what it does.
    pub injector: Option<Injector>,
    /// How far it is, for kinds whose status says so.
    pub progress: Option<Progress>,
}

impl LiveObject {
    /// Reduces the metadata of an object of `kind`.
    #[must_use]
    pub fn read(kind: &str, meta: &ObjectMeta) -> Self {
        let entries = meta.managed_fields.as_deref().unwrap_or_default();
        let ours = entries.iter().find(|entry| is_ours(entry));
        let none = BTreeMap::new();
        let labels = meta.labels.as_ref().unwrap_or(&none);
        let mut ownership = Ownership::read(labels);
        if is_moved(labels, entries) {
            ownership.owner = None;
        }
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            version: version(meta),
            ownership,
            terminating: meta.deletion_timestamp.is_some(),
            generation: meta.generation.unwrap_or_default(),
            ours: ours.map(|entry| digest(&entry.fields_v1.as_ref().map(|fields| &fields.0))),
            held: Holdings::read(kind, entries),
            injector: Injector::read(kind, labels),
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
            injector,
            progress,
        } = self;
        *uid == other.uid
            && *ownership == other.ownership
            && *terminating == other.terminating
            && *generation == other.generation
            && *ours == other.ours
            && *held == other.held
            && *injector == other.injector
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
        self.progress.as_ref()?.gap(self.generation)
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

    /// The addresses at which the object is reached from outside the cluster, if it is a `Service`.
    #[must_use]
    pub fn addresses(&self, key: &ObjectKey) -> &[String] {
        match self.get(key).and_then(|object| object.progress.as_ref()) {
            Some(Progress::Exposed(addresses)) => addresses,
            _ => &[],
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
    use crate::plan::Workload;

    fn object(kind: &str, body: &Value) -> LiveObject {
        let meta: ObjectMeta = serde_json::from_value(body["metadata"].clone()).unwrap();
        LiveObject::read(kind, &meta)
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
