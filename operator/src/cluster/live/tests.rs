//! What is known of live objects, from events, lists and answers.

use serde_json::{Value, json};

use super::*;

fn object(kind: &str, body: &Value) -> LiveObject {
    let meta: ObjectMeta = serde_json::from_value(body["metadata"].clone()).unwrap();
    LiveObject::read(kind, &meta)
}

#[test]
fn only_our_own_fields_count_as_drift() {
    let digest_of = |entries: Value| {
        object(
            "ConfigMap",
            &json!({"metadata": {"managedFields": entries}}),
        )
        .our_fields
    };
    let ours = |fields: Value| json!({"manager": "istio-operator", "operation": "Apply", "fieldsV1": fields});
    let status = json!({"manager": "istio-operator", "operation": "Apply",
        "subresource": "status", "fieldsV1": {"f:status": {}}});
    let other = json!({"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:b": {}}});
    let calm = digest_of(json!([ours(json!({"f:data": {"f:a": {}}}))]));
    let churned = digest_of(json!([other, status, ours(json!({"f:data": {"f:a": {}}}))]));
    let edited = digest_of(json!([other, ours(json!({"f:data": {}}))]));
    assert!(calm.is_some());
    assert_eq!(calm, churned);
    assert_ne!(calm, edited);
    assert_eq!(digest_of(json!([other])), None);
}

/// A state of an object in second 5, in which we wrote it.
fn written(version: u64, generation: Option<i64>, others: &Value) -> LiveObject {
    let mut entries = vec![json!({"manager": "istio-operator", "operation": "Apply",
        "time": "2026-01-01T00:00:05Z", "fieldsV1": {"f:data": {}}})];
    entries.extend(others.as_array().unwrap().iter().cloned());
    let meta = json!({"metadata": {"uid": "1", "resourceVersion": version.to_string(),
        "generation": generation, "managedFields": entries}});
    object("ConfigMap", &meta)
}

fn unexplained(before: &LiveObject, mut now: LiveObject) -> u64 {
    now.compare_with(before);
    now.unexplained
}

#[test]
fn a_write_that_no_entry_explains_may_be_one_under_our_name() {
    let status = |second: u8| {
        json!([{"manager": "c", "operation": "Update", "subresource": "status",
        "time": format!("2026-01-01T00:00:0{second}Z"), "fieldsV1": {"f:status": {}}}])
    };
    let none = json!([]);
    let before = written(7, None, &none);
    assert_eq!(unexplained(&before, written(7, None, &none)), 0, "the same");
    assert_eq!(unexplained(&before, written(8, None, &none)), 8);
    assert_eq!(
        unexplained(&before, written(8, None, &status(5))),
        0,
        "another manager's entry explains it"
    );
    let before = written(8, None, &status(6));
    assert_eq!(
        unexplained(&before, written(9, None, &status(6))),
        0,
        "the time of our entry would be 6 by now"
    );
    let before = written(7, Some(1), &status(5));
    assert_eq!(
        unexplained(&before, written(8, Some(1), &status(5))),
        0,
        "a second status write in one second"
    );
    assert_eq!(
        unexplained(&before, written(8, Some(2), &status(5))),
        8,
        "its spec changed"
    );
    let revised = |version, revision: &str| {
        let annotations = json!({"deployment.kubernetes.io/revision": revision});
        let entry = json!([{"manager": "c", "operation": "Update", "subresource": "status",
            "time": "2026-01-01T00:00:05Z",
            "fieldsV1": {"f:metadata": {"f:annotations": {"f:deployment.kubernetes.io/revision": {}}}}}]);
        let mut object = written(version, Some(1), &entry);
        let meta = json!({"metadata": {"generation": 1, "annotations": annotations,
            "managedFields": [{"manager": "istio-operator", "operation": "Apply",
                "time": "2026-01-01T00:00:05Z", "fieldsV1": {}}, entry[0]]}});
        object.evidence = self::object("Deployment", &meta).evidence;
        object
    };
    assert_eq!(
        unexplained(&revised(7, "1"), revised(8, "2")),
        0,
        "a controller wrote its annotation twice in one second"
    );
    let scaled = |version, replicas| {
        let mut object = written(version, Some(2), &status(5));
        let desired = replicas;
        object.readiness = Some(Readiness::Workload(Workload {
            desired,
            ..Workload::default()
        }));
        object
    };
    assert_eq!(
        unexplained(&before, scaled(8, 5)),
        0,
        "an autoscaler scaled again"
    );
    let mut other = written(8, Some(2), &status(5));
    other.uid = "2".into();
    assert_eq!(unexplained(&before, other), 0, "another object");
}

#[test]
fn a_list_is_right_except_where_an_answer_came_after_it_began() {
    let mut live = Live::default();
    live.put(account(), at("1", 9));
    assert!(
        !live.is_newer_than_list(&account(), &at("1", 7)),
        "a backup was restored"
    );
    live.note_told("ServiceAccount", None);
    live.put_answer(account(), at("1", 12));
    assert!(live.is_newer_than_list(&account(), &at("1", 9)));
    assert!(!live.is_newer_than_list(&account(), &at("2", 9)));
    assert!(!live.is_newer_than_list(&account(), &at("1", 13)));
    live.note_listed("ServiceAccount");
    assert!(!live.is_newer_than_list(&account(), &at("1", 9)));
}

#[test]
fn an_answer_keeps_the_progress_of_the_same_object_only() {
    let key = ObjectKey {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: Some("a".into()),
        name: "b".into(),
    };
    let ready = Workload {
        observed_generation: 1,
        ..Workload::default()
    };
    let seen = |uid: &str, readiness| LiveObject {
        uid: uid.into(),
        readiness,
        ..Default::default()
    };
    let mut live = Live::default();
    live.put(key.clone(), seen("1", Some(Readiness::Workload(ready))));
    live.put_answer(key.clone(), seen("1", None));
    assert_eq!(live.unready_reason(&key), None);
    live.put_answer(key.clone(), seen("2", None));
    assert!(live.unready_reason(&key).is_some());
}

fn account() -> ObjectKey {
    ObjectKey {
        group: String::new(),
        kind: "ServiceAccount".into(),
        namespace: Some("a".into()),
        name: "b".into(),
    }
}

fn at(uid: &str, version: u64) -> LiveObject {
    LiveObject {
        uid: uid.into(),
        version,
        ..LiveObject::default()
    }
}

#[test]
fn an_answer_about_what_is_gone_by_now_changes_nothing() {
    let mut live = Live::default();
    live.put_answer(account(), at("1", 7));
    assert!(live.get(&account()).is_some(), "the watch is behind");
    live.remove(&account());
    live.note_told("ServiceAccount", Some(9));
    live.put_answer(account(), at("1", 7));
    assert_eq!(live.get(&account()), None);
    live.put(account(), at("2", 8));
    live.put_answer(account(), at("1", 7));
    assert_eq!(live.get(&account()), Some(&at("2", 8)));
    live.remove(&account());
    live.put_answer(account(), at("3", 12));
    assert!(live.get(&account()).is_some(), "it was made after that");
    // Of what happened before a list, versions may be any.
    live.remove(&account());
    live.note_told("ServiceAccount", None);
    live.put_answer(account(), at("1", 7));
    assert!(live.get(&account()).is_some());
}

#[test]
fn a_delete_concerns_the_very_object_only() {
    let mut live = Live::default();
    live.put(account(), at("2", 8));
    live.put_deleted(&account(), "1", true);
    live.put_deleted(&account(), "1", false);
    assert_eq!(live.get(&account()), Some(&at("2", 8)));
    live.put_deleted(&account(), "2", false);
    assert!(live.get(&account()).unwrap().terminating);
    live.put_deleted(&account(), "2", true);
    assert_eq!(live.get(&account()), None);
}
