//! `apply --no-operator`: one run goes as far as it may, and says what is left.

use e2e::{
    control_plane::ControlPlane,
    operator::{self, Said},
};
use serde_json::{Value, json};

use crate::canary::{old_serves, revision, tag, version, with_gateways_and_tag};

/// Upgrade row 8 without an operator: a run installs the canary beside the control plane that serves, and says that its promotion
/// waits for approval. The next one carries it out, and the old control plane stays until somebody says that it may go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_run_without_an_operator_carries_a_canary_as_far_as_it_may() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let said = applied(&plane, &mesh("1.29", "InPlace", "Automatic"));
    assert_eq!(said.code, 0, "{said:?}");

    let mut canary = mesh("1.31", "Canary", "Manual");
    let said = applied(&plane, &canary);
    assert_eq!(said.code, 0, "{said:?}");
    let works = "revision 1-31-1 of Istio 1.31.1 works beside revision default of Istio 1.29.8";
    assert!(said.errors.contains(works), "{said:?}");
    assert!(!said.errors.contains("installed Istio"), "{said:?}");
    let approved = digest(&said);
    old_serves(&plane);
    assert_eq!(version(&plane, "deployment/istiod-1-31-1"), "1.31.1");
    let plan = operator::plan(&plane, None, &canary.to_string()).unwrap();
    assert_eq!(plan["digest"], *approved);

    annotate(&mut canary, "approve", approved);
    let said = applied(&plane, &canary);
    assert_eq!(said.code, 0, "{said:?}");
    for part in ["installed Istio 1.31.1", "prune-revision: default"] {
        assert!(said.errors.contains(part), "{part}: {said:?}");
    }
    serves(&plane, "1.31.1", "1-31-1");
    assert_eq!(version(&plane, "deployment/istiod"), "1.29.8");

    // Back, and nobody is asked.
    let back = mesh("1.29", "Canary", "Automatic");
    let said = applied(&plane, &back);
    assert_eq!(said.code, 0, "{said:?}");
    serves(&plane, "1.29.8", "default");
    assert_eq!(version(&plane, "deployment/istiod-1-31-1"), "1.31.1");

    let mut gone = mesh("1.29", "Canary", "Manual");
    annotate(&mut gone, "prune-revision", "1-31-1");
    let said = applied(&plane, &gone);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.errors.contains("nothing was written"), "{said:?}");
    annotate(&mut gone, "approve", digest(&said));
    let said = applied(&plane, &gone);
    assert_eq!(said.code, 0, "{said:?}");
    let deployments = plane.kubectl(["get", "deployments", "-n=istio-system", "-o=name"]);
    assert!(!deployments.unwrap().contains("istiod-1-31-1"));
    serves(&plane, "1.29.8", "default");
}

/// A change in place that restarts pods waits for its approval, too, and nothing of it is written before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_run_without_an_operator_writes_nothing_before_its_approval() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let mut mesh = mesh("1.30", "InPlace", "Manual");
    let said = applied(&plane, &mesh);
    assert_eq!(said.code, 0, "{said:?}");
    mesh["spec"]["version"] = "1.31".into();
    let mut held = mesh.clone();
    held["spec"]["updateStrategy"]["dataPlane"] = json!({"image": "Hold"});
    let said = applied(&plane, &held);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.errors.contains("write Follow"), "{said:?}");
    let said = applied(&plane, &mesh);
    assert_eq!(said.code, 1, "{said:?}");
    let workloads = [
        "deployment/istiod",
        "deployment/edge-one",
        "deployment/edge-two",
    ];
    for workload in workloads {
        assert_eq!(version(&plane, workload), "1.30.5", "{workload}");
    }
    let crd = "crd/virtualservices.networking.istio.io";
    assert_eq!(version(&plane, crd), "1.30.5");
    annotate(&mut mesh, "approve", digest(&said));
    let said = applied(&plane, &mesh);
    assert_eq!(said.code, 0, "{said:?}");
    for workload in workloads {
        assert_eq!(version(&plane, workload), "1.31.1", "{workload}");
    }
}

fn mesh(version: &str, kind: &str, approval: &str) -> Value {
    with_gateways_and_tag(version, &json!({"type": kind, "approval": approval}))
}

fn annotate(cr: &mut Value, name: &str, value: &str) {
    cr["metadata"]["annotations"][format!("install.istio.io/{name}")] = value.into();
}

fn applied(plane: &ControlPlane, cr: &Value) -> Said {
    let arguments = ["apply", "-f", "-", "--no-operator", "--wait"];
    operator::run(&plane.kubeconfig(), &arguments, &cr.to_string()).unwrap()
}

/// The digest of the plan that waits for its approval.
fn digest(said: &Said) -> &str {
    let (_, digest) = said
        .errors
        .split_once("install.istio.io/approve: ")
        .unwrap_or_else(|| panic!("{said:?}"));
    digest.split_whitespace().next().unwrap()
}

/// Gateways and tags belong to this control plane.
fn serves(plane: &ControlPlane, of: &str, named: &str) {
    for gateway in ["deployment/edge-one", "deployment/edge-two"] {
        assert_eq!(version(plane, gateway), of, "{gateway}");
    }
    for name in ["default", "prod"] {
        assert_eq!(revision(plane, &tag(name)), named, "{name}");
    }
}
