use super::*;
use crate::api::{ComponentKind, Path};
use crate::catalogue::Version;
use crate::charts::yaml::Manifest;

fn merged(revision: &str) -> Merged {
    Merged {
        cluster: crate::merge::Cluster::default(),
        version: Version {
            minor: 31,
            patch: 1,
        },
        revision: revision.to_owned(),
        named_revision: revision.to_owned(),
        namespace: "istio-system".to_owned(),
        components: Vec::new(),
        is_for_cluster: false,
        warnings: Vec::new(),
        source: crate::merge::Source::default(),
    }
}

fn component(kind: ComponentKind, name: &str, k8s: Value) -> Component {
    Component {
        kind,
        name: name.to_owned(),
        namespace: "istio-system".to_owned(),
        values: json!({}),
        k8s,
        overlays: Vec::new(),
        path: Path::root("spec").key("components").key(kind.spec_key()),
        index: None,
    }
}

fn object(api_version: &str, kind: &str, name: &str, spec: &Value) -> Object {
    let metadata = json!({"name": name});
    let body = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec});
    Object::of(Manifest::from(&body)).unwrap()
}

fn istiod() -> Vec<Object> {
    let discovery = json!({"name": "discovery", "env": [{"name": "A"}]});
    let pod = json!({"containers": [discovery, {"name": "side"}]});
    vec![
        object(
            "apps/v1",
            "Deployment",
            "istiod",
            &json!({"replicas": 1, "template": {"spec": pod}}),
        ),
        object(
            "v1",
            "Service",
            "istiod",
            &json!({"ports": [{"port": 15010}]}),
        ),
        object(
            "policy/v1",
            "PodDisruptionBudget",
            "istiod",
            &json!({"minAvailable": 1}),
        ),
    ]
}

fn patched(k8s: Value, objects: &mut [Object]) -> Vec<String> {
    let mut warnings = Vec::new();
    let pilot = component(ComponentKind::Pilot, "istiod", k8s);
    apply(&merged(""), &pilot, objects, &mut warnings).unwrap();
    warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn fields_go_where_upstream_puts_them() {
    let mut objects = istiod();
    let warnings = patched(
        json!({
            "replicaCount": 0, "priorityClassName": "", "env": [{"name": "B", "value": "1"}],
            "imagePullPolicy": "Always", "podAnnotations": {"a": "b"},
            "nodeSelector": {"c": "d"},
            "serviceAnnotations": {"e": "f"}, "service": {"type": "NodePort"},
        }),
        &mut objects,
    );
    assert_eq!(warnings, [""; 0]);
    assert_eq!(
        objects[0].body.field("spec"),
        json!({"replicas": 0, "template": {"metadata": {"annotations": {"a": "b"}}, "spec": {
            "priorityClassName": "", "nodeSelector": {"c": "d"},
            "containers": [
                {"name": "discovery", "imagePullPolicy": "Always",
                 "env": [{"name": "B", "value": "1"}, {"name": "A"}]},
                {"name": "side"}]}}})
    );
    assert_eq!(
        objects[1].body.field("metadata")["annotations"],
        json!({"e": "f"})
    );
    assert_eq!(
        objects[1].body.field("spec"),
        json!({"type": "NodePort", "ports": [{"port": 15010}]})
    );
}

#[test]
fn a_budget_keeps_one_bound() {
    let mut objects = istiod();
    patched(
        json!({"podDisruptionBudget": {"maxUnavailable": 0}}),
        &mut objects,
    );
    assert_eq!(objects[2].body.field("spec"), json!({"maxUnavailable": 0}));
    let mut objects = istiod();
    patched(
        json!({"podDisruptionBudget": {"minAvailable": 2}}),
        &mut objects,
    );
    assert_eq!(objects[2].body.field("spec"), json!({"minAvailable": 2}));
}

#[test]
fn a_setting_without_an_object_is_a_warning() {
    let warnings = patched(
        json!({"hpaSpec": {"minReplicas": 2}, "volumes": [], "strategy": null}),
        &mut istiod(),
    );
    assert_eq!(
        warnings,
        ["spec.components.pilot.k8s.hpaSpec: has no effect: \
             no HorizontalPodAutoscaler istiod is rendered",]
    );
}

#[test]
fn base_has_no_workload() {
    let mut warnings = Vec::new();
    let base = component(ComponentKind::Base, "", json!({"replicaCount": 2}));
    let mut objects = istiod();
    apply(&merged(""), &base, &mut objects, &mut warnings).unwrap();
    assert_eq!((objects, warnings), (istiod(), Vec::new()));
}

#[test]
fn a_revision_called_default_is_looked_for_without_suffix() {
    let mut objects = vec![object(
        "apps/v1",
        "Deployment",
        "istiod-default",
        &json!({}),
    )];
    let mut warnings = Vec::new();
    let pilot = component(
        ComponentKind::Pilot,
        "istiod-default",
        json!({"replicaCount": 2}),
    );
    apply(&merged("default"), &pilot, &mut objects, &mut warnings).unwrap();
    assert_eq!(objects[0].body.field("spec"), json!({}));
    assert_eq!(warnings.len(), 1);
}

#[test]
fn a_port_without_a_number_names_its_field() {
    let pilot = component(
        ComponentKind::Pilot,
        "istiod",
        json!({"service": {"ports": [{"name": "x"}]}}),
    );
    let error = apply(&merged(""), &pilot, &mut istiod(), &mut Vec::new()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("spec.components.pilot.k8s.service: "),
        "{error}"
    );
}
