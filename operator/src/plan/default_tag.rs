//! Which revision has the default tag: the one that serves namespaces labeled `istio-injection=enabled`, and objects
//! that name no revision.
//!
//! A cluster has one such tag, and the webhook configuration that carries it names its revision. Whoever points it to
//! another revision (`istioctl tag set default --overwrite` is how people do that) is right: the CR of that revision
//! takes the tag's objects over, and the one that had them lets go. A CR that names the tag in `values.revisionTags`
//! insists on it. The others take it where nobody has it, or where the revision that had it is gone.

use std::collections::BTreeSet;

use crate::api::ComponentKind;
use crate::charts::yaml::Manifest;
use crate::cluster::{
    CrKey, DEFAULT, DesiredInventory, Injector, Live, LiveObject, Need, TagMode, TagRequest,
    belongs_to_default_tag, is_deactivated_injector, revision_label,
};
use crate::render::ObjectKey;

/// Who has the default tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TagHolder<'a> {
    /// This revision has it, or takes it because nobody has it.
    Revision(&'a str),
    /// That depends on CRs that have not been looked at yet.
    Unknown,
}

/// Tells who has the default tag. The answer is the same for all CRs, so they never disagree.
pub fn tag_holder<'a>(live: &'a Live, desired: &'a DesiredInventory) -> TagHolder<'a> {
    let tagged: BTreeSet<_> = live.iter().filter_map(tagged).collect();
    let mut tag_requests: Vec<_> = desired.tag_requests().collect();
    let insists = tag_requests
        .iter()
        .any(|(_, tag_request)| tag_request.mode == TagMode::Explicit);
    let mode = if insists {
        TagMode::Explicit
    } else {
        TagMode::IfUnassigned
    };
    tag_requests.retain(|(_, tag_request)| tag_request.mode == mode);
    // The default revision comes first, and then names decide, so that it is the same one on every run.
    tag_requests.sort_by_key(|(cr, tag_request)| (tag_request.revision != DEFAULT, *cr));
    let mut revisions = tag_requests
        .iter()
        .map(|(_, tag_request)| tag_request.revision.as_str());
    let has_tag = |revision: &&str| tagged.contains(revision);
    let elsewhere = || tagged.iter().find(|revision| runs(live, desired, revision));
    if let Some(revision) = revisions.clone().find(has_tag) {
        TagHolder::Revision(revision)
    } else if let Some(revision) = elsewhere().filter(|_| !insists) {
        TagHolder::Revision(revision)
    } else if let Some(revision) = revisions.next().filter(|_| desired.are_all_rendered()) {
        TagHolder::Revision(revision)
    } else {
        TagHolder::Unknown
    }
}

/// How one CR stands to the default tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct TagAssignment<'a> {
    revision: &'a str,
    live: &'a Live,
    desired: &'a DesiredInventory,
    holder: TagHolder<'a>,
}

impl<'a> TagAssignment<'a> {
    /// How the CR of this revision stands, which is empty for the default one.
    pub(super) fn of(revision: &'a str, live: &'a Live, desired: &'a DesiredInventory) -> Self {
        Self {
            revision,
            live,
            desired,
            holder: tag_holder(live, desired),
        }
    }

    /// Whether its revision has the tag.
    pub(super) fn is_ours(&self) -> bool {
        self.holder == TagHolder::Revision(revision_label(self.revision))
    }

    /// Whether another CR may be of the same revision, so that what belongs to the tag can be shared with it.
    pub(super) fn may_share_with(&self, other: &CrKey) -> bool {
        let tag_request = self.desired.tag_request(other);
        tag_request.is_none_or(|tag_request| tag_request.revision == revision_label(self.revision))
    }

    /// Why a rendered object is not sent yet. `unready` says why istiod is not ready, if it is not.
    ///
    /// Pods shall have an injector at every moment. So the tag moves to a revision whose istiod is ready, and the
    /// webhooks that the tag replaces work until somebody has it.
    pub(super) fn wait_reason(
        &self,
        key: &ObjectKey,
        body: &Manifest,
        is_there: bool,
        unready: Option<&String>,
    ) -> Option<String> {
        let mut tagged = self.live.iter().filter_map(tagged).peekable();
        if belongs_to_default_tag(body) {
            let unready = unready?;
            let is_there = tagged.peek().is_some();
            let is_moving = is_there && tagged.all(|other| other != revision_label(self.revision));
            is_moving.then(|| format!("the default tag follows once it can: {unready}"))
        } else {
            let comes_to_rest = is_there && is_deactivated_injector(key, body, self.revision);
            let is_early = comes_to_rest && !self.is_ours() && tagged.peek().is_none();
            is_early.then(|| "nobody has the default tag yet".to_owned())
        }
    }
}

/// Why a CR that is being deleted has to wait: the default tag leads to its istiod, and without istiod the API server
/// would refuse every pod that the tag's webhook stands for.
///
/// A tag that belongs to the CR, and that no other CR renders, is deleted before istiod, so nothing has to wait.
pub(super) fn deletion_blocker(
    cr: &CrKey,
    live: &Live,
    desired: &DesiredInventory,
) -> Option<String> {
    let is_going = |key: &ObjectKey, object: &LiveObject| {
        object.is_owned_by(cr) && desired.need(cr, key, object) == Need::Unneeded
    };
    tags(live).into_iter().find_map(|(key, revision)| {
        let mut serving = live.iter().filter(|(key, object)| serves(key, object, revision));
        if !serving.any(|(key, object)| is_going(key, object)) {
            return None;
        }
        let tag = live.get(key)?;
        let leads = format!("the default tag ({key}) leads to revision {revision}");
        match (desired.need(cr, key, tag), tag_holder(live, desired)) {
            (Need::Unneeded, _) if tag.is_owned_by(cr) => None,
            (Need::Unneeded, _) => Some(format!(
                "{leads} and does not belong to this IstioOperator: delete it, or move it with istioctl tag set"
            )),
            (_, TagHolder::Revision(next)) if next != revision => Some(format!(
                "{leads}; it moves to revision {next} as soon as istiod of that revision is ready"
            )),
            _ => Some(format!("{leads}, and no other revision has it yet")),
        }
    })
}

/// The webhook configurations that carry the default tag, with the revisions that they lead to, sorted. One cluster has
/// one of them for each namespace that Istio is installed in.
pub(super) fn tags(live: &Live) -> BTreeSet<(&ObjectKey, &str)> {
    let tags = live
        .iter()
        .filter_map(|entry| Some((entry.0, tagged(entry)?)));
    tags.collect()
}

/// Whether pods that are injected by `revision` need an object: its injector, istiod, or the Service in front of it.
pub(super) fn serves(key: &ObjectKey, object: &LiveObject, revision: &str) -> bool {
    let labels = &object.owner_labels;
    let is_injector = matches!(&object.injector, Some(Injector::Revision(own)) if own == revision);
    let is_istiod = matches!(key.kind.as_str(), "Deployment" | "Service")
        && labels.component == Some(ComponentKind::Pilot)
        && labels.revision.as_deref() == Some(revision);
    is_injector || is_istiod
}

fn tagged<'a>((_, object): (&'a ObjectKey, &'a LiveObject)) -> Option<&'a str> {
    match &object.injector {
        Some(Injector::DefaultTag(revision)) if !object.terminating => Some(revision),
        _ => None,
    }
}

/// Whether somebody runs a revision that no CR which takes part renders: another tool, a CR that cannot be read, or a
/// paused one. An old revision of a CR, or one that a CR leaves behind on its way out, does not count.
fn runs(live: &Live, desired: &DesiredInventory, revision: &str) -> bool {
    let is_paused =
        |request: &TagRequest| request.mode == TagMode::Keep && request.revision == revision;
    let is_others = |owner: &CrKey| {
        !desired.is_deleting(owner) && desired.tag_request(owner).is_none_or(is_paused)
    };
    live.iter().any(|(_, object)| {
        matches!(&object.injector, Some(Injector::Revision(other)) if other == revision)
            && !object.terminating
            && object.owner_labels.owner.as_ref().is_none_or(is_others)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::OwnerLabels;

    /// CRs with their revisions, and the configurations of injection webhooks in the cluster.
    struct World {
        live: Live,
        desired: DesiredInventory,
    }

    fn cr(name: &str) -> CrKey {
        CrKey {
            namespace: "mesh".into(),
            name: name.into(),
        }
    }

    impl World {
        fn new(crs: &[(&str, &str)]) -> Self {
            let mut world = Self {
                live: Live::default(),
                desired: DesiredInventory::new(None),
            };
            for (name, revision) in crs {
                world.desired.add_cr(&cr(name));
                world.desired.set_objects(&cr(name), [].iter());
                world.mode(name, revision, TagMode::IfUnassigned);
            }
            world
        }

        fn mode(&mut self, name: &str, revision: &str, mode: TagMode) {
            let revision = revision.to_owned();
            self.desired
                .set_tag_request(&cr(name), TagRequest { revision, mode });
        }

        fn put(&mut self, owner: &str, injector: Injector) {
            let owner_labels = OwnerLabels {
                owner: Some(cr(owner)),
                ..OwnerLabels::default()
            };
            let key = ObjectKey {
                group: "admissionregistration.k8s.io".into(),
                kind: "MutatingWebhookConfiguration".into(),
                namespace: None,
                name: match &injector {
                    Injector::Revision(revision) => revision.clone(),
                    Injector::DefaultTag(_) => "istio-revision-tag-default".into(),
                    Injector::Tag { name, .. } => format!("istio-revision-tag-{name}"),
                },
            };
            let object = LiveObject {
                owner_labels,
                our_fields: Some(1),
                injector: Some(injector),
                ..LiveObject::default()
            };
            self.live.put(key, object);
        }

        fn tag(&mut self, revision: &str) {
            self.put("whoever", Injector::DefaultTag(revision.into()));
        }

        fn run(&mut self, owner: &str, revision: &str) {
            self.put(owner, Injector::Revision(revision.into()));
        }

        fn tag_holder(&self) -> Option<&str> {
            match tag_holder(&self.live, &self.desired) {
                TagHolder::Revision(revision) => Some(revision),
                TagHolder::Unknown => None,
            }
        }
    }

    #[test]
    fn a_free_tag_goes_to_the_default_revision_and_otherwise_to_the_first_name() {
        assert_eq!(
            World::new(&[("a", "one"), ("b", "two")]).tag_holder(),
            Some("one")
        );
        let world = World::new(&[("a", "one"), ("b", "default")]);
        assert_eq!(world.tag_holder(), Some("default"));
        assert_eq!(World::new(&[]).tag_holder(), None);
    }

    #[test]
    fn a_free_tag_waits_until_every_cr_was_looked_at() {
        let mut world = World::new(&[("a", "one")]);
        world.desired.add_cr(&cr("new"));
        assert_eq!(world.tag_holder(), None);
        world.desired.mark_unreadable(&cr("new"), None);
        assert_eq!(world.tag_holder(), Some("one"));
    }

    #[test]
    fn the_tag_stays_with_the_revision_that_it_names() {
        let mut world = World::new(&[("a", "default"), ("b", "canary")]);
        world.tag("canary");
        assert_eq!(world.tag_holder(), Some("canary"));
        world.tag("default");
        assert_eq!(world.tag_holder(), Some("default"));
    }

    #[test]
    fn the_tag_stays_with_a_revision_that_others_run() {
        let mut world = World::new(&[("a", "default")]);
        world.tag("theirs");
        assert_eq!(world.tag_holder(), Some("default"), "nobody runs it");
        world.run("istioctl", "theirs");
        assert_eq!(world.tag_holder(), Some("theirs"));
        // A living CR that cannot be read may well render that revision.
        world.desired.add_cr(&cr("istioctl"));
        world.desired.mark_unreadable(&cr("istioctl"), None);
        assert_eq!(world.tag_holder(), Some("theirs"));
    }

    #[test]
    fn the_tag_leaves_a_revision_that_goes_away() {
        let mut world = World::new(&[("a", "default"), ("b", "canary")]);
        world.tag("canary");
        world.run("b", "canary");
        world.desired.mark_deleting(&cr("b"));
        assert_eq!(
            world.tag_holder(),
            Some("default"),
            "its CR is being deleted"
        );
        world.desired.remove_cr(&cr("b"));
        assert_eq!(world.tag_holder(), Some("canary"), "its CR left it behind");

        let mut world = World::new(&[("a", "new")]);
        world.tag("old");
        world.run("a", "old");
        assert_eq!(
            world.tag_holder(),
            Some("new"),
            "its CR has another revision now"
        );
    }

    #[test]
    fn a_paused_cr_keeps_the_tag_and_does_not_take_it() {
        let mut world = World::new(&[("a", "canary"), ("b", "default")]);
        world.mode("b", "default", TagMode::Keep);
        assert_eq!(world.tag_holder(), Some("canary"), "it is free");
        world.run("b", "default");
        world.tag("default");
        assert_eq!(world.tag_holder(), Some("default"));
        world.mode("b", "default", TagMode::IfUnassigned);
        world.mode("a", "canary", TagMode::Keep);
        world.desired.mark_deleting(&cr("b"));
        assert_eq!(world.tag_holder(), None, "nobody is there to take it");
    }

    #[test]
    fn every_tag_holds_the_istiod_that_it_leads_to() {
        let mut world = World::new(&[("a", "default"), ("b", "canary")]);
        world.run("a", "default");
        world.run("b", "canary");
        for (name, revision) in [("tag-one", "canary"), ("tag-two", "default")] {
            let key = ObjectKey {
                group: "admissionregistration.k8s.io".into(),
                kind: "MutatingWebhookConfiguration".into(),
                namespace: None,
                name: name.into(),
            };
            let object = LiveObject {
                injector: Some(Injector::DefaultTag(revision.into())),
                ..LiveObject::default()
            };
            world.live.put(key, object);
        }
        for (name, tag) in [("a", "tag-two"), ("b", "tag-one")] {
            world.desired.mark_deleting(&cr(name));
            let blocker = deletion_blocker(&cr(name), &world.live, &world.desired);
            assert!(blocker.unwrap().contains(tag));
        }
    }

    #[test]
    fn who_names_the_tag_is_stronger_than_whom_it_names() {
        let mut world = World::new(&[("a", "default"), ("b", "canary"), ("c", "third")]);
        world.tag("default");
        world.mode("c", "third", TagMode::Explicit);
        assert_eq!(world.tag_holder(), Some("third"));
        world.run("istioctl", "theirs");
        world.tag("theirs");
        assert_eq!(world.tag_holder(), Some("third"));
        // Of two that name it, the one stays that has it.
        world.mode("b", "canary", TagMode::Explicit);
        world.tag("third");
        assert_eq!(world.tag_holder(), Some("third"));
        world.mode("c", "third", TagMode::Never);
        assert_eq!(world.tag_holder(), Some("canary"));
    }
}
