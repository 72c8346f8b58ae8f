//! What may be deleted: objects that name this CR, that our applies made, and that no living CR needs.

use std::cmp::Reverse;
use std::collections::HashSet;

use crate::api::ComponentKind;
use crate::cluster::{CrKey, DesiredInventory, Kind, Live, LiveObject, Role};
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

/// The objects of `cr` that it no longer renders.
#[must_use]
pub fn orphans(
    cr: &CrKey,
    live: &Live,
    desired: &DesiredInventory,
    rendered: &HashSet<ObjectKey>,
) -> Vec<ObjectToDelete> {
    let is_leftover = |key: &ObjectKey, object: &LiveObject| {
        !rendered.contains(key) && !object.owner_labels.kept && !object.terminating
    };
    let mut deletions: Vec<_> = owned(cr, live, desired)
        .filter(|(key, object, _)| is_leftover(key, object))
        .map(|(key, object, kind)| ObjectToDelete {
            key: key.clone(),
            kind,
            uid: object.uid.clone(),
        })
        .collect();
    deletions.sort_by(|a, b| {
        (a.kind.role.deletion_rank(), &a.key).cmp(&(b.kind.role.deletion_rank(), &b.key))
    });
    deletions
}

/// How the deletion of a CR goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletionStep {
    /// What can be deleted now.
    pub now: Vec<ObjectToDelete>,
    /// Everything that is still there, in the order in which it goes.
    pub remaining: Vec<ObjectKey>,
}

/// What is remaining of a CR that is being deleted, last component first, and inside it what calls a workload before the
/// workload, and that before what it reads.
#[must_use]
pub fn deletion_step(cr: &CrKey, live: &Live, desired: &DesiredInventory) -> DeletionStep {
    let step = |object: &LiveObject, kind: &Kind| {
        let component = object
            .owner_labels
            .component
            .map_or(0, ComponentKind::apply_rank);
        (Reverse(component), kind.role.deletion_rank())
    };
    let mut remaining: Vec<_> = owned(cr, live, desired)
        .map(|(key, object, kind)| (step(object, kind), key, object, kind))
        .collect();
    remaining.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let first = remaining.first().map(|entry| entry.0);
    let now = remaining
        .iter()
        .filter(|(step, _, object, _)| Some(*step) == first && !object.terminating)
        .map(|(_, key, object, kind)| ObjectToDelete {
            key: (*key).clone(),
            kind,
            uid: object.uid.clone(),
        })
        .collect();
    DeletionStep {
        now,
        remaining: remaining
            .into_iter()
            .map(|(_, key, ..)| key.clone())
            .collect(),
    }
}

/// The objects that `cr` may delete. CRDs are never among them: deleting one deletes every user's objects of its kind.
fn owned<'a>(
    cr: &'a CrKey,
    live: &'a Live,
    desired: &'a DesiredInventory,
) -> impl Iterator<Item = (&'a ObjectKey, &'a LiveObject, &'static Kind)> {
    live.iter()
        .filter(move |(key, object)| object.is_owned_by(cr) && !desired.is_needed(cr, key, object))
        .filter_map(|(key, object)| Some((key, object, Kind::of(key)?)))
        .filter(|(_, _, kind)| kind.role != Role::Crd)
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
        let deletions = orphans(&cr(), &live, &DesiredInventory::new(None), &rendered);
        let names: Vec<_> = deletions
            .iter()
            .map(|deletions| deletions.key.name.as_str())
            .collect();
        assert_eq!(names, ["old"]);
        assert_eq!(deletions[0].uid, "7");
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
