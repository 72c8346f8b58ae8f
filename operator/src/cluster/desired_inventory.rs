//! The desired inventory: which objects all CRs together render, so that one CR never takes, or deletes, what another
//! one needs.
//!
//! CRs share objects: several revisions of Istio stand on one base. A shared object stays with the CR that its owner
//! labels name while that CR renders it; then the next CR that renders it takes it over.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::injector::{TagMode, TagRequest};
use super::live::LiveObject;
use super::owner_labels::CrKey;
use crate::api::ComponentKind;
use crate::render::ObjectKey;

/// What every CR renders, except for CRs that are being deleted.
#[derive(Debug, Default)]
pub struct DesiredInventory {
    watched: Option<Vec<String>>,
    crs: BTreeMap<CrKey, RenderedObjects>,
    deleting: BTreeSet<CrKey>,
    tag_requests: BTreeMap<CrKey, TagRequest>,
    /// New objects that the passes under way are sending.
    claims: BTreeMap<CrKey, HashSet<ObjectKey>>,
}

#[derive(Debug)]
enum RenderedObjects {
    /// The CR had no pass since this process started.
    Pending,
    /// The spec could not be rendered since this process started.
    Unreadable {
        /// The revision that the spec names, as labels call it; absent if that cannot be read either.
        revision: Option<String>,
    },
    /// The objects of the newest spec that could be rendered.
    Known(HashSet<ObjectKey>),
}

/// Whether a CR needs an object that another CR would delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need<'a> {
    /// No other CR needs it.
    Unneeded,
    /// Another CR renders it, and takes it over.
    Rendered,
    /// This CR may render it: its spec is not known.
    Possible(&'a CrKey),
}

impl DesiredInventory {
    /// The inventory of the CRs in these namespaces; `None` means all namespaces.
    #[must_use]
    pub fn new(watched: Option<Vec<String>>) -> Self {
        Self {
            watched,
            ..Self::default()
        }
    }

    /// Adds a CR whose objects are not known yet.
    pub fn add_cr(&mut self, cr: &CrKey) {
        self.deleting.remove(cr);
        self.crs
            .entry(cr.clone())
            .or_insert(RenderedObjects::Pending);
    }

    /// Removes a CR that is being deleted together with its objects. Returns whether it was there.
    pub fn mark_deleting(&mut self, cr: &CrKey) -> bool {
        let was_there = self.remove_cr(cr);
        self.deleting.insert(cr.clone());
        was_there
    }

    /// Removes a CR that is gone, or whose objects stay when it goes. Returns whether it was there.
    pub fn remove_cr(&mut self, cr: &CrKey) -> bool {
        self.deleting.remove(cr);
        self.tag_requests.remove(cr);
        self.claims.remove(cr);
        self.crs.remove(cr).is_some()
    }

    /// Whether a CR is being deleted together with its objects.
    #[must_use]
    pub fn is_deleting(&self, cr: &CrKey) -> bool {
        self.deleting.contains(cr)
    }

    /// Sets how the newest readable spec of a CR asks for the default tag; gives how it asked before.
    pub fn set_tag_request(&mut self, cr: &CrKey, tag_request: TagRequest) -> Option<TagRequest> {
        if !self.crs.contains_key(cr) {
            return None;
        }
        self.tag_requests.insert(cr.clone(), tag_request)
    }

    /// How a CR asks for the default tag, if its spec was read.
    #[must_use]
    pub fn tag_request(&self, cr: &CrKey) -> Option<&TagRequest> {
        self.tag_requests.get(cr)
    }

    /// How all CRs whose specs were read ask for the default tag.
    pub fn tag_requests(&self) -> impl Iterator<Item = (&CrKey, &TagRequest)> {
        self.tag_requests.iter()
    }

    /// Sets the objects that a CR renders. Returns those that are new, or not rendered any more.
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
        let changed = match &before {
            RenderedObjects::Known(before) => before.symmetric_difference(&now).cloned().collect(),
            RenderedObjects::Pending | RenderedObjects::Unreadable { .. } => {
                now.iter().cloned().collect()
            }
        };
        *rendered = RenderedObjects::Known(now);
        changed
    }

    /// Records that the spec of a CR, which names `revision` if that can be read, cannot be rendered. The objects of an
    /// earlier spec stay, because nothing of them was touched.
    pub fn mark_unreadable(&mut self, cr: &CrKey, revision: Option<String>) {
        if let Some(rendered @ (RenderedObjects::Pending | RenderedObjects::Unreadable { .. })) =
            self.crs.get_mut(cr)
        {
            *rendered = RenderedObjects::Unreadable { revision };
        }
    }

    /// The CR other than `me` that owns a live object: the one that its labels name, while that CR renders it or may
    /// render it.
    ///
    /// CRs in namespaces that are not watched own what their labels name, because another operator may serve them;
    /// `may_adopt` takes such objects over.
    #[must_use]
    pub fn other_owner<'a>(
        &self,
        me: &CrKey,
        key: &ObjectKey,
        live: &'a LiveObject,
        may_adopt: bool,
    ) -> Option<&'a CrKey> {
        let owner = live.owner_labels.owner.as_ref();
        let owner = owner.filter(|owner| *owner != me)?;
        let owns = match self.crs.get(owner) {
            Some(RenderedObjects::Known(objects)) => objects.contains(key),
            Some(RenderedObjects::Pending | RenderedObjects::Unreadable { .. }) => true,
            None => !may_adopt && !self.is_watched(owner),
        };
        owns.then_some(owner)
    }

    /// Records which new objects the pass of a CR is about to send, so that no other pass sends them at the same time.
    pub fn set_claims(&mut self, cr: &CrKey, objects: HashSet<ObjectKey>) {
        if !objects.is_empty() && self.crs.contains_key(cr) {
            self.claims.insert(cr.clone(), objects);
        }
    }

    /// Ends the claims of a CR: what was sent says by its labels whose it is. Returns the other CRs that render any of
    /// the objects.
    pub fn end_claims(&mut self, cr: &CrKey) -> Vec<CrKey> {
        let claimed = self.claims.remove(cr).unwrap_or_default();
        let others = self.crs.keys().filter(|other| *other != cr);
        others
            .filter(|other| claimed.iter().any(|key| self.renders(other, key)))
            .cloned()
            .collect()
    }

    /// The CR other than `me` whose pass is sending a new object.
    #[must_use]
    pub fn claimant(&self, me: &CrKey, key: &ObjectKey) -> Option<&CrKey> {
        let others = self.claims.iter().filter(|(cr, _)| *cr != me);
        others
            .filter(|(_, objects)| objects.contains(key))
            .map(|(cr, _)| cr)
            .next()
    }

    /// Whether the CRs of a namespace are watched.
    #[must_use]
    pub fn is_watched(&self, cr: &CrKey) -> bool {
        let watched = self.watched.as_ref();
        watched.is_none_or(|namespaces| namespaces.contains(&cr.namespace))
    }

    /// Whether a CR other than `me` needs an object that `me` would delete.
    #[must_use]
    pub fn need(&self, me: &CrKey, key: &ObjectKey, live: &LiveObject) -> Need<'_> {
        let mut need = Need::Unneeded;
        for (cr, rendered) in self.crs.iter().filter(|(cr, _)| *cr != me) {
            match rendered {
                RenderedObjects::Known(objects)
                    if objects.contains(key) && self.keeps(cr, live) =>
                {
                    return Need::Rendered;
                }
                RenderedObjects::Known(_) => {}
                RenderedObjects::Pending => need = Need::Possible(cr),
                RenderedObjects::Unreadable { revision } => {
                    if may_render(revision.as_deref(), live) {
                        need = Need::Possible(cr);
                    }
                }
            }
        }
        need
    }

    /// Whether a CR will go on with a live object that it renders. A paused one does not take the default tag.
    fn keeps(&self, cr: &CrKey, live: &LiveObject) -> bool {
        let paused = self
            .tag_request(cr)
            .filter(|request| request.mode == TagMode::Keep);
        paused.is_none_or(|request| may_render(Some(&request.revision), live))
    }

    /// Whether the spec of every CR but `me` was looked at, so that nothing is deleted that one of them needs.
    #[must_use]
    pub fn are_others_rendered(&self, me: &CrKey) -> bool {
        !self
            .crs
            .iter()
            .any(|(cr, rendered)| cr != me && matches!(rendered, RenderedObjects::Pending))
    }

    /// Whether the spec of every CR was looked at.
    #[must_use]
    pub fn are_all_rendered(&self) -> bool {
        !self
            .crs
            .values()
            .any(|rendered| matches!(rendered, RenderedObjects::Pending))
    }

    /// Whether a CR renders an object of a kind.
    #[must_use]
    pub fn renders_kind(&self, cr: &CrKey, group: &str, kind: &str) -> bool {
        let is_of_kind = |key: &ObjectKey| key.group == group && key.kind == kind;
        matches!(self.crs.get(cr), Some(RenderedObjects::Known(objects)) if objects.iter().any(is_of_kind))
    }

    /// Whether `cr` is there and renders an object.
    #[must_use]
    pub fn renders(&self, cr: &CrKey, key: &ObjectKey) -> bool {
        matches!(self.crs.get(cr), Some(RenderedObjects::Known(objects)) if objects.contains(key))
    }

    /// All CRs that are not being deleted.
    #[must_use]
    pub fn crs(&self) -> Vec<CrKey> {
        self.crs.keys().cloned().collect()
    }
}

/// Whether a spec of `revision` that cannot be rendered may render a live object. Only objects of istiod have the
/// revision in their names; base, CNI, ztunnel and gateways have none and may belong to any revision.
fn may_render(revision: Option<&str>, live: &LiveObject) -> bool {
    let labels = &live.owner_labels;
    let is_of_revision = match (revision, labels.revision.as_deref()) {
        (Some(spec), Some(label)) => spec == label,
        _ => true,
    };
    labels.component != Some(ComponentKind::Pilot) || is_of_revision
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
            ..OwnerLabels::default()
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
            desired.other_owner(&second, &key("reader"), &base, false),
            Some(&first),
            "not looked at yet"
        );
        desired.set_objects(&first, [key("reader")].iter());
        desired.set_objects(&second, [key("reader")].iter());
        assert_eq!(
            desired.other_owner(&second, &key("reader"), &base, false),
            Some(&first)
        );
        assert_eq!(
            desired.other_owner(&first, &key("reader"), &base, false),
            None
        );
        assert_eq!(desired.need(&first, &key("reader"), &base), Need::Rendered);
        desired.set_objects(&first, [].iter());
        assert_eq!(
            desired.other_owner(&second, &key("reader"), &base, false),
            None,
            "no longer rendered"
        );
        desired.set_objects(&first, [key("reader")].iter());
        desired.remove_cr(&first);
        assert_eq!(
            desired.other_owner(&second, &key("reader"), &base, false),
            None,
            "the owner went away"
        );
    }

    /// A live object of a component and a revision.
    fn of(component: ComponentKind, revision: &str) -> LiveObject {
        let mut object = owned(&cr("good"), component);
        object.owner_labels.revision = Some(revision.into());
        object
    }

    #[test]
    fn a_cr_that_cannot_be_read_may_render_all_but_istiod_of_other_revisions() {
        let (good, broken) = (cr("good"), cr("broken"));
        let mut desired = DesiredInventory::new(None);
        desired.add_cr(&good);
        desired.add_cr(&broken);
        assert!(!desired.are_others_rendered(&good));
        desired.mark_unreadable(&broken, Some("canary".into()));
        assert!(desired.are_others_rendered(&good));
        for component in ComponentKind::ALL {
            for (revision, is_needed) in [
                ("canary", true),
                ("default", component != ComponentKind::Pilot),
            ] {
                let object = of(component, revision);
                let need = desired.need(&good, &key("x"), &object);
                let expected = if is_needed {
                    Need::Possible(&broken)
                } else {
                    Need::Unneeded
                };
                assert_eq!(need, expected, "{component} {revision}");
            }
        }
        desired.mark_unreadable(&broken, None);
        let istiod = of(ComponentKind::Pilot, "default");
        assert_eq!(
            desired.need(&good, &key("istiod"), &istiod),
            Need::Possible(&broken),
            "its revision cannot be read either"
        );
    }

    #[test]
    fn a_cr_that_was_readable_keeps_what_it_rendered() {
        let (good, broken) = (cr("good"), cr("broken"));
        let mut desired = DesiredInventory::new(None);
        desired.add_cr(&good);
        desired.add_cr(&broken);
        desired.set_objects(&broken, [key("istiod")].iter());
        desired.mark_unreadable(&broken, None);
        let istiod = of(ComponentKind::Pilot, "default");
        assert_eq!(desired.need(&good, &key("istiod"), &istiod), Need::Rendered);
        assert_eq!(desired.need(&good, &key("other"), &istiod), Need::Unneeded);
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
        assert_eq!(all.other_owner(&me, &key("reader"), &object, false), None);
        let some = DesiredInventory::new(Some(vec!["mesh".into()]));
        assert_eq!(
            some.other_owner(&me, &key("reader"), &object, false),
            Some(&elsewhere)
        );
        assert_eq!(
            some.other_owner(&me, &key("reader"), &object, true),
            None,
            "the user lets it be taken over"
        );
    }

    #[test]
    fn a_new_object_belongs_to_the_pass_that_sends_it() {
        let (first, second) = (cr("first"), cr("second"));
        let mut desired = DesiredInventory::new(None);
        for cr in [&first, &second] {
            desired.add_cr(cr);
            desired.set_objects(cr, [key("reader")].iter());
        }
        desired.set_claims(&first, HashSet::from([key("reader")]));
        assert_eq!(desired.claimant(&second, &key("reader")), Some(&first));
        assert_eq!(desired.claimant(&first, &key("reader")), None);
        assert_eq!(desired.claimant(&second, &key("other")), None);
        assert_eq!(desired.end_claims(&first), vec![second.clone()]);
        assert_eq!(desired.claimant(&second, &key("reader")), None);
        assert_eq!(desired.end_claims(&first), []);
        desired.set_claims(&first, HashSet::from([key("reader")]));
        desired.remove_cr(&first);
        assert_eq!(desired.claimant(&second, &key("reader")), None);
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
