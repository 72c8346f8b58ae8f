//! What may be deleted: objects whose labels name this CR, that our applies made, and that no other CR needs.
//!
//! Never a control plane that pods may use: one of another revision than the rendered one, one whose place another
//! istiod takes, or one that the default tag leads to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use super::default_tag;
use crate::api::ComponentKind;
use crate::cluster::{CrKey, DesiredInventory, Kind, Live, LiveObject, Need, Role};
use crate::render::ObjectKey;

/// An object to delete, if it is still the very one that was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectToDelete {
    /// Its identity.
    pub key: ObjectKey,
    /// Its kind.
    pub kind: &'static Kind,
    /// The UID that the delete is bound to.
    pub uid: String,
}

/// The objects of a CR that it does not render any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Those to delete, in order.
    pub delete: Vec<ObjectToDelete>,
    /// Those that stay because pods may still use them, by the revision that their labels name.
    pub in_use: BTreeMap<String, InUse>,
}

/// Objects of one revision that stay although they are not rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// The objects, sorted.
    pub objects: Vec<ObjectKey>,
    /// The default tag that leads to them, if that alone keeps them.
    pub tag: Option<ObjectKey>,
}

/// What the CR renders, and what it lets go.
#[derive(Clone, Copy, Debug)]
pub struct Rendering<'a> {
    /// The keys of all rendered objects.
    pub keys: &'a HashSet<ObjectKey>,
    /// The rendered revision, as labels call it.
    pub revision: &'a str,
    /// Whether istiod is rendered.
    pub has_istiod: bool,
    /// The old revision whose objects the user lets go.
    pub prune_revision: Option<&'a str>,
}

/// Finds the objects of `cr` that it does not render any more and that no other CR needs.
#[must_use]
pub fn orphans(
    cr: &CrKey,
    live: &Live,
    desired: &DesiredInventory,
    rendering: Rendering<'_>,
) -> Orphans {
    let is_orphan = |key: &ObjectKey, object: &LiveObject, need| {
        need == Need::Unneeded && !rendering.keys.contains(key) && !object.owner_labels.kept
    };
    let mut owned: Vec<_> = owned(cr, live, desired)
        .filter(|(key, object, _, need)| is_orphan(key, object, *need))
        .map(|(key, object, kind, _)| (key, object, kind))
        .collect();
    owned.sort_by_key(|(key, _, kind)| (kind.role.deletion_rank(), *key));
    // Labels call a control plane without a revision `default`, and do not say where Istio is installed.
    let is_replaced = rendering.has_istiod
        && owned
            .iter()
            .any(|(key, object, _)| is_istiod(key, object, rendering.revision));
    let is_old = |object: &LiveObject| {
        let labels = &object.owner_labels;
        labels.revision.as_deref().is_some_and(|revision| {
            let is_of_replaced = is_replaced && labels.component == Some(ComponentKind::Pilot);
            Some(revision) != rendering.prune_revision
                && (revision != rendering.revision || is_of_replaced)
        })
    };
    let (old, mut unused): (Vec<_>, Vec<_>) =
        owned.into_iter().partition(|(_, object, _)| is_old(object));
    let mut orphans = Orphans::default();
    for (key, object, _) in old.into_iter().filter(|(_, object, _)| !object.terminating) {
        orphans.keep(key, object, None);
    }
    let going: HashSet<_> = unused.iter().map(|(key, ..)| *key).collect();
    for (tag, revision) in default_tag::tags(live) {
        let leads_to =
            |key: &ObjectKey, object: &LiveObject| default_tag::serves(key, object, revision);
        let is_held =
            !going.contains(tag) && unused.iter().any(|(key, object, _)| leads_to(key, object));
        unused.retain(|(key, object, _)| {
            let labels = &object.owner_labels;
            let stays = is_held
                && labels.component == Some(ComponentKind::Pilot)
                && labels.revision.as_deref() == Some(revision);
            if stays {
                orphans.keep(key, object, Some(tag));
            }
            !stays
        });
    }
    // As long as a webhook is there, istiod has to answer it, whoever holds it.
    let terminating = unused.iter().filter(|(_, object, _)| object.terminating);
    let rank = terminating
        .map(|(_, _, kind)| kind.role.deletion_rank())
        .min();
    let is_due = |kind: &Kind| rank.is_none_or(|rank| kind.role.deletion_rank() <= rank);
    orphans.delete = unused
        .into_iter()
        .filter(|(_, object, kind)| !object.terminating && is_due(kind))
        .map(|(key, object, kind)| to_delete(key, object, kind))
        .collect();
    orphans
}

impl Orphans {
    fn keep(&mut self, key: &ObjectKey, object: &LiveObject, tag: Option<&ObjectKey>) {
        let revision = object.owner_labels.revision.clone().unwrap_or_default();
        let in_use = self.in_use.entry(revision).or_default();
        in_use.tag = tag.cloned();
        in_use.objects.push(key.clone());
        in_use.objects.sort();
    }
}

/// Whether an object is the workload of istiod of a revision.
fn is_istiod(key: &ObjectKey, object: &LiveObject, revision: &str) -> bool {
    let labels = &object.owner_labels;
    key.kind == "Deployment"
        && labels.component == Some(ComponentKind::Pilot)
        && labels.revision.as_deref() == Some(revision)
}

/// How the deletion of a CR goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletionStep {
    /// The objects that can be deleted now.
    pub now: Vec<ObjectToDelete>,
    /// All objects that are still there, in the order in which they are deleted.
    pub remaining: Vec<ObjectKey>,
    /// Why nothing can be deleted yet.
    pub blocked_by: Option<String>,
}

/// Plans the next step of the deletion of a CR. The last component goes first. Inside a component webhooks go before
/// the workload that answers them, and the workload goes before what it reads.
///
/// Objects that another CR renders are left to it. While another CR may need an object but its spec cannot be read, or
/// while the default tag still leads to istiod of this CR and is about to move, nothing is deleted.
#[must_use]
pub fn deletion_step(cr: &CrKey, live: &Live, desired: &DesiredInventory) -> DeletionStep {
    let step = |object: &LiveObject, kind: &Kind| {
        let component = object
            .owner_labels
            .component
            .map_or(0, ComponentKind::apply_rank);
        (Reverse(component), kind.role.deletion_rank())
    };
    let mut remaining = Vec::new();
    let mut blocked_by = default_tag::deletion_blocker(cr, live, desired);
    for (key, object, kind, need) in owned(cr, live, desired) {
        match need {
            Need::Unneeded => remaining.push((step(object, kind), key, object, kind)),
            Need::Rendered => {}
            Need::Possible(other) => {
                remaining.push((step(object, kind), key, object, kind));
                blocked_by.get_or_insert_with(|| {
                    format!(
                        "IstioOperator {other} may need {key}, and its spec cannot be read: correct or delete {other}, \
                         or set spec.deletionPolicy to Orphan to leave everything in place"
                    )
                });
            }
        }
    }
    remaining.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let first = remaining.first().map(|entry| entry.0);
    let now = remaining
        .iter()
        .filter(|(step, _, object, _)| {
            blocked_by.is_none() && Some(*step) == first && !object.terminating
        })
        .map(|(_, key, object, kind)| to_delete(key, object, kind))
        .collect();
    DeletionStep {
        now,
        remaining: remaining
            .into_iter()
            .map(|(_, key, ..)| key.clone())
            .collect(),
        blocked_by,
    }
}

fn to_delete(key: &ObjectKey, object: &LiveObject, kind: &'static Kind) -> ObjectToDelete {
    ObjectToDelete {
        key: key.clone(),
        kind,
        uid: object.uid.clone(),
    }
}

/// The objects of `cr`, and whether other CRs need them. CRDs are never among them: deleting one deletes every user's
/// objects of its kind.
fn owned<'a>(
    cr: &'a CrKey,
    live: &'a Live,
    desired: &'a DesiredInventory,
) -> impl Iterator<Item = (&'a ObjectKey, &'a LiveObject, &'static Kind, Need<'a>)> {
    live.iter()
        .filter(move |(_, object)| object.is_owned_by(cr))
        .filter_map(move |(key, object)| {
            let kind = Kind::of(key).filter(|kind| kind.role != Role::Crd)?;
            Some((key, object, kind, desired.need(cr, key, object)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{OwnerLabels, key};

    fn cr() -> CrKey {
        CrKey {
            namespace: "mesh".into(),
            name: "one".into(),
        }
    }

    fn object(component: ComponentKind) -> LiveObject {
        let owner_labels = OwnerLabels {
            owner: Some(cr()),
            component: Some(component),
            ..OwnerLabels::default()
        };
        LiveObject {
            uid: "7".into(),
            our_fields: Some(1),
            owner_labels,
            ..LiveObject::default()
        }
    }

    #[test]
    fn only_what_is_ours_and_unrendered_and_unneeded_is_pruned() {
        let pilot = || object(ComponentKind::Pilot);
        let mut live = Live::default();
        live.put(key("Service", "old"), pilot());
        live.put(key("Service", "kept-render"), pilot());
        live.put(
            key("CustomResourceDefinition", "gateways"),
            object(ComponentKind::Base),
        );
        let mut tagged = pilot();
        tagged.owner_labels.kept = true;
        live.put(key("Service", "tag"), tagged);
        let by_hand = LiveObject {
            our_fields: None,
            ..pilot()
        };
        live.put(key("Service", "labelled-by-hand"), by_hand);
        let going = LiveObject {
            terminating: true,
            ..pilot()
        };
        live.put(key("Service", "going"), going);
        let mut other = pilot();
        other.owner_labels.owner = Some(CrKey {
            namespace: "other".into(),
            name: "one".into(),
        });
        live.put(key("Service", "of-another"), other);

        let rendered = HashSet::from([key("Service", "kept-render")]);
        let desired = DesiredInventory::new(None);
        let rendering = Rendering {
            keys: &rendered,
            revision: "default",
            has_istiod: true,
            prune_revision: None,
        };
        let deletions = orphans(&cr(), &live, &desired, rendering).delete;
        let names: Vec<_> = deletions
            .iter()
            .map(|object| object.key.name.as_str())
            .collect();
        assert_eq!(names, ["old"]);
        assert_eq!(deletions[0].uid, "7");
    }

    #[test]
    fn objects_of_another_revision_stay_until_the_user_lets_them_go() {
        let mut live = Live::default();
        let mut of_revision = |name: &str, revision: &str| {
            let mut object = object(ComponentKind::Pilot);
            object.owner_labels.revision = Some(revision.into());
            live.put(key("Deployment", name), object);
        };
        of_revision("istiod-1-29", "1-29");
        of_revision("istiod-1-28", "1-28");
        of_revision("istiod-gone", "1-30");
        let (keys, desired) = (HashSet::new(), DesiredInventory::new(None));
        let mut rendering = Rendering {
            keys: &keys,
            revision: "1-30",
            has_istiod: false,
            prune_revision: None,
        };
        let names = |orphans: &Orphans| -> Vec<String> {
            let deletions = orphans.delete.iter();
            deletions.map(|object| object.key.name.clone()).collect()
        };
        let kept = orphans(&cr(), &live, &desired, rendering);
        assert_eq!(names(&kept), ["istiod-gone"]);
        let old: Vec<_> = kept.in_use.keys().collect();
        assert_eq!(old, ["1-28", "1-29"]);
        rendering.prune_revision = Some("1-28");
        let pruned = orphans(&cr(), &live, &desired, rendering);
        assert_eq!(names(&pruned), ["istiod-1-28", "istiod-gone"]);
        assert_eq!(pruned.in_use.len(), 1);
    }

    /// Names of what is deleted, and of what stays.
    fn of_default(live: &Live, prune: Option<&str>) -> (Vec<String>, Vec<String>) {
        let (keys, desired) = (HashSet::new(), DesiredInventory::new(None));
        let rendering = Rendering {
            keys: &keys,
            revision: "default",
            has_istiod: true,
            prune_revision: prune,
        };
        let orphans = orphans(&cr(), live, &desired, rendering);
        let name = |key: &ObjectKey| key.name.clone();
        let deleted = orphans.delete.iter().map(|object| name(&object.key));
        let kept = orphans.in_use.values().flat_map(|in_use| &in_use.objects);
        (deleted.collect(), kept.map(name).collect())
    }

    #[test]
    fn an_istiod_whose_place_another_takes_is_an_old_one_whatever_labels_call_it() {
        let mut live = Live::default();
        let of_default_revision = |component| {
            let mut object = object(component);
            object.owner_labels.revision = Some("default".into());
            object
        };
        let pilot = || of_default_revision(ComponentKind::Pilot);
        let gateway = of_default_revision(ComponentKind::IngressGateways);
        live.put(key("ConfigMap", "istio"), pilot());
        live.put(key("Deployment", "gateway"), gateway);
        let none = [""; 0];
        assert_eq!(of_default(&live, None).1, none, "no istiod is replaced");
        live.put(key("Deployment", "istiod"), pilot());
        let (deleted, kept) = of_default(&live, None);
        assert_eq!(deleted, ["gateway"]);
        assert_eq!(kept, ["istio", "istiod"]);
        let (deleted, kept) = of_default(&live, Some("default"));
        assert_eq!(deleted.len(), 3);
        assert_eq!(kept, none);
    }

    #[test]
    fn what_is_still_going_holds_what_it_needs() {
        let mut live = Live::default();
        let going = LiveObject {
            terminating: true,
            ..object(ComponentKind::Pilot)
        };
        let webhook = key("MutatingWebhookConfiguration", "injector");
        live.put(webhook.clone(), going);
        live.put(key("Deployment", "x"), object(ComponentKind::Pilot));
        assert_eq!(of_default(&live, None).0, [""; 0]);
        live.remove(&webhook);
        assert_eq!(of_default(&live, None).0, ["x"]);
    }

    #[test]
    fn deletion_waits_for_a_cr_that_may_need_an_object_and_cannot_be_read() {
        let mut live = Live::default();
        live.put(
            key("DaemonSet", "istio-cni-node"),
            object(ComponentKind::Cni),
        );
        let other = CrKey {
            namespace: "mesh".into(),
            name: "broken".into(),
        };
        let mut desired = DesiredInventory::new(None);
        desired.add_cr(&other);
        desired.mark_unreadable(&other, Some("canary".into()));
        let step = deletion_step(&cr(), &live, &desired);
        assert!(step.now.is_empty());
        assert_eq!(step.remaining.len(), 1);
        assert!(step.blocked_by.unwrap().contains("mesh/broken"));
        desired.remove_cr(&other);
        assert_eq!(deletion_step(&cr(), &live, &desired).now.len(), 1);
    }

    #[test]
    fn deletion_goes_backwards_one_step_at_a_time() {
        let mut live = Live::default();
        live.put(
            key("Deployment", "gateway"),
            object(ComponentKind::IngressGateways),
        );
        live.put(
            key("Service", "gateway"),
            object(ComponentKind::IngressGateways),
        );
        live.put(key("Deployment", "istiod"), object(ComponentKind::Pilot));
        live.put(
            key("MutatingWebhookConfiguration", "injector"),
            object(ComponentKind::Pilot),
        );
        live.put(key("ServiceAccount", "reader"), object(ComponentKind::Base));
        live.put(
            key("CustomResourceDefinition", "gateways"),
            object(ComponentKind::Base),
        );
        let mut order = Vec::new();
        loop {
            let deletion_step = deletion_step(&cr(), &live, &DesiredInventory::new(None));
            if deletion_step.now.is_empty() {
                assert!(deletion_step.remaining.is_empty());
                break;
            }
            for deletions in deletion_step.now {
                order.push(format!("{} {}", deletions.key.kind, deletions.key.name));
                live.remove(&deletions.key);
            }
        }
        assert_eq!(
            order,
            [
                "Deployment gateway",
                "Service gateway",
                "MutatingWebhookConfiguration injector",
                "Deployment istiod",
                "ServiceAccount reader",
            ]
        );
    }

    #[test]
    fn an_object_on_its_way_out_holds_the_next_step() {
        let mut live = Live::default();
        let going = LiveObject {
            terminating: true,
            ..object(ComponentKind::Pilot)
        };
        live.put(key("Deployment", "istiod"), going);
        live.put(key("ServiceAccount", "reader"), object(ComponentKind::Base));
        let deletion_step = deletion_step(&cr(), &live, &DesiredInventory::new(None));
        assert!(deletion_step.now.is_empty());
        assert_eq!(deletion_step.remaining.len(), 2);
    }

    #[test]
    fn what_another_living_cr_renders_is_left_to_it() {
        let mut live = Live::default();
        live.put(key("ServiceAccount", "reader"), object(ComponentKind::Base));
        let other = CrKey {
            namespace: "mesh".into(),
            name: "two".into(),
        };
        let mut desired = DesiredInventory::new(None);
        desired.add_cr(&other);
        desired.set_objects(&other, [key("ServiceAccount", "reader")].iter());
        assert_eq!(
            deletion_step(&cr(), &live, &desired),
            DeletionStep::default()
        );
    }
}
