//! What the cluster holds: one small record for every object that carries an owner label, and for every injector.
//!
//! Records are reduced from watch events at once. Bodies and managed fields are not kept. Compared are a digest of the
//! set of fields that our applies own, and the time of our entry. Both stay as they were while controllers write status
//! and autoscalers write replicas. The digest changes when somebody edits or removes a field of ours; the time changes
//! when somebody else applies under our name. Either is exactly when a repair is due.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::evidence::Evidence;
use super::field_ownership::{CoOwnedFields, is_ours};
use super::injector::{Injector, was_repointed};
use super::kinds::Kind;
use super::managing_tool::ManagingTool;
use super::owner_labels::{CrKey, OwnerLabels};
use super::readiness::{Exposure, Readiness, WatchedSpec, WatchedStatus, Workload};
use crate::catalogue::Version;
use crate::render::ObjectKey;

/// Every live object that carries an owner label, of whichever CR, and every configuration of injection webhooks.
#[derive(Clone, Debug, Default)]
pub struct Live {
    objects: HashMap<ObjectKey, LiveObject>,
    /// The version of the last event of each kind: the watch has told of everything up to it.
    told: HashMap<&'static str, u64>,
    /// The objects that answers told of since a list of their kind began, by kind. The list may be older than they are.
    answered: HashMap<&'static str, HashSet<ObjectKey>>,
    /// Objects without owner label of which is known whether another tool manages them.
    unlabeled: HashMap<ObjectKey, Option<ManagingTool>>,
    /// Selectors of workloads that the API server refused to change, with the UID of the workload.
    selectors: HashMap<ObjectKey, (String, Value)>,
}

/// What is kept of one live object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveObject {
    /// Tells the object from another one of the same name.
    pub uid: String,
    /// Its resource version, to tell an old event from a newer answer; 0 if it is no number.
    pub version: u64,
    /// Whose it is.
    pub owner_labels: OwnerLabels,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The generation of its spec.
    pub generation: i64,
    /// Digest of the fields that our applies own; absent if we never applied it.
    pub our_fields: Option<u64>,
    /// When an apply under our name changed it last, to the second.
    pub applied_at: Option<Timestamp>,
    /// The resource version of the last write that may have been an apply under our name in the second of
    /// `applied_at`: nothing else explains it.
    pub unexplained: u64,
    /// The evidence that such writes are recognized by.
    pub evidence: Evidence,
    /// The other tool that manages it.
    pub managed_by: Option<ManagingTool>,
    /// Who holds its co-owned fields.
    pub co_owned: CoOwnedFields,
    /// Whom it injects for, if that is what it does.
    pub injector: Option<Injector>,
    /// How far it is, for kinds whose status says so.
    pub readiness: Option<Readiness>,
    /// The version of Istio that its pods run, if it is a workload.
    pub image_version: Option<Version>,
}

impl LiveObject {
    /// Reduces the metadata of an object of `kind`.
    #[must_use]
    pub fn read(kind: &str, meta: &ObjectMeta) -> Self {
        let entries = meta.managed_fields.as_deref().unwrap_or_default();
        let ours = entries.iter().find(|entry| is_ours(entry));
        let none = BTreeMap::new();
        let labels = meta.labels.as_ref().unwrap_or(&none);
        let mut owner_labels = OwnerLabels::read(labels);
        if was_repointed(labels, entries) {
            owner_labels.owner = None;
        }
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            version: version(meta),
            owner_labels,
            terminating: meta.deletion_timestamp.is_some(),
            generation: meta.generation.unwrap_or_default(),
            our_fields: ours.map(|entry| digest(&entry.fields_v1.as_ref().map(|fields| &fields.0))),
            applied_at: ours
                .and_then(|entry| entry.time.as_ref())
                .map(|time| time.0),
            unexplained: 0,
            evidence: Evidence::read(meta),
            managed_by: ManagingTool::read(meta),
            co_owned: CoOwnedFields::read(kind, entries),
            injector: Injector::read(kind, labels),
            readiness: None,
            image_version: None,
        }
    }

    /// The identity of an object of `kind` and what is kept of it, from its metadata and from what else was read.
    #[must_use]
    pub fn of(
        kind: &Kind,
        meta: &ObjectMeta,
        read: Option<(&WatchedSpec, &WatchedStatus)>,
    ) -> (ObjectKey, Self) {
        let name = meta.name.clone().unwrap_or_default();
        let key = kind.key(meta.namespace.clone(), name);
        let object = Self {
            readiness: read.and_then(|(spec, status)| Readiness::read(kind.kind, spec, status)),
            image_version: read.and_then(|(spec, _)| spec.image_version()),
            ..Self::read(kind.kind, meta)
        };
        (key, object)
    }

    /// Whether two states of an object differ in nothing but their version.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let Self {
            uid,
            version: _,
            owner_labels,
            terminating,
            generation,
            our_fields,
            applied_at,
            unexplained,
            evidence: _,
            managed_by,
            co_owned,
            injector,
            readiness,
            image_version,
        } = self;
        *uid == other.uid
            && *owner_labels == other.owner_labels
            && *terminating == other.terminating
            && *generation == other.generation
            && *our_fields == other.our_fields
            && *applied_at == other.applied_at
            && *unexplained == other.unexplained
            && *managed_by == other.managed_by
            && *co_owned == other.co_owned
            && *injector == other.injector
            && *readiness == other.readiness
            && *image_version == other.image_version
    }

    /// Whether the object belongs to `cr` by its labels, and our applies made it or took it over.
    #[must_use]
    pub fn is_owned_by(&self, cr: &CrKey) -> bool {
        self.our_fields.is_some() && self.owner_labels.owner.as_ref() == Some(cr)
    }

    /// The Istio version that the object is of: by its label, or else by the image of its pods. What was rendered and applied
    /// by hand has no such label.
    #[must_use]
    pub fn istio_version(&self) -> Option<Version> {
        let label = self.owner_labels.version.as_deref();
        label.and_then(Version::parse).or(self.image_version)
    }

    /// The replicas that the object asks for, if it is a workload whose status was seen.
    #[must_use]
    pub fn replicas(&self) -> Option<i64> {
        match self.readiness {
            Some(Readiness::Workload(workload)) => Some(workload.desired),
            _ => None,
        }
    }

    /// Why this object is not ready, such as `1 of 2 replicas are available`. `None` means ready.
    #[must_use]
    pub fn unready_reason(&self) -> Option<String> {
        if self.terminating {
            return Some("it is being deleted".to_owned());
        }
        self.readiness.as_ref()?.unready_reason(self.generation)
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

    /// The selector of a workload that cannot be changed. It is known once the API server refused to change it.
    #[must_use]
    pub fn fixed_selector(&self, key: &ObjectKey) -> Option<&Value> {
        let (uid, selector) = self.selectors.get(key)?;
        // One without owner label is not known here, and has its selector all the same.
        let is_it = self.get(key).is_none_or(|object| object.uid == *uid);
        is_it.then_some(selector)
    }

    /// Takes in the selector of a workload, as it was read.
    pub fn put_fixed_selector(&mut self, key: ObjectKey, uid: String, selector: Value) {
        self.selectors.insert(key, (uid, selector));
    }

    /// Why the object is not ready; one that does not exist is not.
    #[must_use]
    pub fn unready_reason(&self, key: &ObjectKey) -> Option<String> {
        match self.get(key) {
            None => Some("it does not exist".to_owned()),
            Some(object) => object.unready_reason(),
        }
    }

    /// How far a workload is, if `key` is one whose status was seen.
    #[must_use]
    pub fn workload(&self, key: &ObjectKey) -> Option<&Workload> {
        match self.get(key)?.readiness.as_ref()? {
            Readiness::Workload(workload) => Some(workload),
            Readiness::Crd { .. } | Readiness::Exposed(_) => None,
        }
    }

    /// Whether the default tag points to this revision, which labels call `default` if it has no name.
    #[must_use]
    pub fn has_default_tag(&self, revision: &str) -> bool {
        let belongs_to_tag = |object: &LiveObject| match &object.injector {
            Some(Injector::DefaultTag(named)) => named == revision && !object.terminating,
            _ => false,
        };
        self.objects.values().any(belongs_to_tag)
    }

    /// How the object is reached from outside the cluster, if it is a `Service` that is.
    #[must_use]
    pub fn exposure(&self, key: &ObjectKey) -> Option<&Exposure> {
        match self.get(key)?.readiness.as_ref()? {
            Readiness::Exposed(exposure) => Some(exposure),
            Readiness::Crd { .. } | Readiness::Workload(_) => None,
        }
    }

    /// Notes that a watch of `kind` has told of everything up to `version`, or begins anew if there is none.
    pub fn note_told(&mut self, kind: &'static str, version: Option<u64>) {
        let told = self.told.entry(kind).or_default();
        *told = version.map_or(0, |version| version.max(*told));
        if version.is_none() {
            self.answered.insert(kind, HashSet::new());
        }
    }

    /// Notes that the list of `kind` which began with [`Live::note_told`] is complete.
    pub fn note_listed(&mut self, kind: &'static str) {
        self.answered.remove(kind);
    }

    /// Takes in an object as a list or an event has it; gives what was known before.
    pub fn put(&mut self, key: ObjectKey, object: LiveObject) -> Option<LiveObject> {
        self.unlabeled.remove(&key);
        self.objects.insert(key, object)
    }

    /// Whether the answer to a write told of a newer state than the item `object` of a list, while the list was on its
    /// way. Of anything else, lists are right: after a restore from a backup, versions start again lower.
    #[must_use]
    pub fn is_newer_than_list(&self, key: &ObjectKey, object: &LiveObject) -> bool {
        let answered = self.answered.get(key.kind.as_str());
        answered.is_some_and(|keys| keys.contains(key))
            && self
                .get(key)
                .is_some_and(|known| known.uid == object.uid && known.version > object.version)
    }

    /// The other tool that manages an object, whether or not the object carries an owner label.
    #[must_use]
    pub fn managing_tool(&self, key: &ObjectKey) -> Option<ManagingTool> {
        match self.get(key) {
            Some(object) => object.managed_by,
            None => self.unlabeled.get(key).copied().flatten(),
        }
    }

    /// Whether it is known that no other tool manages an object.
    #[must_use]
    pub fn is_unmanaged(&self, key: &ObjectKey) -> bool {
        match self.get(key) {
            Some(object) => object.managed_by.is_none(),
            None => self.unlabeled.get(key) == Some(&None),
        }
    }

    /// Takes in which tool manages an object that no watch tells of.
    pub fn put_managing_tool(&mut self, key: ObjectKey, tool: Option<ManagingTool>) {
        if self.get(&key).is_none() {
            self.unlabeled.insert(key, tool);
        }
    }

    /// Whether a newer state is known than `object`, which then is an event that was overtaken by the answer to a write.
    /// Lists are never asked: after a restore from a backup, versions start again lower.
    #[must_use]
    pub fn is_overtaken(&self, key: &ObjectKey, object: &LiveObject) -> bool {
        self.get(key)
            .is_some_and(|known| known.version > object.version)
    }

    /// Takes in what the answer to an apply said. Answers carry metadata only, so what is known of the status of the
    /// same object stays.
    ///
    /// A pass takes its answers in at its end, and much may have happened by then. An object that is not known although
    /// the watch has told of everything up to the answer is gone again.
    pub fn put_answer(&mut self, key: ObjectKey, mut object: LiveObject) {
        let told = self.told.get(key.kind.as_str()).copied();
        match self.get(&key) {
            Some(_) if self.is_overtaken(&key, &object) => return,
            Some(before) if before.uid == object.uid => {
                object.readiness.clone_from(&before.readiness);
                object.image_version = before.image_version;
                object.unexplained = before.unexplained;
            }
            None if told.is_some_and(|told| told >= object.version) => return,
            _ => object.readiness = Readiness::unknown(&key.kind),
        }
        if let Some(keys) = self.answered.get_mut(key.kind.as_str()) {
            keys.insert(key.clone());
        }
        self.put(key, object);
    }

    /// Takes in that an object is gone; gives what was known of it.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<LiveObject> {
        self.selectors.remove(key);
        self.objects.remove(key)
    }

    /// Takes in what the answer to a delete of the object with this UID said; another one may have its name by now.
    pub fn put_deleted(&mut self, key: &ObjectKey, uid: &str, is_gone: bool) {
        let known = self.objects.get_mut(key).filter(|known| known.uid == uid);
        match known {
            Some(_) if is_gone => drop(self.objects.remove(key)),
            Some(object) => object.terminating = true,
            None => {}
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
mod tests;
