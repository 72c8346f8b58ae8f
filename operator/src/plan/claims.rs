//! Which objects the living CRs render, so that one CR never takes, or deletes, what another one needs.
//!
//! CRs share objects: several revisions of Istio stand on one base. A shared object stays with the CR that its labels
//! name while that CR lives and renders it; then the next CR that renders it takes it over.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::injector::Stake;
use super::live::LiveObject;
use super::owner::CrKey;
use crate::api::ComponentKind;
use crate::render::ObjectKey;

/// What every living CR renders. A CR that is being deleted is not living.
#[derive(Debug, Default)]
pub struct Claims {
    watched: Option<Vec<String>>,
    living: BTreeMap<CrKey, Claim>,
    leaving: BTreeSet<CrKey>,
    stakes: BTreeMap<CrKey, Stake>,
}

#[derive(Debug)]
enum Claim {
    /// Not looked at since this process started.
    Unknown,
    /// Its spec could not be rendered since this process started.
    Unreadable,
    /// What its newest readable spec renders.
    Objects(HashSet<ObjectKey>),
}

impl Claims {
    /// Claims of the CRs in these namespaces; `None` means all namespaces.
    #[must_use]
    pub fn new(watched: Option<Vec<String>>) -> Self {
        Self {
            watched,
            ..Self::default()
        }
    }

    /// A CR exists.
    pub fn live(&mut self, cr: &CrKey) {
        self.leaving.remove(cr);
        self.living.entry(cr.clone()).or_insert(Claim::Unknown);
    }

    /// A CR is going, and what it owns goes with it. Gives whether it was living.
    pub fn leave(&mut self, cr: &CrKey) -> bool {
        let was_living = self.die(cr);
        self.leaving.insert(cr.clone());
        was_living
    }

    /// A CR is gone, or as good as gone. Gives whether it was living.
    pub fn die(&mut self, cr: &CrKey) -> bool {
        self.leaving.remove(cr);
        self.stakes.remove(cr);
        self.living.remove(cr).is_some()
    }

    /// Whether what a CR owns is about to go with it.
    #[must_use]
    pub fn is_leaving(&self, cr: &CrKey) -> bool {
        self.leaving.contains(cr)
    }

    /// What the newest readable spec of a CR has to do with the default tag.
    pub fn set_stake(&mut self, cr: &CrKey, stake: Stake) {
        if self.living.contains_key(cr) {
            self.stakes.insert(cr.clone(), stake);
        }
    }

    /// What a living CR has to do with the default tag, if it was looked at.
    #[must_use]
    pub fn stake(&self, cr: &CrKey) -> Option<&Stake> {
        self.stakes.get(cr)
    }

    /// What the living CRs that were looked at have to do with the default tag.
    pub fn stakes(&self) -> impl Iterator<Item = (&CrKey, &Stake)> {
        self.stakes.iter()
    }

    /// A CR renders exactly `objects`. Gives the objects for which this is news.
    pub fn render<'a>(
        &mut self,
        cr: &CrKey,
        objects: impl Iterator<Item = &'a ObjectKey>,
    ) -> Vec<ObjectKey> {
        let Some(claim) = self.living.get_mut(cr) else {
            return Vec::new();
        };
        let now: HashSet<_> = objects.cloned().collect();
        let before = std::mem::replace(claim, Claim::Unknown);
        let news = match &before {
            Claim::Objects(before) => before.symmetric_difference(&now).cloned().collect(),
            Claim::Unknown | Claim::Unreadable => now.iter().cloned().collect(),
        };
        *claim = Claim::Objects(now);
        news
    }

    /// The spec of a CR cannot be rendered; what it claimed before still stands, because nothing of it was touched.
    pub fn refuse(&mut self, cr: &CrKey) {
        if let Some(claim @ Claim::Unknown) = self.living.get_mut(cr) {
            *claim = Claim::Unreadable;
        }
    }

    /// The CR other than `me` that a live object stays with: its owner, while that lives and may still render it.
    #[must_use]
    pub fn holder<'a>(
        &self,
        me: &CrKey,
        key: &ObjectKey,
        live: &'a LiveObject,
    ) -> Option<&'a CrKey> {
        let owner = live.ownership.owner.as_ref().filter(|owner| *owner != me)?;
        let holds = match self.living.get(owner) {
            Some(Claim::Objects(objects)) => objects.contains(key),
            Some(Claim::Unknown | Claim::Unreadable) => true,
            // Another operator may look after the namespaces that this one does not watch.
            None => self
                .watched
                .as_ref()
                .is_some_and(|all| !all.contains(&owner.namespace)),
        };
        holds.then_some(owner)
    }

    /// Whether a living CR other than `me` needs an object that `me` would delete.
    #[must_use]
    pub fn is_needed(&self, me: &CrKey, key: &ObjectKey, live: &LiveObject) -> bool {
        self.living
            .iter()
            .filter(|(cr, _)| *cr != me)
            .any(|(_, claim)| match claim {
                Claim::Objects(objects) => objects.contains(key),
                Claim::Unknown => true,
                // Only base is shared between sound CRs, so a broken one keeps no more than that from being deleted.
                Claim::Unreadable => live.ownership.component == Some(ComponentKind::Base),
            })
    }

    /// Whether every living CR but `me` was looked at, so that nothing is deleted that one of them needs.
    #[must_use]
    pub fn are_known(&self, me: &CrKey) -> bool {
        !self
            .living
            .iter()
            .any(|(cr, claim)| cr != me && matches!(claim, Claim::Unknown))
    }

    /// Whether every living CR was looked at.
    #[must_use]
    pub fn are_all_known(&self) -> bool {
        !self
            .living
            .values()
            .any(|claim| matches!(claim, Claim::Unknown))
    }

    /// Whether `cr` is living and renders an object.
    #[must_use]
    pub fn renders(&self, cr: &CrKey, key: &ObjectKey) -> bool {
        matches!(self.living.get(cr), Some(Claim::Objects(objects)) if objects.contains(key))
    }

    /// All living CRs.
    #[must_use]
    pub fn living(&self) -> Vec<CrKey> {
        self.living.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::owner::Ownership;

    fn cr(name: &str) -> CrKey {
        CrKey {
            namespace: "mesh".into(),
            name: name.into(),
        }
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            group: String::new(),
            kind: "ServiceAccount".into(),
            namespace: None,
            name: name.into(),
        }
    }

    fn owned(by: &CrKey, component: ComponentKind) -> LiveObject {
        let ownership = Ownership {
            owner: Some(by.clone()),
            component: Some(component),
            kept: false,
        };
        LiveObject {
            ours: Some(1),
            ownership,
            ..LiveObject::default()
        }
    }

    #[test]
    fn a_shared_object_stays_with_its_owner_while_that_renders_it() {
        let (first, second) = (cr("first"), cr("second"));
        let base = owned(&first, ComponentKind::Base);
        let mut claims = Claims::new(None);
        claims.live(&first);
        claims.live(&second);
        assert_eq!(
            claims.holder(&second, &key("reader"), &base),
            Some(&first),
            "not looked at yet"
        );
        claims.render(&first, [key("reader")].iter());
        claims.render(&second, [key("reader")].iter());
        assert_eq!(claims.holder(&second, &key("reader"), &base), Some(&first));
        assert_eq!(claims.holder(&first, &key("reader"), &base), None);
        assert!(claims.is_needed(&first, &key("reader"), &base));
        claims.render(&first, [].iter());
        assert_eq!(
            claims.holder(&second, &key("reader"), &base),
            None,
            "no longer rendered"
        );
        claims.render(&first, [key("reader")].iter());
        claims.die(&first);
        assert_eq!(
            claims.holder(&second, &key("reader"), &base),
            None,
            "the owner went away"
        );
    }

    #[test]
    fn a_broken_cr_protects_base_only_and_keeps_what_it_claimed() {
        let (good, broken) = (cr("good"), cr("broken"));
        let mut claims = Claims::new(None);
        claims.live(&good);
        claims.live(&broken);
        assert!(!claims.are_known(&good));
        claims.refuse(&broken);
        assert!(claims.are_known(&good));
        assert!(claims.is_needed(&good, &key("reader"), &owned(&good, ComponentKind::Base)));
        assert!(!claims.is_needed(&good, &key("istiod"), &owned(&good, ComponentKind::Pilot)));
        claims.render(&broken, [key("istiod")].iter());
        claims.refuse(&broken);
        assert!(claims.is_needed(&good, &key("istiod"), &owned(&good, ComponentKind::Pilot)));
    }

    #[test]
    fn objects_of_crs_in_namespaces_that_are_not_watched_stay_theirs() {
        let me = cr("me");
        let elsewhere = CrKey {
            namespace: "other".into(),
            name: "them".into(),
        };
        let object = owned(&elsewhere, ComponentKind::Base);
        let all = Claims::new(None);
        assert_eq!(all.holder(&me, &key("reader"), &object), None);
        let some = Claims::new(Some(vec!["mesh".into()]));
        assert_eq!(some.holder(&me, &key("reader"), &object), Some(&elsewhere));
    }

    #[test]
    fn only_differences_are_news() {
        let me = cr("me");
        let mut claims = Claims::new(None);
        claims.live(&me);
        assert_eq!(claims.render(&me, [key("a"), key("b")].iter()).len(), 2);
        assert_eq!(claims.render(&me, [key("b"), key("a")].iter()), []);
        let mut news = claims.render(&me, [key("b"), key("c")].iter());
        news.sort();
        assert_eq!(news, [key("a"), key("c")]);
    }
}
