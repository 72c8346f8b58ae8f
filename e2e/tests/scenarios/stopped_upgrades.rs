//! An upgrade that stops at a component says so while old pods serve, and is taken back where the user wants that.

use std::time::Duration;

use e2e::{
    control_plane::ControlPlane, istio::istiod::Istiod, observe::health::condition,
    operator::Operator,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{SOON, bystander::object_writes, healthy, manifest, running};

/// For how long nothing may happen.
const TEMPTED: Duration = Duration::from_secs(3);

/// Upgrade row 5: an istiod that does not come up in time stops the upgrade there; nothing after it is touched, and old pods
/// serve. Setting the version back heals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_stops_heals_when_the_version_is_set_back() {
    let (plane, operator) = running().await;
    let cr = healthy(&plane, &mesh("Never", true).to_string()).await;
    cordon(&plane);
    let since = Timestamp::now();
    cr.patch(&version("1.31")).await.unwrap();
    let told = cr.wait_for("ERROR", SOON).await.unwrap().data;
    let stalled = condition(&told, "Stalled");
    assert_eq!(stalled["reason"], "DeadlineExceeded", "{told}");
    let progress = &told["status"]["upgrade"]["progress"];
    assert_eq!(progress["step"], "Pilot", "{told}");
    assert!(
        progress["waitingFor"].as_str().unwrap().contains("istiod"),
        "{told}"
    );
    gateway_is_untouched(&plane, &operator, since);
    let steps = cr.events_with_reason("UpgradeStep").await.unwrap();
    assert!(!steps.is_empty());

    cr.patch(&version("1.30")).await.unwrap();
    let told = cr.wait_for("HEALTHY", SOON).await.unwrap().data;
    assert_eq!(told["status"]["version"], "1.30.5");
    assert!(told["status"].get("upgrade").is_none(), "{told}");
    uncordon(&plane);
}

/// Upgrade row 5: `rollback: Automatic` does the same by itself, once, also over a restart of the operator. An edit of the spec
/// tries the upgrade again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_stops_is_taken_back_by_itself() {
    let (plane, mut operator) = running().await;
    let cr = healthy(&plane, &mesh("Automatic", true).to_string()).await;
    cordon(&plane);
    let since = Timestamp::now();
    cr.patch(&version("1.31")).await.unwrap();
    let rolled_back = cr
        .wait_for_condition("Stalled", "True", Some("RolledBack"), SOON)
        .await;
    let told = rolled_back.unwrap().data;
    assert_eq!(told["status"]["version"], "1.30.5");
    let rollback = &told["status"]["upgrade"]["rollback"];
    assert!(
        rollback["reason"].as_str().unwrap().contains("istiod"),
        "{told}"
    );
    assert_eq!(istiod_version(&plane), "1.30.5");
    gateway_is_untouched(&plane, &operator, since);

    operator.process().kill().unwrap();
    operator.process().restart().unwrap();
    operator.wait_until_ready().await.unwrap();
    uncordon(&plane);
    sleep(TEMPTED).await;
    let stays = cr
        .wait_for_condition("Stalled", "True", Some("RolledBack"), SOON)
        .await;
    assert_eq!(stays.unwrap().data["status"]["version"], "1.30.5");
    assert_eq!(istiod_version(&plane), "1.30.5");

    let edit = json!({"spec": {"meshConfig": {"accessLogFile": "/dev/stdout"}}});
    cr.patch(&edit).await.unwrap();
    let told = cr.wait_for("HEALTHY", SOON).await.unwrap().data;
    assert_eq!(told["status"]["version"], "1.31.1");
}

/// Upgrade row 5: what comes after istiod waits until a dry run of a pod comes back with the new sidecar from the real
/// istiod, although the simulated pods of istiod are ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_wait_until_istiod_injects() {
    let (plane, operator) = running().await;
    let cr = healthy(&plane, &mesh("Never", false).to_string()).await;
    let since = Timestamp::now();
    let patient = json!({"spec": {"version": "1.31", "updateStrategy": {"timeout": "10m"}}});
    cr.patch(&patient).await.unwrap();
    cr.wait_for_message("istiod does not inject sidecars of Istio 1.31.1 yet", SOON)
        .await
        .unwrap();
    assert_eq!(istiod_version(&plane), "1.31.1");
    gateway_is_untouched(&plane, &operator, since);

    let _istiod = Istiod::start(&plane, "istio-system", "istiod")
        .await
        .unwrap();
    let told = cr.wait_for("HEALTHY", SOON).await.unwrap().data;
    assert_eq!(told["status"]["version"], "1.31.1");
    let pods = plane
        .kubectl(["get", "pods", "-n=istio-system", "-o=name"])
        .unwrap();
    assert!(!pods.contains("probe"), "{pods}");
}

/// istiod and a gateway.
fn mesh(rollback: &str, skips_injection: bool) -> Value {
    let spec = json!({
        "profile": "minimal",
        "version": "1.30",
        "updateStrategy": {"rollback": rollback, "timeout": "8s"},
        "components": {"ingressGateways": [{"name": "edge", "enabled": true}]},
    });
    let mut cr = manifest("mesh", &spec);
    if skips_injection {
        cr["metadata"]["annotations"] = json!({"install.istio.io/skip-checks": "injection"});
    }
    cr
}

fn version(version: &str) -> Value {
    json!({"spec": {"version": version}})
}

fn cordon(plane: &ControlPlane) {
    on_nodes(plane, "cordon");
}

fn uncordon(plane: &ControlPlane) {
    on_nodes(plane, "uncordon");
}

fn on_nodes(plane: &ControlPlane, command: &str) {
    let nodes = plane.kubectl(["get", "nodes", "-o=name"]).unwrap();
    for node in nodes.lines() {
        plane.kubectl([command, node]).unwrap();
    }
}

fn gateway_is_untouched(plane: &ControlPlane, operator: &Operator, since: Timestamp) {
    let mut written = object_writes(plane, operator, since);
    assert!(!written.is_empty());
    written.retain(|write| write.contains("edge"));
    assert_eq!(written, [""; 0]);
}

fn istiod_version(plane: &ControlPlane) -> String {
    let label = r"-o=jsonpath={.metadata.labels.operator\.istio\.io/version}";
    let istiod = ["get", "deployment", "istiod", "-n=istio-system", label];
    plane.kubectl(istiod).unwrap()
}
