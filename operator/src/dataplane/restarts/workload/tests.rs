//! Every reason to leave a workload alone, and when one has come back.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

const TARGET: &str = "default/1.31.1";

/// A Deployment that may be restarted, with these changes.
fn workload(kind: &str, changes: Value) -> Workload {
    let mut whole = json!({
        "metadata": {"name": "web", "namespace": "shop", "generation": 3},
        "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {}}},
        "status": {
            "observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2,
            "availableReplicas": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2,
            "numberAvailable": 2,
        },
    });
    lay(&mut whole, changes);
    let kind = restartable(kind).unwrap();
    Workload {
        kind,
        meta: serde_json::from_value(whole["metadata"].clone()).unwrap(),
        spec: serde_json::from_value(whole["spec"].clone()).unwrap(),
        status: serde_json::from_value(whole["status"].clone()).unwrap(),
    }
}

fn lay(whole: &mut Value, changes: Value) {
    match (whole, changes) {
        (Value::Object(whole), Value::Object(changes)) => {
            for (key, change) in changes {
                lay(whole.entry(key).or_insert(Value::Null), change);
            }
        }
        (whole, change) => *whole = change,
    }
}

fn skipped(workload: &Workload, namespace: &Value, budgets: Value) -> Option<String> {
    let namespace = ObjectMeta::deserialize(namespace).unwrap();
    let budgets: Vec<Budget> = serde_json::from_value(budgets).unwrap();
    let admission = Admission {
        target: TARGET,
        namespace: &namespace,
        names: &BTreeSet::from(["default".to_owned(), "prod".to_owned()]),
        budgets: &budgets,
    };
    workload.skip_reason(&admission)
}

fn enabled() -> Value {
    json!({"labels": {"istio-injection": "enabled"}})
}

fn template(labels: &Value, annotations: &Value) -> Value {
    json!({"spec": {"template": {"metadata": {"labels": labels, "annotations": annotations}}}})
}

/// A kind, changes of its workload, and why it is left alone then.
type Row = (&'static str, Value, Option<&'static str>);

fn hold(rows: Vec<Row>) {
    for (kind, changes, reason) in rows {
        let found = skipped(&workload(kind, changes.clone()), &enabled(), json!([]));
        assert_eq!(
            found.is_some(),
            reason.is_some(),
            "{kind} {changes} {found:?}"
        );
        let found = found.unwrap_or_default();
        assert!(found.contains(reason.unwrap_or_default()), "{found}");
    }
}

#[test]
fn a_workload_is_left_alone_for_its_marks_and_its_owner() {
    let owner = json!([{
        "apiVersion": "db.example/v1", "kind": "Database", "name": "db", "uid": "1", "controller": true,
    }]);
    let meta = |meta: Value| json!({"metadata": meta});
    hold(vec![
        ("Deployment", json!({}), None),
        (
            "Deployment",
            meta(json!({"labels": {HOLD: "true"}})),
            Some("it is held"),
        ),
        (
            "Deployment",
            meta(json!({"annotations": {HOLD: ""}})),
            Some("it is held"),
        ),
        (
            "Deployment",
            meta(json!({"annotations": {HOLD: "false"}})),
            None,
        ),
        (
            "Deployment",
            meta(json!({"ownerReferences": owner})),
            Some("Database db controls it"),
        ),
        (
            "Deployment",
            meta(json!({"labels": {OWNER: "mesh"}})),
            Some("a part of Istio"),
        ),
        (
            "Deployment",
            meta(json!({"generation": 4})),
            Some("not ready"),
        ),
        (
            "Deployment",
            json!({"status": {"availableReplicas": 1}}),
            Some("not ready: 1 of 2"),
        ),
    ]);
}

#[test]
fn a_workload_is_left_alone_for_how_it_rolls_out() {
    let update = |strategy: Value| json!({"spec": {"updateStrategy": strategy}});
    let recreate =
        |replicas: i64| json!({"spec": {"replicas": replicas, "strategy": {"type": "Recreate"}}});
    let host = json!({"spec": {"template": {"spec": {"hostNetwork": true}}}});
    hold(vec![
        ("StatefulSet", json!({}), None),
        ("DaemonSet", json!({}), None),
        (
            "Rollout",
            json!({"status": {"observedGeneration": "3"}}),
            None,
        ),
        (
            "Deployment",
            json!({"spec": {"paused": true}}),
            Some("paused"),
        ),
        (
            "Deployment",
            json!({"spec": {"replicas": 0}}),
            Some("no pods"),
        ),
        (
            "DaemonSet",
            update(json!({"type": "OnDelete"})),
            Some("OnDelete"),
        ),
        (
            "StatefulSet",
            update(json!({"type": "OnDelete"})),
            Some("OnDelete"),
        ),
        (
            "StatefulSet",
            update(json!({"rollingUpdate": {"partition": 1}})),
            Some("partition"),
        ),
        ("Deployment", recreate(1), Some("Recreate")),
        ("Deployment", recreate(2), None),
        ("Deployment", host, Some("network of the node")),
    ]);
}

#[test]
fn a_workload_is_left_alone_for_what_its_template_says() {
    let annotated = |annotations: Value| template(&json!({}), &annotations);
    hold(vec![
        (
            "Deployment",
            template(&json!({INJECT: "false"}), &json!({})),
            Some("asks not to be"),
        ),
        (
            "Deployment",
            annotated(json!({INJECT: "false"})),
            Some("asks not to be"),
        ),
        (
            "Deployment",
            annotated(json!({INJECTED: "{}"})),
            Some("by hand"),
        ),
        (
            "Deployment",
            annotated(json!({PROXY_IMAGE: "x"})),
            Some("image of its proxy"),
        ),
        (
            "Deployment",
            annotated(json!({RESTARTED_FOR: TARGET})),
            Some("older still"),
        ),
        (
            "Deployment",
            annotated(json!({RESTARTED_FOR: "default/1.30.5"})),
            None,
        ),
    ]);
}

#[test]
fn a_restart_never_takes_a_proxy_away() {
    let asks = |labels: Value| workload("Deployment", template(&labels, &json!({})));
    let labels = |labels: Value| json!({"labels": labels});
    for (workload, namespace, reason) in [
        (asks(json!({})), enabled(), None),
        (
            asks(json!({})),
            labels(json!({"istio.io/rev": "prod"})),
            None,
        ),
        (
            asks(json!({"istio.io/rev": "prod"})),
            labels(json!({})),
            None,
        ),
        (asks(json!({INJECT: "true"})), labels(json!({})), None),
        (
            asks(json!({})),
            labels(json!({})),
            Some("take its proxy away"),
        ),
        (
            asks(json!({})),
            labels(json!({"istio-injection": "disabled"})),
            Some("asks not to be"),
        ),
        (
            asks(json!({})),
            labels(json!({"istio.io/rev": "blue"})),
            Some("another revision"),
        ),
        (
            asks(json!({})),
            labels(json!({"istio-injection": "enabled", HOLD: "true"})),
            Some("its namespace is held"),
        ),
    ] {
        let found = skipped(&workload, &namespace, json!([]));
        assert_eq!(found.is_some(), reason.is_some(), "{namespace} {found:?}");
        assert!(
            found
                .unwrap_or_default()
                .contains(reason.unwrap_or_default())
        );
    }
}

#[test]
fn a_budget_that_lets_no_pod_go_is_a_veto() {
    let web = workload("Deployment", json!({}));
    let budget = |app: &str, allowed: i64| {
        json!([{
            "metadata": {"name": "budget"},
            "spec": {"selector": {"matchLabels": {"app": app}}},
            "status": {"disruptionsAllowed": allowed},
        }])
    };
    let told = skipped(&web, &enabled(), budget("web", 0)).unwrap();
    assert!(told.contains("PodDisruptionBudget budget"), "{told}");
    assert_eq!(skipped(&web, &enabled(), budget("web", 1)), None);
    assert_eq!(skipped(&web, &enabled(), budget("other", 0)), None);
}

#[test]
fn a_workload_has_come_back_when_all_its_pods_are_new_and_serve() {
    for (kind, status, unready) in [
        ("Deployment", json!({}), None),
        (
            "Deployment",
            json!({"updatedReplicas": 1}),
            Some("1 of 2 pods are new"),
        ),
        ("Deployment", json!({"replicas": 3}), Some("1 old pods")),
        (
            "StatefulSet",
            json!({"readyReplicas": 1}),
            Some("1 of 2 pods are available"),
        ),
        (
            "DaemonSet",
            json!({"updatedNumberScheduled": 1}),
            Some("1 of 2 pods are new"),
        ),
        (
            "DaemonSet",
            json!({"numberAvailable": 0}),
            Some("0 of 2 pods are available"),
        ),
        (
            "Deployment",
            json!({"observedGeneration": 2}),
            Some("newest generation"),
        ),
    ] {
        let found = workload(kind, json!({"status": status})).unready_reason();
        assert_eq!(found.is_some(), unready.is_some(), "{kind} {status}");
        assert!(
            found
                .unwrap_or_default()
                .contains(unready.unwrap_or_default())
        );
    }
    let condition =
        json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
    assert!(workload("Deployment", json!({"status": {"conditions": condition}})).has_failed());
    assert!(!workload("Deployment", json!({})).has_failed());
}
