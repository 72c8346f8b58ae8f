//! What may be deleted: objects that name this CR, that our applies made, and that no living CR needs.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::claims::Claims;
use super::kinds::{Kind, Role};
use super::live::{Live, LiveObject};
use super::order::rank;
use super::owner::CrKey;
use crate::render::ObjectKey;

/// An object to delete, if it is still the very one that was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    /// Its identity.
    pub key: ObjectKey,
    /// Its kind.
    pub kind: &'static Kind,
    /// The UID that the delete is bound to.
    pub uid: String,
}

/// The objects of `cr` that it no longer renders.
#[must_use]
pub fn leftovers(
    cr: &CrKey,
    live: &Live,
    claims: &Claims,
    rendered: &HashSet<ObjectKey>,
) -> Vec<Doomed> {
    let is_leftover = |key: &ObjectKey, object: &LiveObject| {
        !rendered.contains(key) && !object.ownership.kept && !object.terminating
    };
    let mut doomed: Vec<_> = owned(cr, live, claims)
        .filter(|(key, object, _)| is_leftover(key, object))
        .map(|(key, object, kind)| Doomed {
            key: key.clone(),
            kind,
            uid: object.uid.clone(),
        })
        .collect();
    doomed.sort_by(|a, b| {
        (a.kind.role.removal_rank(), &a.key).cmp(&(b.kind.role.removal_rank(), &b.key))
    });
    doomed
}

/// How the deletion of a CR goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// What can be deleted now.
    pub now: Vec<Doomed>,
    /// Everything that is still there, in the order in which it goes.
    pub left: Vec<ObjectKey>,
}

/// What is left of a CR that is being deleted, last component first, and inside it what calls a workload before the
/// workload, and that before what it reads.
#[must_use]
pub fn removal(cr: &CrKey, live: &Live, claims: &Claims) -> Removal {
    let step = |object: &LiveObject, kind: &Kind| {
        let component = object.ownership.component.map_or(0, rank);
        (Reverse(component), kind.role.removal_rank())
    };
    let mut left: Vec<_> = owned(cr, live, claims)
        .map(|(key, object, kind)| (step(object, kind), key, object, kind))
        .collect();
    left.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let first = left.first().map(|entry| entry.0);
    let now = left
        .iter()
        .filter(|(step, _, object, _)| Some(*step) == first && !object.terminating)
        .map(|(_, key, object, kind)| Doomed {
            key: (*key).clone(),
            kind,
            uid: object.uid.clone(),
        })
        .collect();
    Removal {
        now,
        left: left.into_iter().map(|(_, key, ..)| key.clone()).collect(),
    }
}

/// The objects that `cr` may delete. CRDs are never among them: deleting one deletes every user's objects of its kind.
fn owned<'a>(
    cr: &'a CrKey,
    live: &'a Live,
    claims: &'a Claims,
) -> impl Iterator<Item = (&'a ObjectKey, &'a LiveObject, &'static Kind)> {
    live.iter()
        .filter(move |(key, object)| object.is_owned_by(cr) && !claims.is_needed(cr, key, object))
        .filter_map(|(key, object)| Some((key, object, Kind::of(key)?)))
        .filter(|(_, _, kind)| kind.role != Role::Definition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ComponentKind;
    use crate::plan::key;
    use crate::plan::owner::Ownership;

    fn cr() -> CrKey {
        CrKey {
            namespace: "mesh".into(),
            name: "one".into(),
        }
    }

    fn object(component: ComponentKind) -> LiveObject {
        let ownership = Ownership {
            owner: Some(cr()),
            component: Some(component),
            ..Ownership::default()
        };
        LiveObject {
            uid: "7".into(),
            ours: Some(1),
            ownership,
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
        tagged.ownership.kept = true;
        live.put(key("Service", "tag"), tagged);
        let by_hand = LiveObject {
            ours: None,
            ..pilot()
        };
        live.put(key("Service", "labelled-by-hand"), by_hand);
        let going = LiveObject {
            terminating: true,
            ..pilot()
        };
        live.put(key("Service", "going"), going);
        let mut other = pilot();
        other.ownership.owner = Some(CrKey {
            namespace: "other".into(),
            name: "one".into(),
        });
        live.put(key("Service", "of-another"), other);

        let rendered = HashSet::from([key("Service", "kept-render")]);
        let doomed = leftovers(&cr(), &live, &Claims::new(None), &rendered);
        let names: Vec<_> = doomed
            .iter()
            .map(|doomed| doomed.key.name.as_str())
            .collect();
        assert_eq!(names, ["old"]);
        assert_eq!(doomed[0].uid, "7");
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
            let removal = removal(&cr(), &live, &Claims::new(None));
            if removal.now.is_empty() {
                assert!(removal.left.is_empty());
                break;
            }
            for doomed in removal.now {
                order.push(format!("{} {}", doomed.key.kind, doomed.key.name));
                live.remove(&doomed.key);
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
        let removal = removal(&cr(), &live, &Claims::new(None));
        assert!(removal.now.is_empty());
        assert_eq!(removal.left.len(), 2);
    }

    #[test]
    fn what_another_living_cr_renders_is_left_to_it() {
        let mut live = Live::default();
        live.put(key("ServiceAccount", "reader"), object(ComponentKind::Base));
        let other = CrKey {
            namespace: "mesh".into(),
            name: "two".into(),
        };
        let mut claims = Claims::new(None);
        claims.live(&other);
        claims.render(&other, [key("ServiceAccount", "reader")].iter());
        assert_eq!(removal(&cr(), &live, &claims), Removal::default());
    }
}
