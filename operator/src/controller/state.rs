//! What the controller knows: the CRs, the live objects, and what was sent. Watches and passes share it.
//!
//! Everything in here is plain data behind one lock that is never held across a call, so that each change is one step
//! and says which CRs it concerns.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use kube::ResourceExt;

use crate::api::{DeletionPolicy, InstallState, IstioOperator};
use crate::plan::{
    Claims, CrKey, Holder, Injector, Ledger, Live, LiveObject, Stake, holder, version, view,
};
use crate::render::ObjectKey;
use crate::status::Advance;

use super::finalizer::is_deleting;
use super::retry::Retries;

/// The annotation by which Istio's own operator was told to leave a CR alone.
const PAUSE: &str = "install.istio.io/ignoreReconcile";

/// What the controller knows.
#[derive(Debug)]
pub struct State {
    crs: HashMap<CrKey, Arc<IstioOperator>>,
    settled: HashMap<CrKey, Settled>,
    /// How listing each kind went.
    listings: BTreeMap<&'static str, Listing>,
    /// How listing the CRs of each namespace went; of all of them where the name is absent.
    cr_listings: BTreeMap<Option<String>, Listing>,
    /// What the cluster holds.
    pub live: Live,
    /// What was sent.
    pub ledger: Ledger,
    /// What the living CRs render.
    pub claims: Claims,
    /// What failed.
    pub retries: Retries,
}

/// How the first list of a watch went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// No answer yet.
    Pending,
    /// It was listed; the watch goes on from there.
    Listed,
    /// The cluster does not serve the kind, so there are no objects of it.
    Absent,
    /// It cannot be listed, for instance because a right is missing.
    Failed(String),
}

/// A pass that found nothing to do: while CR and cluster stay the same, there is nothing to render.
#[derive(Debug)]
struct Settled {
    uid: Option<String>,
    generation: Option<i64>,
    view: u64,
    advance: Advance,
}

/// How a CR ends: with what it owns, or without. Gives whether it was living.
type End = fn(&mut Claims, &CrKey) -> bool;

/// The CRs that a change concerns.
pub type Concerned = HashSet<CrKey>;

impl State {
    /// Knows nothing yet of the CRs in `namespaces` (`None` means all) and of the objects of `kinds`.
    pub fn new(namespaces: Option<Vec<String>>, kinds: impl Iterator<Item = &'static str>) -> Self {
        let scopes = scopes(namespaces.as_deref());
        Self {
            crs: HashMap::new(),
            settled: HashMap::new(),
            listings: kinds.map(|kind| (kind, Listing::Pending)).collect(),
            cr_listings: scopes.map(|scope| (scope, Listing::Pending)).collect(),
            live: Live::default(),
            ledger: Ledger::default(),
            claims: Claims::new(namespaces),
            retries: Retries::default(),
        }
    }

    /// The CR of this name.
    pub fn cr(&self, key: &CrKey) -> Option<Arc<IstioOperator>> {
        self.crs.get(key).cloned()
    }

    /// Takes in a CR, unless a newer state of it is known. Concerns it if there is something to do for it; a change of
    /// its status is none.
    pub fn put_cr(&mut self, mut cr: IstioOperator, is_list: bool) -> Concerned {
        cr.metadata.managed_fields = None;
        let key = key_of(&cr);
        let known = self.crs.get(&key);
        let same = known.filter(|known| known.metadata.uid == cr.metadata.uid);
        if !is_list && same.is_some_and(|same| version(&same.metadata) > version(&cr.metadata)) {
            return Concerned::new();
        }
        let is_news = same.is_none_or(|same| cause(same) != cause(&cr));
        self.crs.insert(key.clone(), Arc::new(cr.clone()));
        let mut concerned = Concerned::new();
        if is_deleting(&cr) {
            let end: End = match cr.deletion_policy() {
                DeletionPolicy::Delete => Claims::leave,
                DeletionPolicy::Orphan => Claims::die,
            };
            concerned = self.bury(&key, end);
        } else {
            self.claims.live(&key);
        }
        if is_news {
            concerned.insert(key);
        }
        concerned
    }

    /// Takes in a CR as the answer to a write has it. Where it is gone by now, or another one has its name, the watch was
    /// quicker than the answer, and nobody would tell of its end once more.
    pub fn put_answered_cr(&mut self, cr: IstioOperator) -> Concerned {
        let known = self.crs.get(&key_of(&cr));
        if known.is_some_and(|known| known.metadata.uid == cr.metadata.uid) {
            self.put_cr(cr, false)
        } else {
            Concerned::new()
        }
    }

    /// Takes in that a CR is gone.
    pub fn remove_cr(&mut self, key: &CrKey) -> Concerned {
        self.crs.remove(key);
        self.settled.remove(key);
        self.retries.clear(key);
        self.bury(key, Claims::die)
    }

    /// Takes in that exactly these CRs of a namespace (`None` means all) exist.
    pub fn retain_crs(&mut self, namespace: Option<&str>, listed: &HashSet<CrKey>) -> Concerned {
        let is_gone = |key: &&CrKey| {
            namespace.is_none_or(|namespace| namespace == key.namespace) && !listed.contains(*key)
        };
        let gone: Vec<_> = self.crs.keys().filter(is_gone).cloned().collect();
        gone.iter().flat_map(|key| self.remove_cr(key)).collect()
    }

    /// A CR is not living any more: those that need what it holds may take it over.
    fn bury(&mut self, key: &CrKey, end: End) -> Concerned {
        let mut concerned = Concerned::new();
        let was_living = self.telling_all(&mut concerned, |state| end(&mut state.claims, key));
        if !was_living {
            return concerned;
        }
        let is_held = |object: &LiveObject| object.ownership.owner.as_ref() == Some(key);
        let objects = self.live.iter().filter(|(_, object)| is_held(object));
        let held: Vec<_> = objects.map(|(held, _)| held).collect();
        let living = self.claims.living();
        let needs = |cr: &&CrKey| held.iter().any(|held| self.claims.renders(cr, held));
        concerned.extend(living.iter().filter(needs).cloned());
        concerned
    }

    /// Takes in what a CR has to do with the default tag.
    pub fn stake(&mut self, key: &CrKey, stake: Stake) -> Concerned {
        let mut concerned = Concerned::new();
        self.telling_all(&mut concerned, |state| state.claims.set_stake(key, stake));
        concerned.remove(key);
        concerned
    }

    /// Makes a change that may concern CRs which it is not about: who gets or loses the default tag by it, and all of them
    /// if none is unknown any more, because prune waits for that.
    fn telling_all<T>(
        &mut self,
        concerned: &mut Concerned,
        change: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let some_unknown = !self.claims.are_all_known();
        let holder = |state: &Self| match holder(&state.live, &state.claims) {
            Holder::Revision(revision) => Some(revision.to_owned()),
            Holder::Unknown => None,
        };
        let before = holder(self);
        let outcome = change(self);
        let after = holder(self);
        let stakes = self.claims.stakes().filter(|(_, stake)| {
            let has_tag = |holder: &Option<String>| holder.as_ref() == Some(&stake.revision);
            has_tag(&before) != has_tag(&after)
        });
        concerned.extend(stakes.map(|(cr, _)| cr.clone()));
        if some_unknown && self.claims.are_all_known() {
            concerned.extend(self.crs.keys().cloned());
        }
        outcome
    }

    /// Takes in that a CR renders exactly `objects`.
    pub fn claim<'a>(
        &mut self,
        key: &CrKey,
        objects: impl Iterator<Item = &'a ObjectKey>,
    ) -> Concerned {
        let mut concerned = Concerned::new();
        let news = self.telling_all(&mut concerned, |state| state.claims.render(key, objects));
        let renderers = news
            .iter()
            .flat_map(|object| self.concerned_by(object, None));
        concerned.extend(renderers);
        concerned.remove(key);
        concerned
    }

    /// Takes in that the spec of a CR cannot be rendered.
    pub fn refuse(&mut self, key: &CrKey) -> Concerned {
        self.settled.remove(key);
        let mut concerned = Concerned::new();
        self.telling_all(&mut concerned, |state| state.claims.refuse(key));
        concerned.remove(key);
        concerned
    }

    /// Takes in a live object, unless a newer state of it is known.
    pub fn put_object(&mut self, key: &ObjectKey, object: LiveObject, is_list: bool) -> Concerned {
        if !is_list && self.live.is_overtaken(key, &object) {
            return Concerned::new();
        }
        let is_same = self
            .live
            .get(key)
            .is_some_and(|before| before.says_the_same_as(&object));
        let put = |state: &mut Self| state.live.put(key.clone(), object);
        if is_same {
            put(self);
            Concerned::new()
        } else {
            self.change(key, put)
        }
    }

    /// Takes in that a live object is gone, of which `last` was the last state, unless another one took its place.
    pub fn delete_object(&mut self, key: &ObjectKey, last: &LiveObject) -> Concerned {
        if self.live.is_overtaken(key, last) {
            return Concerned::new();
        }
        self.remove_object(key)
    }

    fn remove_object(&mut self, key: &ObjectKey) -> Concerned {
        self.change(key, |state| state.live.remove(key))
    }

    /// Makes a change to what is known of an object, which gives what was known before.
    fn change(
        &mut self,
        key: &ObjectKey,
        change: impl FnOnce(&mut Self) -> Option<LiveObject>,
    ) -> Concerned {
        let mut concerned = Concerned::new();
        let before = if Injector::is_injector(key) {
            self.telling_all(&mut concerned, change)
        } else {
            change(self)
        };
        if self.live.get(key).is_some() || before.is_some() {
            concerned.extend(self.concerned_by(key, before.as_ref()));
        }
        concerned
    }

    /// Takes in that exactly these objects of a kind exist.
    pub fn retain_objects(
        &mut self,
        group: &str,
        kind: &str,
        listed: &HashSet<ObjectKey>,
    ) -> Concerned {
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
    fn concerned_by(&self, key: &ObjectKey, before: Option<&LiveObject>) -> Concerned {
        let states = self.live.get(key).into_iter().chain(before);
        let owners = states.filter_map(|object| object.ownership.owner.clone());
        let owners = owners.filter(|owner| self.crs.contains_key(owner));
        let renderers = self
            .crs
            .keys()
            .filter(|cr| self.claims.renders(cr, key))
            .cloned();
        owners.chain(renderers).collect()
    }

    /// What the last pass of a CR found, if it had nothing to do and nothing changed since.
    pub fn settled(&self, key: &CrKey, cr: &IstioOperator) -> Option<Advance> {
        let settled = self.settled.get(key)?;
        let is_same = settled.uid == cr.metadata.uid
            && settled.generation == cr.metadata.generation
            && settled.view == view(key, &self.live, &self.claims);
        is_same.then(|| settled.advance.clone())
    }

    /// Remembers a pass that found nothing to do in what it saw of the cluster.
    pub fn settle(&mut self, cr: &IstioOperator, view: u64, advance: &Advance) {
        let settled = Settled {
            uid: cr.metadata.uid.clone(),
            generation: cr.metadata.generation,
            view,
            advance: advance.clone(),
        };
        self.settled.insert(key_of(cr), settled);
    }

    /// Takes in how listing the objects of a kind went.
    pub fn put_listing(&mut self, kind: &'static str, listing: Listing) {
        self.listings.insert(kind, listing);
    }

    /// Takes in how listing the CRs of a namespace (`None` means all) went. What was listed once is followed from then on.
    pub fn put_cr_listing(&mut self, namespace: Option<&str>, listing: Listing) {
        let namespace = namespace.map(str::to_owned);
        let before = self
            .cr_listings
            .entry(namespace)
            .or_insert(Listing::Pending);
        if *before != Listing::Listed {
            *before = listing;
        }
    }

    /// Whether all CRs were listed. Before that, what one of them needs might look as if nobody needed it.
    pub fn has_crs(&self) -> bool {
        let mut listings = self.cr_listings.values();
        listings.all(|listing| *listing == Listing::Listed)
    }

    /// Whether listing the objects of every kind was answered.
    pub fn has_objects(&self) -> bool {
        let mut listings = self.listings.values();
        listings.all(|listing| *listing != Listing::Pending)
    }

    /// What is not known although it should be, and why.
    pub fn unlisted(&self) -> Vec<String> {
        let of_namespace = |namespace: &Option<String>| match namespace {
            Some(namespace) => format!("IstioOperators in {namespace}"),
            None => "IstioOperators".to_owned(),
        };
        let crs = self.cr_listings.iter();
        let crs = crs.map(|(namespace, listing)| (of_namespace(namespace), listing, true));
        let kinds = self.listings.iter();
        let kinds = kinds.map(|(kind, listing)| ((*kind).to_owned(), listing, false));
        let unlisted = crs.chain(kinds).filter_map(|(what, listing, must_be)| {
            let why = match listing {
                Listing::Listed => return None,
                Listing::Absent if !must_be => return None,
                Listing::Absent => "the cluster does not serve this kind",
                Listing::Pending => "not listed yet",
                Listing::Failed(why) => why,
            };
            Some(format!("{what}: {why}"))
        });
        unlisted.collect()
    }

    /// How many CRs there are, and how many of them are healthy.
    pub fn count(&self) -> (usize, usize) {
        let is_healthy = |cr: &&Arc<IstioOperator>| {
            cr.status
                .as_ref()
                .is_some_and(|status| status.status == Some(InstallState::Healthy))
        };
        (self.crs.len(), self.crs.values().filter(is_healthy).count())
    }
}

/// The namespaces to watch for CRs, one watch each; one without a name stands for all.
pub fn scopes(namespaces: Option<&[String]>) -> impl Iterator<Item = Option<String>> {
    let named = namespaces.unwrap_or_default().iter().cloned().map(Some);
    let all = namespaces.is_none().then_some(None);
    named.chain(all)
}

/// The name of a CR.
pub fn key_of(cr: &IstioOperator) -> CrKey {
    CrKey {
        namespace: cr.namespace().unwrap_or_default(),
        name: cr.name_any(),
    }
}

/// Whether a CR is to be left alone.
pub fn is_paused(cr: &IstioOperator) -> bool {
    cr.annotations()
        .get(PAUSE)
        .is_some_and(|value| value == "true")
}

/// What of a CR calls for a pass when it changes.
fn cause(cr: &IstioOperator) -> (Option<i64>, bool, bool, &[String]) {
    (
        cr.metadata.generation,
        is_deleting(cr),
        is_paused(cr),
        cr.finalizers(),
    )
}

#[cfg(test)]
mod tests;
