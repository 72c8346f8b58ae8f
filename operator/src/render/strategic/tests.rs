use super::*;
use serde_json::json;

fn patched(kind: &str, mut object: Value, patch: &Value) -> Value {
    apply(kind, &mut object, patch).unwrap();
    object
}

/// The container `a` of a Deployment, patched.
fn container(object: &Value, patch: &Value) -> Value {
    let pod = |container: &Value| {
        let mut container = container.clone();
        container["name"] = "a".into();
        json!({"spec": {"template": {"spec": {"containers": [container]}}}})
    };
    patched("Deployment", pod(object), &pod(patch))["spec"]["template"]["spec"]["containers"][0]
        .take()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|e| e["name"].as_str().unwrap())
        .collect()
}

#[test]
fn env_merges_by_name_and_patched_entries_come_first() {
    let object = json!({"env": [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "1"},
        {"name": "C", "value": "1"}]});
    let patch = json!({"env": [{"name": "NEW", "value": "2"}, {"name": "A", "value": "2"}]});
    let merged = container(&object, &patch);
    assert_eq!(names(&merged["env"]), ["NEW", "A", "B", "C"]);
    assert_eq!(merged["env"][1]["value"], "2");
}

#[test]
fn an_untouched_entry_stays_before_a_patched_one_that_followed_it() {
    let object = json!({"env": [{"name": "A"}, {"name": "B"}, {"name": "C"}]});
    let order = |names_of: &[&str]| {
        let env: Value = names_of
            .iter()
            .map(|n| json!({"name": n, "value": "x"}))
            .collect();
        let merged = container(&object, &json!({"env": env}));
        names(&merged["env"]).join("")
    };
    assert_eq!(order(&["C"]), "ABC");
    assert_eq!(order(&["C", "A"]), "BCA");
    assert_eq!(order(&["B", "N"]), "ABNC");
    assert_eq!(order(&["N", "B"]), "NABC");
}

#[test]
fn untouched_entries_of_one_name_come_together() {
    let object = json!({"env": [{"name": "A"}, {"name": "B"}, {"name": "A"}]});
    let merged = container(&object, &json!({"env": [{"name": "N"}]}));
    assert_eq!(names(&merged["env"]), ["N", "A", "A", "B"]);
}

#[test]
fn an_env_entry_without_a_name_is_refused() {
    let patch = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "a", "env": [{"value": "x"}]}]}}}});
    let mut object = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "a", "env": [{"name": "A"}]}]}}}});
    let error = apply("Deployment", &mut object, &patch).unwrap_err();
    assert!(error.contains("entry 0 has no name"), "{error}");
}

#[test]
fn an_env_entry_keeps_its_other_source() {
    let object = json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]});
    let merged = container(&object, &json!({"env": [{"name": "A", "value": "1"}]}));
    assert_eq!(
        merged["env"],
        json!([{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}])
    );
}

#[test]
fn tolerations_and_metrics_are_atomic() {
    let pod = |list: Value| json!({"spec": {"template": {"spec": {"tolerations": list}}}});
    let merged = patched(
        "Deployment",
        pod(json!([{"key": "a"}])),
        &pod(json!([{"key": "b"}])),
    );
    assert_eq!(merged, pod(json!([{"key": "b"}])));
    let hpa = |list: Value| json!({"spec": {"metrics": list}});
    let merged = patched(
        "HorizontalPodAutoscaler",
        hpa(json!([{"type": "Resource"}])),
        &hpa(json!([{"type": "Pods"}])),
    );
    assert_eq!(merged, hpa(json!([{"type": "Pods"}])));
}

#[test]
fn probes_resources_and_strategies_merge_as_maps() {
    let object = json!({
        "readinessProbe": {"httpGet": {"path": "/", "port": 1}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}});
    let patch = json!({
        "readinessProbe": {"exec": {"command": ["x"]}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "3"}}});
    let merged = container(&object, &patch);
    assert_eq!(
        merged["readinessProbe"],
        json!({
            "httpGet": {"path": "/", "port": 1},
            "exec": {"command": ["x"]},
            "periodSeconds": 2})
    );
    assert_eq!(
        merged["resources"],
        json!({"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "3"}})
    );
    let spec = |strategy: Value| json!({"spec": {"strategy": strategy}});
    let rolling = json!({"rollingUpdate": {"maxSurge": 1}});
    assert_eq!(
        patched(
            "Deployment",
            spec(rolling),
            &spec(json!({"type": "Recreate"}))
        ),
        spec(json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}))
    );
}

#[test]
fn ports_merge_by_port_alone() {
    let object = json!({"spec": {"ports": [
        {"port": 80, "protocol": "TCP", "name": "a"}, {"port": 443, "name": "b"}]}});
    let patch = json!({"spec": {"ports": [
        {"port": 80, "protocol": "UDP", "name": "c"}, {"port": 90, "name": "n"}]}});
    assert_eq!(
        patched("Service", object, &patch),
        json!({"spec": {"ports": [
            {"port": 80, "protocol": "UDP", "name": "c"},
            {"port": 90, "name": "n"},
            {"port": 443, "name": "b"}]}})
    );
}

#[test]
fn the_selector_of_a_budget_is_replaced() {
    let budget = |labels: Value| json!({"spec": {"selector": {"matchLabels": labels}}});
    let merged = patched(
        "PodDisruptionBudget",
        budget(json!({"a": "1"})),
        &budget(json!({"b": "1"})),
    );
    assert_eq!(merged, budget(json!({"b": "1"})));
}

#[test]
fn null_deletes_and_zero_values_stay() {
    let object = json!({"spec": {"replicas": 3, "strategy": {"type": "x"}, "a": {"b": 1}}});
    let patch =
        json!({"spec": {"replicas": 0, "strategy": null, "a": {"b": null}, "n": {"m": null}}});
    assert_eq!(
        patched("Deployment", object, &patch),
        json!({"spec": {"replicas": 0, "a": {}, "n": {}}})
    );
}

/// The annotations `below` of a Service under the annotations of a patch.
fn annotations(below: &Value, above: &Value) -> Result<Value, String> {
    let mut object = json!({"metadata": {"annotations": below}});
    apply(
        "Service",
        &mut object,
        &json!({"metadata": {"annotations": above}}),
    )?;
    Ok(object["metadata"]["annotations"].take())
}

#[test]
fn a_directive_replaces_or_deletes_the_map_that_it_stands_in() {
    let below = json!({"a": "1"});
    let replaced = annotations(&below, &json!({"$patch": "replace", "b": "2"}));
    assert_eq!(replaced.unwrap(), json!({"b": "2"}));
    let deleted = annotations(&below, &json!({"$patch": "delete", "b": "2"}));
    assert_eq!(deleted.unwrap(), json!({}));
    let added = annotations(&Value::Null, &json!({"$patch": "replace", "b": "2"}));
    assert_eq!(added.unwrap(), Value::Null);
    for other in [
        json!({"$patch": "merge"}),
        json!({"$patch": null}),
        json!({"$retainKeys": "a"}),
    ] {
        let error = annotations(&below, &other).unwrap_err();
        assert!(error.contains("$patch"), "{error}");
    }
}

#[test]
fn a_container_that_is_not_there_is_added() {
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "b", "env": []}]}}}});
    let object = json!({"spec": {"template": {"spec": {"containers": [{"name": "a"}]}}}});
    let merged = patched("DaemonSet", object, &patch);
    assert_eq!(
        names(&merged["spec"]["template"]["spec"]["containers"]),
        ["b", "a"]
    );
}
