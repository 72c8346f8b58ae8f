use serde_json::json;

use super::*;
use crate::charts::Charts;

/// What becomes of a spec, with its errors and its warnings.
fn translated(mut spec: Value) -> (Value, Vec<String>, Vec<String>) {
    let charts = Charts::embedded().unwrap();
    let newest = charts.catalogue().default_version().minor;
    let mut findings = Findings::default();
    translate(&mut spec, charts.schema(newest).unwrap(), &mut findings);
    let errors = findings.errors.iter().map(ToString::to_string).collect();
    let warnings = findings.warnings.iter().map(ToString::to_string).collect();
    (spec, errors, warnings)
}

/// A spec whose istiod has one metric.
fn spec_with(metric: &Value) -> Value {
    json!({"components": {"pilot": {"k8s": {"hpaSpec": {"metrics": [metric]}}}}})
}

#[test]
fn every_kind_of_metric_of_v2beta1_is_read() {
    let object = json!({"kind": "Service", "name": "a", "apiVersion": "v1"});
    let selector = json!({"matchLabels": {"a": "b"}});
    for (key, old, new) in [
        (
            "resource",
            json!({"name": "cpu", "targetAverageUtilization": 70}),
            json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}),
        ),
        (
            "resource",
            json!({"name": "memory", "targetAverageValue": "1Gi", "targetAverageUtilization": null}),
            json!({"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}),
        ),
        (
            "containerResource",
            json!({"name": "cpu", "container": "c", "targetAverageUtilization": 5}),
            json!({"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 5}}),
        ),
        (
            "pods",
            json!({"metricName": "m", "targetAverageValue": 100, "selector": selector}),
            json!({"metric": {"name": "m", "selector": selector}, "target": {"type": "AverageValue", "averageValue": 100}}),
        ),
        (
            "object",
            json!({"target": object, "metricName": "m", "targetValue": "10k"}),
            json!({"describedObject": object, "metric": {"name": "m"}, "target": {"type": "Value", "value": "10k"}}),
        ),
        (
            "object",
            json!({"target": object, "metricName": "m", "averageValue": 3}),
            json!({"describedObject": object, "metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": 3}}),
        ),
        (
            "external",
            json!({"metricName": "m", "metricSelector": selector, "targetAverageValue": 1}),
            json!({"metric": {"name": "m", "selector": selector}, "target": {"type": "AverageValue", "averageValue": 1}}),
        ),
        (
            "external",
            json!({"metricName": "m", "targetValue": 1}),
            json!({"metric": {"name": "m"}, "target": {"type": "Value", "value": 1}}),
        ),
    ] {
        let (spec, errors, warnings) = translated(spec_with(&json!({"type": "T", (key): old})));
        assert_eq!(spec, spec_with(&json!({"type": "T", (key): new})));
        assert_eq!(errors, [""; 0]);
        let warning = format!(
            "spec.components.pilot.k8s.hpaSpec.metrics[0].{key}: is in the form of autoscaling/v2beta1, which Kubernetes no \
             longer has; it is read as {new}, write that"
        );
        assert_eq!(warnings, [warning]);
    }
}

#[test]
fn a_metric_that_may_mean_two_things_is_refused_once() {
    for (key, old) in [
        (
            "resource",
            json!({"name": "cpu", "targetAverageUtilization": "70"}),
        ),
        (
            "resource",
            json!({"name": "cpu", "targetAverageUtilization": 1, "targetAverageValue": 1}),
        ),
        ("resource", json!({"targetAverageUtilization": 70})),
        (
            "resource",
            json!({"name": "cpu", "targetAverageUtilization": 70, "target": {"type": "Value"}}),
        ),
        ("pods", json!({"metricName": "m"})),
        ("pods", json!({"metricName": 5, "targetAverageValue": 1})),
        ("object", json!({"metricName": "m", "targetValue": 1})),
        (
            "object",
            json!({"metricName": "m", "target": "a", "targetValue": 1}),
        ),
        (
            "external",
            json!({"metricName": "m", "targetValue": "lots"}),
        ),
    ] {
        let (spec, errors, warnings) = translated(spec_with(&json!({(key): old})));
        assert_eq!(spec, spec_with(&json!({(key): null})));
        assert_eq!((errors.len(), warnings.len()), (1, 0), "{old}: {errors:?}");
        assert!(
            errors[0].contains(&format!("; write it as {key}: {{")),
            "{errors:?}"
        );
    }
}

#[test]
fn metrics_of_today_stay() {
    let target = json!({"type": "Utilization", "averageUtilization": 70});
    for metric in [
        json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}),
        json!({"type": "Resource"}),
        json!({"resource": null}),
        json!("metric"),
        json!(null),
    ] {
        let spec = spec_with(&metric);
        assert_eq!(translated(spec.clone()), (spec, vec![], vec![]));
    }
}

#[test]
fn the_metric_of_v1_is_read() {
    let spec = |scaling: Value| json!({"components": {"ingressGateways": [{"k8s": {"hpaSpec": scaling}}]}});
    let (new, errors, warnings) = translated(spec(json!({"targetCPUUtilizationPercentage": 60})));
    let target = json!({"type": "Utilization", "averageUtilization": 60});
    let metrics = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
    assert_eq!(
        (new, errors, warnings.len()),
        (spec(json!({"metrics": metrics})), vec![], 1)
    );
    let both = json!({"targetCPUUtilizationPercentage": 60, "metrics": metrics});
    assert_eq!(translated(spec(both)).1.len(), 1);
}

#[test]
fn fields_move_to_their_level() {
    let (spec, errors, warnings) = translated(json!({
        "pilot": {"k8s": {"replicaCount": 2}},
        "cni": {"excludeNamespaces": ["a"]},
        "ingressGateways": [{"name": "a"}],
        "enableTracing": true,
        "global": {"logAsJson": true},
        "defaultRevision": "x",
        "meshConfig": {"accessLogFile": "a"},
    }));
    assert_eq!(
        spec,
        json!({
            "components": {"pilot": {"k8s": {"replicaCount": 2}}, "ingressGateways": [{"name": "a"}]},
            "meshConfig": {"accessLogFile": "a", "enableTracing": true},
            "values": {"cni": {"excludeNamespaces": ["a"]}, "defaultRevision": "x", "global": {"logAsJson": true}},
        })
    );
    assert_eq!(errors, [""; 0]);
    assert_eq!(
        warnings,
        [
            "spec.cni: is read as spec.values.cni; write it there",
            "spec.defaultRevision: is read as spec.values.defaultRevision; write it there",
            "spec.enableTracing: is read as spec.meshConfig.enableTracing; write it there",
            "spec.global: is read as spec.values.global; write it there",
            "spec.ingressGateways: is read as spec.components.ingressGateways; write it there",
            "spec.pilot: is read as spec.components.pilot; write it there",
        ]
    );
}

#[test]
fn a_field_does_not_move_where_it_would_replace_another_or_is_of_another_kind() {
    for (spec, error) in [
        (
            json!({"pilot": {"k8s": {}}, "components": {"pilot": {"enabled": true}}}),
            "spec.pilot: is no field of spec; write spec.components.pilot instead",
        ),
        (
            json!({"pilot": {"replicas": 2}}),
            "spec.pilot: is no field of spec; write spec.components.pilot instead",
        ),
        (
            json!({"enableTracing": "yes"}),
            "spec.enableTracing: is no field of spec; write spec.meshConfig.enableTracing instead",
        ),
        (
            json!({"enableTracing": true, "meshConfig": [1]}),
            "spec.enableTracing: is no field of spec; write spec.meshConfig.enableTracing instead",
        ),
    ] {
        let (_, errors, warnings) = translated(spec);
        assert_eq!((errors, warnings), (vec![error.to_owned()], vec![]));
    }
    let unknown = json!({"profil": "demo", "somethingElse": {}});
    assert_eq!(translated(unknown.clone()), (unknown, vec![], vec![]));
}

#[test]
fn annotations_of_a_service_move() {
    let spec = |block: Value| json!({"components": {"pilot": {"k8s": block}}});
    let annotations = json!({"a": "b"});
    let (new, errors, warnings) = translated(spec(
        json!({"service": {"annotations": annotations, "type": "NodePort"}}),
    ));
    let expected = json!({"service": {"type": "NodePort"}, "serviceAnnotations": annotations});
    assert_eq!((new, errors), (spec(expected), vec![]));
    assert_eq!(
        warnings,
        [
            "spec.components.pilot.k8s.service.annotations: is read as spec.components.pilot.k8s.serviceAnnotations; write it there"
        ]
    );
    for block in [
        json!({"service": {"annotations": {"a": 1}}}),
        json!({"service": {"annotations": ["a"]}}),
        json!({"service": {"annotations": annotations}, "serviceAnnotations": {"c": "d"}}),
    ] {
        assert_eq!(translated(spec(block)).1.len(), 1);
    }
}

#[test]
fn a_renamed_profile_has_the_same_meaning() {
    let (spec, errors, warnings) = translated(json!({"profile": "external"}));
    assert_eq!((spec, errors), (json!({"profile": "remote"}), vec![]));
    assert_eq!(
        warnings,
        ["spec.profile: external is called remote since Istio 1.22; write profile: remote"]
    );
}

#[test]
fn odd_specs_are_left_to_the_checks() {
    for spec in [
        json!({}),
        json!({"components": null}),
        json!({"components": {"pilot": "on", "ingressGateways": {"k8s": 5}, "cni": {"k8s": {"hpaSpec": null}}}}),
        json!({"components": {"pilot": {"k8s": {"hpaSpec": {"metrics": {}}, "service": []}}}}),
    ] {
        let (same, errors, warnings) = translated(spec.clone());
        assert_eq!((same, errors, warnings), (spec, vec![], vec![]));
    }
}

#[test]
fn fields_beside_the_spec_move_into_it() {
    let mut spec = json!({
        "/values": {"a": 1}, "/meshConfig": {}, "meshConfig": {"b": 1}, "/deletionPolicy": "Orphan", "hub": "h",
    });
    let findings = move_into_spec(&mut spec);
    assert_eq!(
        spec,
        json!({"values": {"a": 1}, "meshConfig": {"b": 1}, "hub": "h"})
    );
    let errors: Vec<String> = findings.errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "deletionPolicy: is no field of the resource; write spec.deletionPolicy instead",
            "meshConfig: is no field of the resource; write spec.meshConfig instead",
        ]
    );
    let warnings: Vec<String> = findings.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["values: is read as spec.values; write it there"]);
}
