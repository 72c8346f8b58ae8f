//! Every rule by which a revision counts as used, and what does not count.

use serde_json::{Value, json};

use super::super::tests::put;
use super::*;

fn tag(name: &str, revision: &str, goes: bool) -> (Tag, bool) {
    let (name, revision) = (name.to_owned(), revision.to_owned());
    (Tag { name, revision }, goes)
}

/// Who uses the revision `blue` in a cluster with these objects and tags.
fn used_by(objects: &[(&str, Value)], tags: &[(Tag, bool)]) -> Usage {
    let mut data_plane = DataPlane::default();
    for (source, meta) in objects {
        put(&mut data_plane, source, meta.clone());
    }
    let question = Question {
        revision: "blue",
        tags,
        ..Question::default()
    };
    data_plane.usage(&question, None)
}

fn namespace(name: &str, labels: &Value) -> (&'static str, Value) {
    ("namespaces", json!({"name": name, "labels": labels}))
}

fn pod(labels: &Value, annotations: &Value) -> (&'static str, Value) {
    let meta =
        json!({"namespace": "shop", "name": "a", "labels": labels, "annotations": annotations});
    ("pods", meta)
}

/// Objects and tags of a cluster, and by whom `blue` is used in it.
type Row<'a> = (
    Vec<(&'static str, Value)>,
    &'a [(Tag, bool)],
    Option<&'static str>,
);

fn hold(rows: Vec<Row<'_>>) {
    for (objects, tags, expected) in rows {
        let usage = used_by(&objects, tags);
        let expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(usage.used_by, expected, "{objects:?} {tags:?}");
        assert_eq!(usage.unknown, [""; 0], "{objects:?}");
        assert_eq!(usage.is_unused(), expected.is_empty());
    }
}

#[test]
fn namespaces_and_pods_count_by_revision_and_by_tag() {
    let (none, blue) = (json!({}), json!({"istio.io/rev": "blue"}));
    let (prod, green) = (
        json!({"istio.io/rev": "prod"}),
        json!({"istio.io/rev": "green"}),
    );
    let to_blue = [tag("prod", "blue", true)];
    let default_to_blue = [tag("default", "blue", true)];
    let injected = json!({"istio-injection": "enabled"});
    let disabled = json!({"istio-injection": "disabled"});
    let status = json!({"sidecar.istio.io/status": r#"{"revision":"blue"}"#});
    let (shop, pods) = (Some("namespaces shop"), Some("pods in namespaces shop"));
    let labeled = |labels: &Value| vec![namespace("shop", labels)];
    hold(vec![
        (vec![], &[], None),
        (labeled(&blue), &[], shop),
        (labeled(&prod), &to_blue, shop),
        (labeled(&prod), &[], None),
        (labeled(&injected), &default_to_blue, shop),
        (labeled(&injected), &to_blue, None),
        (labeled(&disabled), &default_to_blue, None),
        (vec![pod(&none, &blue)], &[], pods),
        (vec![pod(&blue, &none)], &[], pods),
        (vec![pod(&prod, &none)], &to_blue, pods),
        (vec![pod(&none, &status)], &[], pods),
        (vec![pod(&none, &green)], &to_blue, None),
    ]);
}

#[test]
fn gateways_machines_and_tags_count() {
    let to_blue = [tag("prod", "blue", true)];
    let service = json!({"namespace": "istio-system", "name": "istiod-revision-tag-prod",
        "labels": {"istio.io/tag": "prod", "istio.io/rev": "blue"}});
    let machine = |istiod: &str| {
        let meta = json!({"namespace": "vms", "name": "vm-1", "annotations": {
            "istio.io/workloadController": format!("{istiod}-7c9f8d6b5-x2k4p"),
        }});
        vec![("WorkloadEntries", meta)]
    };
    let gateway = |revision: &str| {
        let labels = json!({"istio.io/rev": revision});
        vec![(
            "Gateways",
            json!({"namespace": "edge", "name": "web", "labels": labels}),
        )]
    };
    let edge = Some("Gateways edge/web");
    let prod = json!({"istio.io/rev": "prod"});
    hold(vec![
        (gateway("blue"), &[], edge),
        (gateway("prod"), &to_blue, edge),
        (gateway("green"), &to_blue, None),
        (
            machine("istiod-blue"),
            &[],
            Some("virtual machines vms/vm-1"),
        ),
        (machine("istiod"), &[tag("default", "blue", true)], None),
        // A tag that stays, although nobody uses it; one that goes along does not hold anything.
        (vec![], &[tag("prod", "blue", false)], Some("tags prod")),
        (vec![], &[tag("prod", "green", false)], None),
        (vec![], &to_blue, None),
        // A tag may be there as a Service only.
        (
            vec![("Services of tags", service), namespace("shop", &prod)],
            &[],
            Some("namespaces shop"),
        ),
    ]);
}

#[test]
fn the_revision_without_a_name_has_machines_too() {
    let mut data_plane = DataPlane::default();
    let annotations = json!({"istio.io/workloadController": "istiod-7c9f8d6b5-x2k4p"});
    let meta = json!({"namespace": "vms", "name": "vm-1", "annotations": annotations});
    put(&mut data_plane, "WorkloadEntries", meta);
    let question = Question {
        revision: "default",
        ..Question::default()
    };
    let usage = data_plane.usage(&question, None);
    assert_eq!(usage.used_by, ["virtual machines vms/vm-1"]);
}

/// Labels that say `default` mean the default tag wherever there is one, and pods mean the istiod that injected them.
#[test]
fn labels_follow_the_default_tag_to_another_revision() {
    let mut data_plane = DataPlane::default();
    let meta = |labels: Value| json!({"name": "shop", "labels": labels});
    let injected = meta(json!({"istio-injection": "enabled"}));
    let mut used_by = |revision: &str, leads_to: &str, labels: &Value| {
        put(&mut data_plane, "namespaces", labels.clone());
        let question = Question {
            revision,
            tags: &[tag("default", leads_to, false)],
            ..Question::default()
        };
        data_plane.usage(&question, None).used_by
    };
    let default = meta(json!({"istio.io/rev": "default"}));
    for labels in [&injected, &default] {
        assert_eq!(used_by("default", "1-31-1", labels), [""; 0]);
        assert_eq!(
            used_by("1-31-1", "1-31-1", labels),
            ["namespaces shop", "tags default"]
        );
        assert_eq!(
            used_by("default", "default", labels),
            ["namespaces shop", "tags default"]
        );
    }
    let (_, pod) = pod(&json!({}), &json!({"istio.io/rev": "default"}));
    put(&mut data_plane, "pods", pod);
    let question = Question {
        revision: "default",
        tags: &[tag("default", "1-31-1", false)],
        ..Question::default()
    };
    let usage = data_plane.usage(&question, None);
    assert_eq!(usage.used_by, ["pods in namespaces shop"]);
}

#[test]
fn objects_and_workloads_count_and_pods_that_go_along_do_not() {
    let mut data_plane = DataPlane::default();
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "edge-7c9", "uid": "1", "controller": true,
    });
    let meta = json!({
        "namespace": "istio-system",
        "name": "edge-7c9-x",
        "labels": {"pod-template-hash": "7c9"},
        "annotations": {"istio.io/rev": "blue"},
        "ownerReferences": [owner],
    });
    put(&mut data_plane, "pods", meta);
    let mut question = Question {
        revision: "blue",
        ..Question::default()
    };
    let used_by = |question: &Question<'_>| data_plane.usage(question, None).used_by;
    assert_eq!(used_by(&question), ["pods in namespaces istio-system"]);
    question.going = [("istio-system".to_owned(), "Deployment/edge".to_owned())].into();
    assert_eq!(used_by(&question), [""; 0]);
    question.objects = vec!["DaemonSet istio-system/ztunnel".to_owned()];
    assert_eq!(
        used_by(&question),
        ["objects DaemonSet istio-system/ztunnel"]
    );
}

#[test]
fn what_is_not_known_is_no_absence() {
    let network = json!({"topology.istio.io/network": "n1"});
    let usage = used_by(&[namespace("istio-system", &network)], &[]);
    assert!(usage.unknown[0].contains("other clusters"), "{usage:?}");
    assert_eq!(usage.verdict(true), Verdict::Unknown(usage.unknown.clone()));

    let mut templates = Templates::new(Instant::now());
    templates.unknown = Some("cronjobs cannot be listed: forbidden".to_owned());
    let question = Question {
        revision: "blue",
        unknown: vec!["pods are not listed yet".to_owned()],
        ..Question::default()
    };
    let usage = DataPlane::default().usage(&question, Some(&templates));
    assert_eq!(
        usage.unknown,
        [
            "pods are not listed yet",
            "cronjobs cannot be listed: forbidden"
        ]
    );
    // Who is known to use it is told even so.
    let used = Usage {
        used_by: vec!["namespaces shop".to_owned()],
        ..usage
    };
    assert_eq!(used.verdict(true), Verdict::Used(used.used_by.clone()));
    let unused = Usage::default();
    for is_over in [false, true] {
        assert_eq!(unused.verdict(is_over), Verdict::Unused { is_over });
    }
}

#[test]
fn long_lists_are_cut() {
    let names = (1..=7).map(|number| format!("n{number}")).collect();
    let told = listed("namespaces", names).unwrap();
    assert_eq!(told, "namespaces n1, n2, n3, n4, n5 and 2 more");
    assert_eq!(listed("namespaces", BTreeSet::new()), None);
}
