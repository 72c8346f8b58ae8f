//! Addons as they are rendered: the same six charts in every minor, safe, and wired to each other by real names.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "addons/dashboards.rs"]
mod dashboards;
#[path = "addons/kiali.rs"]
mod kiali;
#[path = "addons/old_fields.rs"]
mod old_fields;
#[path = "addons/restricted.rs"]
mod restricted;

use std::fs;

use istio_operator::api::{IstioOperator, RawSpec};
use istio_operator::charts::{Charts, yaml};
use istio_operator::merge::{Cluster, merge};
use istio_operator::render::{Object, Rendered, render};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/addons/cases.yaml");

/// All addons that can be installed together, with everything that adds to their objects.
fn all() -> Value {
    json!({
        "profile": "minimal",
        "components": {"base": {"enabled": false}},
        "values": {"global": {"imagePullSecrets": ["mirror"]}},
        "addonComponents": {
            "prometheus": {"storage": {"size": "20Gi", "storageClassName": "fast"}},
            "grafana": {"storage": {}, "timezone": "Asia/Shanghai"},
            "jaeger": {"sampling": 50},
            "kiali": {"viewOnly": false},
            "loki": {"retention": "2w"},
        },
    })
}

/// What is rendered of a spec, with the warnings.
fn rendered(
    spec: &Value,
    minor: &str,
    charts: &Charts,
) -> Result<(Rendered, Vec<String>), Vec<String>> {
    let cr = IstioOperator::new("cr", RawSpec(spec.clone()));
    let merged = merge(&cr, Some(minor), Cluster::default(), charts);
    let merged =
        merged.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let rendered =
        render(&merged, charts).unwrap_or_else(|errors| panic!("{minor} {spec}: {errors:?}"));
    let warnings = merged.warnings.iter().chain(&rendered.warnings);
    let warnings = warnings.map(ToString::to_string).collect();
    Ok((rendered, warnings))
}

/// The objects of the addons of a spec.
fn addon_objects(spec: &Value, minor: &str, charts: &Charts) -> Vec<Object> {
    let (rendered, _) = rendered(spec, minor, charts).unwrap();
    let components = rendered.components.into_iter();
    let addons = components.filter(|component| component.kind.is_addon());
    addons.flat_map(|component| component.objects).collect()
}

fn minors(charts: &Charts) -> Vec<String> {
    let releases = charts.catalogue().releases().iter();
    releases
        .map(|release| release.version.minor_text())
        .collect()
}

/// Whether an object has only fields of its type, each of the right type.
fn fits<T: Serialize + DeserializeOwned>(body: &Value) -> Result<(), String> {
    let typed: T = serde_json::from_value(body.clone()).map_err(|error| error.to_string())?;
    let again = serde_json::to_value(typed).map_err(|error| error.to_string())?;
    if again == *body {
        Ok(())
    } else {
        Err(format!("has fields that its type lacks: {body}, {again}"))
    }
}

fn check_type(object: &Object) -> Result<(), String> {
    let body = object.body.value();
    match object.key.kind.as_str() {
        "ServiceAccount" => fits::<ServiceAccount>(&body),
        "ConfigMap" => fits::<ConfigMap>(&body),
        "Secret" => fits::<Secret>(&without_text(body)),
        "Service" => fits::<Service>(&body),
        "PersistentVolumeClaim" => fits::<PersistentVolumeClaim>(&body),
        "NetworkPolicy" => fits::<NetworkPolicy>(&body),
        "ClusterRole" => fits::<ClusterRole>(&body),
        "ClusterRoleBinding" => fits::<ClusterRoleBinding>(&body),
        "Deployment" => fits::<Deployment>(&body),
        other => Err(format!("a kind that no addon should need: {other}")),
    }
}

/// `stringData` is written only, so the type forgets it.
fn without_text(mut secret: Value) -> Value {
    secret.as_object_mut().unwrap().remove("stringData");
    secret
}

#[test]
fn every_addon_is_valid_and_restricted_in_every_minor() {
    let charts = Charts::embedded().unwrap();
    let zipkin = json!({"profile": "empty", "addonComponents": {"zipkin": {}}});
    for minor in minors(&charts) {
        for mut spec in [all(), zipkin.clone()] {
            let has_policies = minor.as_str() >= "1.28";
            if has_policies {
                spec["values"]["global"]["networkPolicy"] = json!({"enabled": true});
            }
            let objects = addon_objects(&spec, &minor, &charts);
            for object in &objects {
                let key = &object.key;
                check_type(object).unwrap_or_else(|why| panic!("{minor} {key}: {why}"));
                if key.kind == "Deployment" {
                    restricted::check(&object.body.value())
                        .unwrap_or_else(|why| panic!("{minor} {key}: {why}"));
                }
            }
            let count = |kind: &str| {
                objects
                    .iter()
                    .filter(|object| object.key.kind == kind)
                    .count()
            };
            let workloads = count("Deployment");
            assert_eq!(workloads, if spec["profile"] == "empty" { 1 } else { 5 });
            assert_eq!(count("ServiceAccount"), workloads);
            assert_eq!(
                count("NetworkPolicy"),
                if has_policies { workloads } else { 0 }
            );
        }
    }
}

/// What `istioctl dashboard` looks for, and what tutorials name.
#[test]
fn names_ports_and_labels_are_those_of_upstream() {
    let charts = Charts::embedded().unwrap();
    let minor = minors(&charts).pop().unwrap();
    let mut objects = addon_objects(&all(), &minor, &charts);
    let zipkin = json!({"profile": "empty", "addonComponents": {"zipkin": {}}});
    let zipkin: Vec<_> = addon_objects(&zipkin, &minor, &charts);
    objects.extend(
        zipkin
            .into_iter()
            .filter(|object| object.key.name == "zipkin" && object.key.kind == "Deployment"),
    );
    let find = |kind: &str, name: &str| {
        let object = objects
            .iter()
            .find(|o| o.key.kind == kind && o.key.name == name);
        object
            .unwrap_or_else(|| panic!("no {kind} {name}"))
            .body
            .value()
    };
    for (workload, label, value) in [
        ("prometheus", "app.kubernetes.io/name", "prometheus"),
        ("grafana", "app.kubernetes.io/name", "grafana"),
        ("kiali", "app", "kiali"),
        ("jaeger", "app", "jaeger"),
        ("zipkin", "app", "zipkin"),
        ("loki", "app.kubernetes.io/name", "loki"),
    ] {
        let labels = &find("Deployment", workload)["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels[label], value, "{workload}");
        assert_eq!(labels["sidecar.istio.io/inject"], "false", "{workload}");
        assert_eq!(labels["istio.io/dataplane-mode"], "none", "{workload}");
    }
    for (service, port, name, target) in [
        ("prometheus", 9090, "http", 9090),
        ("grafana", 3000, "service", 3000),
        ("kiali", 20001, "http", 20001),
        ("tracing", 80, "http-query", 16686),
        ("tracing", 16685, "grpc-query", 16685),
        ("zipkin", 9411, "http-query", 9411),
        ("jaeger-collector", 4317, "grpc-otel", 4317),
        ("jaeger-collector", 9411, "http-zipkin", 9411),
        ("loki", 3100, "http-metrics", 3100),
    ] {
        let ports = &find("Service", service)["spec"]["ports"];
        let expected = json!({"name": name, "port": port, "targetPort": target});
        assert!(
            ports.as_array().unwrap().contains(&expected),
            "{service}: {ports}"
        );
    }
}

#[test]
fn names_of_the_cluster_have_the_namespace_in_them() {
    let charts = Charts::embedded().unwrap();
    let namespaces = ["one", "two"].map(|namespace| {
        let addons = json!({
            "prometheus": {"namespace": namespace},
            "kiali": {"namespace": namespace, "prometheusURL": "http://metrics:9090"},
        });
        let spec = json!({"profile": "empty", "addonComponents": addons});
        let objects = addon_objects(&spec, "1.31", &charts);
        let global = objects
            .into_iter()
            .filter(|object| object.key.namespace.is_none());
        global.map(|object| object.key.name).collect::<Vec<_>>()
    });
    let [one, two] = namespaces;
    assert_eq!(one.len(), 4);
    assert!(one.iter().all(|name| !two.contains(name)), "{one:?}");
}

/// A minor may change the image, except that of a Prometheus whose data is kept.
#[test]
fn prometheus_never_goes_back_over_its_own_data() {
    let charts = Charts::embedded().unwrap();
    let images = |storage: &Value| -> Vec<String> {
        let addon = json!({"prometheus": {"storage": storage}});
        let spec = json!({"profile": "empty", "addonComponents": addon});
        let image = |minor: &String| {
            let objects = addon_objects(&spec, minor, &charts);
            let workload = objects
                .iter()
                .find(|object| object.key.kind == "Deployment");
            let body = workload.unwrap().body.value();
            body["spec"]["template"]["spec"]["containers"][0]["image"].to_string()
        };
        let mut images: Vec<String> = minors(&charts).iter().map(image).collect();
        images.dedup();
        images
    };
    assert!(images(&Value::Null).len() > 4);
    assert_eq!(images(&json!({"size": "10Gi"})).len(), 1);
}

/// The oldest minor without storage has a Prometheus that reads its configuration at its start only.
#[test]
fn a_changed_configuration_reaches_every_addon() {
    let charts = Charts::embedded().unwrap();
    let spec = json!({"profile": "empty", "addonComponents": {"prometheus": {}}});
    let pod = |minor: &str| {
        let objects = addon_objects(&spec, minor, &charts);
        let workload = objects
            .iter()
            .find(|object| object.key.kind == "Deployment");
        workload.unwrap().body.value()["spec"]["template"].clone()
    };
    let reloads = |pod: &Value| {
        pod["spec"]["containers"][0]["args"]
            .to_string()
            .contains("auto-reload-config")
    };
    let restarts =
        |pod: &Value| pod["metadata"]["annotations"]["install.istio.io/restart-on"].is_string();
    for minor in minors(&charts) {
        // Whoever reaches it could stop Prometheus.
        assert!(
            !pod(&minor).to_string().contains("enable-lifecycle"),
            "{minor}"
        );
    }
    let (old, new) = (pod("1.24"), pod("1.25"));
    assert_eq!((reloads(&old), restarts(&old)), (false, true));
    assert_eq!((reloads(&new), restarts(&new)), (true, false));
}

/// What a case of the table finds at a JSON pointer. The content of a configuration file is looked into as YAML.
fn found(rendered: &Rendered, name: &str, pointer: &str) -> Option<Value> {
    let mut objects = rendered
        .components
        .iter()
        .flat_map(|component| &component.objects);
    let object =
        objects.find(|object| format!("{} {}", object.key.kind, object.key.name) == name)?;
    let body = object.body.value();
    let Some((place, inner)) = pointer.split_once(" > ") else {
        return body.pointer(pointer).cloned();
    };
    let text = body.pointer(place)?.as_str()?;
    let inside: Value = yaml::parse(text).unwrap();
    inside.pointer(inner).cloned()
}

#[test]
fn addons_find_each_other_and_the_mesh() {
    let charts = Charts::embedded().unwrap();
    let newest = minors(&charts).pop().unwrap();
    let cases: Vec<Value> = yaml::parse(&fs::read_to_string(TABLE).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let minor = case["version"].as_str().unwrap_or(&newest);
        let texts = |key: &str| -> Vec<String> {
            let list = case[key].as_array().into_iter().flatten();
            list.map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        match rendered(&case["spec"], minor, &charts) {
            Err(errors) => {
                if errors != texts("errors") {
                    wrong.push(format!("{name}: {errors:#?}"));
                }
            }
            Ok((rendered, warnings)) => {
                if !texts("errors").is_empty() {
                    wrong.push(format!("{name} is accepted"));
                }
                if warnings != texts("warnings") {
                    wrong.push(format!("{name}: {warnings:#?}"));
                }
                for (object, fields) in case["expect"].as_object().into_iter().flatten() {
                    for (pointer, expected) in fields.as_object().unwrap() {
                        let found = found(&rendered, object, pointer);
                        let expected = Some(expected).filter(|value| **value != "ABSENT");
                        if found.as_ref() != expected {
                            wrong.push(format!("{name}: {object} {pointer}: {found:?}"));
                        }
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
