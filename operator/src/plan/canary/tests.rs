//! Where a CR is between two control planes, by its status, its spec and what is there.

use serde_json::{Value, json};

use super::*;
use crate::api::RawSpec;
use crate::charts::Charts;
use crate::cluster::{OwnerLabels, key};
use crate::merge::{Cluster, merge};

fn plane(version: &str, revision: &str) -> ControlPlane {
    ControlPlane {
        version: Version::parse(version).unwrap(),
        revision: revision.to_owned(),
    }
}

fn status(version: &str, revision: &str) -> Value {
    json!({"version": version, "revision": revision})
}

/// A status while a canary is at a step.
fn at(step: &str, from: (&str, &str), to: (&str, &str)) -> Value {
    let tell = |(version, revision): (&str, &str)| status(version, revision);
    json!({
        "version": from.0,
        "revision": from.1,
        "canary": {"from": tell(from), "to": tell(to), "step": step, "since": "2026-01-01T00:00:00Z"},
    })
}

/// The course of a CR that asks for a version and may name a revision, with this status and these control planes.
fn course(version: &str, named: &str, status: Value, there: &[(&str, &str)]) -> Course {
    course_in(version, named, status, &live(there))
}

fn course_in(version: &str, named: &str, status: Value, live: &Live) -> Course {
    let charts = Charts::embedded().unwrap();
    let spec = json!({"version": version, "revision": named, "updateStrategy": {"type": "Canary"}});
    let mut cr = IstioOperator::new("mesh", RawSpec(spec));
    cr.metadata.namespace = Some("mesh".to_owned());
    cr.status = serde_json::from_value(status).unwrap();
    let merged = merge(&cr, None, Cluster::default(), &charts).unwrap();
    ControlPlanes::of(&cr, live).course(&merged)
}

/// A cluster with these control planes, of which the first one has the gateway.
fn live(planes: &[(&str, &str)]) -> Live {
    let mut live = Live::default();
    let mut put = |kind: ComponentKind, name: &str, (version, revision): (&str, &str)| {
        let owner_labels = OwnerLabels {
            owner: Some(CrKey {
                namespace: "mesh".to_owned(),
                name: "mesh".to_owned(),
            }),
            component: Some(kind),
            revision: Some(revision.to_owned()),
            version: Some(version.to_owned()),
            ..OwnerLabels::default()
        };
        let object = LiveObject {
            owner_labels,
            our_fields: Some(1),
            ..LiveObject::default()
        };
        live.put(key("Deployment", name), object);
    };
    for plane in planes {
        put(ComponentKind::Pilot, &format!("istiod-{}", plane.1), *plane);
    }
    if let Some(first) = planes.first() {
        put(ComponentKind::IngressGateways, "edge", *first);
    }
    live
}

fn canary(from: (&str, &str), to: (&str, &str), is_promoted: bool) -> Course {
    Course::Canary(Canary {
        from: plane(from.0, from.1),
        to: plane(to.0, to.1),
        is_promoted,
    })
}

#[test]
fn the_first_control_plane_is_alone() {
    let alone = course("1.29.8", "", json!({}), &[]);
    assert_eq!(alone, Course::Alone(plane("1.29.8", "1-29-8")));
    let alone = course("1.29.8", "prod", json!({}), &[]);
    assert_eq!(alone, Course::Alone(plane("1.29.8", "prod-1-29-8")));
}

#[test]
fn one_that_runs_keeps_its_name_with_its_version() {
    let there = [("1.29.8", "default")];
    let status = status("1.29.8", "default");
    let alone = course("1.29.8", "", status.clone(), &there);
    assert_eq!(alone, Course::Alone(plane("1.29.8", "")));
    // Labels do not tell it from one that is named so.
    let alone = course("1.29.8", "default", status, &there);
    assert_eq!(alone, Course::Alone(plane("1.29.8", "default")));
}

#[test]
fn another_version_stands_beside_it_until_it_is_promoted() {
    let there = [("1.29.8", "default")];
    let (old, new) = (("1.29.8", ""), ("1.31.1", "1-31-1"));
    let told = status("1.29.8", "default");
    assert_eq!(course("1.31.1", "", told, &there), canary(old, new, false));
    let labels = ("1.29.8", "default");
    for (step, is_promoted) in [
        ("Installing", false),
        ("AwaitingApproval", false),
        ("Promoting", true),
        ("Retiring", true),
    ] {
        let status = at(step, labels, new);
        let course = course("1.31.1", "", status, &there);
        assert_eq!(course, canary(old, new, is_promoted), "{step}");
    }
    // A promotion is one of both control planes.
    let other = at("Promoting", labels, ("1.30.5", "1-30-5"));
    assert_eq!(course("1.31.1", "", other, &there), canary(old, new, false));
    // The edit of a name is a change of control planes, too.
    let renamed = course(
        "1.29.8",
        "prod",
        status("1.29.8", "1-29-8"),
        &[("1.29.8", "1-29-8")],
    );
    assert_eq!(
        renamed,
        canary(("1.29.8", "1-29-8"), ("1.29.8", "prod-1-29-8"), false)
    );
}

#[test]
fn the_way_back_leads_to_what_is_still_there() {
    let there = [("1.31.1", "1-31-1"), ("1.29.8", "default")];
    let told = status("1.31.1", "1-31-1");
    let back = course("1.29.8", "", told.clone(), &there);
    assert_eq!(back, canary(("1.31.1", "1-31-1"), ("1.29.8", ""), false));
    let back = course("1.29.8", "", told, &there[..1]);
    assert_eq!(
        back,
        canary(("1.31.1", "1-31-1"), ("1.29.8", "1-29-8"), false)
    );
    // Before the promotion ends, the version that serves is the one of the status.
    let promoting = at("Promoting", ("1.29.8", "default"), ("1.31.1", "1-31-1"));
    let back = course("1.29.8", "", promoting, &there);
    assert_eq!(back, Course::Alone(plane("1.29.8", "")));
}

#[test]
fn without_a_status_the_gateways_tell_which_one_serves() {
    let there = [("1.29.8", "default"), ("1.31.1", "1-31-1")];
    let found = course("1.31.1", "", json!({}), &there);
    assert_eq!(found, canary(("1.29.8", ""), ("1.31.1", "1-31-1"), false));
    let there = [("1.31.1", "1-31-1"), ("1.29.8", "default")];
    let found = course("1.31.1", "", json!({}), &there);
    assert_eq!(found, Course::Alone(plane("1.31.1", "1-31-1")));
}

/// Nobody keeps a status where no operator is, and a promotion may be cut off between two gateways.
#[test]
fn without_a_status_a_promotion_that_has_begun_goes_on() {
    let (old, new) = (("1.29.8", "default"), ("1.31.1", "1-31-1"));
    let promoted = canary(("1.29.8", ""), new, true);
    for (one, two, expected) in [
        (old, old, canary(("1.29.8", ""), new, false)),
        (new, old, promoted.clone()),
        (old, new, promoted),
        (new, new, Course::Alone(plane("1.31.1", "1-31-1"))),
    ] {
        let mut live = live(&[one, if one == old { new } else { old }]);
        let mut edge = live.get(&key("Deployment", "edge")).unwrap().clone();
        edge.owner_labels.revision = Some(two.1.to_owned());
        live.put(key("Deployment", "edge-two"), edge);
        let found = course_in("1.31.1", "", json!({}), &live);
        assert_eq!(found, expected, "{one:?} {two:?}");
    }
}

/// Without gateways, the tags that the CR itself moved tell it.
#[test]
fn without_gateways_the_tags_of_the_cr_tell_which_one_serves() {
    let (old, new) = (("1.29.8", "default"), ("1.31.1", "1-31-1"));
    let mut live = live(&[old, new]);
    live.remove(&key("Deployment", "edge"));
    let of = |live: &Live| course_in("1.31.1", "", json!({}), live);
    let tag = |revision: &str, is_own: bool| {
        let cr = CrKey {
            namespace: "mesh".to_owned(),
            name: "mesh".to_owned(),
        };
        let owner_labels = OwnerLabels {
            owner: is_own.then_some(cr),
            ..OwnerLabels::default()
        };
        LiveObject {
            owner_labels,
            our_fields: Some(1),
            injector: Some(Injector::Tag {
                name: "prod".to_owned(),
                revision: revision.to_owned(),
            }),
            ..LiveObject::default()
        }
    };
    let prod = key("MutatingWebhookConfiguration", "istio-revision-tag-prod");
    live.put(prod.clone(), tag("default", true));
    assert_eq!(of(&live), canary(("1.29.8", ""), new, false));
    live.put(prod.clone(), tag("1-31-1", true));
    assert_eq!(of(&live), Course::Alone(plane("1.31.1", "1-31-1")));
    // Somebody tries the new one out by a tag of their own.
    live.put(prod.clone(), tag("default", true));
    let theirs = key("MutatingWebhookConfiguration", "istio-revision-tag-try");
    live.put(theirs, tag("1-31-1", false));
    assert_eq!(of(&live), canary(("1.29.8", ""), new, false));
}
