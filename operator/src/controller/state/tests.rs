//! Which CRs a change concerns, and what is remembered.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::apply::Applied;
use crate::catalogue::Version;
use crate::cluster::{OwnerLabels, TagMode};
use crate::dataplane::{SOURCES, Verdicts};
use crate::status::InstallProgress;

fn cr(name: &str, changes: Value) -> StoredCr {
    let mut metadata = json!({"namespace": "mesh", "name": name, "uid": name, "generation": 1,
        "resourceVersion": "10"});
    if let (Value::Object(metadata), Value::Object(changes)) = (&mut metadata, changes) {
        metadata.extend(changes);
    }
    serde_json::from_value(json!({"apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator", "metadata": metadata, "spec": {}}))
    .unwrap()
}

fn name(name: &str) -> CrKey {
    CrKey {
        namespace: "mesh".into(),
        name: name.into(),
    }
}

fn object(name: &str) -> ObjectKey {
    ObjectKey {
        group: String::new(),
        kind: "ServiceAccount".into(),
        namespace: None,
        name: name.into(),
    }
}

fn owned(owner: &str, version: u64) -> LiveObject {
    let owner_labels = OwnerLabels {
        owner: Some(name(owner)),
        ..OwnerLabels::default()
    };
    LiveObject {
        uid: "u".into(),
        version,
        owner_labels,
        our_fields: Some(1),
        ..LiveObject::default()
    }
}

fn state(crs: &[&str]) -> State {
    let mut state = State::new(None, ["ServiceAccount"].into_iter());
    for name in crs {
        state.put_cr(cr(name, json!({})), true);
    }
    state
}

fn sorted(requeue: ToRequeue) -> Vec<String> {
    let mut names: Vec<_> = requeue.into_iter().map(|cr| cr.name).collect();
    names.sort();
    names
}

#[test]
fn a_cr_is_looked_at_for_its_spec_but_not_for_its_status() {
    let mut state = State::new(None, [].into_iter());
    assert_eq!(sorted(state.put_cr(cr("one", json!({})), false)), ["one"]);
    let mut reported = cr("one", json!({"resourceVersion": "11"}));
    reported.status = Some(crate::api::IstioOperatorStatus::default());
    assert_eq!(sorted(state.put_cr(reported, false)), [""; 0]);
    for change in [
        json!({"generation": 2, "resourceVersion": "12"}),
        json!({"generation": 2, "annotations": {"install.istio.io/ignoreReconcile": "true"}}),
        json!({"generation": 2, "finalizers": ["other"]}),
        json!({"generation": 3, "deletionTimestamp": "2026-01-01T00:00:00Z"}),
    ] {
        let requeue = state.put_cr(cr("one", change.clone()), true);
        assert_eq!(sorted(requeue), ["one"], "{change}");
    }
}

#[test]
fn an_event_that_an_answer_overtook_changes_nothing_but_a_list_does() {
    let mut state = state(&["one"]);
    let version = |state: &State| {
        state
            .cr(&name("one"))
            .unwrap()
            .metadata
            .resource_version
            .clone()
    };
    state.put_cr(cr("one", json!({"resourceVersion": "9"})), false);
    assert_eq!(version(&state).as_deref(), Some("10"));
    state.put_cr(cr("one", json!({"resourceVersion": "9"})), true);
    assert_eq!(version(&state).as_deref(), Some("9"));

    state.put_object(&object("a"), owned("one", 8), false);
    state.put_object(
        &object("a"),
        LiveObject {
            our_fields: None,
            ..owned("one", 7)
        },
        false,
    );
    assert_eq!(state.live.get(&object("a")), Some(&owned("one", 8)));
    state.put_object(
        &object("a"),
        LiveObject {
            our_fields: None,
            ..owned("one", 7)
        },
        true,
    );
    assert_eq!(state.live.get(&object("a")).unwrap().our_fields, None);
}

#[test]
fn late_events_of_an_object_say_nothing_about_the_one_that_took_its_place() {
    let mut state = state(&["one"]);
    let key = object("a");
    let going = LiveObject {
        terminating: true,
        ..owned("one", 8)
    };
    let anew = LiveObject {
        uid: "v".into(),
        ..owned("one", 10)
    };
    state.put_object(&key, owned("one", 7), false);
    state.live.put_answer(key.clone(), anew.clone());
    assert_eq!(sorted(state.put_object(&key, going, false)), [""; 0]);
    assert_eq!(sorted(state.delete_object(&key, &owned("one", 9))), [""; 0]);
    assert_eq!(state.live.get(&key), Some(&anew));

    let gone = LiveObject {
        version: 11,
        ..anew
    };
    assert_eq!(sorted(state.delete_object(&key, &gone)), ["one"]);
    assert_eq!(state.live.get(&key), None);
}

#[test]
fn an_object_concerns_its_owner_and_those_that_render_it() {
    let mut state = state(&["one", "two", "three"]);
    state.set_objects(&name("two"), [object("a")].iter());
    assert_eq!(
        sorted(state.put_object(&object("a"), owned("one", 1), false)),
        ["one", "two"]
    );
    assert_eq!(
        sorted(state.put_object(&object("a"), owned("one", 2), false)),
        [""; 0]
    );
    let requeue = state.put_object(&object("a"), owned("three", 3), false);
    assert_eq!(sorted(requeue), ["one", "three", "two"]);
    assert_eq!(sorted(state.remove_object(&object("a"))), ["three", "two"]);
}

#[test]
fn what_a_list_no_longer_has_is_gone() {
    let mut state = state(&["one", "two"]);
    state.put_object(&object("a"), owned("one", 1), true);
    let nothing = HashSet::new();
    let requeue = state.retain_objects("", "ServiceAccount", &nothing);
    assert_eq!(sorted(requeue), ["one"]);
    assert!(state.live.get(&object("a")).is_none());
    state.retain_crs(Some("elsewhere"), &HashSet::new());
    assert!(state.cr(&name("two")).is_some());
    state.retain_crs(None, &HashSet::from([name("one")]));
    assert!(state.cr(&name("two")).is_none() && state.cr(&name("one")).is_some());
}

#[test]
fn the_end_of_a_cr_concerns_those_that_need_what_it_holds() {
    let mut state = state(&["one", "two", "three"]);
    state.put_object(&object("a"), owned("one", 1), true);
    state.set_objects(&name("one"), [object("a")].iter());
    state.set_objects(&name("two"), [object("a")].iter());
    state.set_objects(&name("three"), [object("b")].iter());
    let deleting = cr(
        "one",
        json!({"generation": 2, "deletionTimestamp": "2026-01-01T00:00:00Z"}),
    );
    assert_eq!(sorted(state.put_cr(deleting, true)), ["one", "two"]);
}

#[test]
fn the_last_cr_that_becomes_known_lets_all_others_prune() {
    let mut state = state(&["one", "two", "three"]);
    assert_eq!(sorted(state.set_objects(&name("one"), [].iter())), [""; 0]);
    assert_eq!(
        sorted(state.mark_unreadable(&cr("two", json!({})))),
        [""; 0]
    );
    assert_eq!(
        sorted(state.set_objects(&name("three"), [].iter())),
        ["one", "two"]
    );
}

#[test]
fn the_end_of_the_last_unknown_cr_lets_all_others_prune() {
    let mut state = state(&["one", "two"]);
    state.set_objects(&name("one"), [].iter());
    assert_eq!(sorted(state.remove_cr(&name("two"))), ["one"]);
}

#[test]
fn a_settled_pass_holds_while_spec_and_cluster_stay() {
    let mut state = state(&["one"]);
    let one = state.cr(&name("one")).unwrap();
    state.set_objects(&name("one"), [object("a")].iter());
    state.put_object(&object("a"), owned("one", 1), true);
    let progress = InstallProgress {
        upgrade: None,
        plan: None,
        held_by: None,
        rollback: None,
        canary: None,
        held_proxy: None,
        unproven: None,
        request: None,
        timeout: Duration::from_mins(10),
        version: Version {
            minor: 31,
            patch: 1,
        },
        revision: "default".into(),
        warnings: Vec::new(),
        applied: Applied::default(),
    };
    let seen = state.inputs_digest(&name("one"), &one, &Verdicts::new());
    state.remember_in_sync(&one, seen, &progress);
    assert!(state.in_sync(&name("one"), &one).is_some());
    assert!(
        state
            .in_sync(&name("one"), &cr("one", json!({"generation": 2})))
            .is_none()
    );
    state.remove_object(&object("a"));
    assert!(state.in_sync(&name("one"), &one).is_none());
}

#[test]
fn kinds_that_are_not_served_are_known_to_have_no_objects() {
    let mut state = state(&[]);
    assert!(!state.has_objects());
    state.put_cr_listing(None, Listing::Listed);
    assert_eq!(state.unlisted(), ["ServiceAccount: not listed yet"]);
    state.put_listing("ServiceAccount", Listing::Absent);
    assert!(!state.has_objects(), "who uses which revision is not known");
    for source in &SOURCES {
        state.users.put_listing(source, Listing::Listed);
    }
    assert!(state.has_objects() && state.unlisted().is_empty());
    state.put_listing("ServiceAccount", Listing::Failed("forbidden".into()));
    assert!(state.has_objects());
    assert_eq!(state.unlisted(), ["ServiceAccount: forbidden"]);
}

#[test]
fn crs_are_known_once_those_of_every_watched_namespace_were_listed() {
    let watched = ["a", "b"].map(str::to_owned).to_vec();
    let mut state = State::new(Some(watched), [].into_iter());
    state.put_cr_listing(Some("b"), Listing::Failed("forbidden".into()));
    state.put_cr_listing(Some("a"), Listing::Listed);
    assert!(!state.has_crs());
    assert_eq!(state.unlisted(), ["IstioOperators in b: forbidden"]);
    state.put_cr_listing(Some("b"), Listing::Absent);
    assert!(!state.has_crs(), "the CRD may be on its way");
    state.put_cr_listing(Some("b"), Listing::Listed);
    assert!(state.has_crs() && state.unlisted().is_empty());
    state.put_cr_listing(Some("a"), Listing::Failed("cut off".into()));
    assert!(state.has_crs(), "they are followed from the first list on");
}

#[test]
fn the_answer_to_a_write_does_not_bring_a_cr_back() {
    let mut state = state(&["one"]);
    let answer = |uid: &str| cr("one", json!({"uid": uid, "resourceVersion": "11"}));
    state.put_answered_cr(answer("one"));
    let version = |state: &State| {
        let one = state.cr(&name("one"))?;
        one.metadata.resource_version.clone()
    };
    assert_eq!(version(&state).as_deref(), Some("11"));
    state.put_answered_cr(answer("another"));
    assert_eq!(version(&state).as_deref(), Some("11"));
    state.remove_cr(&name("one"));
    assert_eq!(sorted(state.put_answered_cr(answer("one"))), [""; 0]);
    assert_eq!(version(&state), None);
}

#[test]
fn a_tag_that_moves_concerns_the_cr_that_gets_it_and_the_one_that_loses_it() {
    let mut state = state(&["one", "two", "three"]);
    let standing = |revision: &str, mode| TagRequest {
        revision: revision.into(),
        mode,
    };
    for (cr, revision) in [("one", "default"), ("two", "canary"), ("three", "third")] {
        let request = standing(revision, TagMode::IfUnassigned);
        state.set_tag_request(&name(cr), request);
        state.set_objects(&name(cr), [].iter());
    }
    let key = ObjectKey {
        group: "admissionregistration.k8s.io".into(),
        kind: "MutatingWebhookConfiguration".into(),
        namespace: None,
        name: "tag".into(),
    };
    let tag = |revision: &str, version| LiveObject {
        uid: "u".into(),
        version,
        injector: Some(Injector::DefaultTag(revision.into())),
        ..LiveObject::default()
    };
    let mut put = |object, is_list| sorted(state.put_object(&key, object, is_list));
    // Where a tag leads to decides which istiod may be deleted, so that concerns all.
    let all = ["one", "three", "two"];
    assert_eq!(put(tag("default", 1), false), all);
    assert_eq!(put(tag("canary", 2), false), all);
    assert_eq!(put(tag("default", 1), false), [""; 0], "an old event");
    // Its CR goes, and what it has is left to the next one.
    let gone = cr(
        "two",
        json!({"resourceVersion": "20", "deletionTimestamp": "2026-01-01T00:00:00Z"}),
    );
    assert_eq!(sorted(state.put_cr(gone, false)), ["one", "two"]);
    let insists = state.set_tag_request(&name("three"), standing("third", TagMode::Explicit));
    assert_eq!(sorted(insists), ["one"]);
}
