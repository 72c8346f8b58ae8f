//! Which objects the crs CRs render, so that one CR never takes, or deletes, what another one needs.
//!
//! CRs share objects: several revisions of Istio stand on one base. A shared object stays with the CR that its labels
//! name while that CR lives and renders it; then the next CR that renders it takes it over.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::injector::TagRequest;
use super::live::LiveObject;
use super::owner_labels::CrKey;
use crate::api::ComponentKind;
use crate::render::ObjectKey;

/// What every crs CR renders. A CR that is being deleted is not crs.
#[derive(Debug, Default)]
pub struct DesiredInventory {
    watched: Option<Vec<String>>,
    crs: BTreeMap<CrKey, RenderedObjects>,
    deleting: BTreeSet<CrKey>,
    tag_requests: BTreeMap<CrKey, TagRequest>,
}

#[derive(Debug)]
enum RenderedObjects {
    /// Not looked at since this process started.
    Pending,
    /// Its spec could not be rendered since this process started.
    Unreadable,
    /// What its newest readable spec renders.
    Known(HashSet<ObjectKey>),
}

impl DesiredInventory {
    /// Claims of the CRs in these namespaces; `None` means all namespaces.
    #[must_use]
    pub fn new(watched: Option<Vec<String>>) -> Self {
        Self {
            watched,
            ..Self::default()
        }
    }

    /// A CR exists.
    pub fn add_cr(&mut self, cr: &CrKey) {
        self.deleting.remove(cr);
        self.crs
            .entry(cr.clone())
            .or_insert(RenderedObjects::Pending);
    }

    /// A CR is going, and what it owns goes with it. Gives whether it was crs.
    pub fn mark_deleting(&mut self, cr: &CrKey) -> bool {
        let was_living = self.remove_cr(cr);
        self.deleting.insert(cr.clone());
        was_living
    }

    /// A CR is gone, or as good as gone. Gives whether it was crs.
    pub fn remove_cr(&mut self, cr: &CrKey) -> bool {
        self.deleting.remove(cr);
        self.tag_requests.remove(cr);
        self.crs.remove(cr).is_some()
    }

    /// Whether what a CR owns is about to go with it.
    #[must_use]
    pub fn is_deleting(&self, cr: &CrKey) -> bool {
        self.deleting.contains(cr)
    }

    /// What the newest readable spec of a CR has to do with the default tag.
    pub fn set_tag_request(&mut self, cr: &CrKey, tag_request: TagRequest) {
        if self.crs.contains_key(cr) {
            self.tag_requests.insert(cr.clone(), tag_request);
        }
    }

    /// What a crs CR has to do with the default tag, if it was looked at.
    #[must_use]
    pub fn tag_request(&self, cr: &CrKey) -> Option<&TagRequest> {
        self.tag_requests.get(cr)
    }

    /// What the crs CRs that were looked at have to do with the default tag.
    pub fn tag_requests(&self) -> impl Iterator<Item = (&CrKey, &TagRequest)> {
        self.tag_requests.iter()
    }

    /// A CR renders exactly `objects`. Gives the objects for which this is news.
    pub fn set_objects<'a>(
        &mut self,
        cr: &CrKey,
        objects: impl Iterator<Item = &'a ObjectKey>,
    ) -> Vec<ObjectKey> {
        let Some(rendered) = self.crs.get_mut(cr) else {
            return Vec::new();
        };
        let now: HashSet<_> = objects.cloned().collect();
        let before = std::mem::replace(rendered, RenderedObjects::Pending);
        let news = match &before {
            RenderedObjects::Known(before) => before.symmetric_difference(&now).cloned().collect(),
            RenderedObjects::Pending | RenderedObjects::Unreadable => now.iter().cloned().collect(),
        };
        *rendered = RenderedObjects::Known(now);
        news
    }

    /// The spec of a CR cannot be rendered; what it claimed before still stands, because nothing of it was touched.
    pub fn mark_unreadable(&mut self, cr: &CrKey) {
        if let Some(rendered @ RenderedObjects::Pending) = self.crs.get_mut(cr) {
            *rendered = RenderedObjects::Unreadable;
        }
    }

    /// The CR other than `me` that a live object stays with: its owner, while that lives and may still render it.
    #[must_use]
    pub fn other_owner<'a>(
        &self,
        me: &CrKey,
        key: &ObjectKey,
        live: &'a LiveObject,
    ) -> Option<&'a CrKey> {
        let owner = live
            .owner_labels
            .owner
            .as_ref()
            .filter(|owner| *owner != me)?;
        let holds = match self.crs.get(owner) {
            Some(RenderedObjects::Known(objects)) => objects.contains(key),
            Some(RenderedObjects::Pending | RenderedObjects::Unreadable) => true,
            // Another operator may look after the namespaces that this one does not watch.
            None => self
                .watched
                .as_ref()
                .is_some_and(|all| !all.contains(&owner.namespace)),
        };
        holds.then_some(owner)
    }

    /// Whether a crs CR other than `me` needs an object that `me` would delete.
    #[must_use]
    pub fn is_needed(&self, me: &CrKey, key: &ObjectKey, live: &LiveObject) -> bool {
        self.crs
            .iter()
            .filter(|(cr, _)| *cr != me)
            .any(|(_, rendered)| match rendered {
                RenderedObjects::Known(objects) => objects.contains(key),
                RenderedObjects::Pending => true,
                // Only base is shared between sound CRs, so a broken one keeps no more than that from being deleted.
                RenderedObjects::Unreadable => {
                    live.owner_labels.component == Some(ComponentKind::Base)
                }
            })
    }

    /// Whether every crs CR but `me` was looked at, so that nothing is deleted that one of them needs.
    #[must_use]
    pub fn are_others_rendered(&self, me: &CrKey) -> bool {
        !self
            .crs
            .iter()
            .any(|(cr, rendered)| cr != me && matches!(rendered, RenderedObjects::Pending))
    }

    /// Whether every crs CR was looked at.
    #[must_use]
    pub fn are_all_rendered(&self) -> bool {
        !self
            .crs
            .values()
            .any(|rendered| matches!(rendered, RenderedObjects::Pending))
    }

    /// Whether `cr` is crs and renders an object.
    #[must_use]
    pub fn renders(&self, cr: &CrKey, key: &ObjectKey) -> bool {
        matches!(self.crs.get(cr), Some(RenderedObjects::Known(objects)) if objects.contains(key))
    }

    /// All crs CRs.
    #[must_use]
    pub fn crs(&self) -> Vec<CrKey> {
        self.crs.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::OwnerLabels;

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
        let owner_labels = OwnerLabels {
            owner: Some(by.clone()),
            component: Some(component),
            kept: false,
        };
        LiveObject {
            our_fields: Some(1),
            owner_labels,
            ..LiveObject::default()
        }
    }

    #[test]
    fn a_shared_object_stays_with_its_owner_while_that_renders_it() {
        let (first, second) = (cr("first"), cr("second"));
        let base = owned(&first, ComponentKind::Base);
        let mut desired = DesiredInventory::new(None);
        desired.add_cr(&first);
        desired.add_cr(&second);
        assert_eq!(
            desired.other_owner(&second, &key("reader"), &base),
            Some(&first),
            "not looked at yet"
        );
        desired.set_objects(&first, [key("reader")].iter());
        desired.set_objects(&second, [key("reader")].iter());
        assert_eq!(
            desired.other_owner(&second, &key("reader"), &base),
            Some(&first)
        );
        assert_eq!(desired.other_owner(&first, &key("reader"), &base), None);
        assert!(desired.is_needed(&first, &key("reader"), &base));
        desired.set_objects(&first, [].iter());
        assert_eq!(
            desired.other_owner(&second, &key("reader"), &base),
            None,
            "no longer rendered"
        );
        desired.set_objects(&first, [key("reader")].iter());
        desired.remove_cr(&first);
        assert_eq!(
            desired.other_owner(&second, &key("reader"), &base),
            None,
            "the owner went away"
        );
    }

    #[test]
    fn a_broken_cr_protects_base_only_and_keeps_what_it_claimed() {
        let (good, broken) = (cr("good"), cr("broken"));
        let mut desired = DesiredInventory::new(None);
        desired.add_cr(&good);
        desired.add_cr(&broken);
        assert!(!desired.are_others_rendered(&good));
        desired.mark_unreadable(&broken);
        assert!(desired.are_others_rendered(&good));
        assert!(desired.is_needed(&good, &key("reader"), &owned(&good, ComponentKind::Base)));
        assert!(!desired.is_needed(&good, &key("istiod"), &owned(&good, ComponentKind::Pilot)));
        desired.set_objects(&broken, [key("istiod")].iter());
        desired.mark_unreadable(&broken);
        assert!(desired.is_needed(&good, &key("istiod"), &owned(&good, ComponentKind::Pilot)));
    }

    #[test]
    fn objects_of_crs_in_namespaces_that_are_not_watched_stay_theirs() {
        let me = cr("me");
        let elsewhere = CrKey {
            namespace: "other".into(),
            name: "them".into(),
        };
        let object = owned(&elsewhere, ComponentKind::Base);
        let all = DesiredInventory::new(None);
        assert_eq!(all.other_owner(&me, &key("reader"), &object), None);
        let some = DesiredInventory::new(Some(vec!["mesh".into()]));
        assert_eq!(
            some.other_owner(&me, &key("reader"), &object),
            Some(&elsewhere)
        );
    }

    #[test]
    fn only_differences_are_news() {
        let me = cr("me");
        let mut desired = DesiredInventory::new(None);
        desired.add_cr(&me);
        assert_eq!(
            desired.set_objects(&me, [key("a"), key("b")].iter()).len(),
            2
        );
        assert_eq!(desired.set_objects(&me, [key("b"), key("a")].iter()), []);
        let mut news = desired.set_objects(&me, [key("b"), key("c")].iter());
        news.sort();
        assert_eq!(news, [key("a"), key("c")]);
    }
}
