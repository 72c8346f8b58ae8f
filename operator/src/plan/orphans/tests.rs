//! What is pruned, what stays, and in which order a CR is deleted.

use super::*;
use crate::cluster::{Injector, OwnerLabels, key};

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
        annotations: &Annotations::default(),
        verdicts: &Verdicts::new(),
    };
    let deletions = orphans(&cr(), &live, &desired, rendering).delete;
    let names: Vec<_> = deletions
        .iter()
        .map(|object| object.key.name.as_str())
        .collect();
    assert_eq!(names, ["old"]);
    assert_eq!(deletions[0].uid, "7");
}

/// Names of what is deleted, and of what stays, where the CR renders revision 1-30 and other istiods are there.
fn old_istiods(
    has_istiod: bool,
    prune: Option<&str>,
    verdicts: &[(&str, Verdict)],
) -> (Vec<String>, Vec<String>) {
    let mut live = Live::default();
    for revision in ["1-28", "1-29", "1-30"] {
        let mut object = object(ComponentKind::Pilot);
        object.owner_labels.revision = Some(revision.into());
        live.put(key("Deployment", &format!("istiod-{revision}")), object);
    }
    let rendered = has_istiod.then(|| key("Deployment", "istiod-1-30"));
    let verdicts = verdicts.iter().cloned();
    let verdicts = verdicts.map(|(revision, verdict)| (revision.to_owned(), verdict));
    let rendering = Rendering {
        keys: &rendered.into_iter().collect(),
        revision: "1-30",
        has_istiod,
        annotations: &Annotations {
            prune_revision: prune.map(str::to_owned),
            ..Annotations::default()
        },
        verdicts: &verdicts.collect(),
    };
    let orphans = orphans(&cr(), &live, &DesiredInventory::new(None), rendering);
    let deleted: Vec<_> = orphans
        .delete
        .iter()
        .map(|object| object.key.name.clone())
        .collect();
    let gone = orphans
        .gone
        .keys()
        .map(|revision| format!("istiod-{revision}"));
    assert_eq!(deleted, gone.collect::<Vec<_>>(), "told");
    (deleted, orphans.kept.into_keys().collect())
}

#[test]
fn an_old_revision_stays_while_it_is_used_or_may_be() {
    let used = || Verdict::Used(vec!["pods in namespaces shop".into()]);
    let unknown = || Verdict::Unknown(vec!["pods cannot be listed".into()]);
    let unused = |is_over| Verdict::Unused { is_over };
    for (has_istiod, prune, verdicts, deleted) in [
        // Nobody looked yet.
        (true, None, vec![], vec![]),
        (
            true,
            None,
            vec![("1-28", used()), ("1-29", unknown())],
            vec![],
        ),
        (
            true,
            None,
            vec![("1-28", unused(false)), ("1-29", unused(true))],
            vec!["istiod-1-29"],
        ),
        (
            true,
            Some("1-28"),
            vec![("1-28", used())],
            vec!["istiod-1-28"],
        ),
        // A CR that installs istiod no more keeps it for those who use it, and for nobody else.
        (false, None, vec![("1-30", used())], vec![]),
        (false, None, vec![("1-30", unknown())], vec![]),
        (
            false,
            None,
            vec![("1-30", unused(false))],
            vec!["istiod-1-30"],
        ),
        (
            false,
            Some("1-30"),
            vec![("1-30", used())],
            vec!["istiod-1-30"],
        ),
    ] {
        let (found, kept) = old_istiods(has_istiod, prune, &verdicts);
        assert_eq!(found, deleted, "{has_istiod} {prune:?} {verdicts:?}");
        let all = if has_istiod { 2 } else { 3 };
        assert_eq!(found.len() + kept.len(), all);
    }
}

#[test]
fn a_gateway_that_is_removed_together_with_a_revision_goes_at_once() {
    let mut live = Live::default();
    let mut gateway = object(ComponentKind::IngressGateways);
    gateway.owner_labels.revision = Some("1-29".into());
    live.put(key("Deployment", "edge"), gateway);
    let rendering = Rendering {
        keys: &HashSet::new(),
        revision: "1-30",
        has_istiod: true,
        annotations: &Annotations::default(),
        verdicts: &Verdicts::new(),
    };
    let orphans = orphans(&cr(), &live, &DesiredInventory::new(None), rendering);
    assert_eq!(orphans.delete.len(), 1);
}

fn tag() -> ObjectKey {
    key("MutatingWebhookConfiguration", "istio-revision-tag-default")
}

/// Names of what is deleted, and of what stays.
fn of_default(live: &Live, prune: Option<&str>) -> (Vec<String>, Vec<String>) {
    let (keys, desired) = (HashSet::from([tag()]), DesiredInventory::new(None));
    let rendering = Rendering {
        keys: &keys,
        revision: "default",
        has_istiod: true,
        annotations: &Annotations {
            prune_revision: prune.map(str::to_owned),
            ..Annotations::default()
        },
        verdicts: &Verdicts::new(),
    };
    let orphans = orphans(&cr(), live, &desired, rendering);
    let name = |key: &ObjectKey| key.name.clone();
    let deleted = orphans.delete.iter().map(|object| name(&object.key));
    let kept = orphans.kept.values().flat_map(|kept| &kept.objects);
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
    let leads_to = |revision: &str| LiveObject {
        injector: Some(Injector::DefaultTag(revision.into())),
        ..pilot()
    };
    live.put(tag(), leads_to("default"));
    let (deleted, kept) = of_default(&live, Some("default"));
    assert_eq!(deleted.len(), 3, "the tag leads to the new one");
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
