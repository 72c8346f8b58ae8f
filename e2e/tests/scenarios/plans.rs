//! What a change does is told before it is done, and where a person decides, nothing is written before.

use std::time::Duration;

use e2e::{
    actions::cr::Cr,
    control_plane::ControlPlane,
    error::Error,
    observe::health::{ArgoHealth, Kstatus, argo, condition, kstatus},
    operator::{self, Operator},
    wait::wait_until,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    SOON,
    bystander::{object_writes, quiet},
    healthy, manifest, running,
};

/// For how long nothing may happen.
const TEMPTED: Duration = Duration::from_secs(3);

/// Upgrade row 2: the change of a version waits for its approval. What runs goes on being repaired as it was, also after a
/// restart of the operator; a plan that changed since needs its own approval.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_waits_for_the_approval_of_its_plan() {
    let (plane, mut operator) = running().await;
    let cr = healthy(&plane, &manual("1.30").to_string()).await;
    let status = status(&cr).await;
    assert_eq!(status["plan"]["state"], "Done", "{status}");
    quiet(&plane, &operator, Duration::from_secs(2)).await;

    let since = Timestamp::now();
    cr.patch(&json!({"spec": {"version": "1.31"}}))
        .await
        .unwrap();
    let first = awaited(&cr).await;
    let told = serde_json::to_value(cr.get().await.unwrap()).unwrap();
    assert_eq!(
        (argo(&told), kstatus(&told)),
        (ArgoHealth::Progressing, Kstatus::InProgress)
    );
    assert_eq!(told["status"]["version"], "1.30.5");
    assert_eq!(told["status"]["upgrade"]["to"], "1.31.1");
    let restarts = first["restarts"].to_string();
    for workload in [
        "Deployment istio-system/istiod: 1 pods",
        "Deployment istio-system/edge",
    ] {
        assert!(restarts.contains(workload), "{restarts}");
    }
    shown_whole(&plane, &first);

    // What runs is repaired as it was.
    plane
        .kubectl(["delete", "service", "istiod", "-n=istio-system"])
        .unwrap();
    let label = r#"--patch={"metadata":{"labels":{"istio.io/rev":"other"}}}"#;
    let patch = ["patch", "deployment", "edge", "-n=istio-system", label];
    plane.kubectl(patch).unwrap();
    is_repaired(&plane, "service", "istiod", "1.30.5").await;
    is_repaired(&plane, "deployment", "edge", "1.30.5").await;
    operator.process().kill().unwrap();
    operator.process().restart().unwrap();
    operator.wait_until_ready().await.unwrap();
    plane
        .kubectl(["delete", "configmap", "istio", "-n=istio-system"])
        .unwrap();
    is_repaired(&plane, "configmap", "istio", "1.30.5").await;
    only_repairs(&plane, &operator, since);

    // Another change is another plan.
    cr.patch(&approve(&first)).await.unwrap();
    let cpu =
        json!({"components": {"pilot": {"k8s": {"resources": {"requests": {"cpu": "321m"}}}}}});
    cr.patch(&json!({"spec": cpu})).await.unwrap();
    wait_until("another plan", SOON, || async {
        let plan = awaited(&cr).await;
        (plan["digest"] != first["digest"])
            .then_some(())
            .ok_or(plan)
    })
    .await
    .unwrap();
    sleep(TEMPTED).await;
    let second = awaited(&cr).await;
    assert_eq!(plane_version(&plane), "1.30.5");
    cr.patch(&approve(&second)).await.unwrap();
    let told = cr.wait_for("HEALTHY", SOON).await.unwrap().data;
    assert_eq!(told["status"]["version"], "1.31.1");
    assert_eq!(told["status"]["plan"]["state"], "Done");
    assert_eq!(told["status"]["plan"]["digest"], second["digest"]);
    assert!(condition(&told, "ApprovalRequired").is_null(), "{told}");
    let events = cr.events_with_reason("ApprovalRequired").await.unwrap();
    assert!(!events.is_empty());
}

/// Upgrade row 2: so does a change that restarts or deletes a workload, and no other. Taking it back needs no approval.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_go_only_with_approval() {
    let (plane, operator) = running().await;
    let cr = healthy(&plane, &manual("1.31").to_string()).await;

    let mesh = json!({"spec": {"meshConfig": {"accessLogFile": "/dev/stdout"}}});
    cr.patch(&mesh).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();

    let cpu = |cpu: &str| json!({"spec": {"components": {"pilot": {"k8s": {"resources": {"requests": {"cpu": cpu}}}}}}});
    cr.patch(&cpu("123m")).await.unwrap();
    let plan = awaited(&cr).await;
    let restarts = plan["restarts"].to_string();
    assert!(restarts.contains("resources.requests.cpu"), "{restarts}");
    cr.patch(&approve(&plan)).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    quiet(&plane, &operator, Duration::from_secs(2)).await;

    let since = Timestamp::now();
    let gateways = |enabled: bool| json!({"spec": {"components": {"ingressGateways": [{"name": "edge", "enabled": enabled}]}}});
    cr.patch(&gateways(false)).await.unwrap();
    let plan = awaited(&cr).await;
    let restarts = plan["restarts"].to_string();
    assert!(
        restarts.contains("istio-system/edge: it is deleted"),
        "{restarts}"
    );
    sleep(TEMPTED).await;
    assert_eq!(object_writes(&plane, &operator, since), [""; 0]);
    cr.patch(&gateways(true)).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    assert_eq!(object_writes(&plane, &operator, since), [""; 0]);

    cr.patch(&gateways(false)).await.unwrap();
    let plan = awaited(&cr).await;
    cr.patch(&approve(&plan)).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    let gateway = ["get", "deployment", "edge", "-n=istio-system"];
    assert!(plane.kubectl(gateway).is_err());

    // A CR whose plan waits can be deleted.
    cr.patch(&cpu("234m")).await.unwrap();
    awaited(&cr).await;
    cr.delete(SOON).await.unwrap();
}

/// A mesh whose changes a person approves.
fn manual(version: &str) -> Value {
    let spec = json!({
        "profile": "minimal",
        "version": version,
        "updateStrategy": {"approval": "Manual"},
        "components": {"ingressGateways": [{"name": "edge", "enabled": true}]},
    });
    let mut cr = manifest("mesh", &spec);
    // The pods of istiod are simulated, and inject nothing.
    cr["metadata"]["annotations"] = json!({"install.istio.io/skip-checks": "injection"});
    cr
}

/// The plan that waits for approval.
async fn awaited(cr: &Cr) -> Value {
    wait_until("a plan to wait for approval", SOON, || async {
        let cr = cr.get().await.map_err(|error| error.to_string())?;
        let status = &cr.data["status"];
        let is_current = status["observedGeneration"].as_i64() == cr.metadata.generation;
        let is_awaited = condition(&cr.data, "ApprovalRequired")["status"] == "True";
        if is_current && is_awaited && status["plan"]["state"] == "AwaitingApproval" {
            Ok(status["plan"].clone())
        } else {
            Err(format!("its status is {status}"))
        }
    })
    .await
    .unwrap()
}

async fn status(cr: &Cr) -> Value {
    cr.get().await.unwrap().data["status"].clone()
}

pub fn approve(plan: &Value) -> Value {
    json!({"metadata": {"annotations": {"install.istio.io/approve": plan["digest"]}}})
}

/// The command line comes to the same plan, and shows every field.
fn shown_whole(plane: &ControlPlane, plan: &Value) {
    let printed = |arguments: &[&str], input: &str| {
        let said = operator::run(&plane.kubeconfig(), arguments, input).unwrap();
        said.json().unwrap()
    };
    let whole = printed(&["plan", "-o=json", "istio-system/mesh"], "");
    assert_eq!(whole["digest"], plan["digest"], "{whole:#}");
    let asked = manual("1.31").to_string();
    let of_file = printed(&["plan", "-o=json", "-f", "-"], &asked);
    assert_eq!(of_file["digest"], plan["digest"]);
    let objects = whole["objects"].as_array().unwrap();
    let istiod = objects
        .iter()
        .find(|object| object["object"] == "Deployment istio-system/istiod");
    let fields = istiod.unwrap()["fields"].as_array().unwrap();
    let image = "spec.template.spec.containers.[name:discovery].image";
    let image = fields.iter().find(|field| field["path"] == image).unwrap();
    let ends = |side: &str, tag: &str| {
        image[side]
            .as_str()
            .is_some_and(|image| image.ends_with(tag))
    };
    assert!(
        ends("old", "pilot:1.30.5") && ends("new", "pilot:1.31.1"),
        "{image}"
    );
    assert!(!whole["upgrade"]["notes"].as_array().unwrap().is_empty());
}

/// Waits until an object is there in a version, with the revision that it had.
async fn is_repaired(plane: &ControlPlane, kind: &str, name: &str, version: &str) {
    let labels = r"-o=jsonpath={.metadata.labels.operator\.istio\.io/version} {.metadata.labels.istio\.io/rev}";
    wait_until(name, SOON, || async {
        let found = plane.kubectl(["get", kind, name, "-n=istio-system", labels])?;
        if found == format!("{version} default") {
            Ok(())
        } else {
            Err(Error::Unexpected(found))
        }
    })
    .await
    .unwrap();
}

/// Nothing was written but what was damaged.
fn only_repairs(plane: &ControlPlane, operator: &Operator, since: Timestamp) {
    let written = object_writes(plane, operator, since);
    let repairs = [
        "patch services/istio-system/istiod: 201",
        "patch deployments/istio-system/edge: 200",
        "patch configmaps/istio-system/istio: 201",
    ];
    assert_eq!(written, repairs);
}

fn plane_version(plane: &ControlPlane) -> String {
    let label = r"-o=jsonpath={.metadata.labels.operator\.istio\.io/version}";
    plane
        .kubectl(["get", "deployment", "istiod", "-n=istio-system", label])
        .unwrap()
}
