//! What the controller knows: the CRs, the live objects, and what was sent. Watches and passes share it.
//!
//! Everything in here is plain data behind one lock that is never held across a call to the API server. So each change is
//! one step, and returns the CRs to requeue.

mod gateways;
mod in_sync;
mod listings;
mod memory;
mod restarts;
mod users;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use kube::ResourceExt;
use serde_json::Value;

use crate::api::{Annotations, DeletionPolicy, IstioOperator, StoredCr};
use crate::apply::Applied;
use crate::catalogue::Version;
use crate::cluster::{
    CrKey, DesiredInventory, Injector, LastApplied, Live, LiveObject, TagMode, TagRequest,
    revision_label, version,
};
use crate::dataplane::Policy;
use crate::merge::Merged;
use crate::plan::{Injection, Plan, Surroundings, TagHolder, keys, tag_holder};
use crate::render::{ObjectKey, Rendered};
use crate::status::{self, Computed, History, PassResult, StatusInput};

pub use listings::Listing;
pub use restarts::Goal;
pub use users::Users;

use in_sync::InSyncPass;

use super::finalizer::is_deleting;
use super::requeue::Retries;
use super::watch_health::Watched;

/// What the controller knows.
#[derive(Debug)]
pub struct State {
    crs: HashMap<CrKey, Arc<StoredCr>>,
    in_sync: HashMap<CrKey, InSyncPass>,
    /// Each CR as it was when its spec was applied last.
    carried_out: HashMap<CrKey, Arc<StoredCr>>,
    /// Each CR as it was when everything was healthy last.
    healthy: HashMap<CrKey, Arc<StoredCr>>,
    /// What the last dry run of a pod showed of the injection of each CR.
    proofs: HashMap<CrKey, (Version, Injection)>,
    /// What was around each CR at the step to a version, and when.
    surroundings: HashMap<CrKey, (Version, Instant, Arc<Surroundings>)>,
    /// When the status of each CR was written last.
    published: HashMap<CrKey, Instant>,
    /// How listing each kind went.
    listings: BTreeMap<&'static str, Listing>,
    /// How listing the CRs of each namespace went; of all of them where the name is absent.
    cr_listings: BTreeMap<Option<String>, Listing>,
    /// What the cluster holds.
    pub live: Live,
    /// What was sent.
    pub last_applied: LastApplied,
    /// What the living CRs render.
    pub desired: DesiredInventory,
    /// Who uses which revision.
    pub users: Users,
    /// What failed.
    pub retries: Retries,
    /// What the statuses of CRs depend on beside the present.
    histories: HashMap<CrKey, History>,
}

/// How a CR ends: with what it owns, or without. Gives whether it was living.
type EndOfCr = fn(&mut DesiredInventory, &CrKey) -> bool;

/// The CRs that have to be requeued after a change.
pub type ToRequeue = HashSet<CrKey>;

impl State {
    /// Knows nothing yet of the CRs in `namespaces` (`None` means all) and of the objects of `kinds`.
    pub fn new(namespaces: Option<Vec<String>>, kinds: impl Iterator<Item = &'static str>) -> Self {
        let scopes = scopes(namespaces.as_deref());
        Self {
            crs: HashMap::new(),
            in_sync: HashMap::new(),
            carried_out: HashMap::new(),
            healthy: HashMap::new(),
            proofs: HashMap::new(),
            surroundings: HashMap::new(),
            published: HashMap::new(),
            listings: kinds.map(|kind| (kind, Listing::Pending)).collect(),
            cr_listings: scopes.map(|scope| (scope, Listing::Pending)).collect(),
            live: Live::default(),
            last_applied: LastApplied::default(),
            desired: DesiredInventory::new(namespaces),
            users: Users::default(),
            retries: Retries::default(),
            histories: HashMap::new(),
        }
    }

    /// The CR of this name.
    pub fn cr(&self, key: &CrKey) -> Option<Arc<StoredCr>> {
        self.crs.get(key).cloned()
    }

    /// All CRs.
    pub fn all_crs(&self) -> Vec<Arc<StoredCr>> {
        self.crs.values().cloned().collect()
    }

    /// Takes in a CR, unless a newer state of it is known. Concerns it if there is something to do for it; a change of
    /// its status is none.
    pub fn put_cr(&mut self, cr: StoredCr, is_list: bool) -> ToRequeue {
        let key = CrKey::of(&cr);
        let known = self.crs.get(&key);
        let same = known.filter(|known| known.metadata.uid == cr.metadata.uid);
        if !is_list && same.is_some_and(|same| version(&same.metadata) > version(&cr.metadata)) {
            return ToRequeue::new();
        }
        let is_news = same.is_none_or(|same| cause(same) != cause(&cr));
        let cr = Arc::new(cr);
        self.crs.insert(key.clone(), Arc::clone(&cr));
        let mut requeue = ToRequeue::new();
        if is_deleting(&cr) {
            let end: EndOfCr = match cr.deletion_policy() {
                DeletionPolicy::Delete => DesiredInventory::mark_deleting,
                DeletionPolicy::Orphan => DesiredInventory::remove_cr,
            };
            requeue = self.release_objects(&key, end);
        } else {
            self.desired.add_cr(&key);
        }
        if is_news {
            requeue.insert(key);
        }
        requeue
    }

    /// Takes in a CR as the answer to a write has it. Where it is gone by now, or another one has its name, the watch was
    /// quicker than the answer, and nobody would tell of its end once more.
    pub fn put_answered_cr(&mut self, cr: StoredCr) -> ToRequeue {
        let known = self.crs.get(&CrKey::of(&cr));
        if known.is_some_and(|known| known.metadata.uid == cr.metadata.uid) {
            self.put_cr(cr, false)
        } else {
            ToRequeue::new()
        }
    }

    /// Takes in that a CR is gone.
    pub fn remove_cr(&mut self, key: &CrKey) -> ToRequeue {
        self.crs.remove(key);
        self.in_sync.remove(key);
        self.carried_out.remove(key);
        self.healthy.remove(key);
        self.proofs.remove(key);
        self.surroundings.remove(key);
        self.published.remove(key);
        self.retries.forget(key);
        self.histories.remove(key);
        self.users.forget(key);
        self.release_objects(key, DesiredInventory::remove_cr)
    }

    /// Takes in that exactly these CRs of a namespace (`None` means all) exist.
    pub fn retain_crs(&mut self, namespace: Option<&str>, listed: &HashSet<CrKey>) -> ToRequeue {
        let is_gone = |key: &&CrKey| {
            namespace.is_none_or(|namespace| namespace == key.namespace) && !listed.contains(*key)
        };
        let gone: Vec<_> = self.crs.keys().filter(is_gone).cloned().collect();
        gone.iter().flat_map(|key| self.remove_cr(key)).collect()
    }

    /// A CR is not living any more: those that need what it holds may take it over.
    fn release_objects(&mut self, key: &CrKey, end: EndOfCr) -> ToRequeue {
        let mut requeue = ToRequeue::new();
        let was_living =
            self.with_tag_and_inventory_changes(&mut requeue, |state| end(&mut state.desired, key));
        if !was_living {
            return requeue;
        }
        let is_owned = |object: &LiveObject| object.owner_labels.owner.as_ref() == Some(key);
        let objects = self.live.iter().filter(|(_, object)| is_owned(object));
        let owned: Vec<_> = objects.map(|(owned, _)| owned).collect();
        let living = self.desired.crs();
        let needs = |cr: &&CrKey| owned.iter().any(|owned| self.desired.renders(cr, owned));
        requeue.extend(living.iter().filter(needs).cloned());
        requeue
    }

    /// Makes a change that may concern CRs which it is not about: who gets or loses the default tag by it, and all of them
    /// if none is unknown any more, because prune waits for that.
    fn with_tag_and_inventory_changes<T>(
        &mut self,
        requeue: &mut ToRequeue,
        change: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let some_unknown = !self.desired.are_all_rendered();
        let holder = |state: &Self| match tag_holder(&state.live, &state.desired) {
            TagHolder::Revision(revision) => Some(revision.to_owned()),
            TagHolder::Unknown => None,
        };
        let tags = |state: &Self| {
            let tags = state.live.iter().filter_map(|(key, object)| {
                let is_tag = matches!(object.injector, Some(Injector::DefaultTag(_)));
                is_tag.then(|| (key.clone(), object.injector.clone(), object.terminating))
            });
            tags.collect::<HashSet<_>>()
        };
        let (before, tags_before) = (holder(self), tags(self));
        let outcome = change(self);
        let after = holder(self);
        let tag_requests = self.desired.tag_requests().filter(|(_, tag_request)| {
            let has_tag = |holder: &Option<String>| holder.as_ref() == Some(&tag_request.revision);
            has_tag(&before) != has_tag(&after)
        });
        requeue.extend(tag_requests.map(|(cr, _)| cr.clone()));
        // Where a tag leads to decides which istiod may be deleted.
        let is_moved = tags_before != tags(self);
        if is_moved || some_unknown && self.desired.are_all_rendered() {
            requeue.extend(self.crs.keys().cloned());
        }
        outcome
    }

    /// Takes in what a CR renders, and how it asks for the default tag.
    pub fn set_rendered(&mut self, key: &CrKey, merged: &Merged, rendered: &Rendered) -> ToRequeue {
        self.users.set_policy(key, Policy::of(merged));
        let mut requeue = self.set_tag_request(key, TagRequest::of(merged, rendered));
        requeue.extend(self.set_objects(key, keys(rendered)));
        requeue
    }

    /// Takes in what a paused CR renders. It keeps the default tag if it has it, and does not ask for it.
    pub fn set_paused(&mut self, key: &CrKey, merged: &Merged, rendered: &Rendered) -> ToRequeue {
        let tag_request = TagRequest {
            mode: TagMode::Keep,
            ..TagRequest::of(merged, rendered)
        };
        let mut requeue = self.set_tag_request(key, tag_request);
        requeue.extend(self.set_objects(key, keys(rendered)));
        requeue
    }

    fn set_tag_request(&mut self, key: &CrKey, tag_request: TagRequest) -> ToRequeue {
        let mut requeue = ToRequeue::new();
        self.with_tag_and_inventory_changes(&mut requeue, |state| {
            state.desired.set_tag_request(key, tag_request);
        });
        requeue.remove(key);
        requeue
    }

    /// Takes in which objects a CR renders.
    pub fn set_objects<'a>(
        &mut self,
        key: &CrKey,
        objects: impl Iterator<Item = &'a ObjectKey>,
    ) -> ToRequeue {
        let mut requeue = ToRequeue::new();
        let changed = self.with_tag_and_inventory_changes(&mut requeue, |state| {
            state.desired.set_objects(key, objects)
        });
        let renderers = changed
            .iter()
            .flat_map(|object| self.interested_crs(object, None));
        requeue.extend(renderers);
        requeue.remove(key);
        requeue
    }

    /// Takes in that the spec of a CR cannot be rendered.
    pub fn mark_unreadable(&mut self, cr: &StoredCr) -> ToRequeue {
        let key = &CrKey::of(cr);
        self.in_sync.remove(key);
        let is_unreadable = ["revision", "values"].map(|field| cr.is_unreadable(field));
        let revision = match is_unreadable {
            [false, false] => named_revision(&cr.spec.0),
            _ => None,
        };
        let mut requeue = ToRequeue::new();
        self.with_tag_and_inventory_changes(&mut requeue, |state| {
            state.desired.mark_unreadable(key, revision);
        });
        requeue.remove(key);
        requeue
    }

    /// Takes in a live object, unless a newer state of it is known.
    pub fn put_object(
        &mut self,
        key: &ObjectKey,
        mut object: LiveObject,
        is_list: bool,
    ) -> ToRequeue {
        let is_old = if is_list {
            self.live.is_newer_than_list(key, &object)
        } else {
            self.live.is_overtaken(key, &object)
        };
        if is_old {
            return ToRequeue::new();
        }
        let before = self.live.get(key);
        if let Some(before) = before {
            object.compare_with(before);
        }
        let is_same = before.is_some_and(|before| before.says_the_same_as(&object));
        let put = |state: &mut Self| state.live.put(key.clone(), object);
        if is_same {
            put(self);
            ToRequeue::new()
        } else {
            self.change(key, put)
        }
    }

    /// Takes in that a live object is gone, of which `last` was the last state, unless another one took its place.
    pub fn delete_object(&mut self, key: &ObjectKey, last: &LiveObject) -> ToRequeue {
        if self.live.is_overtaken(key, last) {
            return ToRequeue::new();
        }
        self.remove_object(key)
    }

    fn remove_object(&mut self, key: &ObjectKey) -> ToRequeue {
        self.change(key, |state| state.live.remove(key))
    }

    /// Makes a change to what is known of an object, which gives what was known before.
    fn change(
        &mut self,
        key: &ObjectKey,
        change: impl FnOnce(&mut Self) -> Option<LiveObject>,
    ) -> ToRequeue {
        let mut requeue = ToRequeue::new();
        let before = if Injector::is_injector(key) {
            self.with_tag_and_inventory_changes(&mut requeue, change)
        } else {
            change(self)
        };
        if self.live.get(key).is_some() || before.is_some() {
            requeue.extend(self.interested_crs(key, before.as_ref()));
        }
        requeue
    }

    /// Takes in that exactly these objects of a kind exist.
    pub fn retain_objects(
        &mut self,
        group: &str,
        kind: &str,
        listed: &HashSet<ObjectKey>,
    ) -> ToRequeue {
        let gone = self
            .live
            .keys_of(group, kind)
            .into_iter()
            .filter(|key| !listed.contains(key));
        gone.collect::<Vec<_>>()
            .iter()
            .flat_map(|key| self.remove_object(key))
            .collect()
    }

    /// The CRs that own an object, owned it before, or render it.
    fn interested_crs(&self, key: &ObjectKey, before: Option<&LiveObject>) -> ToRequeue {
        let states = self.live.get(key).into_iter().chain(before);
        let owners = states.filter_map(|object| object.owner_labels.owner.clone());
        let owners = owners.filter(|owner| self.crs.contains_key(owner));
        let renderers = self
            .crs
            .keys()
            .filter(|cr| self.desired.renders(cr, key))
            .cloned();
        owners.chain(renderers).collect()
    }

    /// Whether what is known of a CR and its objects comes from a watch.
    pub fn depends_on(&self, cr: &CrKey, watched: &Watched) -> bool {
        match watched {
            Watched::Crs(namespace) => namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == cr.namespace),
            Watched::Objects { group, kind } => {
                let owns = |(key, object): (&ObjectKey, &LiveObject)| {
                    key.group == *group
                        && key.kind == *kind
                        && object.owner_labels.owner.as_ref() == Some(cr)
                };
                self.desired.renders_kind(cr, group, kind) || self.live.iter().any(owns)
            }
            // The status says of each revision whether its users are known.
            Watched::Source(_) => false,
        }
    }

    /// The CRs that depend on a watch.
    pub fn dependents_of(&self, watched: &Watched) -> ToRequeue {
        let depends = |cr: &&CrKey| self.depends_on(cr, watched);
        self.crs.keys().filter(depends).cloned().collect()
    }

    /// Computes the status of a CR that follows from `result`.
    pub fn compute_status(
        &mut self,
        key: &CrKey,
        input: StatusInput<'_>,
        result: &PassResult,
    ) -> Computed {
        let history = self.histories.entry(key.clone()).or_default();
        status::of(input, result, &self.live, history)
    }

    /// Takes in that a pass is about to send what its plan says.
    pub fn begin_apply(&mut self, key: &CrKey, plan: &Plan) {
        let sent = plan.waves.iter().flatten().map(|send| &send.key);
        let new = sent.filter(|object| self.live.get(object).is_none());
        self.desired.set_claims(key, new.cloned().collect());
    }

    /// Takes in what a pass applied: the answers of the API server, ahead of the watches, and which rollouts began.
    /// Concerns the CRs that left new objects to this one.
    pub fn take_applied(&mut self, key: &CrKey, applied: &mut Applied, now: Instant) -> ToRequeue {
        let rollouts = applied.remember(&mut self.live, &mut self.last_applied, now);
        let history = self.histories.entry(key.clone()).or_default();
        for object in &rollouts {
            history.start_rollout(object);
        }
        self.desired.end_claims(key).into_iter().collect()
    }
}

/// The namespaces to watch for CRs, one watch each; one without a name stands for all.
pub fn scopes(namespaces: Option<&[String]>) -> impl Iterator<Item = Option<String>> {
    let named = namespaces.unwrap_or_default().iter().cloned().map(Some);
    let all = namespaces.is_none().then_some(None);
    named.chain(all)
}

/// The revision that a spec names, as labels call it; absent if it names none that can be read. `values.revision` wins
/// over `revision`, as it does in the merge.
fn named_revision(spec: &Value) -> Option<String> {
    if spec
        .pointer("/updateStrategy/type")
        .is_some_and(|kind| kind == "Canary")
    {
        // It is named after a version.
        return None;
    }
    let given = |pointer| spec.pointer(pointer).filter(|given| !given.is_null());
    let is_readable = spec
        .get("values")
        .is_none_or(|values| values.is_object() || values.is_null());
    match given("/values/revision").or_else(|| given("/revision")) {
        None => is_readable.then(|| revision_label("").to_owned()),
        Some(revision) => {
            let name = revision.as_str().filter(|_| is_readable)?;
            Some(revision_label(name).to_owned())
        }
    }
}

/// What the annotations of a CR ask for.
pub fn annotations_of(cr: &IstioOperator) -> Annotations {
    Annotations::read(cr.annotations())
}

/// What of a CR calls for a pass when it changes.
fn cause(cr: &IstioOperator) -> (Option<i64>, bool, Annotations, &[String]) {
    (
        cr.metadata.generation,
        is_deleting(cr),
        annotations_of(cr),
        cr.finalizers(),
    )
}

#[cfg(test)]
mod tests;
