//! A platform team installs the operator as it installs everything else: with Helm or kustomize.

use std::{collections::BTreeMap, fs};

use e2e::{
    control_plane::ControlPlane,
    operator::{helm, manifests_with},
    wait::{SOON, wait_until},
    yaml,
};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::Value;

use crate::sample;

const NAMESPACE: &str = "platform";
const IMAGE: &str = "registry.example.com/istio-operator@sha256:\
                     0000000000000000000000000000000000000000000000000000000000000000";

/// Objects by kind and name.
fn by_key(text: &str) -> BTreeMap<String, Value> {
    let key = |o: &Value| format!("{} {}", o["kind"], o["metadata"]["name"]);
    // `0.0` is written as it is by one program, and as `0` by another one.
    let text = text.replace(": 0.0\n", ": 0\n");
    let objects = yaml::documents("objects", &text).unwrap().into_iter();
    objects.map(|object| (key(&object), object)).collect()
}

/// The objects that the operator itself prints, but for the namespace.
fn printed() -> BTreeMap<String, Value> {
    let text = manifests_with(&["--namespace", NAMESPACE, "--image", IMAGE]).unwrap();
    let mut objects = by_key(&text);
    objects.remove(r#""Namespace" "platform""#).unwrap();
    objects
}

/// Helm takes the chart, installs what `manifests` prints into a restricted namespace, follows changed values and a changed
/// CRD, refuses wrong values, and leaves the CRD and its objects behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_installs_upgrades_and_removes_the_operator() {
    let plane = ControlPlane::start().await.unwrap();
    let chart = plane.dir().join("chart");
    let chart_dir = chart.display().to_string();
    manifests_with(&["--helm", &chart_dir]).unwrap();
    let image = format!("image={IMAGE}");
    let set = ["--namespace", NAMESPACE, "--set", &image];
    let helm = |args: &[&str]| helm::run(&plane, args.iter().chain(&set));

    let lint = helm(&["lint", "--strict", &chart_dir]).unwrap();
    assert!(lint.contains("0 chart(s) failed"), "{lint}");

    // Every file is there at once, as a user would see it who switches everything on.
    let template = ["template", "istio-operator", &chart_dir];
    let mut rendered = by_key(&helm(&template).unwrap());
    let crd = r#""CustomResourceDefinition" "istiooperators.install.istio.io""#;
    let kept = rendered.get_mut(crd).unwrap()["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("annotations");
    assert_eq!(kept.unwrap()["helm.sh/resource-policy"], "keep");
    for (key, object) in printed() {
        assert_eq!(rendered.remove(&key), Some(object), "{key}");
    }
    assert!(rendered.is_empty(), "{rendered:?}");

    let labels = "pod-security.kubernetes.io/enforce=restricted";
    plane.create_namespace(NAMESPACE).unwrap();
    plane
        .kubectl(["label", "namespace", NAMESPACE, labels])
        .unwrap();
    let notes = helm(&["install", "istio-operator", &chart_dir]).unwrap();
    assert!(notes.contains("waits for an IstioOperator"), "{notes}");
    let client = plane.client().await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client, NAMESPACE);
    let available = |count: i32| {
        let deployments = deployments.clone();
        wait_until("pods of the operator", SOON, move || {
            let deployments = deployments.clone();
            async move {
                let status = deployments.get("istio-operator").await?.status;
                let found = status.and_then(|status| status.available_replicas);
                Ok::<_, kube::Error>((found == Some(count)).then_some(()))
            }
        })
    };
    available(2).await.unwrap();

    for (wrong, word) in [
        ("replicas=0", "replicas"),
        ("replica=3", "replica"),
        ("logFormat=xml", "logFormat"),
        ("image=", "image"),
    ] {
        let upgrade = ["upgrade", "istio-operator", &chart_dir];
        let refused = helm::run(&plane, upgrade.iter().chain(&set).chain(&["--set", wrong]));
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(word), "{wrong}: {error}");
    }

    let file = chart.join("templates/crd.yaml");
    let changed = fs::read_to_string(&file)
        .unwrap()
        .replace("- iop\n", "- iop\n    - istioop\n");
    fs::write(&file, changed).unwrap();
    let upgraded = helm(&[
        "upgrade",
        "istio-operator",
        &chart_dir,
        "--set",
        "replicas=3,networkPolicy.enabled=true,podDisruptionBudget.enabled=false",
        "--set-json",
        r#"tolerations=[{"key":"infra","operator":"Exists"}]"#,
    ]);
    upgraded.unwrap();
    available(3).await.unwrap();
    let deployment = deployments.get("istio-operator").await.unwrap();
    let pod = deployment.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.tolerations.unwrap()[0].key.as_deref(), Some("infra"));
    assert_eq!(pod.containers[0].image.as_deref(), Some(IMAGE));
    let get = |kind: &str| plane.kubectl(["get", kind, "-n", NAMESPACE, "-o", "name"]);
    assert!(get("networkpolicy").unwrap().contains("istio-operator"));
    assert_eq!(get("poddisruptionbudget").unwrap(), "");
    let crd = ["get", "crd", "istiooperators.install.istio.io", "-o"];
    let names = plane
        .kubectl(crd.iter().chain(&["jsonpath={.spec.names.shortNames}"]))
        .unwrap();
    assert!(names.contains("istioop"), "{names}");

    plane.create_namespace("istio-system").unwrap();
    plane.apply(&sample("minimal.yaml")).unwrap();
    helm::run(
        &plane,
        ["uninstall", "istio-operator", "--namespace", NAMESPACE],
    )
    .unwrap();
    assert_eq!(get("deployment").unwrap(), "");
    let crs = plane.kubectl(["get", "istiooperators", "-A", "-o", "name"]);
    assert!(crs.unwrap().contains("istiooperator.install.istio.io/"));
}

/// kustomize builds what `manifests` prints.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kustomize_takes_the_operator_as_a_base() {
    let plane = ControlPlane::start().await.unwrap();
    let base = plane.dir().join("base").display().to_string();
    let flags = ["--namespace", NAMESPACE, "--image", IMAGE];
    manifests_with(&[&flags[..], &["--kustomize", &base]].concat()).unwrap();
    let built = plane.kubectl(["kustomize", &base]).unwrap();
    let mut built = by_key(&built);
    built.remove(r#""Namespace" "platform""#).unwrap();
    for (key, object) in printed() {
        assert_eq!(built.remove(&key), Some(object), "{key}");
    }
    assert!(built.is_empty(), "{built:?}");
}
