//! What may be deleted: objects whose labels name this CR, that our applies made, and that no other CR needs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use super::default_tag;
use crate::api::{Annotations, ComponentKind};
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
    /// The resource version that was judged; 0 if it is not known.
    pub version: u64,
    /// The CR that has to own the object, if it changed since and is read again.
    pub owner: CrKey,
}

/// The objects of a CR that it does not render any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Those to delete, in order.
    pub delete: Vec<ObjectToDelete>,
    /// Those of other revisions than the rendered one, by revision. Pods may still use them, so they stay.
    pub old_revisions: BTreeMap<String, Vec<ObjectKey>>,
}

/// What the CR renders, and what it lets go.
#[derive(Clone, Copy, Debug)]
pub struct Rendering<'a> {
    /// The keys of all rendered objects.
    pub keys: &'a HashSet<ObjectKey>,
    /// The rendered revision, as labels call it.
    pub revision: &'a str,
    /// What the annotations of the CR ask for: which old revision may go, and whether objects of other tools may.
    pub annotations: &'a Annotations,
}

/// Finds the objects of `cr` that it does not render any more and that no other CR needs.
#[must_use]
pub fn orphans(
    cr: &CrKey,
    live: &Live,
    desired: &DesiredInventory,
    rendering: Rendering<'_>,
) -> Orphans {
    let mut orphans = Orphans::default();
    let prune_revision = rendering.annotations.prune_revision.as_deref();
    for (key, object, kind, need) in owned(cr, rendering.annotations, live, desired) {
        let is_orphan = need == Need::Unneeded
            && !rendering.keys.contains(key)
            && !object.owner_labels.kept
            && !object.terminating;
        if !is_orphan {
            continue;
        }
        let revision = object.owner_labels.revision.as_deref();
        let old = revision.filter(|revision| {
            *revision != rendering.revision && Some(*revision) != prune_revision
        });
        match old {
            Some(old) => {
                let objects = orphans.old_revisions.entry(old.to_owned()).or_default();
                objects.push(key.clone());
            }
            None => orphans.delete.push(to_delete(cr, key, object, kind)),
        }
    }
    orphans.delete.sort_by(|a, b| {
        (a.kind.role.deletion_rank(), &a.key).cmp(&(b.kind.role.deletion_rank(), &b.key))
    });
    orphans
        .old_revisions
        .values_mut()
        .for_each(|keys| keys.sort());
    orphans
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
pub fn deletion_step(
    cr: &CrKey,
    annotations: &Annotations,
    live: &Live,
    desired: &DesiredInventory,
) -> DeletionStep {
    let step = |object: &LiveObject, kind: &Kind| {
        let component = object
            .owner_labels
            .component
            .map_or(0, ComponentKind::apply_rank);
        (Reverse(component), kind.role.deletion_rank())
    };
    let mut remaining = Vec::new();
    let mut blocked_by = default_tag::deletion_blocker(cr, live, desired);
    for (key, object, kind, need) in owned(cr, annotations, live, desired) {
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
        .map(|(_, key, object, kind)| to_delete(cr, key, object, kind))
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

fn to_delete(
    cr: &CrKey,
    key: &ObjectKey,
    object: &LiveObject,
    kind: &'static Kind,
) -> ObjectToDelete {
    ObjectToDelete {
        key: key.clone(),
        kind,
        uid: object.uid.clone(),
        version: object.version,
        owner: cr.clone(),
    }
}

/// The objects of `cr` that no other tool manages, or that may be taken from it, and whether other CRs need them. CRDs are never among them: deleting one deletes every user's
/// objects of its kind.
fn owned<'a>(
    cr: &'a CrKey,
    annotations: &Annotations,
    live: &'a Live,
    desired: &'a DesiredInventory,
) -> impl Iterator<Item = (&'a ObjectKey, &'a LiveObject, &'static Kind, Need<'a>)> {
    let may_adopt = annotations.may_adopt;
    live.iter()
        .filter(move |(_, object)| object.is_owned_by(cr))
        .filter(move |(_, object)| may_adopt || object.managed_by.is_none())
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
            annotations: &Annotations::default(),
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
            annotations: &Annotations::default(),
        };
        let names = |orphans: &Orphans| -> Vec<String> {
            let deletions = orphans.delete.iter();
            deletions.map(|object| object.key.name.clone()).collect()
        };
        let kept = orphans(&cr(), &live, &desired, rendering);
        assert_eq!(names(&kept), ["istiod-gone"]);
        let old: Vec<_> = kept.old_revisions.keys().collect();
        assert_eq!(old, ["1-28", "1-29"]);
        let annotations = Annotations {
            prune_revision: Some("1-28".into()),
            ..Annotations::default()
        };
        rendering.annotations = &annotations;
        let pruned = orphans(&cr(), &live, &desired, rendering);
        assert_eq!(names(&pruned), ["istiod-1-28", "istiod-gone"]);
        assert_eq!(pruned.old_revisions.len(), 1);
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
        let step = deletion_step(&cr(), &Annotations::default(), &live, &desired);
        assert!(step.now.is_empty());
        assert_eq!(step.remaining.len(), 1);
        assert!(step.blocked_by.unwrap().contains("mesh/broken"));
        desired.remove_cr(&other);
        assert_eq!(
            deletion_step(&cr(), &Annotations::default(), &live, &desired)
                .now
                .len(),
            1
        );
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
            let deletion_step = deletion_step(
                &cr(),
                &Annotations::default(),
                &live,
                &DesiredInventory::new(None),
            );
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
        let deletion_step = deletion_step(
            &cr(),
            &Annotations::default(),
            &live,
            &DesiredInventory::new(None),
        );
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
            deletion_step(&cr(), &Annotations::default(), &live, &desired),
            DeletionStep::default()
        );
    }
}
