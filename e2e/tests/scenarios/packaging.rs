//! A platform team installs the operator as it installs everything else: with Helm or kustomize.

use std::{collections::BTreeMap, fs, path::PathBuf};

use e2e::{
    control_plane::ControlPlane,
    error::Error,
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

/// The chart as a user has it.
struct Chart<'p> {
    plane: &'p ControlPlane,
    dir: PathBuf,
}

impl<'p> Chart<'p> {
    fn written(plane: &'p ControlPlane) -> Self {
        let dir = plane.dir().join("chart");
        manifests_with(&["--helm", &dir.display().to_string()]).unwrap();
        Self { plane, dir }
    }

    /// Runs a command of Helm on the chart, with the image set.
    fn helm(&self, command: &[&str], flags: &[&str]) -> Result<String, Error> {
        let dir = self.dir.display().to_string();
        let image = format!("image={IMAGE}");
        let set = [&dir, "--namespace", NAMESPACE, "--set", &image];
        helm::run(self.plane, command.iter().chain(&set).chain(flags))
    }

    fn names(&self, kind: &str) -> String {
        let args = ["get", kind, "-n", NAMESPACE, "-o", "name"];
        self.plane.kubectl(args).unwrap()
    }
}

/// Helm takes the chart, installs what `manifests` prints into a restricted namespace, follows changed values and a changed
/// CRD, and leaves the CRD and its objects behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_installs_upgrades_and_removes_the_operator() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let chart = Chart::written(&plane);
    let labels = "pod-security.kubernetes.io/enforce=restricted";
    plane.create_namespace(NAMESPACE).unwrap();
    plane
        .kubectl(["label", "namespace", NAMESPACE, labels])
        .unwrap();
    let notes = chart.helm(&["install", "istio-operator"], &[]).unwrap();
    assert!(notes.contains("waits for an IstioOperator"), "{notes}");
    let deployments: Api<Deployment> = Api::namespaced(plane.client().await.unwrap(), NAMESPACE);
    available(&deployments, 2).await;

    let file = chart.dir.join("templates/crd.yaml");
    let crd = fs::read_to_string(&file).unwrap();
    fs::write(&file, crd.replace("- iop\n", "- iop\n    - istioop\n")).unwrap();
    let flags = [
        "--set",
        "replicas=3,networkPolicy.enabled=true,podDisruptionBudget.enabled=false",
        "--set-json",
        r#"tolerations=[{"key":"infra","operator":"Exists"}]"#,
    ];
    chart.helm(&["upgrade", "istio-operator"], &flags).unwrap();
    available(&deployments, 3).await;
    let deployment = deployments.get("istio-operator").await.unwrap();
    let pod = deployment.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.tolerations.unwrap()[0].key.as_deref(), Some("infra"));
    assert_eq!(pod.containers[0].image.as_deref(), Some(IMAGE));
    assert!(chart.names("networkpolicy").contains("istio-operator"));
    assert_eq!(chart.names("poddisruptionbudget"), "");
    let short_names = "jsonpath={.spec.names.shortNames}";
    let crd = ["get", "crd", "istiooperators.install.istio.io", "-o"];
    let names = plane.kubectl(crd.iter().chain(&[short_names])).unwrap();
    assert!(names.contains("istioop"), "{names}");

    plane.create_namespace("istio-system").unwrap();
    plane.apply(&sample("minimal.yaml")).unwrap();
    let uninstall = ["uninstall", "istio-operator", "--namespace", NAMESPACE];
    helm::run(&plane, uninstall).unwrap();
    assert_eq!(chart.names("deployment"), "");
    let crs = plane.kubectl(["get", "istiooperators", "-A", "-o", "name"]);
    assert!(crs.unwrap().contains("istiooperator.install.istio.io/"));
}

async fn available(deployments: &Api<Deployment>, count: i32) {
    let ready = wait_until("pods of the operator", SOON, || async {
        let status = deployments.get("istio-operator").await?.status;
        let found = status.and_then(|status| status.available_replicas);
        Ok::<_, kube::Error>((found == Some(count)).then_some(()))
    });
    ready.await.unwrap();
}

/// Helm finds nothing wrong with the chart, renders what `manifests` prints, and refuses wrong values.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_renders_what_the_operator_prints() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let chart = Chart::written(&plane);
    let lint = chart.helm(&["lint", "--strict"], &[]).unwrap();
    assert!(lint.contains("0 chart(s) failed"), "{lint}");
    let rendered = chart.helm(&["template", "istio-operator"], &[]).unwrap();
    let mut rendered = by_key(&rendered);
    let crd = r#""CustomResourceDefinition" "istiooperators.install.istio.io""#;
    let crd = rendered.get_mut(crd).unwrap()["metadata"].as_object_mut();
    let kept = crd.unwrap().remove("annotations");
    assert_eq!(kept.unwrap()["helm.sh/resource-policy"], "keep");
    for (key, object) in printed() {
        assert_eq!(rendered.remove(&key), Some(object), "{key}");
    }
    assert!(rendered.is_empty(), "{rendered:?}");
    for (wrong, word) in [
        ("replicas=0", "replicas"),
        ("replica=3", "replica"),
        ("logFormat=xml", "logFormat"),
        ("image=", "image"),
    ] {
        let refused = chart.helm(&["template", "istio-operator"], &["--set", wrong]);
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(word), "{wrong}: {error}");
    }
}

/// kustomize builds what `manifests` prints.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kustomize_takes_the_operator_as_a_base() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
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
